//! The fault script: what of it can be played with processes and connections alone, and the playing of it.

use super::{
    cluster::Cluster,
    device::Orders,
    oracle::Device,
    scenario::{Fault, Scenario},
};
use crate::base::clock::{self, Millis};
use anyhow::{Result, bail};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, watch},
    time::sleep_until,
};

/// However fast the day goes, a fault lasts this long: shorter ones break nothing.
pub const LENGTH_MIN: Duration = Duration::from_secs(2);
/// Of five guests, this many lock their phones in a ceremony.
const SLEEPERS_OF_FIVE: usize = 4;
const LEADER_MAX: Duration = Duration::from_secs(10);
const LEADER_POLL: Duration = Duration::from_millis(50);
/// Clients of the access point that fails.
const ROAMERS: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    KillLeader,
    /// Stop, stay away, start.
    Reboot {
        node: u64,
    },
    /// These are killed together.
    Kill {
        nodes: Vec<u64>,
    },
    /// Every node in turn.
    RollingRestart,
    /// Most guests lock their phones.
    Sleep,
    /// Everybody drops and comes back within the fault's length.
    Surge,
    /// Some move to another node at once.
    Roam,
}

impl Deed {
    fn concerns_processes(&self) -> bool {
        match self {
            Self::KillLeader | Self::Reboot { .. } | Self::Kill { .. } | Self::RollingRestart => true,
            Self::Sleep | Self::Surge | Self::Roam => false,
        }
    }
}

/// What is played, and what is only listed.
#[derive(Debug, Default)]
pub struct Plan {
    pub processes: Vec<(Fault, Deed)>,
    pub connections: Vec<(Fault, Deed)>,
    pub not_played: Vec<Fault>,
}

/// Sorts a script's faults by what it takes to play them.
pub fn plan(faults: &[Fault]) -> Plan {
    let mut plan = Plan::default();
    for fault in faults.iter().cloned() {
        match deed(&fault) {
            Some(deed) if deed.concerns_processes() => plan.processes.push((fault, deed)),
            Some(deed) => plan.connections.push((fault, deed)),
            None => plan.not_played.push(fault),
        }
    }
    plan
}

/// `None` for what takes a hand on disks, clocks or the network.
fn deed(fault: &Fault) -> Option<Deed> {
    let nodes: Option<Vec<u64>> = fault
        .target
        .split(',')
        .map(|name| name.strip_prefix("node-")?.parse().ok())
        .collect();
    match (fault.kind.as_str(), nodes.as_deref()) {
        ("leader_kill", _) => Some(Deed::KillLeader),
        ("reboot", Some([node])) => Some(Deed::Reboot { node: *node }),
        ("power_cut", Some(nodes)) => Some(Deed::Kill { nodes: nodes.to_vec() }),
        ("rolling_upgrade", _) => Some(Deed::RollingRestart),
        ("client_sleep", _) => Some(Deed::Sleep),
        ("client_surge", _) => Some(Deed::Surge),
        ("wifi_ap_down", _) => Some(Deed::Roam),
        _ => None,
    }
}

/// The script's time on the run's clock.
#[derive(Clone, Copy, Debug)]
pub struct Tempo {
    pub begun: Instant,
    pub first: Millis,
    pub speed: f64,
}

impl Tempo {
    pub fn at(&self, scripted: Millis) -> Instant {
        let millis = (scripted - self.first).max(0) as u64;
        self.begun + Duration::from_millis(millis).div_f64(self.speed)
    }

    pub fn length(&self, scripted: Duration) -> Duration {
        scripted.div_f64(self.speed).max(LENGTH_MIN)
    }
}

/// The hands that play faults.
#[derive(Clone)]
pub struct Player {
    pub tempo: Tempo,
    pub cluster: Arc<Mutex<Cluster>>,
    pub devices: Arc<Vec<watch::Sender<Orders>>>,
    pub guests: Arc<Vec<Device>>,
}

impl Player {
    /// Faults of processes, one after the other: a node is back before the next one goes. Returns what was played.
    pub async fn processes(self, faults: Vec<(Fault, Deed)>) -> Result<Vec<String>> {
        let mut played = Vec::new();
        for (fault, deed) in faults {
            sleep_until(self.tempo.at(fault.at).into()).await;
            self.strike(&deed, self.tempo.length(fault.length)).await?;
            played.push(fault.id);
        }
        Ok(played)
    }

    /// Faults of connections; they may overlap.
    pub async fn connections(self, faults: Vec<(Fault, Deed)>) -> Vec<String> {
        let mut played = Vec::new();
        for (fault, deed) in faults {
            sleep_until(self.tempo.at(fault.at).into()).await;
            self.disturb(&deed, self.tempo.length(fault.length));
            played.push(fault.id);
        }
        played
    }

    async fn strike(&self, deed: &Deed, length: Duration) -> Result<()> {
        let mut cluster = self.cluster.lock().await;
        let back = clock::now() + length;
        let down = match deed {
            Deed::KillLeader => {
                let nodes = vec![leader(&cluster).await?];
                kill(&mut cluster, &nodes)?;
                nodes
            }
            Deed::Kill { nodes } => {
                kill(&mut cluster, nodes)?;
                nodes.clone()
            }
            Deed::Reboot { node } => {
                cluster.terminate(*node).await?;
                vec![*node]
            }
            Deed::RollingRestart => return rolling_restart(&mut cluster).await,
            Deed::Sleep | Deed::Surge | Deed::Roam => Vec::new(),
        };
        sleep_until(back.into()).await;
        for node in &down {
            cluster.restart(*node)?;
        }
        for node in &down {
            cluster.ready_node(*node).await?;
        }
        Ok(())
    }

    fn disturb(&self, deed: &Deed, length: Duration) {
        let now = clock::now();
        let all = self.devices.len();
        match deed {
            Deed::Sleep => {
                let sleepers = self
                    .guests
                    .iter()
                    .enumerate()
                    .filter(|(turn, _)| turn % 5 < SLEEPERS_OF_FIVE);
                for (_, device) in sleepers {
                    self.order(*device, now + length);
                }
            }
            Deed::Surge => {
                let turn = |device: usize| length * device as u32 / all.max(1) as u32;
                (0..all).for_each(|device| self.order(device, now + turn(device)));
            }
            Deed::Roam => (0..all)
                .step_by((all / ROAMERS).max(1))
                .take(ROAMERS)
                .for_each(|device| self.order(device, now)),
            Deed::KillLeader | Deed::Reboot { .. } | Deed::Kill { .. } | Deed::RollingRestart => {}
        }
    }

    fn order(&self, device: Device, until: Instant) {
        self.devices[device].send_replace(Orders::Away { until });
    }
}

/// The leader, waited for while there is none: a fault that hits nobody proves nothing.
async fn leader(cluster: &Cluster) -> Result<u64> {
    let end = clock::now() + LEADER_MAX;
    while clock::now() < end {
        if let Some(leader) = cluster.leader().await {
            return Ok(leader);
        }
        tokio::time::sleep(LEADER_POLL).await;
    }
    bail!("no node led for {LEADER_MAX:?}: there was no leader to kill")
}

fn kill(cluster: &mut Cluster, nodes: &[u64]) -> Result<()> {
    nodes.iter().try_for_each(|node| cluster.kill(*node))
}

async fn rolling_restart(cluster: &mut Cluster) -> Result<()> {
    for node in 1..=super::cluster::NODES {
        cluster.terminate(node).await?;
        cluster.restart(node)?;
        cluster.ready_node(node).await?;
    }
    Ok(())
}

/// What a run without `--faults` does not play: all of it.
pub fn ids(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(|fault| fault.id.clone()).collect()
}

/// The scripted names of a scenario's faults, for people.
pub fn describe(scenario: &Scenario, id: &str) -> String {
    let fault = scenario.faults.iter().find(|fault| fault.id == id);
    fault.map_or_else(
        || id.to_owned(),
        |fault| format!("{id}  {} of {}: {}", fault.kind, fault.target, fault.note),
    )
}

#[cfg(test)]
mod tests {
    use super::{Deed, LENGTH_MIN, Tempo, ids, plan};
    use crate::{base::clock, lab::scenario};
    use std::time::Duration;

    #[test]
    fn processes_and_connections_are_played_and_the_rest_is_listed() {
        let day = scenario::open("saturday").unwrap();
        let plan = plan(&day.faults);
        let deeds: Vec<Deed> = plan
            .processes
            .into_iter()
            .chain(plan.connections)
            .map(|(_, deed)| deed)
            .collect();
        let expected = [
            Deed::Reboot { node: 3 },
            Deed::KillLeader,
            Deed::Kill { nodes: vec![1, 2] },
            Deed::RollingRestart,
            Deed::Sleep,
            Deed::Surge,
            Deed::Roam,
        ];
        assert_eq!(deeds, expected);
        assert_eq!(
            ids(&plan.not_played),
            ["flt-02", "flt-03", "flt-08", "flt-09", "flt-11", "flt-12"]
        );
    }

    #[test]
    fn the_day_goes_faster_and_faults_no_shorter_than_they_must() {
        let begun = clock::now();
        let tempo = Tempo {
            begun,
            first: 1_000,
            speed: 1200.0,
        };
        assert_eq!(tempo.at(1_000 + 3_600_000), begun + Duration::from_secs(3));
        assert_eq!(tempo.at(0), begun);
        assert_eq!(tempo.length(Duration::from_secs(20)), LENGTH_MIN);
        assert_eq!(tempo.length(Duration::from_secs(12_000)), Duration::from_secs(10));
    }
}
