//! What every handler shares: the log's handle, the gateway, the settings, and how to read what left memory.

use super::Config;
use super::dashboard::{self, Dashboard};
use super::problem::{Code, Problem};
use super::request::Query;
use crate::base::clock;
use crate::cache::Cache;
use crate::consensus::Handle;
use crate::control::alerter::Alerter;
use crate::control::autoscaler::Autoscaler;
use crate::gateway::Gateway;
use crate::gateway::gateway::QueueStatus;
use crate::model::{BroadcastId, Caller, NodeId, Number, PerPriority, Rules, Scope, UserNumber};
use crate::outputs::Outputs;
use crate::security::{self, Gate};
use crate::state::State;
use crate::state::broadcasts::{Behind, Hot};
use crate::telemetry::Tracer;
use http::HeaderValue;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;

/// Reads what may have left memory. These functions block; handlers call them on a thread that may.
pub struct Reader {
    /// A broadcast with its recipients and ledger, wherever it is kept.
    pub broadcast: Box<dyn Fn(Number) -> Option<Hot> + Send + Sync>,
    /// Everything kept for a user, newest first, until the function has seen enough.
    #[allow(clippy::type_complexity)] // a function that takes a function, once
    pub inbox: Box<dyn Fn(UserNumber, &mut dyn FnMut(Hot) -> bool) + Send + Sync>,
    /// A block of broadcasts, oldest first; `None` when it cannot be read.
    pub block: Box<dyn Fn(u64) -> Option<Vec<Hot>> + Send + Sync>,
    /// Everything kept, newest first, or what comes behind the given broadcast, until the function has seen enough.
    #[allow(clippy::type_complexity)]
    pub newest: Box<dyn Fn(Behind, &mut dyn FnMut(Hot) -> bool) + Send + Sync>,
}

/// The settings that the API decides with.
pub struct Settings {
    pub config: Arc<Config>,
    /// Who may send what.
    pub rules: Rules,
    pub dashboard: dashboard::Config,
    pub tracer: Tracer,
    /// All that are in effect, for `GET /v1/config`; secrets are masked already.
    pub shown: serde_json::Value,
}

/// What a node gives its API.
pub struct Context {
    pub handle: Handle,
    pub gateway: Arc<Gateway>,
    pub scaling: Arc<Autoscaler>,
    pub alerts: Arc<Alerter>,
    pub config: Arc<Config>,
    pub rules: Rules,
    pub node: NodeId,
    /// The configured nodes' addresses for clients, this one's among them.
    pub nodes: Vec<(NodeId, String)>,
    /// The settings in effect, for `GET /v1/config`; secrets are masked already.
    pub settings: serde_json::Value,
    pub reader: Reader,
    pub hosts: super::hosts::Hosts,
    pub gate: Arc<Gate>,
    pub auth: security::Config,
    pub outputs: Arc<Outputs>,
    pub cache: Arc<Cache>,
    pub tracer: Tracer,
    /// Turns for asking the leader about unknown tokens.
    pub asking: Semaphore,
    pub node_header: HeaderValue,
    /// Clients' keys whose requests run on this node.
    pub running: Running,
    /// What the audit is still to be told.
    pub audit: super::audit::Book,
    /// What `GET /v1/queues` saw last, for rates.
    pub seen: Mutex<Option<(Instant, PerPriority<QueueStatus>)>>,
    pub dashboard: Dashboard,
    draining: AtomicBool,
}

impl Context {
    #[allow(clippy::too_many_arguments)] // each part of the node, once
    pub fn new(
        handle: Handle,
        (gateway, scaling, alerts): (Arc<Gateway>, Arc<Autoscaler>, Arc<Alerter>),
        settings: Settings,
        (gate, auth): (Arc<Gate>, security::Config),
        outputs: Arc<Outputs>,
        cache: Arc<Cache>,
        node: NodeId,
        nodes: Vec<(NodeId, String)>,
        reader: Reader,
    ) -> Arc<Self> {
        let Settings {
            config,
            rules,
            dashboard,
            tracer,
            shown,
        } = settings;
        let (own, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|(id, _)| *id == node);
        let urls = |nodes: Vec<&'_ (NodeId, String)>| -> Vec<String> {
            nodes.into_iter().map(|(_, url)| url.clone()).collect()
        };
        let (own, others) = (urls(own), urls(others));
        let own = own.iter().map(String::as_str).chain(config.url.as_deref());
        let hosts = super::hosts::Hosts::new(&config, own, others.iter().map(String::as_str));
        Arc::new(Self {
            handle,
            gateway,
            scaling,
            alerts,
            config,
            rules,
            node,
            nodes,
            settings: shown,
            reader,
            hosts,
            gate,
            auth,
            outputs,
            cache,
            tracer,
            asking: Semaphore::new(super::access::ASKING_MAX),
            node_header: HeaderValue::from(node),
            running: Running::default(),
            audit: super::audit::Book::default(),
            seen: Mutex::new(None),
            dashboard: Dashboard::new(dashboard),
            draining: AtomicBool::new(false),
        })
    }

    /// From now on new work is refused and `/readyz` says no.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What `/readyz` says without `?write=1`.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.named().is_ok()
    }

    /// A new history gets its name from its first leader. Before that (and until the gateway knows it too) a cursor of this
    /// node would be worth nothing.
    pub fn named(&self) -> Result<(), Problem> {
        if let Some(why) = self.handle.left_out() {
            return Err(Problem::new(Code::NoData, why));
        }
        let epoch = self.handle.read(State::epoch);
        if epoch != 0 && epoch == self.gateway.epoch() {
            return Ok(());
        }
        Err(Problem::new(
            Code::NoLeader,
            "the cluster is starting: its history has no name yet",
        ))
    }

    /// When a request that starts now must have ended.
    pub fn deadline(&self) -> Instant {
        clock::now() + self.config.deadline.0
    }

    /// Brings this node's state to where the request wants it: `?consistency=strong` and `?at_least=INDEX`.
    pub async fn fresh(&self, query: &Query, deadline: Instant) -> Result<(), Problem> {
        match query.get("consistency") {
            None | Some("local") => {}
            Some("strong") => {
                self.handle.linearizable(deadline).await?;
            }
            Some(_) => {
                let detail = "must be \"strong\" or \"local\"";
                return Err(Problem::fault("?consistency", Code::InvalidValue, detail));
            }
        }
        let at_least = query.parse("at_least", "a log index", |text| text.parse::<u64>().ok())?;
        match at_least {
            Some(index) if self.handle.applied() < index && !self.handle.wait_applied(index, deadline).await => {
                let applied = self.handle.applied();
                Err(Problem::new(
                    Code::Behind,
                    format!("entry {applied} is applied here, not yet {index}"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Looks; when there is nothing, asks the leader how far the log is and looks again: it may just have been made elsewhere.
    pub async fn find<T>(&self, deadline: Instant, look: impl Fn(&Self) -> Option<T>) -> Result<Option<T>, Problem> {
        if let Some(found) = look(self) {
            return Ok(Some(found));
        }
        self.handle.linearizable(deadline).await?;
        Ok(look(self))
    }

    /// A user's number, or 404.
    pub async fn user(&self, id: &str, deadline: Instant) -> Result<UserNumber, Problem> {
        let look = |context: &Self| context.handle.read(|state| state.directory().user_number(id));
        self.find(deadline, look)
            .await?
            .ok_or_else(|| Problem::absent("user", super::fields::shorten(id)))
    }

    /// The user that a request speaks for: the token's. `?user=` says so where nobody is authenticated, and to an administrator.
    pub async fn acting(&self, caller: &Caller, query: &Query, deadline: Instant) -> Result<UserNumber, Problem> {
        let id = match (query.get("user"), &caller.user) {
            (Some(named), _) => {
                super::access::acts_for(caller, named)?;
                named
            }
            (None, Some(own)) => own,
            (None, None) if caller.may(Scope::Admin) => {
                let detail = "says whom this is for: no token names a user";
                return Err(Problem::fault("?user", Code::MissingField, detail));
            }
            (None, None) => {
                return Err(Problem::new(
                    Code::NoUser,
                    "this is for people, and the token names no user",
                ));
            }
        };
        self.user(id, deadline).await
    }

    /// The number behind a public id, if the id is of this cluster.
    pub fn number(&self, id: &str) -> Option<Number> {
        let id = BroadcastId::parse(id)?;
        (id.salt() == self.handle.read(State::salt)).then(|| id.number())
    }

    /// A broadcast wherever it is kept: from memory at once, else from disk on a thread that may block.
    pub async fn hot(self: &Arc<Self>, number: Number) -> Option<Hot> {
        if let Some(hot) = self.handle.read(|state| state.broadcasts().get(number).cloned()) {
            return Some(hot);
        }
        self.blocking(move |context| (context.reader.broadcast)(number))
            .await
            .flatten()
    }

    /// The broadcast of a public id, or 404; asks the leader before it says so.
    pub async fn broadcast(self: &Arc<Self>, id: &str, deadline: Instant) -> Result<Hot, Problem> {
        let absent = || Problem::absent("broadcast", super::fields::shorten(id));
        if BroadcastId::parse(id).is_none() {
            return Err(absent());
        }
        let exists = |context: &Self| {
            let number = context.number(id)?;
            context
                .handle
                .read(|state| (number < state.next_position()).then_some(number))
        };
        let number = self.find(deadline, exists).await?.ok_or_else(absent)?;
        let found = self.hot(number).await.ok_or_else(absent)?;
        // the time in the id is part of it: another time is another id
        if BroadcastId::parse(id) == Some(found.broadcast.id) {
            Ok(found)
        } else {
            Err(absent())
        }
    }

    /// Runs what may read from disk where it holds up nobody.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let context = self.clone();
        tokio::task::spawn_blocking(move || read(&context)).await.ok()
    }
}

/// Fingerprints of keyed requests that have not been answered yet.
#[derive(Default)]
pub struct Running(Mutex<HashSet<[u8; 16]>>);

/// Takes its fingerprint out again when the request ends, however it ends.
pub struct Turn<'a> {
    running: &'a Running,
    fingerprint: [u8; 16],
}

impl Running {
    /// `None` when a request with this key runs already.
    pub fn enter(&self, fingerprint: [u8; 16]) -> Option<Turn<'_>> {
        let is_new = self.0.lock().insert(fingerprint);
        is_new.then(|| Turn {
            running: self,
            fingerprint,
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.running.0.lock().remove(&self.fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::Running;

    #[test]
    fn a_key_runs_once_at_a_time() {
        let running = Running::default();
        let turn = running.enter([1; 16]);
        assert!(turn.is_some());
        assert!(running.enter([1; 16]).is_none());
        assert!(running.enter([2; 16]).is_some());
        drop(turn);
        assert!(running.enter([1; 16]).is_some());
    }
}
