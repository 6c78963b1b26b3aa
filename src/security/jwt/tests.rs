//! Every way in which a token may be wrong, one by one.

use super::{BYTES_MAX, JwtError, Rules, verify};
use crate::model::{Millis, Scope};
use crate::security::keys::{self, Key};
use crate::security::pairs::{self, ED_PUBLIC, P384_PUBLIC, RSA_PUBLIC, WEAK_RSA_PUBLIC, sign, sign_as};
use crate::security::{Algorithm, Gate, Identity, KeyFile, Shown};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const ALL: [Algorithm; 4] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256];
const NOON: Millis = 1_800_000_000_000;
const NOON_S: i64 = NOON / 1000;
const LEEWAY_S: i64 = 30;

fn read(id: &str, algorithm: Algorithm, file: &str) -> Result<Key, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, file).unwrap();
    let setting = KeyFile {
        id: id.into(),
        algorithm,
        file: path,
    };
    keys::read(&setting).map_err(|error| error.to_string())
}

fn key(id: &str, algorithm: Algorithm) -> Key {
    read(id, algorithm, pairs::public(algorithm)).unwrap()
}

fn rules() -> Rules {
    Rules {
        issuer: "venue".into(),
        audience: "campanile".into(),
        leeway_ms: LEEWAY_S as u64 * 1000,
    }
}

/// Good claims with some replaced; `null` takes one out.
fn claims(with: Value) -> Value {
    let mut claims = json!({
        "sub": "ah-dj-01", "role": "dj", "weddings": ["w-1"], "scope": "openid publish subscribe",
        "iss": "venue", "aud": "campanile", "exp": NOON_S + 60, "jti": "7",
    });
    for (name, value) in with.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            other => claims[name] = other.clone(),
        }
    }
    claims
}

fn check(with: Value, expected: Result<(), JwtError>) {
    let token = sign(Algorithm::EdDsa, None, &claims(with.clone()));
    let found = verify(&token, &[key("", Algorithm::EdDsa)], &rules(), NOON).map(|_| ());
    assert_eq!(found, expected, "{with}");
}

#[test]
fn each_algorithm_lets_its_own_tokens_in() {
    for algorithm in ALL {
        let token = sign(algorithm, Some("k"), &claims(json!({})));
        let Identity { caller, until } = verify(&token, &[key("k", algorithm)], &rules(), NOON).unwrap();
        assert_eq!(caller.user.as_deref(), Some("ah-dj-01"), "{algorithm:?}");
        assert_eq!((caller.token.as_deref(), &*caller.role), (Some("jwt:7"), "dj"));
        assert_eq!(
            (caller.weddings.as_slice(), caller.venues.len()),
            (&["w-1".to_owned()][..], 0)
        );
        assert!(caller.may(Scope::Publish) && caller.may(Scope::Subscribe));
        assert!(!caller.may(Scope::Read) && !caller.may(Scope::Admin));
        assert_eq!(until, Some((NOON_S + 60 + LEEWAY_S) * 1000));
    }
}

#[test]
fn a_token_without_a_signature_is_none() {
    let body = BASE64.encode(claims(json!({})).to_string());
    let keys: Vec<Key> = ALL.map(|algorithm| key("", algorithm)).into();
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = BASE64.encode(json!({"alg": algorithm, "typ": "JWT"}).to_string());
        for token in [format!("{header}.{body}."), format!("{header}.{body}.AAAA")] {
            assert_eq!(
                verify(&token, &keys, &rules(), NOON),
                Err(JwtError::Algorithm),
                "{algorithm}"
            );
        }
        let two_parts = format!("{header}.{body}");
        assert_eq!(verify(&two_parts, &keys, &rules(), NOON), Err(JwtError::Malformed));
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    // signed with HS256, the issuer's public key as the secret: as text, and as the bytes inside
    for (algorithm, public) in [(Algorithm::Rs256, RSA_PUBLIC), (Algorithm::EdDsa, ED_PUBLIC)] {
        let own = key("k", algorithm);
        let letters: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        let inside = base64::engine::general_purpose::STANDARD.decode(letters).unwrap();
        for secret in [public.as_bytes(), public.trim().as_bytes(), &inside] {
            let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
            for kid in [None, Some("k".to_owned())] {
                header.kid = kid;
                let token = encode(&header, &claims(json!({})), &EncodingKey::from_secret(secret)).unwrap();
                let found = verify(&token, std::slice::from_ref(&own), &rules(), NOON);
                assert_eq!(found, Err(JwtError::UnknownKey), "{algorithm:?}");
            }
        }
    }
}

#[test]
fn a_key_verifies_by_its_own_algorithm_only() {
    for own in ALL {
        for other in ALL.into_iter().filter(|other| *other != own) {
            let token = sign(other, Some("k"), &claims(json!({})));
            let found = verify(&token, &[key("k", own)], &rules(), NOON);
            assert_eq!(found, Err(JwtError::UnknownKey), "{other:?} by {own:?}");
        }
    }
    let mut header = Header::new(jsonwebtoken::Algorithm::HS512);
    header.kid = Some("k".into());
    let secret = EncodingKey::from_secret(pairs::SECRET.as_bytes());
    let token = encode(&header, &claims(json!({})), &secret).unwrap();
    let found = verify(&token, &[key("k", Algorithm::Hs256)], &rules(), NOON);
    assert_eq!(found, Err(JwtError::Algorithm));
}

#[test]
fn the_kid_names_the_key_and_nothing_is_tried_out() {
    let keys = [key("a", Algorithm::EdDsa), key("b", Algorithm::Es256)];
    let check = |algorithm, kid, expected: Result<(), JwtError>| {
        let token = sign(algorithm, kid, &claims(json!({})));
        assert_eq!(verify(&token, &keys, &rules(), NOON).map(|_| ()), expected, "{kid:?}");
    };
    check(Algorithm::EdDsa, Some("a"), Ok(()));
    check(Algorithm::EdDsa, Some("b"), Err(JwtError::UnknownKey));
    check(Algorithm::EdDsa, Some("c"), Err(JwtError::UnknownKey));
    check(Algorithm::EdDsa, Some(""), Err(JwtError::UnknownKey));
    check(Algorithm::EdDsa, Some("../../etc/passwd"), Err(JwtError::UnknownKey));
    // without a kid there must be no doubt
    check(Algorithm::EdDsa, None, Ok(()));
    let twice = [key("a", Algorithm::EdDsa), key("z", Algorithm::EdDsa)];
    let token = sign(Algorithm::EdDsa, None, &claims(json!({})));
    assert_eq!(verify(&token, &twice, &rules(), NOON), Err(JwtError::UnknownKey));
    assert_eq!(verify(&token, &[], &rules(), NOON), Err(JwtError::UnknownKey));
}

#[test]
fn a_key_that_the_token_brings_along_is_not_looked_at() {
    // the attacker's own secret in the header, and a signature that fits it
    let secret = EncodingKey::from_secret(&[7; 32]);
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.jwk = serde_json::from_value(json!({"kty": "oct", "alg": "HS256", "k": BASE64.encode([7; 32])})).ok();
    header.jku = Some("https://evil.example/jwks.json".into());
    assert!(header.jwk.is_some());
    let token = encode(&header, &claims(json!({})), &secret).unwrap();
    let found = verify(&token, &[key("", Algorithm::Hs256)], &rules(), NOON);
    assert_eq!(found, Err(JwtError::Signature));
}

#[test]
fn critical_extensions_are_refused() {
    let mut header = Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.crit = Some(vec!["exp".into()]);
    let token = sign_as(&header, Algorithm::EdDsa, &claims(json!({})));
    let found = verify(&token, &[key("", Algorithm::EdDsa)], &rules(), NOON);
    assert_eq!(found, Err(JwtError::Critical));
}

#[test]
fn a_changed_token_is_refused() {
    for algorithm in ALL {
        let keys = [key("", algorithm)];
        let token = sign(algorithm, None, &claims(json!({})));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = BASE64.encode(claims(json!({"scope": "admin"})).to_string());
        let forged = [parts[0], &forged, parts[2]].join(".");
        assert_eq!(
            verify(&forged, &keys, &rules(), NOON),
            Err(JwtError::Signature),
            "{algorithm:?}"
        );
        let unsigned = [parts[0], parts[1], ""].join(".");
        assert_eq!(
            verify(&unsigned, &keys, &rules(), NOON),
            Err(JwtError::Signature),
            "{algorithm:?}"
        );
        let zeros = BASE64.encode([0; 64]);
        let zeros = [parts[0], parts[1], &zeros].join(".");
        assert_eq!(
            verify(&zeros, &keys, &rules(), NOON),
            Err(JwtError::Signature),
            "{algorithm:?}"
        );
    }
}

#[test]
fn the_time_is_the_clusters_with_a_named_leeway() {
    let ends = |seconds: i64| json!({"exp": NOON_S + seconds});
    check(ends(1 - LEEWAY_S), Ok(()));
    check(ends(-LEEWAY_S), Err(JwtError::Expired));
    check(json!({"exp": 0}), Err(JwtError::Expired));
    check(json!({"exp": NOON_S as f64 + 0.5}), Ok(()));
    for wrong in [json!(null), json!(-1), json!(1e300)] {
        check(json!({"exp": wrong}), Err(JwtError::Claim("exp")));
    }
    check(json!({"exp": "never"}), Err(JwtError::Claim("set")));
    let begins = |seconds: i64| json!({"nbf": NOON_S + seconds});
    check(begins(LEEWAY_S), Ok(()));
    check(begins(LEEWAY_S + 1), Err(JwtError::NotYet));
    check(json!({"nbf": -1}), Err(JwtError::Claim("nbf")));
}

#[test]
fn the_token_must_be_from_our_issuer_and_for_us() {
    for issuer in [json!(null), json!("other"), json!(""), json!("venue ")] {
        check(json!({"iss": issuer}), Err(JwtError::Issuer));
    }
    check(json!({"iss": ["venue"]}), Err(JwtError::Claim("set")));
    for audience in [json!(null), json!("other"), json!([]), json!(["a", "b"])] {
        check(json!({"aud": audience}), Err(JwtError::Audience));
    }
    check(json!({"aud": ["a", "campanile"]}), Ok(()));
}

#[test]
fn what_it_says_of_its_bearer_has_bounds() {
    check(json!({"role": null}), Err(JwtError::Claim("role")));
    check(json!({"role": ""}), Err(JwtError::Claim("role")));
    check(json!({"sub": "a\nb"}), Err(JwtError::Claim("sub")));
    check(json!({"weddings": vec!["w"; 101]}), Err(JwtError::Claim("weddings")));
    check(json!({"venues": ["v".repeat(129)]}), Err(JwtError::Claim("venues")));
    check(json!({"weddings": "w"}), Err(JwtError::Claim("set")));
    check(json!({"sub": null, "scope": null, "jti": null}), Ok(()));
    let long = sign(Algorithm::EdDsa, None, &claims(json!({"extra": "x".repeat(BYTES_MAX)})));
    let found = verify(&long, &[key("", Algorithm::EdDsa)], &rules(), NOON);
    assert_eq!(found, Err(JwtError::Malformed));
}

#[test]
fn any_text_is_read_without_harm() {
    let keys = [key("", Algorithm::EdDsa)];
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "ä.ö.ü",
        "eyJhbGciOiJFZERTQSJ9..",
        "{}.{}.{}",
    ] {
        assert!(verify(text, &keys, &rules(), NOON).is_err(), "{text}");
    }
}

#[test]
fn weak_keys_and_keys_of_another_kind_are_refused() {
    let check = |algorithm, file: &str, words: &str| {
        let error = read("", algorithm, file).unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    check(Algorithm::Hs256, "too short", "has 9 bytes; at least 32 are needed");
    check(Algorithm::Hs256, RSA_PUBLIC, "could sign with it");
    check(
        Algorithm::Rs256,
        WEAK_RSA_PUBLIC,
        "has 128 bytes; at least 256 are needed",
    );
    check(Algorithm::Rs256, ED_PUBLIC, "is no Rs256 key");
    check(Algorithm::EdDsa, RSA_PUBLIC, "is no EdDsa key");
    check(Algorithm::Es256, P384_PUBLIC, "is no Es256 key");
    check(Algorithm::Es256, "nonsense", "a public key as PEM is needed");
}

/// A set of the keys of these algorithms, named after them.
fn set_of(algorithms: &[Algorithm]) -> Value {
    let jwk = |algorithm: &Algorithm| {
        let key = key("", *algorithm);
        let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&key.decoding, None).unwrap();
        let mut jwk = serde_json::to_value(&jwk).unwrap();
        jwk["kid"] = json!(format!("{algorithm:?}"));
        jwk
    };
    let keys: Vec<Value> = algorithms.iter().map(jwk).collect();
    json!({ "keys": keys })
}

#[test]
fn a_set_of_keys_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let write = |set: &Value| std::fs::write(&path, set.to_string()).unwrap();
    write(&set_of(&[Algorithm::EdDsa]));
    let config = crate::security::Config {
        enabled: true,
        jwt_jwks: path.clone(),
        jwt_issuer: "venue".into(),
        jwt_audience: "campanile".into(),
        ..crate::security::Config::default()
    };
    let gate = Gate::new(&config).unwrap();
    let tokens = [Algorithm::EdDsa, Algorithm::Es256]
        .map(|algorithm| sign(algorithm, Some(&format!("{algorithm:?}")), &claims(json!({}))));
    let known = || {
        tokens
            .each_ref()
            .map(|token| matches!(gate.read(token, NOON), Ok(Shown::Verified(_))))
    };
    assert_eq!(known(), [true, false]);
    assert!(!gate.reload().unwrap());

    write(&set_of(&[Algorithm::Es256]));
    assert!(gate.reload().unwrap());
    assert_eq!(known(), [false, true], "what a gone key has verified is forgotten");

    std::fs::write(&path, "{\"keys\": [").unwrap();
    assert!(gate.reload().is_err());
    assert_eq!(known(), [false, true], "a half written file changes nothing");
    let expired = gate.read(&tokens[1], NOON + 3_600_000);
    assert_eq!(expired, Err(crate::security::Denied::Expired));
}

#[test]
fn keys_for_other_purposes_may_stand_in_a_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let mut set = set_of(&[Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256]);
    set["keys"][1]["use"] = json!("enc");
    set["keys"]
        .as_array_mut()
        .unwrap()
        .push(json!({"kty": "future", "kid": "x"}));
    std::fs::write(&path, set.to_string()).unwrap();
    let ids = |keys: Vec<Key>| keys.into_iter().filter_map(|key| key.id).collect::<Vec<_>>();
    // a secret that does not say what it is for is left out too
    assert_eq!(ids(keys::read_set(&path).unwrap()), ["EdDsa", "Rs256"]);
    set["keys"][3]["alg"] = json!("HS256");
    set["keys"][2]["alg"] = json!("RS512");
    std::fs::write(&path, set.to_string()).unwrap();
    assert_eq!(ids(keys::read_set(&path).unwrap()), ["EdDsa", "Hs256"]);
    std::fs::write(&path, json!({"keys": []}).to_string()).unwrap();
    assert!(keys::read_set(&path).unwrap_err().to_string().contains("has no key"));
}
