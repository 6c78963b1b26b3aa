//! How many sessions are written before a higher priority and reads are looked for.

/// A sixteenth of the thread's sessions, within the bounds: a small house reacts at once, a large one does not spend its time looking.
pub fn size(sessions: usize, min: usize, max: usize) -> usize {
    (sessions / 16).clamp(min.max(1), max.max(min).max(1))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn slices_grow_with_the_load() {
        for (sessions, expected) in [(0, 25), (160, 25), (1_000, 62), (8_000, 500), (20_000, 500)] {
            assert_eq!(size(sessions, 25, 500), expected);
        }
        assert_eq!(size(10, 0, 0), 1);
    }
}
