//! What the system says about processes of this machine: CPU time, memory, and how busy the cores are.

use std::fs;

const KIB: u64 = 1_024;

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
    use super::{Cores, cores, cores_of, cpu_seconds, resident_bytes, ticks_of};

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
}
