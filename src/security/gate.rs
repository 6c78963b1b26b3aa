//! The gate: what a client shows, told apart and verified as far as that goes without the replicated state.

use super::jwt::{self, JwtError, Rules};
use super::keys::{self, Key, KeyError};
use super::{Config, Identity, secret, token};
use crate::model::{Caller, Millis, Scopes};
use crate::state::tokens::TokenHash;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Verified tokens that are remembered, so that a publish does not pay for a signature each time.
const VERIFIED_MAX: usize = 10_000;
/// What the bootstrap token's bearer is called in the audit.
const BOOTSTRAP: &str = "bootstrap";

/// What a text was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Verified(Identity),
    /// The hash of an API token: the state knows what it is worth.
    Token(TokenHash),
}

/// Why a text lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("{0}")]
    Invalid(String),
    #[error("the token has expired")]
    Expired,
}

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{} holds no token; one has cmp_ and 43 letters", path.display())]
    NoToken { path: PathBuf },
}

#[derive(Debug)]
pub struct Gate {
    /// Where nobody is authenticated, everybody is this.
    anyone: Option<Identity>,
    bootstrap: Option<(TokenHash, Identity)>,
    rules: Rules,
    /// From the settings.
    fixed: Vec<Key>,
    set: PathBuf,
    ring: RwLock<Ring>,
}

/// The keys in force, and what they have verified.
#[derive(Debug, Default)]
struct Ring {
    keys: Arc<Vec<Key>>,
    verified: HashMap<TokenHash, Identity>,
}

impl Gate {
    /// Nobody is asked; everybody is an administrator.
    pub fn open() -> Self {
        Self {
            anyone: Some(Identity {
                caller: Arc::new(Caller::administrator()),
                until: None,
            }),
            bootstrap: None,
            rules: Rules {
                issuer: String::new(),
                audience: String::new(),
                leeway_ms: 0,
            },
            fixed: Vec::new(),
            set: PathBuf::new(),
            ring: RwLock::default(),
        }
    }

    /// Reads every file that the settings name.
    pub fn new(config: &Config) -> Result<Self, GateError> {
        if !config.enabled {
            return Ok(Self::open());
        }
        let fixed = config
            .jwt_keys
            .iter()
            .map(keys::read)
            .collect::<Result<Vec<Key>, _>>()?;
        let gate = Self {
            anyone: None,
            bootstrap: bootstrap(config)?,
            rules: Rules {
                issuer: config.jwt_issuer.clone(),
                audience: config.jwt_audience.clone(),
                leeway_ms: config.jwt_leeway.0.as_millis() as u64,
            },
            ring: RwLock::new(Ring {
                keys: Arc::new(fixed.clone()),
                verified: HashMap::new(),
            }),
            fixed,
            set: config.jwt_jwks.clone(),
        };
        gate.reload()?;
        Ok(gate)
    }

    /// The caller of a node that asks nobody.
    pub fn anyone(&self) -> Option<&Identity> {
        self.anyone.as_ref()
    }

    /// Whether there is a set of keys that may change.
    pub fn has_set(&self) -> bool {
        !self.set.as_os_str().is_empty()
    }

    /// Reads the set of keys again; `true` when it has changed. A set that cannot be read leaves the old keys in force: a file
    /// that is just being written must lock nobody out.
    pub fn reload(&self) -> Result<bool, KeyError> {
        if !self.has_set() {
            return Ok(false);
        }
        let read = keys::read_set(&self.set)?;
        let all: Vec<Key> = self.fixed.iter().cloned().chain(read).collect();
        let mut ring = self.ring.write();
        if is_same(&ring.keys, &all) {
            return Ok(false);
        }
        // what a key verified that is gone is verified no longer
        *ring = Ring {
            keys: Arc::new(all),
            verified: HashMap::new(),
        };
        Ok(true)
    }

    /// Tells apart what a client shows. `now` is log time.
    pub fn read(&self, text: &str, now: Millis) -> Result<Shown, Denied> {
        if text.starts_with(token::PREFIX) {
            if !token::is_token(text) {
                return Err(Denied::Invalid("the text is no token of this server".into()));
            }
            let hash = token::hash(text);
            return Ok(match &self.bootstrap {
                Some((own, identity)) if same(own, &hash) => Shown::Verified(identity.clone()),
                _ => Shown::Token(hash),
            });
        }
        self.read_jwt(text, now).map(Shown::Verified)
    }

    fn read_jwt(&self, text: &str, now: Millis) -> Result<Identity, Denied> {
        if text.len() > jwt::BYTES_MAX {
            return Err(invalid(&JwtError::Malformed));
        }
        let hash = token::hash(text);
        let keys = {
            let ring = self.ring.read();
            if let Some(identity) = ring.verified.get(&hash) {
                let holds = identity.until.is_none_or(|until| now < until);
                return if holds {
                    Ok(identity.clone())
                } else {
                    Err(Denied::Expired)
                };
            }
            ring.keys.clone()
        };
        let identity = jwt::verify(text, &keys, &self.rules, now).map_err(|error| match error {
            JwtError::Expired => Denied::Expired,
            other => invalid(&other),
        })?;
        self.remember(&keys, hash, &identity, now);
        Ok(identity)
    }

    fn remember(&self, keys: &Arc<Vec<Key>>, hash: TokenHash, identity: &Identity, now: Millis) {
        let mut ring = self.ring.write();
        // by other keys it might not be verified
        if !Arc::ptr_eq(keys, &ring.keys) {
            return;
        }
        if ring.verified.len() >= VERIFIED_MAX {
            ring.verified
                .retain(|_, kept| kept.until.is_none_or(|until| now < until));
            if ring.verified.len() >= VERIFIED_MAX {
                ring.verified.clear();
            }
        }
        ring.verified.insert(hash, identity.clone());
    }
}

fn is_same(old: &[Key], new: &[Key]) -> bool {
    let same = |(a, b): (&Key, &Key)| a.id == b.id && a.algorithm == b.algorithm && a.print() == b.print();
    old.len() == new.len() && old.iter().zip(new).all(same)
}

fn invalid(error: &JwtError) -> Denied {
    Denied::Invalid(error.to_string())
}

/// Looks at every byte, whatever the first ones are.
fn same(a: &TokenHash, b: &TokenHash) -> bool {
    a.iter().zip(b).fold(0, |other, (a, b)| other | (a ^ b)) == 0
}

fn bootstrap(config: &Config) -> Result<Option<(TokenHash, Identity)>, GateError> {
    let path = &config.admin_token_file;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let secret = secret::read(path)?;
    if secret::is_shared(path) {
        tracing::warn!(path = %path.display(), "other users of this machine can read the administrator's token");
    }
    let text = secret.text().map(str::trim).filter(|text| token::is_token(text));
    let text = text.ok_or_else(|| GateError::NoToken { path: path.clone() })?;
    let caller = Caller {
        token: Some(BOOTSTRAP.into()),
        scopes: Scopes::all(),
        ..Caller::administrator()
    };
    let identity = Identity {
        caller: Arc::new(caller),
        until: None,
    };
    Ok(Some((token::hash(text), identity)))
}

#[cfg(test)]
mod tests {
    use super::{Denied, Gate, GateError, Shown};
    use crate::model::Scope;
    use crate::security::{Config, token};

    #[test]
    fn an_open_gate_asks_nobody() {
        let gate = Gate::new(&Config::default()).unwrap();
        assert!(gate.anyone().unwrap().caller.is_unlimited());
    }

    #[test]
    fn the_bootstrap_token_is_an_administrators() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin-token");
        let text = token::make().unwrap();
        std::fs::write(&path, format!("{text}\n")).unwrap();
        let config = Config {
            enabled: true,
            admin_token_file: path.clone(),
            ..Config::default()
        };
        let gate = Gate::new(&config).unwrap();
        assert!(gate.anyone().is_none());
        let Ok(Shown::Verified(identity)) = gate.read(&text, 0) else {
            panic!("the bootstrap token is not known");
        };
        assert!(identity.caller.may(Scope::Admin) && !identity.caller.is_unlimited());
        let other = token::make().unwrap();
        assert_eq!(gate.read(&other, 0), Ok(Shown::Token(token::hash(&other))));
        assert!(matches!(gate.read("cmp_short", 0), Err(Denied::Invalid(_))));
        assert!(matches!(gate.read("", 0), Err(Denied::Invalid(_))));
        assert!(!format!("{gate:?}").contains(&text));
        std::fs::write(&path, "hunter2").unwrap();
        assert!(matches!(Gate::new(&config), Err(GateError::NoToken { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Gate::new(&config), Err(GateError::Secret(_))));
    }
}
