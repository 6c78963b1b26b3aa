//! Which types of broadcasts a rule means: one type, all below a word (`weather.*`), or all of them (`*`).

use serde::{Deserialize, Serialize};
use std::fmt;

/// A pattern over types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kinds(String);

impl Kinds {
    /// `None` for what is neither a type, nor words with `.*` behind them, nor `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let words = text.strip_suffix(".*").unwrap_or(text);
        (text == "*" || words.split('.').all(is_word)).then(|| Self(text.to_owned()))
    }

    pub fn match_kind(&self, kind: &str) -> bool {
        match self.0.strip_suffix('*') {
            // with the dot: `safety.*` is not `safetynet.on`
            Some(start) => kind.starts_with(start),
            None => kind == self.0,
        }
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

/// One of the dotted words of a type.
fn is_word(word: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    word.starts_with(|first: char| first.is_ascii_lowercase()) && word.bytes().all(is_inner)
}

impl TryFrom<String> for Kinds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("type {text:?} must be like weather.warning, weather.* or * (lower-case words)"))
    }
}

impl From<Kinds> for String {
    fn from(kinds: Kinds) -> Self {
        kinds.0
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Kinds;

    fn check(pattern: &str, kind: &str, expected: bool) {
        let matches = Kinds::parse(pattern).unwrap().match_kind(kind);
        assert_eq!(matches, expected, "{pattern} for {kind}");
    }

    #[test]
    fn a_pattern_means_a_type_a_category_or_all() {
        check("weather.warning", "weather.warning", true);
        check("weather.warning", "weather.warnings", false);
        check("weather.*", "weather.warning", true);
        check("weather.*", "weather.warning.hail", true);
        check("weather.*", "weather", false);
        check("weather.*", "weathervane.on", false);
        check("weather.warning.*", "weather.warning.hail", true);
        check("weather.warning.*", "weather.watch", false);
        check("*", "anything.at_all", true);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "*.warning",
            "weather*",
            "Weather.*",
            "weather..x",
            ".*",
            "we ather",
            "**",
        ] {
            assert_eq!(Kinds::parse(text), None, "{text:?}");
        }
    }
}
