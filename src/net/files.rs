//! How many files this process may have open: each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which any process may, and says what holds then; `None`: no limit. The soft one is often 1,024
/// for the sake of programs of old that cannot count further.
pub fn files_max() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, what was before still holds.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::files_max;
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_soft_limit_comes_up_to_the_hard_one() {
        let most = files_max();
        assert_eq!(most, getrlimit(Resource::Nofile).maximum);
        assert_eq!(most, getrlimit(Resource::Nofile).current);
    }
}
