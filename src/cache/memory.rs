//! How much memory is left, as Linux tells it: the cgroup's limit (version 1 or 2), the process's own, and the machine's.

use std::fs;
use std::path::{Path, PathBuf};

/// A limit above this stands for none.
const NO_LIMIT: u64 = 1 << 60;

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Cgroup,
    Process,
    Machine,
}

impl Of {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Process => "process",
            Self::Machine => "machine",
        }
    }
}

/// How full one of them is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    pub of: Of,
    pub used: u64,
    pub limit: u64,
}

impl Filled {
    #[allow(clippy::cast_precision_loss)] // a share
    pub fn share(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub filled: Vec<Filled>,
    /// The share of the last ten seconds, in percent, in which something waited for memory.
    pub stalled_percent: f64,
}

impl Memory {
    /// The one that is nearest to its limit.
    pub fn fullest(&self) -> Option<&Filled> {
        self.filled.iter().max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    /// Reads below `root`, which is `/` but in tests. `process_max`: what this process may take; 0: it has no limit of its own.
    pub fn read(root: &Path, process_max: u64) -> Self {
        let (folders, version) = cgroup(root);
        let mut filled: Vec<Filled> = folders.iter().filter_map(|folder| version.filled(folder)).collect();
        let process = (process_max > 0).then(|| resident(root)).flatten();
        filled.extend(process.map(|used| Filled {
            of: Of::Process,
            used,
            limit: process_max,
        }));
        filled.extend(machine(root));
        let own = folders.first().map(|folder| folder.join("memory.pressure"));
        let everybody = root.join("proc/pressure/memory");
        let stalled = own.and_then(|path| stalled(&path)).or_else(|| stalled(&everybody));
        Self {
            filled,
            stalled_percent: stalled.unwrap_or(0.0),
        }
    }
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Version {
    fn filled(self, folder: &Path) -> Option<Filled> {
        let (limit, used, idle) = match self {
            Self::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Self::Two => ("memory.max", "memory.current", "inactive_file"),
        };
        let limit = number(&folder.join(limit)).filter(|limit| *limit < NO_LIMIT)?;
        // what is only a copy of files gives way by itself
        let idle = field(&folder.join("memory.stat"), idle).unwrap_or(0);
        Some(Filled {
            of: Of::Cgroup,
            used: number(&folder.join(used))?.saturating_sub(idle),
            limit,
        })
    }
}

/// The process's cgroup and those around it, from the inside out. A container may not see them under their names: then the
/// outermost folder is its own.
fn cgroup(root: &Path) -> (Vec<PathBuf>, Version) {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let parts = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let (mut one, mut two) = (None, None);
    for (controllers, path) in parts {
        if controllers.split(',').any(|name| name == "memory") {
            one = Some(path.to_owned());
        } else if controllers.is_empty() {
            two = Some(path.to_owned());
        }
    }
    let mount = root.join("sys/fs/cgroup");
    match (one, two) {
        (Some(path), _) => (around(&mount.join("memory"), &path), Version::One),
        (None, Some(path)) => (around(&mount, &path), Version::Two),
        (None, None) => (Vec::new(), Version::Two),
    }
}

fn around(mount: &Path, path: &str) -> Vec<PathBuf> {
    let inside = Path::new(path.trim_start_matches('/'));
    let all = inside.ancestors().map(|part| mount.join(part));
    all.filter(|folder| folder.is_dir()).collect()
}

fn number(path: &Path) -> Option<u64> {
    // `max` is no number: no limit
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `name value` or `name: value kB`, by line.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| {
        let is_it = words.next()?.trim_end_matches(':') == name;
        is_it.then(|| words.next()?.parse().ok()).flatten()
    })
}

fn resident(root: &Path) -> Option<u64> {
    Some(field(&root.join("proc/self/status"), "VmRSS")? << 10)
}

fn machine(root: &Path) -> Option<Filled> {
    let path = root.join("proc/meminfo");
    let (limit, free) = (field(&path, "MemTotal")?, field(&path, "MemAvailable")?);
    Some(Filled {
        of: Of::Machine,
        used: limit.saturating_sub(free) << 10,
        limit: limit << 10,
    })
}

/// `some avg10=1.25 avg60=...`.
fn stalled(path: &Path) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let mut words = some.split_whitespace();
    words.find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{Filled, Memory, Of};
    use std::path::Path;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    fn filled(of: Of, used: u64, limit: u64) -> Filled {
        Filled { of, used, limit }
    }

    #[test]
    fn version_two_counts_each_folder_around_with_a_limit() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("proc/self/cgroup", "0::/venue/node\n"),
                ("proc/pressure/memory", "some avg10=9.00 avg60=0.00\n"),
                ("sys/fs/cgroup/venue/node/memory.max", "max\n"),
                (
                    "sys/fs/cgroup/venue/node/memory.pressure",
                    "some avg10=1.25 avg60=0.10\nfull avg10=0.50\n",
                ),
                ("sys/fs/cgroup/venue/memory.max", "1000\n"),
                ("sys/fs/cgroup/venue/memory.current", "950\n"),
                ("sys/fs/cgroup/venue/memory.stat", "anon 900\ninactive_file 50\n"),
            ],
        );
        let memory = Memory::read(root.path(), 0);
        assert_eq!(memory.filled, [filled(Of::Cgroup, 900, 1000)]);
        assert!((memory.stalled_percent - 1.25).abs() < 1e-9);
    }

    #[test]
    fn version_one_process_and_machine_are_read_too() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("proc/self/cgroup", "5:cpu:/\n4:memory,x:/not/seen/here\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "500\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 100\n"),
                ("proc/self/status", "Name:\tx\nVmRSS:\t   3 kB\n"),
                (
                    "proc/meminfo",
                    "MemTotal:       10 kB\nMemFree: 1 kB\nMemAvailable:    4 kB\n",
                ),
            ],
        );
        let memory = Memory::read(root.path(), 4096);
        let expected = [
            filled(Of::Cgroup, 400, 2000),
            filled(Of::Process, 3072, 4096),
            filled(Of::Machine, 6144, 10_240),
        ];
        assert_eq!(memory.filled, expected);
        assert_eq!(memory.fullest().unwrap().of, Of::Process);
        write(
            root.path(),
            &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
        );
        assert_eq!(Memory::read(root.path(), 0).filled.len(), 1, "no limit");
    }

    #[test]
    fn where_nothing_is_told_nothing_is_known() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Memory::read(root.path(), 1 << 30), Memory::default());
        assert!(Memory::default().fullest().is_none());
    }
}
