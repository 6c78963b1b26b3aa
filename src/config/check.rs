//! What is wrong with settings that can be read: limits that are zero, timers that contradict each other. All of it at once.

use super::Config;
use crate::model::NodeId;
use std::collections::BTreeSet;

/// Every fault, each as `section.key is VALUE; it must ...`.
pub fn faults(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, key: &str, value: &dyn std::fmt::Display, rule: &str| {
        if !holds {
            found.push(format!("{key} is {value}; it must {rule}"));
        }
    };
    let Config {
        node,
        api,
        cluster,
        storage,
        gateway,
        workers,
        delivery,
        ..
    } = config;
    must(node.id > 0, "node.id", &node.id, "be at least 1");
    must(
        address(&api.listen),
        "api.listen",
        &api.listen,
        "be an address like 127.0.0.1:8205",
    );
    must(
        address(&cluster.listen),
        "cluster.listen",
        &cluster.listen,
        "be an address like 127.0.0.1:8206",
    );
    for (key, count) in [
        ("api.connections_max", api.connections_max),
        ("cluster.pack_commands_max", cluster.pack_commands_max),
        ("cluster.packs_in_flight_max", cluster.packs_in_flight_max),
        ("cluster.waiting_max", cluster.waiting_max),
        ("storage.write_behind_rows_max", storage.write_behind_rows_max),
        ("gateway.sessions_max", gateway.sessions_max),
        ("workers.cells", workers.cells),
        ("workers.lane_max", workers.lane_max),
        ("workers.slice_min", workers.slice_min),
    ] {
        must(count > 0, key, &count, "be at least 1");
    }
    for (key, span) in [
        ("api.deadline", api.deadline),
        ("api.head_deadline", api.head_deadline),
        ("cluster.heartbeat", cluster.heartbeat),
        ("storage.write_behind_every", storage.write_behind_every),
        ("storage.open_deadline", storage.open_deadline),
        ("gateway.heartbeat", gateway.heartbeat),
        ("gateway.stall_max", gateway.stall_max),
        ("delivery.receipts_every", delivery.receipts_every),
    ] {
        must(!span.0.is_zero(), key, &span, "be longer than nothing");
    }
    for (key, size, least) in [
        ("api.body_bytes_max", api.body_bytes_max, 1 << 10),
        ("api.import_line_bytes_max", api.import_line_bytes_max, 1 << 10),
        ("cluster.pack_bytes_max", cluster.pack_bytes_max, 1 << 10),
        ("cluster.log_chunk", cluster.log_chunk, 1 << 20),
        ("storage.sled_cache", storage.sled_cache, 1 << 20),
        ("storage.snapshot_log_bytes", storage.snapshot_log_bytes, 1 << 20),
        ("gateway.window_bytes_max", gateway.window_bytes_max, 1 << 20),
        ("gateway.send_buffer", gateway.send_buffer, 4 << 10),
        ("gateway.message_bytes_max", gateway.message_bytes_max, 128),
    ] {
        let rule = format!("be at least {}", crate::base::size::Size(least));
        must(size.0 >= least, key, &size, &rule);
    }
    let min = cluster.election_timeout_min;
    must(
        cluster.heartbeat.0 * 2 <= min.0,
        "cluster.heartbeat",
        &cluster.heartbeat,
        "be at most half of cluster.election_timeout_min",
    );
    must(
        min < cluster.election_timeout_max,
        "cluster.election_timeout_min",
        &min,
        "be below cluster.election_timeout_max",
    );
    must(
        workers.slice_min <= workers.slice_max,
        "workers.slice_min",
        &workers.slice_min,
        "be at most workers.slice_max",
    );
    must(
        workers.threads <= 50,
        "workers.threads",
        &workers.threads,
        "be at most 50",
    );
    must(
        gateway.heartbeat < gateway.silent_max,
        "gateway.heartbeat",
        &gateway.heartbeat,
        "be shorter than gateway.silent_max",
    );
    must(
        api.expires_default <= api.expires_max,
        "api.expires_default",
        &api.expires_default,
        "be at most api.expires_max",
    );
    let nodes: BTreeSet<NodeId> = cluster.peers.iter().map(|peer| peer.node).collect();
    let peers = cluster.peers.len();
    must(
        nodes.len() == peers,
        "cluster.peers",
        &format!("a list of {peers}"),
        "name each node once",
    );
    must(
        peers == 0 || nodes.contains(&node.id),
        "cluster.peers",
        &format!("a list without node {}", node.id),
        "name this node too",
    );
    found
}

fn address(text: &str) -> bool {
    text.parse::<std::net::SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Config, faults};

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(faults(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut config = Config::default();
        config.node.id = 0;
        config.gateway.window_bytes_max = crate::base::size::Size(0);
        config.cluster.heartbeat = crate::base::size::Span::millis(400);
        config.api.listen = "here".into();
        let found = faults(&config);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found.contains(&"gateway.window_bytes_max is 0 B; it must be at least 1 MiB".to_owned()),
            "{found:#?}"
        );
    }
}
