//! Settings in layers: defaults, a TOML file, the environment (`CAMPANILE_SECTION__KEY`), `--set section.key=value`.
//! A later layer wins; an unknown key is an error that names the nearest known one.

use super::effective::masked;
use super::{Config, check};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use toml::{Table, Value};

/// The prefix of settings in the environment.
pub const ENVIRONMENT: &str = "CAMPANILE_";
/// Variables with the prefix that are no settings.
const NOT_SETTINGS: [&str; 7] = [
    "CAMPANILE_URL",
    "CAMPANILE_CA",
    "CAMPANILE_TOKEN",
    "CAMPANILE_PARENT_PIPE",
    "CAMPANILE_COMMIT",
    "CAMPANILE_CHECKS",
    "CAMPANILE_CONFIG",
];
/// Keys that have no default value, and so do not show among the defaults.
const OPTIONAL: [&str; 5] = [
    "api.url",
    "rules.senders",
    "rules.scaling",
    "rules.alerts",
    "scaling.capacity",
];
/// How alike two words must be for one to be suggested.
const NEAR: f64 = 0.6;

/// Checked settings and where each came from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub config: Config,
    /// `section.key` to the layer that set it; what is not here is a default.
    pub origin: BTreeMap<String, &'static str>,
}

/// Everything that is wrong, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Reads and checks all layers. `environment` is the process's, as pairs; `set` holds `section.key=value`.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    set: &[String],
) -> Result<Settings, Faults> {
    let known = defaults();
    let mut layers = Layers {
        known: &known,
        merged: Table::new(),
        origin: BTreeMap::new(),
        faults: Vec::new(),
    };
    if let Some(path) = file {
        layers.file(path);
    }
    for (name, value) in environment {
        let Some(key) = name
            .strip_prefix(ENVIRONMENT)
            .filter(|_| !NOT_SETTINGS.contains(&name.as_str()))
        else {
            continue;
        };
        layers.put(&key.to_lowercase().replacen("__", ".", 1), &value, "environment");
    }
    for pair in set {
        match pair.split_once('=') {
            Some((key, value)) => layers.put(key.trim(), value.trim(), "flag"),
            None => layers
                .faults
                .push(format!("--set {pair} has no value; write --set section.key=value")),
        }
    }
    let Layers {
        merged,
        origin,
        mut faults,
        ..
    } = layers;
    let config = typed(merged, &mut faults);
    faults.extend(check::faults(&config));
    if faults.is_empty() {
        Ok(Settings { config, origin })
    } else {
        Err(Faults(faults))
    }
}

/// The default settings as TOML.
pub fn defaults() -> Table {
    Table::try_from(Config::default()).unwrap_or_default()
}

/// Each section on its own, so that one bad value does not hide another section's.
fn typed(merged: Table, faults: &mut Vec<String>) -> Config {
    let mut config = Config::default();
    for (section, value) in merged {
        let Value::Table(keys) = value else { continue };
        // Each key on its own, over the defaults: all faults at once.
        for (key, value) in keys {
            let one = Table::from_iter([(
                section.clone(),
                Value::Table(Table::from_iter([(key.clone(), value.clone())])),
            )]);
            if let Err(error) = one.try_into::<Config>() {
                faults.push(format!(
                    "{section}.{key} is {}; {}",
                    masked(&key, &value),
                    reason(&section, &key, error.message())
                ));
                continue;
            }
            let mut all = Table::try_from(&config).unwrap_or_default();
            if let Some(Value::Table(known)) = all.get_mut(&section) {
                known.insert(key, value);
            }
            if let Ok(next) = all.try_into() {
                config = next;
            }
        }
    }
    config
}

/// The library's words name types of the program; people want to know what to write.
fn reason(section: &str, key: &str, said: &str) -> String {
    if !said.starts_with("invalid type") && !said.starts_with("invalid value") {
        return said.trim().to_owned();
    }
    let wanted = match defaults().get(section).and_then(|keys| keys.get(key)) {
        Some(Value::Integer(_)) => "a whole number, not negative",
        Some(Value::Boolean(_)) => "true or false",
        Some(Value::Array(_)) => "a list, like [\"...\"]",
        _ => "text in quotes",
    };
    format!("it must be {wanted}")
}

struct Layers<'a> {
    known: &'a Table,
    merged: Table,
    origin: BTreeMap<String, &'static str>,
    faults: Vec<String>,
}

impl Layers<'_> {
    fn file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.faults.push(format!("{} cannot be read: {error}", path.display())),
        };
        let table: Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => {
                return self
                    .faults
                    .push(format!("{} is not TOML: {}", path.display(), error.to_string().trim()));
            }
        };
        for (section, value) in table {
            match value {
                Value::Table(keys) => keys
                    .into_iter()
                    .for_each(|(key, value)| self.insert(&section, &key, value, "file")),
                other => self
                    .faults
                    .push(format!("{section} is {other}; it must be a section, like [{section}]")),
            }
        }
    }

    /// A value as text: TOML where it reads as such, else a plain string.
    fn put(&mut self, key: &str, text: &str, origin: &'static str) {
        let Some((section, key)) = key.split_once('.') else {
            return self
                .faults
                .push(format!("{key} is not a setting; settings are named section.key"));
        };
        let read = toml::from_str::<Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"));
        // A folder named 5 is text: what is text by default is never read as a number.
        let is_text = self
            .known
            .get(section)
            .and_then(|keys| keys.get(key))
            .is_some_and(Value::is_str);
        let read = read.filter(|value| value.is_str() || !is_text);
        let value = read.unwrap_or_else(|| Value::String(text.to_owned()));
        self.insert(section, key, value, origin);
    }

    fn insert(&mut self, section: &str, key: &str, value: Value, origin: &'static str) {
        let name = format!("{section}.{key}");
        let known = self.known.get(section).and_then(Value::as_table);
        if !OPTIONAL.contains(&name.as_str()) && !known.is_some_and(|keys| keys.contains_key(key)) {
            return self.faults.push(unknown(self.known, &name));
        }
        let section = self.merged.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(keys) = section {
            keys.insert(key.to_owned(), value);
        }
        self.origin.insert(name, origin);
    }
}

fn unknown(known: &Table, name: &str) -> String {
    let names = known.iter().flat_map(|(section, keys)| {
        keys.as_table()
            .into_iter()
            .flat_map(move |keys| keys.keys().map(move |key| format!("{section}.{key}")))
    });
    let near = names.map(|known| (strsim::normalized_damerau_levenshtein(&known, name), known));
    match near
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(near, _)| *near >= NEAR)
    {
        Some((_, nearest)) => format!("{name} is not a setting; did you mean {nearest}?"),
        None => format!("{name} is not a setting; `campanile config default` lists all of them"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, load};
    use std::path::Path;

    fn pairs<'a>(list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (String, String)> + 'a {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    }

    fn set(list: &[&str]) -> Vec<String> {
        list.iter().map(|pair| (*pair).to_owned()).collect()
    }

    #[test]
    fn later_layers_win_and_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(
            &path,
            "[node]\nid = 2\n[gateway]\nheartbeat = \"20s\"\nsessions_max = 5\n",
        )
        .unwrap();
        let environment = [
            ("CAMPANILE_GATEWAY__SESSIONS_MAX", "7"),
            ("CAMPANILE_URL", "http://x"),
            ("HOME", "/"),
        ];
        let settings = load(
            Some(&path),
            pairs(&environment),
            &set(&["gateway.heartbeat=5s", "api.url=http://a:1"]),
        )
        .unwrap();
        assert_eq!((settings.config.node.id, settings.config.gateway.sessions_max), (2, 7));
        assert_eq!(settings.config.gateway.heartbeat.to_string(), "5s");
        assert_eq!(settings.config.api.url.as_deref(), Some("http://a:1"));
        let origin: Vec<_> = settings.origin.values().copied().collect();
        assert_eq!(origin, ["flag", "flag", "environment", "file"]);
    }

    #[test]
    fn text_stays_text() {
        let settings = load(None, pairs(&[]), &set(&["node.data=5", "log.level=\"debug\""])).unwrap();
        assert_eq!(settings.config.node.data, Path::new("5"));
        assert_eq!(settings.config.log.level, "debug");
    }

    #[test]
    fn peers_can_be_set_on_one_line() {
        let peers = r#"cluster.peers=[{node=1,peer="127.0.0.1:1",url="http://127.0.0.1:2"}]"#;
        let settings = load(None, pairs(&[]), &set(&[peers])).unwrap();
        assert_eq!(settings.config.cluster.peers.len(), 1);
    }

    #[test]
    fn all_faults_come_at_once_and_name_what_was_meant() {
        let faults = load(
            None,
            pairs(&[]),
            &set(&[
                "gateway.hartbeat=5s",
                "node.id=x",
                "api.deadline=soon",
                "nothing",
                "rates.enabled=1",
            ]),
        )
        .unwrap_err();
        let text = faults.to_string();
        assert_eq!(faults.0.len(), 5, "{text}");
        assert!(text.contains("did you mean gateway.heartbeat?"), "{text}");
        assert!(text.contains("node.id is \"x\"; it must be a whole number"), "{text}");
        assert!(text.contains("rates.enabled is 1; it must be true or false"), "{text}");
        assert!(text.contains("write it like"), "{text}");
    }

    #[test]
    fn the_annotated_file_is_the_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/config/default.toml");
        let settings = load(Some(&path), pairs(&[]), &[]).unwrap();
        assert_eq!(settings.config, Config::default());
        for setting in settings.effective() {
            assert_eq!(setting.from, "file", "{} stands in the annotated file", setting.name);
        }
    }
}
