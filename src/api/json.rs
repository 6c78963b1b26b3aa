//! Strict JSON: a small tree that borrows from the text. What serde would let pass is refused here: duplicate names,
//! U+0000 in strings, nesting past 128, anything behind the value.

use super::problem::{Code, Problem};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Above this many members, duplicates are found by sorting instead of by looking at each pair.
const PAIRS_MAX: usize = 12;

/// A JSON value. Numbers keep whether they were whole.
#[derive(Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
    /// A member that was asked for as it stands; checked like all else.
    Raw(&'a str),
}

impl Json<'_> {
    /// What to call it in a complaint.
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Whole(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) | Self::Raw(_) => "an object",
        }
    }
}

/// Reads a body. `raw` names the member of the outermost object that is kept as it stands (or is empty).
pub fn parse<'a>(bytes: &'a [u8], raw: &'static str) -> Result<Json<'a>, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(
            Code::InvalidUtf8,
            format!("byte {} starts no valid character", error.valid_up_to()),
        )
    })?;
    read(text, raw).map_err(|error| Problem::new(Code::MalformedJson, error.to_string()))
}

fn read<'a>(text: &'a str, raw: &'static str) -> Result<Json<'a>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Seed { raw }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Seed {
    raw: &'static str,
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Json<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn text<E: Error>(text: Cow<'_, str>) -> Result<Cow<'_, str>, E> {
    if text.as_bytes().contains(&0) {
        return Err(E::custom("a text holds U+0000"));
    }
    Ok(text)
}

impl<'de> Visitor<'de> for Seed {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(value).map_or(Json::Number(value as f64), Json::Whole))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value))
    }
    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Json<'de>, E> {
        text(Cow::Borrowed(value)).map(Json::Text)
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Json<'de>, E> {
        text(Cow::Owned(value.to_owned())).map(Json::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Seed { raw: "" })? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value = if !self.raw.is_empty() && name == self.raw {
                raw_member(map.next_value::<&'de RawValue>()?).map_err(A::Error::custom)?
            } else {
                map.next_value_seed(Seed { raw: "" })?
            };
            members.push((name, value));
        }
        match duplicate(&members) {
            Some(name) => Err(A::Error::custom(format_args!(
                "the name {name:?} stands twice in one object"
            ))),
            None => Ok(Json::Object(members)),
        }
    }
}

/// `RawValue` alone would skip what this module refuses, so the member is read once more and dropped.
fn raw_member(raw: &RawValue) -> Result<Json<'_>, serde_json::Error> {
    Ok(match read(raw.get(), "")? {
        Json::Null => Json::Null,
        _ => Json::Raw(raw.get()),
    })
}

fn duplicate<'m>(members: &'m [(Cow<'_, str>, Json<'_>)]) -> Option<&'m str> {
    if members.len() <= PAIRS_MAX {
        let repeats =
            |(at, (name, _)): &(usize, &(Cow<'_, str>, Json<'_>))| members[..*at].iter().any(|(n, _)| n == name);
        return members
            .iter()
            .enumerate()
            .find(repeats)
            .map(|(_, (name, _))| name.as_ref());
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        text(Cow::Borrowed(value))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Cow<'de, str>, E> {
        text(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, parse};
    use crate::api::problem::Code;

    fn check_refused(body: &[u8], code: Code, detail: &str) {
        let problem = parse(body, "data").unwrap_err();
        assert_eq!(problem.code(), code, "{}", String::from_utf8_lossy(body));
        assert!(problem.detail().contains(detail), "{} lacks {detail}", problem.detail());
    }

    #[test]
    fn what_is_not_strict_json_is_refused_with_its_place() {
        check_refused(b"", Code::MalformedJson, "line 1 column 0");
        check_refused(b"{\"a\": 1,}", Code::MalformedJson, "column 9");
        check_refused(b"{\"a\": 1} x", Code::MalformedJson, "trailing");
        check_refused(b"{\"a\": \"\xff\"}", Code::InvalidUtf8, "byte 7");
        check_refused(
            b"{\"a\": 1, \"b\": 2, \"a\": 3}",
            Code::MalformedJson,
            "\"a\" stands twice",
        );
        check_refused(
            b"{\"a\": {\"b\": 2, \"\\u0062\": 3}}",
            Code::MalformedJson,
            "\"b\" stands twice",
        );
        check_refused(
            b"{\"data\": {\"b\": 2, \"b\": 3}}",
            Code::MalformedJson,
            "\"b\" stands twice",
        );
        check_refused(
            b"{\"data\": 1, \"data\": 1}",
            Code::MalformedJson,
            "\"data\" stands twice",
        );
        check_refused(br#"{"a": "\ud800"}"#, Code::MalformedJson, "");
        check_refused(br#"{"data": ["\ud800"]}"#, Code::MalformedJson, "");
        check_refused(br#"{"a": "x\u0000y"}"#, Code::MalformedJson, "U+0000");
        check_refused(b"{\"a\": \"x\0y\"}", Code::MalformedJson, "control character");
        check_refused(b"{\"a\": 1e999}", Code::MalformedJson, "number out of range");
        check_refused(b"{\"data\": 1e999}", Code::MalformedJson, "number out of range");
        check_refused(b"\xef\xbb\xbf{}", Code::MalformedJson, "");
        check_refused(b"NaN", Code::MalformedJson, "");
    }

    #[test]
    fn deep_nesting_ends_before_the_stack_does() {
        for open in ["[", "{\"a\":"] {
            check_refused(open.repeat(10_000).as_bytes(), Code::MalformedJson, "recursion limit");
        }
        for open in ["{\"data\":[", "{\"data\":{\"a\":"] {
            check_refused(open.repeat(10_000).as_bytes(), Code::MalformedJson, "EOF");
        }
        let inside = format!("{{\"data\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        check_refused(inside.as_bytes(), Code::MalformedJson, "recursion limit");
    }

    #[test]
    fn many_members_are_searched_for_duplicates_too() {
        let members: Vec<String> = (0..50_000).map(|n| format!("\"n{n}\":0")).collect();
        assert!(parse(format!("{{{}}}", members.join(",")).as_bytes(), "").is_ok());
        check_refused(
            format!("{{{},\"n7\":1}}", members.join(",")).as_bytes(),
            Code::MalformedJson,
            "\"n7\" stands twice",
        );
    }

    #[test]
    fn a_raw_member_keeps_its_spelling() {
        let Json::Object(members) = parse(
            br#"{"data": {"n": 1.50, "big": 12345678901234567890}, "a": {"data": 1}}"#,
            "data",
        )
        .unwrap() else {
            panic!("an object")
        };
        assert_eq!(members[0].1, Json::Raw(r#"{"n": 1.50, "big": 12345678901234567890}"#));
        assert_eq!(members[1].1, Json::Object(vec![("data".into(), Json::Whole(1))]));
        assert_eq!(
            parse(br#"{"data": null}"#, "data").unwrap(),
            Json::Object(vec![("data".into(), Json::Null)])
        );
    }
}
