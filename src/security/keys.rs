//! Keys that verify JSON Web Tokens. Each is bound to one algorithm when it is read, so that no token can choose how a key is
//! used: a public key is never taken for a secret.

use super::secret::{self, Secret, SecretError};
use super::{Algorithm, KeyFile};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A shorter secret can be guessed (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// A shorter modulus can be factored (RFC 7518, 3.3).
const RSA_BYTES_MIN: usize = 256;
/// Keys of one set.
const KEYS_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] SecretError),
    #[error("{} is no {algorithm:?} key: {detail}", path.display())]
    NoKey {
        path: PathBuf,
        algorithm: Algorithm,
        detail: String,
    },
    #[error("{} is no JSON Web Key Set: {detail}", path.display())]
    NoSet { path: PathBuf, detail: String },
}

/// One key, for one algorithm.
#[derive(Clone, Debug)]
pub struct Key {
    /// The `kid` that tokens name it by.
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

impl Key {
    /// A hash of what the key is made of, to see whether another one is the same.
    pub fn print(&self) -> [u8; 32] {
        let described = Jwk::from_decoding_key(&self.decoding, None).ok();
        let described = described
            .and_then(|jwk| serde_json::to_vec(&jwk).ok())
            .unwrap_or_default();
        Sha256::digest(described).into()
    }
}

impl Algorithm {
    pub const fn of(algorithm: jsonwebtoken::Algorithm) -> Option<Self> {
        match algorithm {
            jsonwebtoken::Algorithm::EdDSA => Some(Self::EdDsa),
            jsonwebtoken::Algorithm::ES256 => Some(Self::Es256),
            jsonwebtoken::Algorithm::RS256 => Some(Self::Rs256),
            jsonwebtoken::Algorithm::HS256 => Some(Self::Hs256),
            _ => None,
        }
    }

    pub const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// Reads the key that a setting names.
pub fn read(setting: &KeyFile) -> Result<Key, KeyError> {
    let secret = secret::read(&setting.file)?;
    let decoding = decoding(setting.algorithm, &secret).map_err(|detail| KeyError::NoKey {
        path: setting.file.clone(),
        algorithm: setting.algorithm,
        detail,
    })?;
    Ok(Key {
        id: Some(setting.id.clone()).filter(|id| !id.is_empty()),
        algorithm: setting.algorithm,
        decoding,
    })
}

fn decoding(algorithm: Algorithm, secret: &Secret) -> Result<DecodingKey, String> {
    let bytes = secret.bytes();
    let key = match algorithm {
        Algorithm::EdDsa => DecodingKey::from_ed_pem(bytes),
        Algorithm::Es256 => DecodingKey::from_ec_pem(bytes),
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(bytes),
        Algorithm::Hs256 if bytes.starts_with(b"-----BEGIN") => {
            return Err("it is a PEM file; whoever has a public key could sign with it".into());
        }
        Algorithm::Hs256 => Ok(DecodingKey::from_secret(bytes)),
    };
    let key = key.map_err(|error| format!("{error}; a public key as PEM is needed"))?;
    check(algorithm, &key)?;
    Ok(key)
}

/// Whether the key is of its algorithm, and strong enough.
fn check(algorithm: Algorithm, key: &DecodingKey) -> Result<(), String> {
    let described = Jwk::from_decoding_key(key, None).map_err(|error| error.to_string())?;
    let long_enough = |text: &str, least: usize, what: &str| {
        // four letters of base64 are three bytes
        let bytes = text.trim_end_matches('=').len() * 3 / 4;
        if bytes < least {
            return Err(format!("{what} has {bytes} bytes; at least {least} are needed"));
        }
        Ok(())
    };
    match (algorithm, &described.algorithm) {
        (Algorithm::EdDsa, AlgorithmParameters::OctetKeyPair(pair)) if pair.curve == EllipticCurve::Ed25519 => Ok(()),
        (Algorithm::Es256, AlgorithmParameters::EllipticCurve(point)) if point.curve == EllipticCurve::P256 => Ok(()),
        (Algorithm::Rs256, AlgorithmParameters::RSA(rsa)) => long_enough(&rsa.n, RSA_BYTES_MIN, "its modulus"),
        (Algorithm::Hs256, AlgorithmParameters::OctetKey(octets)) => {
            long_enough(&octets.value, SECRET_BYTES_MIN, "the secret")
        }
        _ => Err("it is a key of another kind".into()),
    }
}

/// Reads a JSON Web Key Set. Keys for other purposes may stand in it; it must have at least one that is of use here.
pub fn read_set(path: &Path) -> Result<Vec<Key>, KeyError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let wrong = |detail: String| KeyError::NoSet {
        path: path.to_owned(),
        detail,
    };
    let secret = secret::read(path)?;
    let set: Set = serde_json::from_slice(secret.bytes()).map_err(|error| wrong(error.to_string()))?;
    if set.keys.len() > KEYS_MAX {
        return Err(wrong(format!("it has {} keys; {KEYS_MAX} are allowed", set.keys.len())));
    }
    let keys: Vec<Key> = set.keys.into_iter().filter_map(of_set).collect();
    if keys.is_empty() {
        return Err(wrong(
            "it has no key for signatures by EdDSA, ES256, RS256 or HS256".into(),
        ));
    }
    Ok(keys)
}

fn of_set(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    if common
        .public_key_use
        .as_ref()
        .is_some_and(|usage| *usage != PublicKeyUse::Signature)
    {
        return None;
    }
    let algorithm = match (&jwk.algorithm, &common.key_algorithm) {
        (AlgorithmParameters::OctetKeyPair(_), None | Some(KeyAlgorithm::EdDSA)) => Algorithm::EdDsa,
        (AlgorithmParameters::EllipticCurve(_), None | Some(KeyAlgorithm::ES256)) => Algorithm::Es256,
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::Rs256,
        // a secret has to say what it is for
        (AlgorithmParameters::OctetKey(_), Some(KeyAlgorithm::HS256)) => Algorithm::Hs256,
        _ => return None,
    };
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    check(algorithm, &decoding).ok()?;
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        decoding,
    })
}
