//! JSON Web Tokens: which key, is the signature right, is it for us and now, and what does it say of its bearer.
//!
//! The token's header chooses among the keys by `kid`, and nothing else: the algorithm is the key's own, and keys that a token
//! brings along (`jwk`, `jku`, `x5c`) are not looked at.

use super::keys::Key;
use super::{Algorithm, Identity};
use crate::model::{Caller, Millis, Scope};
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;

/// A longer token is not read.
pub const BYTES_MAX: usize = 8 << 10;
/// Weddings or venues that one token may name.
const PLACES_MAX: usize = 100;
/// Bytes of an id or a role in a token.
const NAME_BYTES_MAX: usize = 128;

/// What a token must say to be for this cluster.
#[derive(Clone, Debug)]
pub struct Rules {
    pub issuer: String,
    pub audience: String,
    pub leeway_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("the text is no JSON Web Token")]
    Malformed,
    #[error("the header cannot be read, or its algorithm is none of EdDSA, ES256, RS256 and HS256")]
    Algorithm,
    #[error("the header has critical extensions, and none is known here")]
    Critical,
    #[error("no key fits the token's kid and algorithm")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the claim {0} is missing or wrong")]
    Claim(&'static str),
}

/// What is read of the claims; others are the issuer's own.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    role: Option<String>,
    #[serde(default)]
    weddings: Vec<String>,
    #[serde(default)]
    venues: Vec<String>,
    #[serde(default)]
    scope: String,
    jti: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    /// Seconds since 1970, fractions allowed.
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(all) => all.iter().any(|audience| audience == wanted),
        }
    }
}

/// Whom the token stands for, if one of the keys has signed it and it holds at `now`.
pub fn verify(token: &str, keys: &[Key], rules: &Rules, now: Millis) -> Result<Identity, JwtError> {
    if token.len() > BYTES_MAX || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(JwtError::Malformed);
    }
    let key = key_of(token, keys)?;
    let claims = decode::<Claims>(token, &key.decoding, &signature_only(key.algorithm));
    let claims = claims.map_err(|error| reason(&error))?.claims;
    let until = check_time(&claims, rules.leeway_ms, now)?;
    if claims.iss.as_deref() != Some(&rules.issuer) {
        return Err(JwtError::Issuer);
    }
    if claims
        .aud
        .as_ref()
        .is_none_or(|audience| !audience.names(&rules.audience))
    {
        return Err(JwtError::Audience);
    }
    Ok(Identity {
        caller: Arc::new(caller(claims, token)?),
        until: Some(until),
    })
}

/// The one key that the token's header leads to.
fn key_of<'k>(token: &str, keys: &'k [Key]) -> Result<&'k Key, JwtError> {
    // an algorithm that the library does not know, `none` among them, is no header at all to it
    let header = decode_header(token).map_err(|_| JwtError::Algorithm)?;
    let algorithm = Algorithm::of(header.alg).ok_or(JwtError::Algorithm)?;
    if header.crit.is_some() {
        return Err(JwtError::Critical);
    }
    let fits = |key: &&Key| key.algorithm == algorithm && (header.kid.is_none() || key.id == header.kid);
    let mut fitting = keys.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        // several would mean trying them out
        (_, _) => Err(JwtError::UnknownKey),
    }
}

/// The library checks the signature, by the key's algorithm alone. Claims are checked here, where the time is an argument.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm.library());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn reason(error: &jsonwebtoken::errors::Error) -> JwtError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::Json(_) => JwtError::Claim("set"),
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => JwtError::Malformed,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => JwtError::Algorithm,
        _ => JwtError::Signature,
    }
}

/// When the token ends, leeway included.
fn check_time(claims: &Claims, leeway_ms: u64, now: Millis) -> Result<Millis, JwtError> {
    let expires = millis(claims.exp.ok_or(JwtError::Claim("exp"))?).ok_or(JwtError::Claim("exp"))?;
    let until = expires.saturating_add_unsigned(leeway_ms);
    if now >= until {
        return Err(JwtError::Expired);
    }
    if let Some(begins) = claims.nbf {
        let begins = millis(begins).ok_or(JwtError::Claim("nbf"))?;
        if now.saturating_add_unsigned(leeway_ms) < begins {
            return Err(JwtError::NotYet);
        }
    }
    Ok(until)
}

/// Times that a clock can show; a number beyond them is a fault of the issuer's.
fn millis(seconds: f64) -> Option<Millis> {
    const SECONDS_MAX: f64 = 253_402_300_800.0; // the year 10000
    (0.0..=SECONDS_MAX)
        .contains(&seconds)
        .then_some((seconds * 1000.0) as Millis)
}

fn caller(claims: Claims, token: &str) -> Result<Caller, JwtError> {
    let is_name = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    let are_places = |ids: &[String]| ids.len() <= PLACES_MAX && ids.iter().all(|id| is_name(id));
    let role = claims
        .role
        .filter(|role| is_name(role))
        .ok_or(JwtError::Claim("role"))?;
    if claims.sub.as_deref().is_some_and(|user| !is_name(user)) {
        return Err(JwtError::Claim("sub"));
    }
    if !are_places(&claims.weddings) {
        return Err(JwtError::Claim("weddings"));
    }
    if !are_places(&claims.venues) {
        return Err(JwtError::Claim("venues"));
    }
    let name = claims
        .jti
        .filter(|id| is_name(id))
        .unwrap_or_else(|| fingerprint(token));
    Ok(Caller {
        token: Some(format!("jwt:{name}")),
        user: claims.sub,
        role,
        weddings: claims.weddings,
        venues: claims.venues,
        // an issuer has scopes of its own (`openid`): they mean nothing here
        scopes: claims.scope.split(' ').filter_map(Scope::parse).collect(),
    })
}

/// What the audit calls a token without an id.
fn fingerprint(token: &str) -> String {
    let hash = Sha256::digest(token);
    hash[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
