//! Clients' messages that no worker can answer: a person confirmed over a socket, or something is confirmed that has left the
//! window.

use crate::base::clock;
use crate::consensus::Handle;
use crate::gateway::{Gateway, NoReceipt, Request, frame};
use crate::model::{BroadcastId, NodeId, Number, Step, UserNumber};
use crate::state::broadcasts::Hot;
use crate::state::command::Acknowledged;
use crate::state::{Command, Outcome, Refused, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// A broadcast wherever it is kept; may block.
pub type Find = Arc<dyn Fn(Number) -> Option<Hot> + Send + Sync>;

/// A client's message waits this long for the log.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Messages that wait for the log at once.
const IN_FLIGHT_MAX: usize = 256;

/// Serves requests until `stop` says so and none waits any more.
pub async fn serve(
    node: NodeId,
    handle: Handle,
    gateway: Arc<Gateway>,
    find: Find,
    mut requests: mpsc::Receiver<Request>,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    loop {
        let request = tokio::select! {
            biased;
            request = requests.recv() => request,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(request) = request else { return };
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let desk = Desk {
            node,
            handle: handle.clone(),
            gateway: gateway.clone(),
            find: find.clone(),
        };
        tokio::spawn(async move {
            desk.answer(request).await;
            drop(permit);
        });
    }
}

/// What one message needs.
struct Desk {
    node: NodeId,
    handle: Handle,
    gateway: Arc<Gateway>,
    find: Find,
}

/// Why a message came to nothing, or to less than it said.
struct No {
    code: &'static str,
    detail: String,
    retryable: bool,
}

impl No {
    fn acknowledged(detail: String, retryable: bool) -> Self {
        Self {
            code: "NOT_ACKNOWLEDGED",
            detail,
            retryable,
        }
    }
}

impl Desk {
    async fn answer(self, request: Request) {
        let Request {
            session,
            user,
            reference,
            receipts,
            acknowledge,
        } = request;
        let receipts = self.receipts(user, receipts).await;
        let acknowledged = self.acknowledge(user, acknowledge).await;
        let Some(reference) = reference else { return };
        let message = match receipts.and(acknowledged) {
            Ok(()) => frame::ok(&reference),
            Err(no) => frame::problem(Some(&reference), no.code, &no.detail, no.retryable),
        };
        self.gateway.answer(session, message);
    }

    /// The number behind an id, if it is of this cluster.
    fn number(&self, id: BroadcastId) -> Option<Number> {
        (id.salt() == self.handle.read(State::salt)).then(|| id.number())
    }

    /// Looks at each broadcast, on a thread that may block, and counts the receipts that it takes.
    async fn receipts(&self, user: UserNumber, receipts: Vec<(BroadcastId, Step)>) -> Result<(), No> {
        if receipts.is_empty() {
            return Ok(());
        }
        let numbered: Vec<_> = receipts
            .into_iter()
            .map(|(id, step)| (self.number(id), id, step))
            .collect();
        let newest = numbered.iter().filter_map(|(number, ..)| *number).max();
        if newest.is_some_and(|newest| newest >= self.handle.read(State::next_position)) {
            // It may have been sent by a node that is further; one that cannot be asked is as good as one that knows no more.
            let _ = self.handle.linearizable(clock::now() + ANSWER_WITHIN).await;
        }
        let (find, now, gateway) = (self.find.clone(), self.handle.log_time(), self.gateway.clone());
        let look = move || {
            let mut refused = None;
            for (number, id, step) in numbered {
                let hot = number.and_then(|number| find(number));
                match hot.filter(|hot| hot.broadcast.id == id && hot.is_out_to(user)) {
                    None => refused = refused.or(Some(NoReceipt::NotFound)),
                    Some(hot) if hot.broadcast.expires_at <= now => refused = refused.or(Some(NoReceipt::Expired)),
                    Some(hot) => gateway.receipt(hot.broadcast.number, step, user),
                }
            }
            refused
        };
        match tokio::task::spawn_blocking(look).await.unwrap_or_default() {
            None => Ok(()),
            Some(why) => Err(No {
                code: why.code(),
                detail: why.to_string(),
                retryable: false,
            }),
        }
    }

    async fn acknowledge(&self, user: UserNumber, answers: Vec<(BroadcastId, String)>) -> Result<(), No> {
        if answers.is_empty() {
            return Ok(());
        }
        let mut known = Vec::with_capacity(answers.len());
        for (id, answer) in answers {
            let number = self.number(id).ok_or(Refused::UnknownBroadcast);
            let number = number.map_err(|refused| No::acknowledged(refused.to_string(), false))?;
            self.check(number, id, user, &answer).await?;
            known.push((number, answer));
        }
        let command = Command::Acknowledge(Acknowledged {
            user,
            node: self.node,
            answers: known,
        });
        let proposed = self.handle.propose(command, clock::now() + ANSWER_WITHIN).await;
        match proposed.map(|proposed| proposed.outcome) {
            Ok(Outcome::Acknowledged(each)) => match each.into_iter().find_map(Result::err) {
                Some(refused) => Err(No::acknowledged(refused.to_string(), false)),
                None => Ok(()),
            },
            Ok(other) => Err(No::acknowledged(format!("unexpected outcome {other:?}"), false)),
            Err(error) => Err(No::acknowledged(error.to_string(), true)),
        }
    }

    /// The log itself looks at what is in memory, and at what is new; of what is older, it takes what was looked at before. It knows
    /// numbers only: that the id is that broadcast's is looked at here.
    async fn check(&self, number: Number, id: BroadcastId, user: UserNumber, answer: &str) -> Result<(), No> {
        let in_memory = |state: &State| {
            let broadcasts = state.broadcasts();
            let is_new = |position| broadcasts.hot_from().is_some_and(|from| position >= from);
            let known = broadcasts.get(number).map(|hot| hot.broadcast.id == id);
            known.or(state.place(number).is_some_and(is_new).then_some(true))
        };
        let refused = match self.handle.read(in_memory) {
            Some(true) => None,
            Some(false) => Some(Refused::UnknownBroadcast),
            None => {
                let find = self.find.clone();
                let found = tokio::task::spawn_blocking(move || find(number)).await;
                let hot = found.ok().flatten().filter(|hot| hot.broadcast.id == id);
                hot.map_or(Some(Refused::UnknownBroadcast), |hot| hot.refuses(user, answer))
            }
        };
        match refused {
            None => Ok(()),
            Some(refused) => Err(No::acknowledged(refused.to_string(), false)),
        }
    }
}
