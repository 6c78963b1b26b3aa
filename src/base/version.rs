//! Which program this is, and what it was built from.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, named by whoever builds a release; a plain build does not know it.
pub const COMMIT: Option<&str> = match option_env!("CAMPANILE_COMMIT") {
    Some(commit) if !commit.is_empty() => Some(commit),
    _ => None,
};

/// What `git describe --dirty` puts behind the commit of a tree in which more was changed.
pub const DIRTY: &str = "-dirty";

/// As a node tells it to others: `0.1.0+159607a33e04`, or the version alone.
pub fn told() -> String {
    COMMIT.map_or_else(|| VERSION.to_owned(), |commit| format!("{VERSION}+{commit}"))
}

/// The commit in what a node told; `None` when its build did not know it.
pub fn commit_of(told: &str) -> Option<&str> {
    told.split_once('+').map(|(_, commit)| commit)
}

#[cfg(test)]
mod tests {
    use super::{COMMIT, VERSION, commit_of, told};

    #[test]
    fn what_a_node_tells_has_its_commit_when_the_build_knows_it() {
        assert!(told().starts_with(VERSION), "{}", told());
        assert_eq!(commit_of(&told()), COMMIT);
        assert_eq!(commit_of("0.1.0+abc-dirty"), Some("abc-dirty"));
        assert_eq!(commit_of("0.1.0"), None);
    }
}
