//! What rights ask of the directory: who belongs where, what is held where, and where an event is on.

use super::directory::Directory;
use crate::model::directory::Wedding;
use crate::model::{Millis, Place};
use roaring::RoaringBitmap;

impl Directory {
    /// Whether anybody holds a role at a place.
    pub fn is_role_held(&self, place: &Place, role: &str) -> bool {
        let held = self.names.find(role).zip(self.members_of(place));
        held.is_some_and(|(role, members)| members.roles.contains_key(&role))
    }

    /// The roles that are held at a place, and by whom.
    pub fn roles_at(&self, place: &Place) -> impl Iterator<Item = (&str, &RoaringBitmap)> {
        let roles = self.members_of(place).into_iter().flat_map(|members| &members.roles);
        roles.map(|(role, users)| (self.names.word(*role), users))
    }

    /// The roles that profiles name, and whose.
    pub fn profile_roles(&self) -> impl Iterator<Item = (&str, &RoaringBitmap)> {
        let roles = self.profile_roles.iter();
        roles.map(|(role, users)| (self.names.word(*role), users))
    }

    /// Whether any of these users belongs to a place.
    pub fn has_any(&self, place: &Place, users: &RoaringBitmap) -> bool {
        let mut roles = self
            .members_of(place)
            .into_iter()
            .flat_map(|members| members.roles.values());
        roles.any(|members| !members.is_disjoint(users))
    }

    /// Takes the members of a place out of a set of users.
    pub fn remove_members(&self, place: &Place, users: &mut RoaringBitmap) {
        let roles = self
            .members_of(place)
            .into_iter()
            .flat_map(|members| members.roles.values());
        roles.for_each(|members| *users -= members);
    }

    /// The weddings of a venue.
    pub fn held_at(&self, venue: &str) -> impl Iterator<Item = &str> {
        self.held_at.get(venue).into_iter().flatten().map(String::as_str)
    }

    pub fn weddings(&self) -> impl Iterator<Item = &Wedding> {
        self.weddings.values().map(|(wedding, _)| wedding)
    }

    /// Everybody who belongs to a place.
    pub fn members_at(&self, place: &Place) -> RoaringBitmap {
        let members = self
            .members_of(place)
            .into_iter()
            .flat_map(|members| members.roles.values());
        members.fold(RoaringBitmap::new(), |all, users| all | users)
    }

    /// The weddings whose event window is open, each with its venue.
    pub fn weddings_on(&self, at: Millis) -> impl Iterator<Item = (&str, Option<&str>)> {
        let on = self
            .weddings
            .values()
            .filter(move |(wedding, _)| wedding.window_is_open(at));
        on.map(|(wedding, _)| (wedding.id.as_str(), wedding.venue.as_deref()))
    }
}
