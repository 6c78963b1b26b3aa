//! Who was refused what, and who changed what: the newest entries, alike on all nodes.
//!
//! Nodes gather entries and merge equal ones before they go into the log, so that a flood of refusals is a few entries a second.

use super::rows::RowKey;
use crate::model::{Caller, Millis, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Entries kept; older ones go.
pub const AUDIT_KEPT_MAX: usize = 10_000;

/// One thing that somebody did or was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Log time as the node told it.
    pub at: Millis,
    pub node: NodeId,
    pub token: Option<String>,
    /// `None` for a token without a user, and for a user who has been erased since.
    pub user: Option<String>,
    /// Empty for who had no valid token.
    pub role: String,
    /// Method and address, or what was to be published.
    pub action: String,
    /// The code of the refusal; empty for what was done.
    pub code: String,
    pub detail: String,
    /// How often the same happened within what the node gathered.
    pub times: u32,
}

impl Entry {
    pub fn new(at: Millis, node: NodeId, caller: Option<&Caller>, action: String) -> Self {
        Self {
            at,
            node,
            token: caller.and_then(|caller| caller.token.clone()),
            user: caller.and_then(|caller| caller.user.clone()),
            role: caller.map_or_else(String::new, |caller| caller.role.clone()),
            action,
            code: String::new(),
            detail: String::new(),
            times: 1,
        }
    }

    /// Whether the same happened, whenever; what was refused, for whatever reason in detail.
    pub fn is_like(&self, other: &Self) -> bool {
        let who = |entry: &Self| (entry.token.clone(), entry.user.clone(), entry.role.clone());
        let is_same = self.action == other.action && self.code == other.code && who(self) == who(other);
        is_same && (!self.code.is_empty() || self.detail == other.detail)
    }
}

#[derive(Debug, Default)]
pub struct Audit {
    entries: VecDeque<Entry>,
    /// The number of the oldest entry; the first that was ever made has 0.
    first: u64,
}

impl Audit {
    pub(super) fn add(&mut self, entry: Entry, mut changed: impl FnMut(RowKey)) {
        changed(RowKey::Audit(self.next()));
        self.entries.push_back(entry);
        while self.entries.len() > AUDIT_KEPT_MAX {
            changed(RowKey::Audit(self.first));
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Takes a user's name out of all entries, as it goes from every ledger.
    pub(super) fn erase(&mut self, users: &[String], mut changed: impl FnMut(RowKey)) {
        let is_gone = |user: &str| users.iter().any(|gone| gone == user);
        for (number, entry) in (self.first..).zip(&mut self.entries) {
            let named = entry.action.split('/').any(is_gone);
            if named {
                let parts = entry
                    .action
                    .split('/')
                    .map(|part| if is_gone(part) { "-" } else { part });
                entry.action = parts.collect::<Vec<_>>().join("/");
            }
            let own = entry.user.as_deref().is_some_and(is_gone);
            if own {
                entry.user = None;
            }
            if named || own {
                changed(RowKey::Audit(number));
            }
        }
    }

    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn row(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Start-up: entries come in the order of their numbers.
    pub(super) fn load(&mut self, number: u64, entry: Entry) {
        if self.entries.is_empty() {
            self.first = number;
        }
        self.entries.push_back(entry);
    }

    /// Entries with their numbers, newest first, from below a number on.
    pub fn below(&self, number: Option<u64>) -> impl Iterator<Item = (u64, &Entry)> {
        let end = number.map_or(self.next(), |number| number.clamp(self.first, self.next()));
        let count = (end - self.first) as usize;
        let older = self.entries.range(..count).rev();
        (self.first..end).rev().zip(older)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{AUDIT_KEPT_MAX, Audit, Entry};
    use crate::model::Caller;
    use crate::state::RowKey;

    fn entry(user: &str, action: &str) -> Entry {
        let caller = Caller {
            user: Some(user.into()),
            ..Caller::administrator()
        };
        Entry::new(1, 1, Some(&caller), action.into())
    }

    #[test]
    fn the_newest_entries_stay_with_their_numbers() {
        let (mut audit, mut rows) = (Audit::default(), Vec::new());
        for number in 0..AUDIT_KEPT_MAX + 2 {
            audit.add(entry("ann", &number.to_string()), |row| rows.push(row));
        }
        assert_eq!(audit.len(), AUDIT_KEPT_MAX);
        assert_eq!(rows.len(), AUDIT_KEPT_MAX + 4, "each new one, and the two that went");
        assert_eq!((audit.row(1), audit.row(2).unwrap().action.as_str()), (None, "2"));
        let newest: Vec<u64> = audit.below(Some(5)).map(|(number, _)| number).collect();
        assert_eq!(newest, [4, 3, 2]);
        let mut again = Audit::default();
        for number in 2..AUDIT_KEPT_MAX as u64 + 2 {
            again.load(number, audit.row(number).unwrap().clone());
        }
        let first = |audit: &Audit| audit.below(None).next().map(|(number, entry)| (number, entry.clone()));
        assert_eq!(first(&again), first(&audit));
    }

    #[test]
    fn an_erased_users_name_goes() {
        let (mut audit, mut rows) = (Audit::default(), Vec::new());
        for (user, action) in [
            ("ann", "PUT /v1/users/bob"),
            ("bob", "POST /v1/import"),
            ("ann", "PUT /v1/users/bobby"),
        ] {
            audit.add(entry(user, action), |_| {});
        }
        audit.erase(&["bob".into()], |row| rows.push(row));
        assert_eq!(rows, [RowKey::Audit(0), RowKey::Audit(1)]);
        let left: Vec<_> = audit
            .below(None)
            .map(|(_, entry)| (entry.user.as_deref(), entry.action.as_str()))
            .collect();
        let expected = [
            (Some("ann"), "PUT /v1/users/bobby"),
            (None, "POST /v1/import"),
            (Some("ann"), "PUT /v1/users/-"),
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn the_same_refusal_is_the_same_whatever_its_detail() {
        let done = entry("ann", "publish cue.call");
        let one = Entry {
            code: "Y".into(),
            ..done.clone()
        };
        let later = Entry {
            at: 9,
            detail: "other".into(),
            times: 3,
            ..one.clone()
        };
        assert!(one.is_like(&later));
        let other_detail = Entry {
            detail: "other".into(),
            ..done.clone()
        };
        assert!(
            done.is_like(&done) && !done.is_like(&other_detail),
            "what was done has its own"
        );
        for other in [
            Entry {
                user: Some("bob".into()),
                ..one.clone()
            },
            Entry {
                action: "publish cue.tea".into(),
                ..one.clone()
            },
            Entry {
                code: "X".into(),
                ..one.clone()
            },
        ] {
            assert!(!one.is_like(&other), "{other:?}");
        }
    }
}
