//! Signatures as in the specification of Standard Webhooks: a receiver who knows the secret can tell that a call is from here, is
//! whole, and is not an old one sent again.

use crate::security::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// How a secret begins.
const PREFIX: &str = "whsec_";
/// Bytes of a key, as the specification wants them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys at the same time: the one to come, the one in force and the one that goes, and one to spare.
const KEYS_MAX: usize = 4;

/// What is wrong with a file of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it is not text")]
    NotText,
    #[error("line {line} does not begin with {PREFIX}")]
    Prefix { line: usize },
    #[error("line {line} is not base64 behind {PREFIX}")]
    Base64 { line: usize },
    #[error("the key in line {line} has {bytes} bytes; it must have 24 to 64")]
    Length { line: usize, bytes: usize },
    #[error("it has no secret")]
    Empty,
    #[error("it has {count} secrets; it must have at most {KEYS_MAX}")]
    TooMany { count: usize },
}

/// The keys in force; each makes a signature, so that receivers can change from one to the next.
#[derive(Clone)]
pub struct Keys(Vec<Hmac<Sha256>>);

impl Keys {
    /// Reads `whsec_BASE64`, one a line.
    pub fn read(secret: &Secret) -> Result<Self, KeyError> {
        let text = secret.text().ok_or(KeyError::NotText)?;
        let lines = (1..).zip(text.lines().map(str::trim));
        let keys = lines
            .filter(|(_, text)| !text.is_empty())
            .map(|(line, text)| key(line, text));
        let keys: Vec<Hmac<Sha256>> = keys.collect::<Result<_, _>>()?;
        match keys.len() {
            0 => Err(KeyError::Empty),
            count if count > KEYS_MAX => Err(KeyError::TooMany { count }),
            _ => Ok(Self(keys)),
        }
    }

    /// The header `webhook-signature`. `seconds` (since 1970) is the time of this attempt, as in `webhook-timestamp`.
    pub fn signature(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let begin = format!("{id}.{seconds}.");
        let sign = |key: &Hmac<Sha256>| {
            let signed = key.clone().chain_update(begin.as_bytes()).chain_update(body).finalize();
            format!("v1,{}", STANDARD.encode(signed.into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

fn key(line: usize, text: &str) -> Result<Hmac<Sha256>, KeyError> {
    let encoded = text.strip_prefix(PREFIX).ok_or(KeyError::Prefix { line })?;
    let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Base64 { line })?;
    let wrong = KeyError::Length {
        line,
        bytes: bytes.len(),
    };
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(wrong);
    }
    Hmac::new_from_slice(&bytes).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::{KeyError, Keys};
    use crate::security::secret;

    /// The specification's own example, and one of 32 bytes from 0 to 31; the signatures were computed with another program.
    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SIGNED_FIRST: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const SIGNED_SECOND: &str = "v1,O4Gjv1HqPqsMrjmczoggs/sWA8gZD0VyHG+fLh4+ktI=";

    fn read(text: &[u8]) -> Result<Keys, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("siren.key");
        std::fs::write(&path, text).unwrap();
        Keys::read(&secret::read(&path).unwrap())
    }

    fn check(secrets: &str, expected: &str) {
        let keys = read(secrets.as_bytes()).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = keys.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, expected);
        let other = keys.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_331, body);
        assert_ne!(other, expected, "the time is signed");
    }

    #[test]
    fn each_secret_makes_a_signature() {
        check(FIRST, SIGNED_FIRST);
        check(&format!("{SECOND}\n"), SIGNED_SECOND);
        check(
            &format!("{SECOND}\r\n\n {FIRST}\n\n"),
            &format!("{SIGNED_SECOND} {SIGNED_FIRST}"),
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_by_its_line() {
        let check = |text: &[u8], expected| assert_eq!(read(text).unwrap_err(), expected);
        check(b"\xff\xfe", KeyError::NotText);
        check(b"  \n \n ", KeyError::Empty);
        check(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", KeyError::Prefix { line: 1 });
        let second = format!("{FIRST}\n\nwhsec_*");
        check(second.as_bytes(), KeyError::Base64 { line: 3 });
        check(b"whsec_AAAA", KeyError::Length { line: 1, bytes: 3 });
        let long = format!("whsec_{}", "AAAA".repeat(22));
        check(long.as_bytes(), KeyError::Length { line: 1, bytes: 66 });
        let many = format!("{FIRST}\n").repeat(5);
        check(many.as_bytes(), KeyError::TooMany { count: 5 });
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", read(FIRST.as_bytes()).unwrap()), "Keys(1)");
    }
}
