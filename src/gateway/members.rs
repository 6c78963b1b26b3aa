//! Whether a user is among a release's recipients, asked once per session: worth a plain bit set while a batch lives.

use crate::model::UserNumber;
use roaring::RoaringBitmap;
use std::sync::Arc;

#[derive(Debug)]
pub enum Members {
    /// A bit for each user from `first` on.
    Bits { first: UserNumber, words: Vec<u64> },
    /// Few, so that a search is short; or so many that the bitmap has bit sets itself.
    Bitmap(Arc<RoaringBitmap>),
}

/// Fewer are found as fast without.
const FEW: u64 = 64;
/// More stand in the bitmap as bit sets, or are spread too thin.
const MANY: u64 = 16 << 10;
/// Users between the first and the last: 64 KiB of bits.
const SPAN_MAX: u32 = 1 << 19;

impl Members {
    pub fn new(recipients: &Arc<RoaringBitmap>) -> Self {
        let span = recipients
            .min()
            .zip(recipients.max())
            .filter(|(first, last)| last - first < SPAN_MAX);
        match span.filter(|_| (FEW..MANY).contains(&recipients.len())) {
            None => Self::Bitmap(recipients.clone()),
            Some((first, last)) => {
                let mut words = vec![0; ((last - first) / 64 + 1) as usize];
                for user in recipients.iter() {
                    let at = user - first;
                    words[(at / 64) as usize] |= 1 << (at % 64);
                }
                Self::Bits { first, words }
            }
        }
    }

    pub fn contains(&self, user: UserNumber) -> bool {
        match self {
            Self::Bits { first, words } => {
                let at = user.wrapping_sub(*first);
                words
                    .get((at / 64) as usize)
                    .is_some_and(|word| word >> (at % 64) & 1 == 1)
            }
            Self::Bitmap(bitmap) => bitmap.contains(user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Members;
    use roaring::RoaringBitmap;
    use std::sync::Arc;

    #[test]
    fn members_are_those_of_the_bitmap() {
        for users in [
            RoaringBitmap::new(),
            RoaringBitmap::from([7]),
            (1_000..1_100).collect(),
            (0..100_000).step_by(3).collect(),
            (0..200).map(|user| user * 5_000_000).collect(),
        ] {
            let members = Members::new(&Arc::new(users.clone()));
            for user in (0..2_000).chain([99_999, u32::MAX, 5_000_000]) {
                assert_eq!(
                    members.contains(user),
                    users.contains(user),
                    "{user} of {}",
                    users.len()
                );
            }
        }
    }
}
