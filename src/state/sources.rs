//! What the directory has from cached values: who is in a segment, and what a user wants, for as long as the value is in the cache.
//!
//! Who owns the segments and the preferences may be somewhere else. What its application says comes with the command that keeps the
//! value, so audiences and quiet hours are decided from it on all nodes alike, without a look at the cache; and it goes with the
//! value. Then the directory's own rule and preferences, which it has kept, are in force again.

use super::cache::CacheKey;
use super::directory::{Directory, Touched};
use super::rows::RowKey;
use super::zones::ZoneTable;
use crate::model::UserNumber;
use crate::model::directory::Preferences;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a cached value says. Its key is the segment's name, or the user's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The ids of those who are in it.
    Segment(Vec<String>),
    Preferences(Preferences),
}

/// A source with the zones that it names, for those of which nothing is known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sourced {
    pub source: Source,
    pub zones: Vec<ZoneTable>,
}

/// Who is in a segment, as a value lists them.
#[derive(Debug)]
pub struct Listed {
    /// The value's place in the cache.
    at: CacheKey,
    pub(super) users: RoaringBitmap,
    /// Ids that nobody has.
    pub(super) unknown: BTreeSet<String>,
}

#[derive(Debug)]
struct Wants {
    at: CacheKey,
    preferences: Preferences,
}

/// Segments by name, and preferences by user's id.
#[derive(Debug, Default)]
pub struct Sources {
    segments: BTreeMap<String, Listed>,
    preferences: BTreeMap<String, Wants>,
    /// Ids that nobody has, and the segments that list them.
    awaited: BTreeMap<String, BTreeSet<String>>,
}

impl Sources {
    pub(super) fn segment(&self, name: &str) -> Option<&Listed> {
        self.segments.get(name)
    }

    /// Names of the segments that values list.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.segments.keys().map(String::as_str)
    }

    fn forget_awaited(&mut self, segment: &str, unknown: &BTreeSet<String>) {
        for id in unknown {
            if let Some(segments) = self.awaited.get_mut(id) {
                segments.remove(segment);
                if segments.is_empty() {
                    self.awaited.remove(id);
                }
            }
        }
    }
}

fn row_key(at: &CacheKey) -> RowKey {
    RowKey::Source(at.namespace.to_string(), at.key.to_string())
}

impl Directory {
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether there is such a segment, by a rule of its own or by a value of the cache.
    pub fn has_segment(&self, name: &str) -> bool {
        self.segments.contains_key(name) || self.sources.segments.contains_key(name)
    }

    /// Whether something comes from a place in the cache.
    pub fn has_source(&self, at: &CacheKey) -> bool {
        self.is_listed_at(at) || self.is_wanted_at(at)
    }

    fn is_listed_at(&self, at: &CacheKey) -> bool {
        let listed = self.sources.segments.get(&*at.key);
        listed.is_some_and(|listed| listed.at == *at)
    }

    fn is_wanted_at(&self, at: &CacheKey) -> bool {
        let wants = self.sources.preferences.get(&*at.key);
        wants.is_some_and(|wants| wants.at == *at)
    }

    /// What a value says is in force from now on.
    pub(super) fn take_source(&mut self, at: &CacheKey, sourced: Sourced, rows: &mut BTreeSet<RowKey>) {
        self.zones.fill(sourced.zones, rows);
        rows.insert(row_key(at));
        match sourced.source {
            Source::Segment(ids) => {
                let before = self.sources.segments.get(&*at.key).map(|listed| row_key(&listed.at));
                rows.extend(before);
                self.list(at, ids);
            }
            Source::Preferences(preferences) => {
                let before = self.sources.preferences.get(&*at.key).map(|wants| row_key(&wants.at));
                rows.extend(before);
                self.want(at, preferences);
            }
        }
    }

    /// The same at a start, from its row.
    pub(super) fn load_source(&mut self, at: &CacheKey, source: Source) {
        match source {
            Source::Segment(ids) => self.list(at, ids),
            Source::Preferences(preferences) => self.want(at, preferences),
        }
    }

    fn list(&mut self, at: &CacheKey, ids: Vec<String>) {
        let name = at.key.to_string();
        self.unlist(&name);
        let (mut users, mut unknown) = (RoaringBitmap::new(), BTreeSet::new());
        for id in ids {
            match self.user_number(&id) {
                Some(number) => users.insert(number),
                None => unknown.insert(id),
            };
        }
        for id in &unknown {
            let segments = self.sources.awaited.entry(id.clone()).or_default();
            segments.insert(name.clone());
        }
        let at = at.clone();
        self.sources.segments.insert(name, Listed { at, users, unknown });
    }

    fn unlist(&mut self, name: &str) {
        if let Some(listed) = self.sources.segments.remove(name) {
            self.sources.forget_awaited(name, &listed.unknown);
        }
    }

    fn want(&mut self, at: &CacheKey, preferences: Preferences) {
        if let Some(number) = self.user_number(&at.key) {
            self.preferred.cover(number, preferences.clone());
        }
        let wants = Wants {
            at: at.clone(),
            preferences,
        };
        self.sources.preferences.insert(at.key.to_string(), wants);
    }

    /// The value at this place is gone, or another one will say what it says.
    pub(super) fn drop_source(&mut self, at: &CacheKey, rows: &mut BTreeSet<RowKey>) {
        let (is_segment, is_wants) = (self.is_listed_at(at), self.is_wanted_at(at));
        if is_segment {
            self.unlist(&at.key);
        }
        if is_wants {
            self.sources.preferences.remove(&*at.key);
            if let Some(number) = self.user_number(&at.key) {
                self.preferred.uncover(number);
            }
        }
        if is_segment || is_wants {
            rows.insert(row_key(at));
        }
    }

    /// Somebody is there now of whom a value may have spoken before.
    pub(super) fn has_come(&mut self, id: &str, number: UserNumber) {
        if let Some(wants) = self.sources.preferences.get(id) {
            self.preferred.cover(number, wants.preferences.clone());
        }
        for segment in self.sources.awaited.remove(id).into_iter().flatten() {
            if let Some(listed) = self.sources.segments.get_mut(&segment) {
                listed.unknown.remove(id);
                listed.users.insert(number);
            }
        }
    }

    /// Somebody is gone, and leaves the lists, which are shorter then than what their owner has. What the cache has under their own id
    /// goes, too.
    pub(super) fn has_gone(&mut self, id: &str, number: UserNumber, touched: &mut Touched) {
        for listed in self.sources.segments.values_mut() {
            if listed.users.remove(number) {
                touched.rows.insert(row_key(&listed.at));
                touched.shortened.insert(listed.at.clone());
            }
        }
        if let Some(wants) = self.sources.preferences.remove(id) {
            touched.rows.insert(row_key(&wants.at));
            touched.cached.push(wants.at);
        }
    }

    /// What the row of a place in the cache says; `None` when nothing comes from there.
    pub(super) fn source_at(&self, at: &CacheKey) -> Option<Source> {
        let sources = &self.sources;
        if let Some(listed) = sources.segments.get(&*at.key).filter(|listed| listed.at == *at) {
            let known = listed.users.iter().filter_map(|user| self.user_id(user));
            let all = known.chain(listed.unknown.iter().map(String::as_str));
            return Some(Source::Segment(all.map(str::to_owned).collect()));
        }
        let wants = sources.preferences.get(&*at.key).filter(|wants| wants.at == *at)?;
        Some(Source::Preferences(wants.preferences.clone()))
    }

    /// Every place in the cache that something comes from.
    pub(super) fn source_places(&self) -> impl Iterator<Item = &CacheKey> {
        let segments = self.sources.segments.values().map(|listed| &listed.at);
        segments.chain(self.sources.preferences.values().map(|wants| &wants.at))
    }
}
