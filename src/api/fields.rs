//! Reads the fields of a request one by one and collects every fault on the way, each with its JSON pointer.

use super::json::Json;
use super::problem::{Code, Fault, Problem};
use crate::base::clock::{self, Millis};
use crate::base::size::Span;
use crate::control::zones;
use crate::model::LocalTime;
use std::borrow::Cow;
use std::fmt;

/// Bytes of an id: of a user, a place or a segment.
pub const ID_BYTES_MAX: usize = 128;
/// Characters of a role, a tier, a locale and words like them.
pub const WORD_MAX: usize = 64;

/// Where a value stands: a chain of borrowed parts, written out only when something is wrong.
#[derive(Clone, Copy)]
pub struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    part: Part<'p>,
}

#[derive(Clone, Copy)]
enum Part<'p> {
    Root,
    Name(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub const ROOT: Self = Path {
        parent: None,
        part: Part::Root,
    };

    pub const fn name(&'p self, name: &'p str) -> Self {
        Self {
            parent: Some(self),
            part: Part::Name(name),
        }
    }

    pub const fn index(&'p self, index: usize) -> Self {
        Self {
            parent: Some(self),
            part: Part::Index(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Root => Ok(()),
            Part::Name(name) => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")),
            Part::Index(index) => write!(f, "/{index}"),
        }
    }
}

/// Faults found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, path: &Path<'_>, code: Code, detail: impl Into<String>) {
        // one more than is shown, so that the problem's own count is honest without growing with the body
        if self.0.len() <= super::problem::FAULTS_MAX {
            self.0.push(Fault::new(path, code, detail));
        }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub fn into_list(self) -> Vec<Fault> {
        self.0
    }

    /// The value, unless something was wrong on the way to it.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Problem::faults(self.0)),
        }
    }

    fn wrong_type(&mut self, path: &Path<'_>, wanted: &str, found: &Json<'_>) {
        self.add(path, Code::WrongType, format!("must be {wanted}, not {}", found.noun()));
    }
}

/// An object being read.
pub struct Fields<'a, 'p, 'f> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
    pub path: &'p Path<'p>,
    pub faults: &'f mut Faults,
}

impl<'a, 'p, 'f> Fields<'a, 'p, 'f> {
    /// Complains about members that are not `known`; `None` when the value is no object.
    pub fn open(value: Json<'a>, path: &'p Path<'p>, known: &[&str], faults: &'f mut Faults) -> Option<Self> {
        let members = match value {
            Json::Object(members) => members,
            other => {
                faults.wrong_type(path, "an object", &other);
                return None;
            }
        };
        for (name, _) in &members {
            if !known.contains(&name.as_ref()) {
                faults.add(&path.name(name), Code::UnknownField, unknown(name, known));
            }
        }
        Some(Self { members, path, faults })
    }

    /// The member, taken out; `null` counts as not given.
    pub fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        match self.members.swap_remove(at).1 {
            Json::Null => None,
            value => Some(value),
        }
    }

    /// Whether the member is there; `null` counts as not given.
    pub fn has(&self, name: &str) -> bool {
        self.members
            .iter()
            .any(|(member, value)| member == name && *value != Json::Null)
    }

    pub fn fault(&mut self, name: &str, code: Code, detail: impl Into<String>) {
        self.faults.add(&self.path.name(name), code, detail);
    }

    pub fn missing(&mut self, name: &str) {
        self.fault(name, Code::MissingField, "is required");
    }

    fn wrong_type(&mut self, name: &str, wanted: &str, found: &Json<'_>) {
        self.faults.wrong_type(&self.path.name(name), wanted, found);
    }

    /// A text as it stands.
    pub fn raw_text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        match self.take(name)? {
            Json::Text(text) => Some(text),
            other => {
                self.wrong_type(name, "a text", &other);
                None
            }
        }
    }

    /// A text for people: not blank, no control characters but line ends and tabs, `max` characters at most.
    pub fn text(&mut self, name: &str, max: usize) -> Option<String> {
        let text = self.raw_text(name)?;
        match check_text(&text, max) {
            Ok(()) => Some(text.into_owned()),
            Err((code, detail)) => {
                self.fault(name, code, detail);
                None
            }
        }
    }

    /// A word for programs: see [`check_word`].
    pub fn word(&mut self, name: &str, max: usize) -> Option<String> {
        let text = self.raw_text(name)?;
        match check_word(&text, max) {
            Ok(()) => Some(text.into_owned()),
            Err((code, detail)) => {
                self.fault(name, code, detail);
                None
            }
        }
    }

    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Json::Bool(value) => Some(value),
            other => {
                self.wrong_type(name, "true or false", &other);
                None
            }
        }
    }

    pub fn whole(&mut self, name: &str, min: i64, max: i64) -> Option<i64> {
        match self.take(name)? {
            Json::Whole(value) if (min..=max).contains(&value) => Some(value),
            Json::Whole(value) => {
                self.fault(name, Code::OutOfRange, format!("is {value}; {min} to {max} is allowed"));
                None
            }
            Json::Number(value) => {
                self.fault(name, Code::WrongType, format!("is {value}; a whole number is needed"));
                None
            }
            other => {
                self.wrong_type(name, "a whole number", &other);
                None
            }
        }
    }

    pub fn number(&mut self, name: &str, min: f64, max: f64) -> Option<f64> {
        let value = match self.take(name)? {
            Json::Whole(value) => value as f64,
            Json::Number(value) => value,
            other => {
                self.wrong_type(name, "a number", &other);
                return None;
            }
        };
        if !(min..=max).contains(&value) {
            self.fault(name, Code::OutOfRange, format!("is {value}; {min} to {max} is allowed"));
            return None;
        }
        Some(value)
    }

    /// An RFC 3339 time with a zone.
    pub fn time(&mut self, name: &str) -> Option<Millis> {
        let text = self.raw_text(name)?;
        let at = clock::parse_rfc3339(&text);
        if at.is_none() {
            let detail = format!("{:?} is not a time like 2027-06-19T16:42:00-04:00", shorten(&text));
            self.fault(name, Code::InvalidValue, detail);
        }
        at
    }

    /// A date and a time without a zone.
    pub fn local_time(&mut self, name: &str) -> Option<LocalTime> {
        let text = self.raw_text(name)?;
        let local = LocalTime::parse(&text);
        if let Err(not_local) = local {
            self.fault(name, Code::InvalidValue, format!("{:?} {not_local}", shorten(&text)));
        }
        local.ok()
    }

    /// A length of time like `"15s"`, in milliseconds.
    pub fn span(&mut self, name: &str, max: Span) -> Option<u64> {
        let text = self.raw_text(name)?;
        match shorten(&text).parse::<Span>() {
            Ok(span) if span <= max => Some(span.0.as_millis() as u64),
            Ok(span) => {
                self.fault(name, Code::OutOfRange, format!("is {span}; at most {max} is allowed"));
                None
            }
            Err(detail) => {
                self.fault(name, Code::InvalidValue, detail);
                None
            }
        }
    }

    /// A list; each element is read by `read`, which gets its path.
    pub fn list<T>(
        &mut self,
        name: &str,
        max: usize,
        mut read: impl FnMut(Json<'a>, &Path<'_>, &mut Faults) -> Option<T>,
    ) -> Option<Vec<T>> {
        let values = match self.take(name)? {
            Json::List(values) => values,
            other => {
                self.wrong_type(name, "a list", &other);
                return None;
            }
        };
        if values.len() > max {
            self.fault(
                name,
                Code::TooLong,
                format!("has {} elements; {max} are allowed", values.len()),
            );
            return None;
        }
        let path = self.path.name(name);
        let each = |(index, value)| read(value, &path.index(index), self.faults);
        Some(values.into_iter().enumerate().filter_map(each).collect())
    }

    /// A list of words.
    pub fn words(&mut self, name: &str, count_max: usize, word_max: usize) -> Option<Vec<String>> {
        self.list(name, count_max, |value, path, faults| {
            word(value, path, word_max, faults)
        })
    }

    /// The members of an object whose names are free, in the order of their names.
    pub fn map(&mut self, name: &str, max: usize) -> Option<Vec<(String, Json<'a>)>> {
        let members = match self.take(name)? {
            Json::Object(members) => members,
            other => {
                self.wrong_type(name, "an object", &other);
                return None;
            }
        };
        if members.len() > max {
            self.fault(
                name,
                Code::TooLong,
                format!("has {} members; {max} are allowed", members.len()),
            );
            return None;
        }
        let mut sorted: Vec<(String, Json<'a>)> = members
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value))
            .collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        Some(sorted)
    }

    /// One of a closed set of words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.raw_text(name)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let detail = format!("is {:?}; it must be one of {}", shorten(&text), words.join(", "));
            self.fault(name, Code::InvalidValue, detail);
        }
        found
    }
}

/// One word of a list.
pub fn word(value: Json<'_>, path: &Path<'_>, max: usize, faults: &mut Faults) -> Option<String> {
    let text = match value {
        Json::Text(text) => text,
        other => {
            faults.wrong_type(path, "a text", &other);
            return None;
        }
    };
    match check_word(&text, max) {
        Ok(()) => Some(text.into_owned()),
        Err((code, detail)) => {
            faults.add(path, code, detail);
            None
        }
    }
}

type Complaint = (Code, String);

/// Not blank, no control characters but line ends and tabs, `max` characters at most.
pub fn check_text(text: &str, max: usize) -> Result<(), Complaint> {
    // a text is never shorter in bytes than in characters: most texts are not counted
    if text.len() > max {
        let count = text.chars().count();
        if count > max {
            return Err((Code::TooLong, format!("has {count} characters; {max} are allowed")));
        }
    }
    if text.trim().is_empty() {
        return Err((Code::InvalidValue, "is blank".into()));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err((Code::InvalidValue, "holds a control character".into()));
    }
    Ok(())
}

/// Not empty, no control characters, no white space at either end, `max` bytes at most.
pub fn check_word(text: &str, max: usize) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err((Code::InvalidValue, "is empty".into()));
    }
    if text.len() > max {
        return Err((Code::TooLong, format!("has {} bytes; {max} are allowed", text.len())));
    }
    if text.trim().len() != text.len() || text.chars().any(char::is_control) {
        return Err((
            Code::InvalidValue,
            "has white space at an end, or a control character".into(),
        ));
    }
    Ok(())
}

/// An IANA zone that the bundled database knows, as it is spelled there.
pub fn read_zone(name: &str) -> Result<String, Complaint> {
    zones::spelled(name).ok_or_else(|| {
        let detail = format!("{:?} is not an IANA time zone like America/New_York", shorten(name));
        (Code::InvalidValue, detail)
    })
}

/// What is not known, and the nearest that is.
pub fn unknown(name: &str, known: &[&str]) -> String {
    let name = shorten(name);
    let distance = |word: &&&str| strsim::damerau_levenshtein(name, word);
    match known.iter().min_by_key(distance) {
        Some(nearest) if strsim::damerau_levenshtein(name, nearest) <= 1 + name.chars().count() / 3 => {
            format!("{name:?} is not known; did you mean {nearest:?}?")
        }
        _ => format!("{name:?} is not known; known are {}", known.join(", ")),
    }
}

/// The beginning of a client's text, so that an answer never carries all of it back.
pub fn shorten(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::{Faults, Fields, Path, read_zone, unknown};
    use crate::api::json;
    use crate::base::size::Span;

    #[test]
    fn every_fault_is_found_and_points_to_its_place() {
        let body = br#"{"a/b": 1, "titel": "x", "count": 1.5, "until": "tomorrow", "words": ["ok", 7, ""], "pause": "9d", "on": "yes"}"#;
        let mut faults = Faults::default();
        let known = ["title", "count", "until", "words", "pause", "on"];
        let mut fields = Fields::open(json::parse(body, "").unwrap(), &Path::ROOT, &known, &mut faults).unwrap();
        assert_eq!(fields.whole("count", 0, 9), None);
        assert_eq!(fields.time("until"), None);
        assert_eq!(fields.words("words", 5, 9), Some(vec!["ok".to_owned()]));
        assert_eq!(fields.span("pause", Span::seconds(7 * 86_400)), None);
        assert_eq!(fields.flag("on"), None);
        assert_eq!(fields.text("title", 9), None);
        let found: Vec<(String, &str)> = faults
            .into_list()
            .into_iter()
            .map(|f| (f.pointer, f.code.text()))
            .collect();
        let expected = [
            ("/a~1b", "UNKNOWN_FIELD"),
            ("/titel", "UNKNOWN_FIELD"),
            ("/count", "WRONG_TYPE"),
            ("/until", "INVALID_VALUE"),
            ("/words/1", "WRONG_TYPE"),
            ("/words/2", "INVALID_VALUE"),
            ("/pause", "OUT_OF_RANGE"),
            ("/on", "WRONG_TYPE"),
        ];
        assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_known_one() {
        assert!(unknown("titel", &["body", "title"]).contains("did you mean \"title\""));
        assert!(unknown("zzzzzz", &["body", "title"]).contains("known are body, title"));
    }

    #[test]
    fn zones_with_digits_and_hyphens_are_zones() {
        for zone in ["America/New_York", "Etc/GMT+5", "America/Port-au-Prince", "UTC"] {
            assert_eq!(read_zone(zone), Ok(zone.to_owned()), "{zone}");
        }
        assert_eq!(read_zone("america/new_york"), Ok("America/New_York".to_owned()));
        for name in ["Mars/Olympus", "Etc/Unknown", "", "+02:00", "../UTC"] {
            assert!(read_zone(name).is_err(), "{name:?}");
        }
    }
}
