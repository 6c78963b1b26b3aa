//! Who asks: what a verified token says of its bearer. Rights follow from it and from the directory, at every use.

use serde::{Deserialize, Serialize};

/// The role of whoever runs the cluster.
pub const ADMINISTRATOR: &str = "administrator";

/// Who asks, as their token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The token's id, for the audit; never the secret. Only a caller on a node without authentication has none.
    pub token: Option<String>,
    /// The token's subject. A token without one stands for a thing, or for whoever holds the role.
    pub user: Option<String>,
    pub role: String,
    pub weddings: Vec<String>,
    pub venues: Vec<String>,
    pub scopes: Scopes,
}

impl Caller {
    /// Where no authentication is configured everybody is this.
    pub fn administrator() -> Self {
        Self {
            token: None,
            user: None,
            role: ADMINISTRATOR.into(),
            weddings: Vec::new(),
            venues: Vec::new(),
            scopes: Scopes::all(),
        }
    }

    /// Whether no rate caps hold: nobody was asked who they are, so there is nobody to count for.
    pub const fn is_unlimited(&self) -> bool {
        self.token.is_none()
    }

    pub const fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// The name that stands as a broadcast's sender: the user's id, else the token's.
    pub fn name(&self) -> Option<&str> {
        self.user.as_deref().or(self.token.as_deref())
    }
}

/// What a token may be used for at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Publish,
    Subscribe,
    Read,
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Publish, Self::Subscribe, Self::Read, Self::Admin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == text)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes, written as the list of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the scope is in the set or follows from it: `admin` implies the others.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// The scopes that were named, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Caller, Scope, Scopes};

    #[test]
    fn admin_implies_every_scope_and_nothing_else_implies_any() {
        for held in Scope::ALL {
            for asked in Scope::ALL {
                let scopes: Scopes = [held].into_iter().collect();
                let expected = held == asked || held == Scope::Admin;
                assert_eq!(scopes.allow(asked), expected, "{held:?} for {asked:?}");
            }
        }
        assert!(Scope::ALL.into_iter().all(|scope| !Scopes::default().allow(scope)));
    }

    #[test]
    fn scopes_are_written_as_names_in_one_order() {
        let scopes: Scopes = serde_json::from_str(r#"["read", "publish", "read"]"#).unwrap();
        assert_eq!(serde_json::to_string(&scopes).unwrap(), r#"["publish","read"]"#);
        assert!(serde_json::from_str::<Scopes>(r#"["root"]"#).is_err());
        let bytes = bincode::serialize(&scopes).unwrap();
        assert_eq!(bincode::deserialize::<Scopes>(&bytes).unwrap(), scopes);
    }

    #[test]
    fn only_a_node_without_authentication_has_callers_without_limits() {
        let administrator = Caller::administrator();
        assert!(administrator.is_unlimited() && administrator.may(Scope::Admin));
        assert_eq!(administrator.name(), None);
        let known = Caller {
            token: Some("tok-1".into()),
            ..administrator
        };
        assert!(!known.is_unlimited());
        assert_eq!(known.name(), Some("tok-1"));
    }
}
