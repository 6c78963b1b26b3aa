//! The road to the leader: what this node's callers propose goes there in requests that follow each other without waiting,
//! and is answered in the same order.

use super::exchange::{Messages, Reader, frame};
use super::network::Peers;
use super::rpc::{self, Forward, Forwarded};
use crate::model::NodeId;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, mpsc, oneshot};

/// Requests sent and not yet answered.
const UNDER_WAY_MAX: usize = 64;

/// Comes with the leader's answer; dropped when nobody knows what became of the request.
type Reply = oneshot::Sender<Forwarded>;

struct Open {
    leader: NodeId,
    messages: Messages,
    /// Who waits, in the order of the requests.
    waiting: mpsc::Sender<Reply>,
}

/// The road as it is open now.
pub struct Road {
    peers: Arc<Peers>,
    open: Mutex<Option<Open>>,
}

impl Road {
    pub fn new(peers: Arc<Peers>) -> Self {
        Self {
            peers,
            open: Mutex::new(None),
        }
    }

    /// Sends a request behind those before it. The answer comes through what is returned.
    pub async fn send(
        &self,
        leader: NodeId,
        forward: &Forward,
        deadline: Instant,
    ) -> io::Result<oneshot::Receiver<Forwarded>> {
        let message = frame(&rpc::encode(forward)?);
        let mut open = self.open.lock().await;
        if open
            .as_ref()
            .is_none_or(|open| open.leader != leader || open.waiting.is_closed())
        {
            *open = Some(self.connect(leader, deadline).await?);
        }
        let Some(road) = open.as_ref() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let (reply, answer) = oneshot::channel();
        let places = async { Some((road.waiting.reserve().await.ok()?, road.messages.reserve().await.ok()?)) };
        let Ok(Some((waiting, messages))) = tokio::time::timeout_at(deadline.into(), places).await else {
            *open = None;
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // Both or none, whenever this is given up: each answer goes to whoever has waited longest. First who waits, so that an
        // answer never finds nobody.
        waiting.send(reply);
        messages.send(message);
        Ok(answer)
    }

    /// Nobody waits for this leader any more.
    pub async fn leave(&self) {
        self.open.lock().await.take();
    }

    async fn connect(&self, leader: NodeId, deadline: Instant) -> io::Result<Open> {
        let ways = self.peers.get(leader).ok_or(io::ErrorKind::NotFound)?;
        let cluster = self.peers.cluster();
        let (messages, answers) = ways.forward.open(rpc::PROPOSE, cluster, deadline).await?;
        let (waiting, replies) = mpsc::channel(UNDER_WAY_MAX);
        tokio::spawn(listen(answers, replies));
        Ok(Open {
            leader,
            messages,
            waiting,
        })
    }
}

/// Gives each answer to whoever waits first; ends with the connection.
async fn listen(mut answers: Reader, mut replies: mpsc::Receiver<Reply>) {
    while let Ok(Some(answer)) = answers.next().await {
        let (Ok(answer), Ok(reply)) = (rpc::decode(&answer), replies.try_recv()) else {
            return;
        };
        // Whoever waited may have left.
        let _ = reply.send(answer);
    }
}
