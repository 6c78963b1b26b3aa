//! Where a request belongs in a trace, as the W3C's Trace Context writes it: the header `traceparent`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whoever began the trace records it, and wishes that others do.
const SAMPLED: u8 = 1;
/// The bits of the flags that have a meaning; the others are not passed on.
const KNOWN: u8 = 3;
/// Letters of a header of version 00.
const LETTERS: usize = 55;

/// A trace, and the span in it that is the parent of what follows. Neither is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    id: u128,
    span: u64,
    flags: u8,
}

impl Trace {
    /// A trace that begins here and is recorded; `None` for the ids that the standard does not allow.
    pub fn begin(id: u128, span: u64) -> Option<Self> {
        let flags = SAMPLED;
        (id != 0 && span != 0).then_some(Self { id, span, flags })
    }

    /// Reads a header; `None` for what is not one. Of a version to come, what version 00 has is read.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LETTERS)?;
        let mut parts = known.split('-');
        let version = hex(parts.next()?, 2)?;
        let (id, span) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
        let flags = hex(parts.next()?, 2)?;
        let is_whole = parts.next().is_none() && (rest.is_empty() || version > 0 && rest.starts_with('-'));
        let trace = Self {
            id,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()? & KNOWN,
        };
        (is_whole && version != 0xff && id != 0 && span != 0).then_some(trace)
    }

    /// The same trace, with another span as the parent.
    #[must_use]
    pub fn within(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// 32 letters.
    pub fn id(self) -> String {
        format!("{:032x}", self.id)
    }

    pub const fn span(self) -> u64 {
        self.span
    }

    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// So many lower-case digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The header, in version 00.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let trace = Trace::parse(GIVEN).unwrap();
        assert_eq!(trace.to_string(), GIVEN);
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((trace.span(), trace.is_sampled()), (0x00f0_67aa_0ba9_02b7, true));
        let inner = trace.within(0xab);
        assert_eq!(
            inner.to_string(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01"
        );
        assert!(!Trace::parse(&GIVEN.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                Trace::parse(text).map(|trace| trace.to_string()).as_deref(),
                expected,
                "{text}"
            );
        };
        check(&GIVEN.replacen("00", "cc", 1), Some(GIVEN));
        check(&format!("{}-more", GIVEN.replacen("00", "01", 1)), Some(GIVEN));
        check(&format!("{}more", GIVEN.replacen("00", "01", 1)), None);
        check(&GIVEN.replace("-01", "-ff"), Some(&GIVEN.replace("-01", "-03")));
    }

    #[test]
    fn what_is_not_one_is_ignored() {
        let bad = [
            String::new(),
            "00".into(),
            GIVEN.to_uppercase(),
            format!("{GIVEN}-more"),
            format!(" {GIVEN}"),
            GIVEN.replacen("00", "ff", 1),
            GIVEN.replace('-', "_"),
            GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GIVEN.replace("00f067aa0ba902b7", "00f067aa0ba902bg"),
            GIVEN.replace("-01", "-+1"),
            GIVEN.replace("4736-00f0", "473-600f0"),
            "ü".repeat(55),
        ];
        for text in bad {
            assert_eq!(Trace::parse(&text), None, "{text}");
        }
        assert!(Trace::begin(0, 1).is_none() && Trace::begin(1, 0).is_none());
        assert!(Trace::begin(1, 1).is_some_and(Trace::is_sampled));
    }
}
