//! Settings as commands use them: read, check, show, explain.

use super::arguments::{ConfigVerb, Settings as Arguments};
use super::failure::Failure;
use super::output::{self, DIM, GOOD, STRONG};
use crate::config::{self, Faults, Settings};
use crate::net::tls::Certificate;
use serde_json::{Map, Value, json};

/// All layers over the defaults, checked.
pub fn read(arguments: &Arguments, flags: &[String]) -> Result<Settings, Failure> {
    let set: Vec<String> = arguments.set.iter().chain(flags).cloned().collect();
    // Names and values that are not UTF-8 cannot be settings; `vars()` would panic on them.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(config::load(arguments.config.as_deref(), environment, &set)?)
}

pub fn run(verb: &ConfigVerb, as_json: bool) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Check(arguments) => {
            let settings = read(arguments, &[])?;
            // What is in the files is a fault like any other, best known before the node starts.
            if settings.config.tls.is_on() {
                Certificate::read(&settings.config.tls).map_err(|fault| Faults(vec![fault.to_string()]))?;
            }
            let set = settings.origin.len();
            if as_json {
                return output::say(&json!({"ok": true, "set": set}).to_string());
            }
            output::say(&format!(
                "{GOOD}ok{GOOD:#}: {set} settings are set, the others are defaults"
            ))
        }
        ConfigVerb::Show(arguments) => show(&read(arguments, &[])?, as_json),
        ConfigVerb::Default if as_json => show(&Settings::default(), true),
        ConfigVerb::Default => output::say(config::ANNOTATED.trim_end()),
    }
}

fn show(settings: &Settings, as_json: bool) -> Result<(), Failure> {
    let effective = settings.effective();
    if as_json {
        let mut all = Map::new();
        for setting in effective {
            let value = serde_json::to_value(&setting.value).unwrap_or(Value::Null);
            all.insert(setting.name, json!({"value": value, "from": setting.from}));
        }
        return output::say(&Value::Object(all).to_string());
    }
    let mut section = String::new();
    for setting in effective {
        let (part, key) = setting.name.split_once('.').unwrap_or(("", &setting.name));
        if part != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            output::say(&format!("{gap}[{STRONG}{part}{STRONG:#}]"))?;
            part.clone_into(&mut section);
        }
        let line = format!("{key} = {}", setting.value);
        let style = if setting.from == config::DEFAULT { DIM } else { GOOD };
        output::say(&format!("{line:<44} {style}# {}{style:#}", setting.from))?;
    }
    Ok(())
}
