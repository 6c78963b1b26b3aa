//! The API as a client sees it: one real node, through the router and through sockets.

mod alerts;
mod cache;
mod dashboard;
mod drill;
mod dry_run;
mod ladder;
mod overload;
mod page;
mod page_files;
mod refusals;
mod requests;
mod rights;
mod scaling;
mod sockets;
mod sources;
mod tokens;

use super::{Config, Context, Reader, Settings, router};
use crate::base::clock;
use crate::base::size::Span;
use crate::cache::Cache;
use crate::consensus::{self, Applied, Running};
use crate::control::autoscaler::{self, Autoscaler};
use crate::gateway::Gateway;
use crate::gateway::backlog::{Backlog, Read, Start};
use crate::model::rules::RateRules;
use crate::model::{Kinds, PerPriority, Position, Rules, UserNumber};
use crate::security::{self, Gate};
use crate::state::broadcasts::Behind;
use crate::state::command::Found;
use crate::state::{Command, Effect};
use crate::storage::layout::Layout;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower_service::Service;

struct Nobody;

/// Tells the cache what a node's watcher tells it.
#[derive(Default)]
struct Watcher(std::sync::OnceLock<Arc<Cache>>);

impl Applied for Watcher {
    fn applied(&self, _index: u64, effects: Vec<Effect>) {
        for effect in effects {
            if let (Effect::Cache(effect), Some(cache)) = (effect, self.0.get()) {
                cache.note(&effect);
            }
        }
    }
    fn installed(&self) {}
    fn stored(&self, _position: Position) {}
}

impl Backlog for Nobody {
    fn start(&self, _user: UserNumber, _newest_max: usize) -> Start {
        Start::default()
    }
    fn read(&self, _user: UserNumber, _after: PerPriority<Position>, _bytes_max: usize) -> Read {
        Read::default()
    }
    fn forgotten(&self) -> PerPriority<Position> {
        [0; 4]
    }
}

/// One node without sockets.
struct Node {
    router: Router,
    context: Arc<Context>,
    running: Running,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        self
    }

    /// A problem with this status, code and pointer (empty: none).
    #[track_caller]
    fn expect_problem(self, status: u16, code: &str, pointer: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["errors"][0]["pointer"].as_str().unwrap_or_default(),
            pointer,
            "{problem}"
        );
        answer
    }
}

/// A small table: who is a DJ calls cues, a coordinator may do more, and venue staff reaches all weddings there.
fn rules() -> Rules {
    let senders = json!({"sender": [
        {"roles": ["administrator"], "types": ["*"], "up_to": "critical", "scope": "any"},
        {"roles": ["coordinator"], "types": ["cue.*", "weather.*", "venue.*"], "up_to": "critical", "scope": "own"},
        {"roles": ["security"], "types": ["cue.*"], "up_to": "high", "scope": "venue"},
        {"roles": ["staff"], "types": ["cue.*"], "up_to": "high", "scope": "own"},
    ]});
    Rules {
        senders: serde_json::from_value(senders).unwrap(),
        critical: ["weather.warning", "cue.call", "venue.evacuation"]
            .into_iter()
            .filter_map(Kinds::parse)
            .collect(),
        rates: RateRules {
            hour: 3,
            day: 5,
            ..RateRules::default()
        },
    }
}

/// Two threads as long as the load is what it is.
fn scaling() -> autoscaler::Settings {
    let profile = json!({
        "threads_min": 2, "threads_max": 4, "settle": "0s", "busy_after_max": 1.0,
        "season": {"months": []},
        "weekend": {"factor": 1.0, "from": {"day": "friday", "hour": 14, "minute": 0}, "to": {"day": "sunday", "hour": 20, "minute": 59}},
        "emergency": {"critical": 1_000, "oldest": "1h"},
        "forecast": {"ahead": "2h", "after": "6h", "per_team": 1.0, "per_guest": 1.0, "broadcasts_per_hour": 6.5, "reach": "1s", "headroom": 0.5},
    });
    autoscaler::Settings {
        name: "test".into(),
        profile: serde_json::from_value(profile).unwrap(),
        every: Duration::from_millis(20),
        fixed: None,
        capacity: None,
        cores: 8,
    }
}

impl Node {
    async fn start() -> Self {
        Self::start_with(security::Config::default(), &[]).await
    }

    /// With this section `cache`.
    async fn start_cached(cache: crate::cache::Config) -> Self {
        Self::start_as(consensus::Config::default(), security::Config::default(), &[], cache).await
    }

    /// With this section `auth`, and these pages allowed.
    async fn start_with(auth: security::Config, cors_origins: &[&str]) -> Self {
        let cluster = consensus::Config::default();
        Self::start_as(cluster, auth, cors_origins, crate::cache::Config::default()).await
    }

    /// Alone in a cluster with these settings.
    async fn start_in(cluster: consensus::Config, auth: security::Config, cors_origins: &[&str]) -> Self {
        Self::start_as(cluster, auth, cors_origins, crate::cache::Config::default()).await
    }

    async fn start_as(
        cluster: consensus::Config,
        auth: security::Config,
        cors_origins: &[&str],
        cache: crate::cache::Config,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = crate::storage::Config::default();
        let layout = Layout::open(folder.path(), 1, &storage).unwrap();
        let cluster = consensus::Config {
            listen: "127.0.0.1:0".into(),
            ..cluster
        };
        let watcher = Arc::new(Watcher::default());
        let (handle, running) = consensus::start(cluster, 1, layout, storage, watcher.clone())
            .await
            .unwrap();
        let found = Command::Found(Found { epoch: 7, salt: 9 });
        handle
            .propose(found, clock::now() + Duration::from_secs(10))
            .await
            .unwrap();
        let (requests, _) = tokio::sync::mpsc::channel(1);
        let gateway = Gateway::start(
            &crate::gateway::Config::default(),
            &crate::workers::Config {
                threads: 1,
                ..crate::workers::Config::default()
            },
            1,
            7,
            Arc::new(Nobody),
            requests,
        );
        let (one, all, list, whole) = (handle.clone(), handle.clone(), handle.clone(), handle.clone());
        let reader = Reader {
            broadcast: Box::new(move |number| one.read(|state| state.broadcasts().get(number).cloned())),
            inbox: Box::new(move |user, look| {
                let hot: Vec<_> = all.read(|state| state.broadcasts().newest().cloned().collect());
                hot.into_iter().filter(|hot| hot.recipients.contains(user)).all(look);
            }),
            block: Box::new(move |_| Some(whole.read(|state| state.broadcasts().from(0).cloned().collect()))),
            newest: Box::new(move |behind, look| {
                let below = match behind {
                    Behind::Nothing => u64::MAX,
                    Behind::Scheduled(number) | Behind::Released(number) => number,
                };
                let hot: Vec<_> = list.read(|state| state.broadcasts().below(below).cloned().collect());
                hot.into_iter().all(look);
            }),
        };
        let config = Config {
            deadline: Span::seconds(2),
            cors_origins: cors_origins.iter().map(ToString::to_string).collect(),
            ..Config::default()
        };
        let urls = vec![(1, "http://127.0.0.1:8205".to_owned())];
        let settings = Settings {
            config: Arc::new(config),
            rules: rules(),
            dashboard: crate::api::dashboard::Config {
                sample_every: Span::millis(20),
                sample_every_enhanced: Span::millis(10),
                streams_max: 2,
            },
            tracer: crate::telemetry::Tracer::off(),
            shown: json!({"api": {}}),
        };
        let gate = (Arc::new(Gate::new(&auth).unwrap()), auth);
        let outputs = Arc::new(crate::outputs::Outputs::new(&crate::outputs::Config::default()).unwrap());
        let cache = Arc::new(Cache::new(&cache, 1, handle.clone(), super::READERS).unwrap());
        watcher.0.set(cache.clone()).ok().unwrap();
        let gateway = gateway.unwrap();
        let scaling = Autoscaler::new(handle.clone(), gateway.clone(), scaling());
        let alerts = alerts::alerter(&handle, &gateway);
        let control = (gateway, scaling, alerts);
        let context = Context::new(handle, control, settings, gate, outputs, cache, 1, urls, reader);
        Self {
            router: router(context.clone()),
            context,
            running,
            _folder: folder,
        }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:8205");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .router
            .clone()
            .call(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, &[("content-type", "application/json")], body.to_string())
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body.to_string())
            .await
    }

    async fn lines(&self, path: &str, body: &str) -> Answer {
        self.call(
            "POST",
            path,
            &[("content-type", "application/x-ndjson")],
            body.to_owned(),
        )
        .await
    }

    /// A venue, a wedding held there, a couple of people.
    async fn furnish(&self) {
        let lines = concat!(
            r#"{"kind": "venue", "id": "v", "name": "V", "timezone": "America/New_York"}"#,
            "\n",
            r#"{"kind": "wedding", "id": "w", "venue": "v", "starts_at": "2027-06-19T15:30:00-04:00", "ends_at": "2027-06-19T23:00:00-04:00"}"#,
            "\n",
            r#"{"kind": "user", "id": "ann", "role": "couple"}"#,
            "\n",
            r#"{"kind": "user", "id": "bob", "role": "dj"}"#,
            "\n",
            r#"{"kind": "member", "of": {"wedding": "w"}, "user": "ann", "role": "couple"}"#,
            "\n",
            r#"{"kind": "member", "of": {"wedding": "w"}, "user": "bob", "role": "dj"}"#,
            "\n",
        );
        let report = self.lines("/v1/import", lines).await.expect(200).json();
        assert_eq!(
            (&report["applied"], &report["created"], &report["faults"]),
            (&json!(6), &json!(6), &json!([]))
        );
    }

    async fn stop(self) {
        self.context.gateway.drain(Duration::ZERO);
        self.running.stop().await;
    }
}

fn broadcast(with: &Value) -> Value {
    let mut body = json!({"type": "cue.call", "audience": {"weddings": ["w"]}, "title": "T", "body": "B"});
    for (name, value) in with.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}
