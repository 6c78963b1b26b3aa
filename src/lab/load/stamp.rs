//! What each broadcast of a load carries in its title, so that whoever reads it knows what it is and when it was due: letters of fixed
//! width, found and read without an allocation.

use crate::model::Priority;

/// Opens and closes a stamp; it is nowhere else in a frame of a load.
const MARK: u8 = b'~';
/// Run, number, group, ordinal, kind, due: hexadecimal digits of each.
const WIDTHS: [usize; 6] = [8, 8, 4, 8, 1, 16];
const LENGTH: usize = 47;
/// A group that everybody is in.
pub const EVERYBODY: u16 = u16::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Of this run: other broadcasts may be about.
    pub run: u32,
    pub number: u32,
    pub group: u16,
    /// Counts the broadcasts to this group.
    pub ordinal: u32,
    pub priority: Priority,
    /// Of the warm-up: delivered and counted, and kept out of the figures.
    pub phase: Phase,
    /// When it was to be sent, on the monotonic clock.
    pub due: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    WarmUp,
    Measured,
}

impl Stamp {
    pub fn title(&self) -> String {
        let kind = self.priority.index() + 4 * usize::from(self.phase == Phase::WarmUp);
        let Self {
            run,
            number,
            group,
            ordinal,
            due,
            ..
        } = self;
        format!("~{run:08x}{number:08x}{group:04x}{ordinal:08x}{kind:x}{due:016x}~")
    }

    /// The first one in the bytes of a frame.
    pub fn find(frame: &[u8]) -> Option<Self> {
        let start = frame.iter().position(|byte| *byte == MARK)?;
        let stamp = frame.get(start..start + LENGTH)?;
        let (inside, last) = (stamp.get(1..LENGTH - 1)?, stamp.last()?);
        if *last != MARK {
            return None;
        }
        let mut at = 0;
        let mut next = |width: usize| {
            let part = inside.get(at..at + width)?;
            at += width;
            hexadecimal(part)
        };
        let [run, number, group, ordinal, kind, due] = [
            next(WIDTHS[0])?,
            next(WIDTHS[1])?,
            next(WIDTHS[2])?,
            next(WIDTHS[3])?,
            next(WIDTHS[4])?,
            next(WIDTHS[5])?,
        ];
        Some(Self {
            run: run as u32,
            number: number as u32,
            group: group as u16,
            ordinal: ordinal as u32,
            priority: *Priority::ALL.get(kind as usize % 4)?,
            phase: if kind >= 4 { Phase::WarmUp } else { Phase::Measured },
            due,
        })
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::{EVERYBODY, LENGTH, Phase, Stamp};
    use crate::model::Priority;

    #[test]
    fn a_stamp_is_found_in_a_frame_and_says_what_it_said() {
        for (priority, phase, group) in [
            (Priority::Critical, Phase::Measured, EVERYBODY),
            (Priority::Low, Phase::WarmUp, 7),
        ] {
            let stamp = Stamp {
                run: 0xdead_beef,
                number: 12,
                group,
                ordinal: 3,
                priority,
                phase,
                due: u64::MAX,
            };
            assert_eq!(stamp.title().len(), LENGTH);
            let frame = format!(r#"{{"event":"broadcast","title":"{}","body":"x~"}}"#, stamp.title());
            assert_eq!(Stamp::find(frame.as_bytes()), Some(stamp));
            assert_eq!(Stamp::find(&frame.as_bytes()[..60]), None, "cut");
        }
        for other in [
            "",
            "~",
            "a title of somebody",
            &"~".repeat(LENGTH),
            &format!("~{}~", "g".repeat(45)),
        ] {
            assert_eq!(Stamp::find(other.as_bytes()), None, "{other}");
        }
    }
}
