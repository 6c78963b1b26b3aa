//! How much room the disk has left.

use std::path::Path;

/// Whether the volume of `path` has less free than the smaller of `reserve` and a tenth of it. A volume that cannot be asked
/// counts as having room: the first failed write says otherwise.
pub fn below_reserve(path: &Path, reserve: u64) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|volume| {
        let total = volume.f_blocks.saturating_mul(volume.f_frsize);
        let free = volume.f_bavail.saturating_mul(volume.f_frsize);
        free < reserve.min(total / 10)
    })
}

#[cfg(test)]
mod tests {
    use super::below_reserve;
    use std::path::Path;

    #[test]
    fn the_reserve_is_a_tenth_at_most() {
        assert!(!below_reserve(Path::new("/"), 1));
        assert!(!below_reserve(Path::new("/nowhere/at/all"), u64::MAX));
    }
}
