//! The settings in force, one by one, and where each comes from.

use super::layers::Settings;
use toml::{Table, Value};

/// Where a setting comes from that no layer names.
pub const DEFAULT: &str = "default";
/// What stands in place of a secret.
const MASK: &str = "***";
/// The last word of a key that holds one.
const SECRETS: [&str; 4] = ["secret", "token", "password", "key"];

/// One setting in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub name: String,
    pub value: Value,
    /// `default`, `file`, `environment` or `flag`.
    pub from: &'static str,
}

impl Settings {
    /// All settings in the order of the sections; secrets are masked.
    pub fn effective(&self) -> Vec<Effective> {
        let all = Table::try_from(&self.config).unwrap_or_default();
        let mut list = Vec::new();
        for section in super::SECTIONS {
            let keys = all.get(section).and_then(Value::as_table).into_iter().flatten();
            for (key, value) in keys {
                let name = format!("{section}.{key}");
                let from = self.origin.get(&name).copied().unwrap_or(DEFAULT);
                list.push(Effective {
                    value: masked(key, value),
                    name,
                    from,
                });
            }
        }
        list
    }
}

/// `section.key=value` as it may be shown to anybody.
pub fn masked_pair(pair: &str) -> String {
    let Some((name, text)) = pair.split_once('=') else {
        return pair.to_owned();
    };
    let key = name.rsplit('.').next().unwrap_or(name).trim();
    let read = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let value = read.and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    let shown = masked(key, &value);
    if shown == value {
        pair.to_owned()
    } else {
        format!("{name}={shown}")
    }
}

/// Secrets by name, and passwords within URLs; within lists also paths of URLs: a chat's is as good as a password.
pub(super) fn masked(key: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| masked_item(key, item)).collect()),
        Value::String(text) => masked_text(key, text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => value.clone(),
    }
}

fn masked_item(key: &str, item: &Value) -> Value {
    let Value::Table(entry) = item else {
        return masked(key, item);
    };
    let hidden = entry.iter().map(|(key, value)| {
        let shown = masked(key, value);
        let shown = shown.as_str().and_then(without_path).unwrap_or(shown);
        (key.clone(), shown)
    });
    Value::Table(hidden.collect())
}

/// A URL without its path, if it has one.
fn without_path(text: &str) -> Option<Value> {
    let (scheme, rest) = text.split_once("://")?;
    let (host, path) = rest.split_once(['/', '?', '#'])?;
    (!path.is_empty()).then(|| Value::String(format!("{scheme}://{host}/{MASK}")))
}

fn masked_text(key: &str, text: &str) -> Value {
    let value = Value::String(text.to_owned());
    let last = key.rsplit('_').next().unwrap_or(key);
    if SECRETS.contains(&last) && !text.is_empty() {
        return Value::String(MASK.into());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return value;
    };
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(host, path)| (host, Some(path)));
    let Some((_, host)) = authority.rsplit_once('@') else {
        return value;
    };
    let path = path.map(|path| format!("/{path}")).unwrap_or_default();
    Value::String(format!("{scheme}://{MASK}@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::{Settings, masked, masked_pair};
    use crate::config::load;
    use toml::Value;

    #[test]
    fn every_section_is_shown_with_its_origin() {
        let settings = load(None, std::iter::empty(), &["gateway.heartbeat=5s".into()]).unwrap();
        let all = settings.effective();
        let found = all.iter().find(|setting| setting.name == "gateway.heartbeat").unwrap();
        assert_eq!((found.value.as_str(), found.from), (Some("5s"), "flag"));
        assert_eq!(all.iter().filter(|setting| setting.from != "default").count(), 1);
        let listed = Settings::default().effective().len();
        let known: usize = crate::config::layers::defaults()
            .values()
            .map(|keys| keys.as_table().unwrap().len())
            .sum();
        assert_eq!(listed, known, "no section is left out");
    }

    #[test]
    fn what_was_typed_is_shown_as_typed_but_for_secrets() {
        for plain in ["gateway.heartbeat=5s", "log.level=debug", "a.b=[1, 2]", "nonsense"] {
            assert_eq!(masked_pair(plain), plain);
        }
        let target = r#"outputs.targets=[{name = "desk", url = "https://hooks.example/T/secret", secret = "abc"}]"#;
        let shown = masked_pair(target);
        assert!(
            shown.starts_with("outputs.targets=") && shown.contains("desk"),
            "{shown}"
        );
        assert!(!shown.contains("T/secret") && !shown.contains("abc"), "{shown}");
        assert_eq!(masked_pair("auth.jwt_secret=hush"), "auth.jwt_secret=\"***\"");
    }

    #[test]
    fn secrets_are_masked() {
        let text = |text: &str| Value::String(text.into());
        assert_eq!(masked("jwt_secret", &text("abc")), text("***"));
        assert_eq!(
            masked("url", &text("http://me:pw@host:1/x")),
            text("http://***@host:1/x")
        );
        assert_eq!(masked("url", &text("http://host:1/a@b")), text("http://host:1/a@b"));
        assert_eq!(masked("keys_kept", &text("1d")), text("1d"));
    }

    /// A list as it is written, and as it is shown.
    fn check_list(key: &str, list: &str, expected: &str) {
        let read = |text: &str| toml::from_str::<toml::Table>(&format!("v = {text}")).unwrap()["v"].clone();
        assert_eq!(masked(key, &read(list)), read(expected));
    }

    #[test]
    fn entries_of_lists_show_hosts_and_files() {
        check_list(
            "targets",
            r#"[{ name = "chat", url = "https://hooks.slack.com/services/T0/B0/x" }, { url = "https://me:pw@h/a?b" }]"#,
            r#"[{ name = "chat", url = "https://hooks.slack.com/***" }, { url = "https://***@h/***" }]"#,
        );
        let shown = r#"[{ node = 1, peer = "a:1", url = "http://a:2" }, { url = "http://a:2/" }]"#;
        check_list("peers", shown, shown);
        let files = r#"[{ secret_file = "keys/siren.key", url_file = "chat.url" }]"#;
        check_list("targets", files, files);
        check_list("allow", r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/8"]"#);
    }
}
