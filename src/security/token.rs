//! API tokens as text: `cmp_` and 256 random bits. A node keeps only their hash, so nobody can read them out of it.

use crate::state::tokens::TokenHash;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

pub const PREFIX: &str = "cmp_";
/// Every token's id begins with this; no other name of a caller's token does.
const ID_PREFIX: &str = "tok-";
const SECRET_BYTES: usize = 32;
/// `cmp_` and 32 bytes in base64.
const LETTERS: usize = PREFIX.len() + 43;
const ID_BYTES: usize = 8;

/// The operating system has no randomness: no secret can be made.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NoRandomness(#[from] rand::rand_core::OsError);

/// A new token, as its bearer gets it once.
pub fn make() -> Result<String, NoRandomness> {
    let mut secret = [0; SECRET_BYTES];
    OsRng.try_fill_bytes(&mut secret)?;
    Ok(format!("{PREFIX}{}", BASE64.encode(secret)))
}

/// A new token's id, which is no secret.
pub fn make_id() -> Result<String, NoRandomness> {
    let mut random = [0; ID_BYTES];
    OsRng.try_fill_bytes(&mut random)?;
    Ok(id_of(&random))
}

/// The id that a request with an idempotency key gives its token: the same request names the same token.
pub fn id_of(random: &[u8]) -> String {
    let mut id = ID_PREFIX.to_owned();
    for byte in random.iter().take(ID_BYTES) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

pub fn is_id(text: &str) -> bool {
    text.starts_with(ID_PREFIX)
}

/// Whether the text can be an API token; what it is worth, the state knows.
pub fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == LETTERS && text.starts_with(PREFIX) && text.bytes().all(is_letter)
}

pub fn hash(text: &str) -> TokenHash {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::{hash, id_of, is_id, is_token, make, make_id};
    use std::collections::BTreeSet;

    #[test]
    fn every_token_is_well_formed_and_another() {
        let made: BTreeSet<String> = (0..100).map(|_| make().unwrap()).collect();
        assert_eq!(made.len(), 100);
        assert!(made.iter().all(|token| is_token(token)), "{made:?}");
        assert!(is_id(&make_id().unwrap()) && make_id().unwrap() != make_id().unwrap());
        assert_eq!(id_of(&[0xAB; 16]), "tok-abababababababab");
    }

    #[test]
    fn what_is_no_token_is_not_looked_up() {
        let token = make().unwrap();
        for text in [
            "",
            "cmp_",
            &token[1..],
            &token[..46],
            &format!("{token}A"),
            "eyJ.eyJ.sig",
        ] {
            assert!(!is_token(text), "{text}");
        }
        assert!(!is_token(&token.replace(char::is_alphanumeric, "*")));
    }

    #[test]
    fn the_hash_is_sha256_of_the_whole_text() {
        let first: Vec<u8> = hash("cmp_x")[..4].to_vec();
        assert_eq!(first, [0xA1, 0x8A, 0xD7, 0x3C]);
        assert_ne!(hash("cmp_x"), hash("cmp_y"));
    }
}
