//! What this process takes of its machine, as Linux tells it. Where it does not tell, there is no figure.

use crate::base::clock;
use std::path::Path;
use std::time::Duration;

/// One look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub resident_bytes: Option<u64>,
    pub descriptors: Option<u64>,
    pub descriptors_max: Option<u64>,
    pub cpu: Duration,
}

impl Process {
    /// Opens files below `root`, which is `/` but in tests.
    pub fn read(root: &Path) -> Self {
        let own = root.join("proc/self");
        let status = std::fs::read_to_string(own.join("status")).unwrap_or_default();
        let limits = std::fs::read_to_string(own.join("limits")).unwrap_or_default();
        // the look itself has one open
        let open = std::fs::read_dir(own.join("fd")).map(|all| all.count().saturating_sub(1) as u64);
        Self {
            resident_bytes: resident(&status),
            descriptors: open.ok(),
            descriptors_max: descriptors_max(&limits),
            cpu: clock::cpu(),
        }
    }
}

/// `VmRSS:     123 kB`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// `Max open files            1024                 524288               files`: the first number is in force.
fn descriptors_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Process, descriptors_max, resident};
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn files_of_linux_are_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    12 kB\nThreads:\t1\n"), Some(12_288));
        assert_eq!(resident("Name:\tx\n"), None);
        let limits =
            "Max processes  1 2 processes\nMax open files            1024                 524288               files\n";
        assert_eq!(descriptors_max(limits), Some(1_024));
        assert_eq!(descriptors_max("Max open files  unlimited unlimited files"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let seen = Process::read(Path::new("/"));
        assert!(seen.cpu > Duration::ZERO);
        assert!(seen.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{seen:?}");
        assert!(seen.descriptors.is_some_and(|count| count > 2), "{seen:?}");
    }

    #[test]
    fn what_is_not_told_has_no_figure() {
        let seen = Process::read(Path::new("/nowhere"));
        assert_eq!(
            (seen.resident_bytes, seen.descriptors, seen.descriptors_max),
            (None, None, None)
        );
    }
}
