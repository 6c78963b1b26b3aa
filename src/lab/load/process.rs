//! What the system says about processes of this machine: CPU time, memory, disk, and how busy the cores are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const KIB: u64 = 1_024;
/// What `st_blocks` counts, whatever the file system's own blocks are.
const BLOCK: u64 = 512;
/// Folders within folders; a node's data has two.
const DEPTH_MAX: u32 = 4;

/// User and system time of a process with all threads it ever had, in seconds.
pub fn cpu_seconds(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks = ticks_of(&stat)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The fields behind the name, which may have spaces and brackets of its own.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Memory that it has in RAM, in bytes.
pub fn resident_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

/// What the files of a folder take up on the disk, in bytes: blocks, not lengths. Files that go meanwhile do not count.
pub fn disk_bytes(folder: &Path) -> Option<u64> {
    folder.is_dir().then(|| bytes_in(folder, DEPTH_MAX))
}

fn bytes_in(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let one = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() && depth > 0 => bytes_in(&entry.path(), depth - 1),
        Ok(data) if data.is_file() => data.blocks() * BLOCK,
        Ok(_) | Err(_) => 0,
    };
    entries.flatten().map(one).sum()
}

/// Of all cores since the machine started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    pub idle: u64,
    pub total: u64,
}

pub fn cores() -> Option<Cores> {
    cores_of(&fs::read_to_string("/proc/stat").ok()?)
}

fn cores_of(stat: &str) -> Option<Cores> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = all.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Idle, and idle while a disk is waited for. The last two are part of the first two.
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Cores {
        idle,
        total: ticks.iter().take(8).sum(),
    })
}

impl Cores {
    /// How busy all cores were since, from 0 to 1.
    pub fn busy_since(self, before: Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        Some(1.0 - self.idle.saturating_sub(before.idle) as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cores, cores, cores_of, cpu_seconds, disk_bytes, resident_bytes, ticks_of};

    #[test]
    fn the_system_is_read() {
        let me = std::process::id();
        assert!(cpu_seconds(me).unwrap() >= 0.0 && resident_bytes(me).unwrap() > 100_000);
        assert!(cores().unwrap().total > 0);
        assert_eq!((cpu_seconds(u32::MAX), resident_bytes(u32::MAX)), (None, None));
        let stat = "7 (a name) (x) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 9";
        assert_eq!(ticks_of(stat), Some(42));
        let before = cores_of("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1").unwrap();
        assert_eq!(before, Cores { idle: 80, total: 100 });
        let busy = Cores { idle: 105, total: 200 }.busy_since(before).unwrap();
        assert!((busy - 0.75).abs() < 1e-9, "{busy}");
        assert_eq!(before.busy_since(before), None);
    }

    #[test]
    fn a_folder_is_as_large_as_the_blocks_of_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(disk_bytes(&folder.path().join("none")), None);
        let empty = disk_bytes(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/file"), vec![7; 100_000]).unwrap();
        std::fs::File::open(folder.path().join("inner/file"))
            .unwrap()
            .sync_all()
            .unwrap();
        let full = disk_bytes(folder.path()).unwrap();
        assert!((100_000..200_000).contains(&(full - empty)), "{empty} {full}");
    }
}
