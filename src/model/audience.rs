//! Whom a broadcast is for: clauses (OR) of keys (AND) of values (OR), less what is excluded.

use serde::{Deserialize, Serialize};

/// One clause. An empty list is a key that was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    pub everyone: bool,
    pub users: Vec<String>,
    /// Their members.
    pub weddings: Vec<String>,
    /// Their own members only.
    pub venues: Vec<String>,
    /// A venue's members and those of weddings held there whose event window is open.
    pub on_site: Vec<String>,
    /// With a place, the role there; else the profile role. `guests` and `staff` stand for sets.
    pub roles: Vec<String>,
    pub tiers: Vec<String>,
    pub segments: Vec<String>,
}

impl Clause {
    /// A clause with no key at all names nobody.
    pub fn is_empty(&self) -> bool {
        !self.everyone
            && [
                &self.users,
                &self.weddings,
                &self.venues,
                &self.on_site,
                &self.roles,
                &self.tiers,
                &self.segments,
            ]
            .iter()
            .all(|values| values.is_empty())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    pub clauses: Vec<Clause>,
    pub exclude: Vec<Clause>,
}

/// Roles that `guests` stands for.
pub const GUEST_ROLES: [&str; 3] = ["guest", "family", "wedding_party"];
/// Roles that `staff` leaves out: all others are staff.
pub const NOT_STAFF_ROLES: [&str; 4] = ["guest", "couple", "family", "wedding_party"];
