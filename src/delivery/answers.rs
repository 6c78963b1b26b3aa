//! Clients' messages that need the log: a person confirmed over a socket.

use crate::base::clock;
use crate::consensus::Handle;
use crate::gateway::{Gateway, Request, frame};
use crate::model::NodeId;
use crate::state::command::Acknowledged;
use crate::state::{Command, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// A client's message waits this long for the log.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Messages that wait for the log at once.
const IN_FLIGHT_MAX: usize = 256;

/// Serves requests until `stop` says so and none waits any more.
pub async fn serve(
    node: NodeId,
    handle: Handle,
    gateway: Arc<Gateway>,
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
        let (handle, gateway) = (handle.clone(), gateway.clone());
        tokio::spawn(async move {
            acknowledge(node, &handle, &gateway, request).await;
            drop(permit);
        });
    }
}

async fn acknowledge(node: NodeId, handle: &Handle, gateway: &Gateway, request: Request) {
    let salt = handle.read(crate::state::State::salt);
    let number = |id: crate::model::BroadcastId| if id.salt() == salt { id.number() } else { 0 };
    let answers = request
        .acknowledge
        .into_iter()
        .map(|(id, answer)| (number(id), answer))
        .collect();
    let command = Command::Acknowledge(Acknowledged {
        user: request.user,
        node,
        answers,
    });
    let result = handle.propose(command, clock::now() + ANSWER_WITHIN).await;
    let Some(reference) = request.reference else { return };
    let problem = match result.map(|proposed| proposed.outcome) {
        Ok(Outcome::Acknowledged(each)) => each
            .into_iter()
            .find_map(Result::err)
            .map(|refused| (refused.to_string(), false)),
        Ok(other) => Some((format!("unexpected outcome {other:?}"), false)),
        Err(error) => Some((error.to_string(), true)),
    };
    let message = match problem {
        None => frame::ok(&reference),
        Some((detail, retryable)) => frame::problem(Some(&reference), "NOT_ACKNOWLEDGED", &detail, retryable),
    };
    gateway.answer(request.session, message);
}
