//! What a broadcast needs by way of confirmations, and how much of it is there: so many people of a role, or everybody.

use super::State;
use super::audiences::{known_only, resolve};
use super::broadcasts::Hot;
use super::directory::Directory;
use crate::model::{Audience, Clause, Draft, Millis, Step};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// So many of a role, and how many of them have confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    pub role: String,
    pub count: u32,
    pub confirmed: u64,
}

/// By role, as the sender asked; empty where everybody has to confirm.
pub fn needs(directory: &Directory, hot: &Hot, now: Millis) -> Vec<Need> {
    let draft = &hot.broadcast.draft;
    let asked = draft.acknowledge.iter().flat_map(|asked| &asked.need);
    let each = asked.map(|(role, count)| Need {
        role: role.clone(),
        count: *count,
        confirmed: holders(directory, draft, role, now).intersection_len(&hot.ledger.steps[Step::Acknowledged.index()]),
    });
    each.collect()
}

/// Whether nobody has to be asked again. An alert that has reached nobody has met no need; who was erased is not waited for.
pub fn are_met(directory: &Directory, needs: &[Need], hot: &Hot) -> bool {
    if !needs.is_empty() {
        return needs.iter().all(|need| need.confirmed >= u64::from(need.count));
    }
    let mut asked = &*hot.recipients & &*directory.everyone;
    if let Some(aside) = &hot.ledger.aside {
        asked -= &aside.muted;
        asked -= &aside.critical_only;
    }
    !asked.is_empty() && asked.is_subset(&hot.ledger.steps[Step::Acknowledged.index()])
}

impl State {
    /// Whether enough of those whom a draft reaches, later steps counted, hold the roles that it needs.
    pub fn can_be_met(&self, draft: &Draft) -> bool {
        let Some(asked) = draft.acknowledge.as_ref().filter(|asked| !asked.need.is_empty()) else {
            return true;
        };
        let now = self.log_time();
        let audiences = std::iter::once(&draft.audience).chain(asked.escalate.iter().map(|step| &step.to));
        let reached = audiences.filter_map(|audience| resolve(&self.directory, audience, now).ok());
        let reached = reached.fold(RoaringBitmap::new(), |all, found| all | &*found.recipients);
        let mut needs = asked.need.iter();
        needs.all(|(role, count)| {
            let holders = holders(&self.directory, draft, role, now);
            holders.intersection_len(&reached) >= u64::from(*count)
        })
    }
}

/// Who holds a role in the places that a draft names, its later steps too; where it names people by other means, by their profile.
fn holders(directory: &Directory, draft: &Draft, role: &str, now: Millis) -> RoaringBitmap {
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    let audiences = std::iter::once(&draft.audience).chain(steps.map(|step| &step.to));
    let mut places = Clause::default();
    let mut has_others = false;
    for clause in audiences.flat_map(|audience| &audience.clauses) {
        places.weddings.extend(clause.weddings.iter().cloned());
        places.venues.extend(clause.venues.iter().cloned());
        places.on_site.extend(clause.on_site.iter().cloned());
        has_others |= clause.weddings.is_empty() && clause.venues.is_empty() && clause.on_site.is_empty();
    }
    let with_role = |clause: Clause| Clause {
        roles: vec![role.to_owned()],
        ..clause
    };
    let mut clauses = Vec::new();
    let Clause {
        weddings,
        venues,
        on_site,
        ..
    } = places;
    let here = [
        Clause {
            weddings,
            ..Clause::default()
        },
        Clause {
            venues,
            ..Clause::default()
        },
        Clause {
            on_site,
            ..Clause::default()
        },
    ];
    clauses.extend(here.into_iter().filter(|clause| !clause.is_empty()).map(with_role));
    if has_others {
        clauses.push(with_role(Clause::default()));
    }
    let exclude = Vec::new();
    let audience = known_only(directory, Audience { clauses, exclude });
    resolve(directory, &audience, now).map_or_else(|_| RoaringBitmap::new(), |found| (*found.recipients).clone())
}
