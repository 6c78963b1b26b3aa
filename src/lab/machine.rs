//! Where a figure was measured: the machine, and the commit. A number without them says nothing.

pub use crate::base::version::COMMIT;
use serde::{Deserialize, Serialize};
use std::fs;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_mib: u64,
    pub system: String,
}

impl Machine {
    /// In one line.
    pub fn words(&self) -> String {
        format!(
            "{} cores ({}), {} MiB, {}",
            self.cores, self.processor, self.memory_mib, self.system
        )
    }

    /// The same for a page: memory by the GiB.
    pub fn short(&self) -> String {
        let gib = (self.memory_mib as f64 / 102.4).round() / 10.0;
        format!("{} cores ({}), {gib} GiB, {}", self.cores, self.processor, self.system)
    }
}

/// This machine, as far as it says; what it does not say is `unknown` or 0.
pub fn machine() -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        memory_mib: field("/proc/meminfo", "MemTotal")
            .and_then(|text| kib(&text))
            .unwrap_or(0)
            / 1024,
        system: fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
            |_| std::env::consts::OS.to_owned(),
            |release| format!("{} {}", std::env::consts::OS, release.trim()),
        ),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value of `name: value` in a file of such lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut values = text
        .lines()
        .filter_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name));
    values.next().map(|(_, value)| value.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_says_what_it_is() {
        let machine = super::machine();
        assert!(machine.cores > 0 && !machine.system.is_empty(), "{machine:?}");
    }
}
