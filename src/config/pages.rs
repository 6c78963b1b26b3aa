//! `docs/SETTINGS.md` is made from the annotated defaults; this test says when it is old, and writes it with `BLESS=1`.

use super::{ANNOTATED, SECTIONS};
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
# Settings

Every setting, its default, and what it means. This page is made from `data/config/default.toml`, which a test keeps equal to
the program; `campanile config default` prints that file.

## Where a setting comes from

Later layers win:

1. the defaults below;
2. a TOML file: `campanile serve --config FILE`, or `CAMPANILE_CONFIG=FILE`;
3. the environment: `CAMPANILE_SECTION__KEY=value`, for example `CAMPANILE_GATEWAY__HEARTBEAT=20s`;
4. flags: `--set section.key=value`, for example `--set gateway.heartbeat=20s`.

Durations are `\"250ms\"`, `\"15s\"`, `\"5m\"`, `\"24h\"`, `\"7d\"`; sizes are `\"64 KiB\"`, `\"16 MiB\"`. In the environment and in flags the
quotes may be left out. A list is written as in TOML: `--set 'api.cors_origins=[\"https://app.example\"]'`.

An unknown setting is an error that names the nearest known one. `campanile config check` reports every fault at once, each
with key, value and reason, and exits 2; a node with a fault in its settings does not start. `campanile config show` prints
what is in force and which layer each value comes from.

Settings are read once, at the start. The nodes of a cluster may differ in all of them; `cluster.peers` should name the same
nodes everywhere, and limits on what a client may send should be the same, or what one node takes another refuses.
";

/// What each section is about, before its table.
fn about(section: &str) -> &'static str {
    match section {
        "node" => "Who this node is and where its data lives.",
        "api" => "The door for clients.",
        "auth" => {
            "Who is let in. Off, only this machine may connect and everybody is an administrator. On, every request under `/v1` \
             needs a token: one made with `campanile token create`, the one in `admin_token_file`, or a JSON Web Token of an \
             issuer whose keys are named here. A JSON Web Token says `sub` (the user), `role`, `weddings`, `venues`, `scope` \
             (separated by blanks), `iss`, `aud` and `exp`."
        }
        "cluster" => {
            "The other nodes and the log that they share. Without peers a node is a cluster of one. After a leader dies, \
             publishing goes on after about `election_timeout_max` plus a random time between the two timeouts."
        }
        "storage" => {
            "The node's disk. What is acknowledged is in the log; this is what makes a start quick and the log short."
        }
        "gateway" => "Subscribers.",
        "workers" => "The threads that write to subscribers.",
        "scaling" => {
            "How the number of threads follows the load. `GET /v1/scaling` shows what was seen, expected and decided, and why. The \
             rules are TOML ([the file that is built in](../data/rules/scaling.toml)): profiles with bounds, a season, a weekend, \
             and named rules."
        }
        "delivery" => "What comes back from subscribers.",
        "retention" => {
            "How long the cluster remembers. Broadcasts go in the order in which they came, their receipts with them, and the \
             leader's setting counts for all nodes. A subscriber that comes back with a cursor from before what is kept is told of a `gap`."
        }
        "schedule" => "Broadcasts with a time of their own. The leader's setting counts for all nodes.",
        "rules" => {
            "Who may send what. The table is TOML: each `[[sender]]` has `roles` (`staff` is every role but guest, couple, family \
             and wedding_party), `types` (`weather.warning`, `weather.*` or `*`), `up_to` (the most urgent priority) and `scope` \
             (`own`: the sender's weddings and their venues; `venue`: the sender's venue and the weddings held there; `any`). The \
             first that names the sender's role and the type decides; where none does, it is refused."
        }
        "rates" => {
            "Caps per sender: a token's user, or the token where it has none. Only what was accepted counts, on all nodes together."
        }
        "outputs" => {
            "What the cluster calls when people do not answer: sirens, radio bridges, modems, chats, pagers. A webhook's `secret_file` \
             holds `whsec_` and 24 to 64 bytes in base64, one secret a line (several while they are changed); PagerDuty's the routing \
             key; Slack needs none, its secret is the URL. Files are read at the start, by every node: whichever leads makes the calls. \
             How calls look and how to verify them: [outputs](API.md#outputs)."
        }
        "alerts" => {
            "When somebody is told that something is wrong. The rules are TOML ([the file that is built in](../data/rules/alerts.toml)): each \
             `[[rule]]` has a measure, a bound, how long it must be beyond it, a severity and a cooldown. How alerts look: \
             [alerts](API.md#alerts)."
        }
        "probe" => {
            "How uptime is measured: by a command that goes the way of a publish and is for nobody. It is the share of these that were \
             answered in time."
        }
        "cache" => {
            "What is cached for applications, and for how long. The replicated tier is on the disk of every node, the local tier in \
             the memory of each. A namespace is `{ name = \"teams\", ttl = \"15m\", stale_if_error = \"1d\", entries_max = 10000, \
             bytes_max = \"16 MiB\", upstream = \"https://app.example/teams/{key}\", \
             preload = \"weddings\" }`; only the name must be given. `preload` says what the keys are (`weddings`: their ids, `segments`: \
             their names, `members`: ids of the weddings' users), so that they are fetched before a wedding; `keys = [\"vip\"]` adds some. \
             `source_of = \"segments\"` or `\"preferences\"` makes the cluster itself go by what is in a namespace: [sources](API.md#cache). When one is full, what ends soonest goes first. The limits of \
             the node that takes a value count."
        }
        "dashboard" => {
            "The page at `/` and what it shows. A series has 48 points, so `sample_every` also says how far back it goes: 4 minutes."
        }
        "otlp" => {
            "Pushing to a collector over OTLP (HTTP, JSON), for who does not scrape `/metrics` ([what there is](METRICS.md)). Off \
             without `url`. A publish with a sampled `traceparent` is recorded as spans (`publish`, `propose`, `applied` on each node, \
             `call output`) where `traces` is on. A collector on this machine or in the house needs its network in `allow`."
        }
        "log" => "What the node says on stderr.",
        _ => "",
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let _ = write!(
            page,
            "\n## {section}\n\n{}\n\n| setting | default | |\n|---|---|---|\n",
            about(section)
        );
        let lines = ANNOTATED
            .lines()
            .skip_while(|line| *line != format!("[{section}]"))
            .skip(1);
        for line in lines
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.is_empty())
        {
            let (line, unset) = line.strip_prefix("# ").map_or((line, false), |line| (line, true));
            let (key, rest) = line.split_once(" = ").unwrap();
            let (value, text) = rest.split_once('#').unwrap();
            let default = if unset {
                "not set".to_owned()
            } else {
                format!("`{}`", value.trim())
            };
            let _ = writeln!(page, "| `{section}.{key}` | {default} | {} |", text.trim());
        }
    }
    page
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SETTINGS.md");
    #[allow(clippy::disallowed_methods)] // no setting: a word to this test
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page(),
        "docs/SETTINGS.md is old; write it with: BLESS=1 cargo test --lib config::pages"
    );
}
