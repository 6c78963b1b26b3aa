//! What is wrong with settings that can be read: limits out of range, timers that contradict each other. All of it at once.

use super::Config;
use super::bounds::{self, BOUNDS};
use crate::consensus::Peer;
use crate::model::NodeId;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use toml::{Table, Value};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Every fault, each as `section.key is VALUE; it must ...`.
pub fn faults(config: &Config) -> Vec<String> {
    let mut found = Found(Vec::new());
    found.ranges(config);
    found.addresses(config);
    found.auth(config);
    found.peers(config);
    found.order(config);
    found.0.extend(config.rules().err());
    found.0.extend(config.scaling_profile().err());
    found.0.extend(config.capacity().err());
    found.0.extend(config.alert_rules().err().into_iter().flatten());
    found.0.extend(super::rules::faults(&config.rates));
    found.0.extend(config.tls.faults());
    found.0.extend(config.outputs.faults());
    found.0.extend(config.cache.faults());
    found.0.extend(config.otlp.faults());
    let level = &config.log.level;
    found.must(
        level.split(',').all(is_filter),
        "log.level",
        level,
        "be off, error, warn, info, debug, trace, or a filter like info,campanile::gateway=debug",
    );
    found.0
}

struct Found(Vec<String>);

impl Found {
    fn must(&mut self, holds: bool, key: &str, value: &dyn Display, rule: &str) {
        if !holds {
            self.0.push(format!("{key} is {value}; it must {rule}"));
        }
    }

    fn ranges(&mut self, config: &Config) {
        let all = Table::try_from(config).unwrap_or_default();
        for (name, bound) in BOUNDS {
            let value = name
                .split_once('.')
                .and_then(|(section, key)| all.get(section)?.get(key));
            if let Some(value) = value {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.must(bounds::holds(bound, value), name, &shown, &bounds::rule(bound));
            }
        }
    }

    fn addresses(&mut self, config: &Config) {
        let Config {
            node,
            api,
            cluster,
            auth,
            ..
        } = config;
        let nobody = "be a loopback address: nobody is authenticated. Set auth.enabled, or in a network you trust node.insecure = true (--insecure)";
        let peers = "be a loopback address: peers are not authenticated. In a network you trust set node.insecure = true (--insecure)";
        let listens = [
            ("api.listen", &api.listen, 8205, auth.enabled, nobody),
            ("cluster.listen", &cluster.listen, 8206, false, peers),
        ];
        for (key, listen, port, is_guarded, wanted) in listens {
            let address = listen.parse::<SocketAddr>();
            let rule = format!("be an address with a port, like 127.0.0.1:{port}");
            self.must(address.is_ok(), key, listen, &rule);
            let is_open = address.is_ok_and(|address| !address.ip().is_loopback());
            self.must(node.insecure || is_guarded || !is_open, key, listen, wanted);
        }
        let same = api.listen == cluster.listen && !api.listen.ends_with(":0");
        self.must(!same, "cluster.listen", &cluster.listen, "differ from api.listen");
        if let Some(url) = &api.url {
            self.must(is_url(url), "api.url", url, "be like http://10.0.0.1:8205");
        }
        // A proxy may speak TLS in front of a node that does not; nothing makes the other way round work.
        let own = cluster.peers.iter().find(|peer| peer.node == node.id);
        let urls = api.url.iter().map(|url| ("api.url".to_owned(), url));
        let urls = urls.chain(own.map(|peer| (format!("cluster.peers, node {}: url", peer.node), &peer.url)));
        for (key, url) in urls {
            let is_told_right = !config.tls.is_on() || !url.starts_with("http://");
            self.must(
                is_told_right,
                &key,
                url,
                "begin with https:// where tls.certificate_file is set",
            );
        }
        let anywhere = api.listen.parse::<SocketAddr>();
        let is_anywhere = anywhere.is_ok_and(|address| address.ip().is_unspecified());
        self.must(
            !is_anywhere || api.url.is_some() || !cluster.peers.is_empty(),
            "api.listen",
            &api.listen,
            "come with api.url, which tells clients where this node is",
        );
    }

    fn auth(&mut self, config: &Config) {
        let auth = &config.auth;
        self.must(
            !auth.enabled || auth.has_a_way_in(),
            "auth.enabled",
            &auth.enabled,
            "come with auth.admin_token_file, auth.jwt_keys or auth.jwt_jwks, or nobody could ever be let in",
        );
        for (key, value) in [
            ("auth.jwt_issuer", &auth.jwt_issuer),
            ("auth.jwt_audience", &auth.jwt_audience),
        ] {
            self.must(
                !auth.takes_jwt() || !value.is_empty(),
                key,
                &format!("{value:?}"),
                "be set with auth.jwt_keys or auth.jwt_jwks: a token for somebody else must not be good here",
            );
        }
        self.must(
            auth.token_ttl_default <= auth.token_ttl_max,
            "auth.token_ttl_default",
            &auth.token_ttl_default,
            &format!("be at most auth.token_ttl_max ({})", auth.token_ttl_max),
        );
    }

    fn peers(&mut self, config: &Config) {
        let peers = &config.cluster.peers;
        let count = peers.len();
        let mut once = |what: &str, each: &dyn Fn(&Peer) -> String| {
            let distinct: BTreeSet<String> = peers.iter().map(each).collect();
            let rule = format!("name each {what} once");
            self.must(
                distinct.len() == count,
                "cluster.peers",
                &format!("a list of {count}"),
                &rule,
            );
        };
        once("node", &|peer| peer.node.to_string());
        once("peer", &|peer| peer.peer.clone());
        once("url", &|peer| peer.url.clone());
        let nodes: BTreeSet<NodeId> = peers.iter().map(|peer| peer.node).collect();
        self.must(
            count == 0 || nodes.contains(&config.node.id),
            "cluster.peers",
            &format!("a list without node {}", config.node.id),
            "name this node too",
        );
        for Peer { node, peer, url } in peers {
            self.must(*node > 0, "cluster.peers", &"a list with node 0", "number nodes from 1");
            self.must(
                peer.rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
                &format!("cluster.peers, node {node}: peer"),
                peer,
                "be host:port",
            );
            self.must(
                is_url(url),
                &format!("cluster.peers, node {node}: url"),
                url,
                "be like http://10.0.0.1:8205",
            );
        }
    }

    /// Pairs that must stand in an order.
    fn order(&mut self, config: &Config) {
        let Config {
            api,
            cluster,
            gateway,
            workers,
            retention,
            cache,
            ..
        } = config;
        self.must(
            api.keys_kept <= retention.broadcasts,
            "api.keys_kept",
            &api.keys_kept,
            &format!(
                "be at most retention.broadcasts ({}): a repeated publish is answered from its broadcast",
                retention.broadcasts
            ),
        );
        self.must(
            cluster.heartbeat.0.saturating_mul(2) <= cluster.election_timeout_min.0,
            "cluster.heartbeat",
            &cluster.heartbeat,
            &format!(
                "be at most half of cluster.election_timeout_min ({}), or a late one starts an election",
                cluster.election_timeout_min
            ),
        );
        self.must(
            cluster.election_timeout_min < cluster.election_timeout_max,
            "cluster.election_timeout_min",
            &cluster.election_timeout_min,
            &format!(
                "be below cluster.election_timeout_max ({})",
                cluster.election_timeout_max
            ),
        );
        self.must(
            workers.slice_min <= workers.slice_max,
            "workers.slice_min",
            &workers.slice_min,
            &format!("be at most workers.slice_max ({})", workers.slice_max),
        );
        self.must(
            workers.threads <= workers.cells,
            "workers.threads",
            &workers.threads,
            &format!("be at most workers.cells ({})", workers.cells),
        );
        self.must(
            gateway.heartbeat < gateway.silent_max,
            "gateway.heartbeat",
            &gateway.heartbeat,
            &format!("be shorter than gateway.silent_max ({})", gateway.silent_max),
        );
        self.must(
            cache.upstream_timeout < api.deadline || cache.namespaces.iter().all(|one| one.upstream.is_none()),
            "cache.upstream_timeout",
            &cache.upstream_timeout,
            &format!(
                "be below api.deadline ({}), or nobody waits for what an upstream says",
                api.deadline
            ),
        );
        self.must(
            api.expires_default <= api.expires_max,
            "api.expires_default",
            &api.expires_default,
            &format!("be at most api.expires_max ({})", api.expires_max),
        );
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.trim_end_matches('/').is_empty() && !rest.contains(char::is_whitespace))
}

/// `level` or `target=level`.
fn is_filter(part: &str) -> bool {
    let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
    LEVELS.contains(&level.trim().to_ascii_lowercase().as_str())
}

/// Used by the bounds: a number as TOML has it.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::{Config, faults};
    use crate::config::load;

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(faults(&Config::default()), Vec::<String>::new());
    }

    /// One setting, and the fault it must be.
    fn check(setting: &str, expected: &str) {
        let set: Vec<String> = setting.split(" & ").map(str::to_owned).collect();
        let found = load(None, std::iter::empty(), &set).unwrap_err();
        assert!(found.0.iter().any(|fault| fault == expected), "{setting}: {found:#?}");
    }

    #[test]
    fn each_fault_has_key_value_and_reason() {
        for (setting, expected) in [
            ("node.id=0", "node.id is 0; it must be at least 1"),
            (
                "gateway.window_bytes_max=0 B",
                "gateway.window_bytes_max is 0 B; it must be between 1 MiB and 64 GiB",
            ),
            (
                "gateway.sessions_max=0",
                "gateway.sessions_max is 0; it must be between 1 and 1000000",
            ),
            (
                "auth.enabled=true",
                "auth.enabled is true; it must come with auth.admin_token_file, auth.jwt_keys or auth.jwt_jwks, or nobody could \
                 ever be let in",
            ),
            (
                "auth.jwt_jwks=keys.json & auth.jwt_issuer=venue",
                "auth.jwt_audience is \"\"; it must be set with auth.jwt_keys or auth.jwt_jwks: a token for somebody else must not \
                 be good here",
            ),
            (
                "auth.token_ttl_max=1d",
                "auth.token_ttl_default is 30d; it must be at most auth.token_ttl_max (1d)",
            ),
            (
                "api.deadline=0s",
                "api.deadline is 0ms; it must be between 100ms and 5m",
            ),
            (
                "cluster.heartbeat=600ms",
                "cluster.heartbeat is 600ms; it must be at most half of cluster.election_timeout_min (300ms), or a late one \
                 starts an election",
            ),
            (
                "cluster.election_timeout_max=300ms",
                "cluster.election_timeout_min is 300ms; it must be below cluster.election_timeout_max (300ms)",
            ),
            (
                "workers.slice_min=501",
                "workers.slice_min is 501; it must be at most workers.slice_max (500)",
            ),
            (
                "workers.threads=8 & workers.cells=4",
                "workers.threads is 8; it must be at most workers.cells (4)",
            ),
            (
                "gateway.heartbeat=45s",
                "gateway.heartbeat is 45s; it must be shorter than gateway.silent_max (45s)",
            ),
            (
                "api.expires_max=1h",
                "api.expires_default is 1d; it must be at most api.expires_max (1h)",
            ),
            (
                "api.listen=here",
                "api.listen is here; it must be an address with a port, like 127.0.0.1:8205",
            ),
            (
                "cluster.listen=127.0.0.1:8205",
                "cluster.listen is 127.0.0.1:8205; it must differ from api.listen",
            ),
            (
                "tls.certificate_file=node.pem",
                "tls.certificate_file is set; it must come with tls.key_file",
            ),
            (
                "tls.certificate_file=a & tls.key_file=b & api.url=http://a:1",
                "api.url is http://a:1; it must begin with https:// where tls.certificate_file is set",
            ),
            ("api.url=here", "api.url is here; it must be like http://10.0.0.1:8205"),
            (
                "api.listen=0.0.0.0:8205 & node.insecure=true",
                "api.listen is 0.0.0.0:8205; it must come with api.url, which tells clients where this node is",
            ),
            (
                "log.level=loud",
                "log.level is loud; it must be off, error, warn, info, debug, trace, or a filter like \
                 info,campanile::gateway=debug",
            ),
            (
                r#"cluster.peers=[{node=2, peer="a:1", url="http://a:2"}]"#,
                "cluster.peers is a list without node 1; it must name this node too",
            ),
            (
                r#"cluster.peers=[{node=1, peer="a:1", url="http://a:2"}, {node=1, peer="b:1", url="http://b:2"}]"#,
                "cluster.peers is a list of 2; it must name each node once",
            ),
            (
                r#"cluster.peers=[{node=1, peer="a", url="http://a:2"}]"#,
                "cluster.peers, node 1: peer is a; it must be host:port",
            ),
        ] {
            check(setting, expected);
        }
    }

    #[test]
    fn only_loopback_is_open_to_everybody() {
        let open = vec!["api.listen=10.0.0.1:8205".to_owned()];
        let found = load(None, std::iter::empty(), &open).unwrap_err();
        assert!(found.0[0].contains("--insecure"), "{found}");
        let trusted = [open, vec!["node.insecure=true".to_owned()]].concat();
        assert!(load(None, std::iter::empty(), &trusted).is_ok());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut config = Config::default();
        config.node.id = 0;
        config.gateway.window_bytes_max = crate::base::size::Size(0);
        config.cluster.heartbeat = crate::base::size::Span::millis(400);
        config.api.listen = "here".into();
        assert_eq!(faults(&config).len(), 4, "{:#?}", faults(&config));
    }

    #[test]
    fn authentication_opens_the_door_for_clients_and_none_for_peers() {
        let set = |listens: &[&str]| -> Vec<String> {
            let guarded = [
                "auth.enabled=true",
                "auth.admin_token_file=admin-token",
                "api.url=http://a:8205",
            ];
            guarded.iter().chain(listens).map(ToString::to_string).collect()
        };
        let load = |set: &[String]| load(None, std::iter::empty(), set);
        assert!(load(&set(&["api.listen=0.0.0.0:8205"])).is_ok());
        let found = load(&set(&["cluster.listen=0.0.0.0:8206"])).unwrap_err();
        assert!(found.0[0].contains("peers are not authenticated"), "{found}");
        let key = r#"auth.jwt_keys=[{ id = "k", algorithm = "none", file = "k.pem" }]"#;
        let found = load(&set(&[key])).unwrap_err();
        assert!(found.0[0].contains("none"), "{found}");
    }

    #[test]
    fn outputs_are_checked_as_one_and_shown_without_secrets() {
        let set = |list: &[&str]| -> Vec<String> { list.iter().map(|setting| (*setting).to_owned()).collect() };
        let load = |list: &[&str]| load(None, std::iter::empty(), &set(list));
        let faults = load(&[
            r#"outputs.targets=[{ name = "a", shape = "slack", url = "hush" }, { name = "a b", shape = "webhook" }]"#,
            r#"outputs.allow=["x", "10.0.0.1/8"]"#,
            "outputs.timeout=1ms",
            "outputs.retry_first=2m",
        ]);
        let text = faults.unwrap_err().to_string();
        for part in [
            "outputs.targets, a: url must begin with http",
            "outputs.targets has the name \"a b\"",
            "\"x\" is not a network",
            "\"10.0.0.1/8\" has bits behind its first 8",
            "outputs.timeout is 1ms; it must be between 100ms and 2m",
            "outputs.retry_first is 2m; it must be at most outputs.retry_most (1m)",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let typo = load(&[r#"outputs.targets=[{ name = "a", shape = "slack", url = "https://h/hush", file = "x" }]"#]);
        let text = typo.unwrap_err().to_string();
        assert!(
            text.contains("unknown field `file`") && !text.contains("hush"),
            "{text}"
        );

        let good = load(&[r#"outputs.targets=[{ name = "a", shape = "slack", url = "https://h/hush" }]"#]).unwrap();
        let shown = format!("{:?}", good.effective());
        assert!(shown.contains("https://h/***") && !shown.contains("hush"), "{shown}");
    }
}
