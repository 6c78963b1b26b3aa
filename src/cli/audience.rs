//! Audiences as people type them: `wedding:w-1/guests`, `on-site:larkfield`, `everyone`, or a clause as JSON.

use super::failure::Failure;
use serde_json::{Map, Value, json};

/// What stands before the colon, the clause's key, and whether it is a place where members have roles.
const KINDS: [(&str, &str, bool); 7] = [
    ("wedding", "weddings", true),
    ("venue", "venues", true),
    ("on-site", "on_site", true),
    ("user", "users", false),
    ("role", "roles", false),
    ("tier", "tiers", false),
    ("segment", "segments", false),
];

/// One clause of the API for each text.
pub fn clauses(texts: &[String]) -> Result<Vec<Value>, Failure> {
    texts.iter().map(|text| clause(text)).collect()
}

fn clause(text: &str) -> Result<Value, Failure> {
    let text = text.trim();
    if text == "everyone" {
        return Ok(json!({"everyone": true}));
    }
    if text.starts_with('{') {
        let parsed = serde_json::from_str::<Map<String, Value>>(text);
        return parsed
            .map(Value::Object)
            .map_err(|error| unclear(text, &error.to_string()));
    }
    let (kind, rest) = text
        .split_once(':')
        .ok_or_else(|| unclear(text, "there is no colon in it"))?;
    let Some((_, key, is_place)) = KINDS.iter().find(|(name, ..)| *name == kind) else {
        let names: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
        return Err(unclear(
            text,
            &format!("{kind:?} is none of everyone, {}", names.join(", ")),
        ));
    };
    let (ids, roles) = match rest.split_once('/') {
        Some(_) if !is_place => {
            return Err(unclear(
                text,
                "only wedding, venue and on-site have roles after a slash",
            ));
        }
        Some((ids, roles)) => (ids, Some(roles)),
        None => (rest, None),
    };
    let mut clause = Map::new();
    clause.insert((*key).to_owned(), list(text, ids)?);
    if let Some(roles) = roles {
        clause.insert("roles".to_owned(), list(text, roles)?);
    }
    Ok(Value::Object(clause))
}

fn list(text: &str, ids: &str) -> Result<Value, Failure> {
    let ids: Vec<&str> = ids.split(',').map(str::trim).collect();
    if ids.iter().any(|id| id.is_empty()) {
        return Err(unclear(text, "a name is missing"));
    }
    Ok(json!(ids))
}

fn unclear(text: &str, why: &str) -> Failure {
    Failure::usage(format!("{text:?} is no audience: {why}"))
        .hint("everyone, user:u-1,u-2, wedding:w-1/guests, venue:larkfield/staff, on-site:larkfield, role:dj, or JSON")
}

#[cfg(test)]
mod tests {
    use super::clause;
    use serde_json::{Value, json};

    fn check(text: &str, expected: &Value) {
        assert_eq!(&clause(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn every_form_becomes_a_clause() {
        check("everyone", &json!({"everyone": true}));
        check("wedding:w-1", &json!({"weddings": ["w-1"]}));
        check(
            "wedding:w-1,w-2/guests,dj",
            &json!({"weddings": ["w-1", "w-2"], "roles": ["guests", "dj"]}),
        );
        check(
            "venue:larkfield/staff",
            &json!({"venues": ["larkfield"], "roles": ["staff"]}),
        );
        check("on-site:larkfield", &json!({"on_site": ["larkfield"]}));
        check("user:u-1, u-2", &json!({"users": ["u-1", "u-2"]}));
        check("user:a:b", &json!({"users": ["a:b"]}));
        check("role:dj", &json!({"roles": ["dj"]}));
        check(r#"{"tiers": ["scale"]}"#, &json!({"tiers": ["scale"]}));
    }

    #[test]
    fn what_is_unclear_is_refused_with_a_hint() {
        for text in [
            "",
            "w-1",
            "weding:w-1",
            "wedding:",
            "wedding:w-1/",
            "user:u-1/dj",
            "{",
            "user:a,,b",
        ] {
            let failure = clause(text).unwrap_err();
            assert!(
                failure.what.contains("is no audience") && failure.hint.is_some(),
                "{text}"
            );
        }
    }
}
