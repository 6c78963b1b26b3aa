//! Everybody's devices: connected before the day begins, waited for when it has been played, sent home when it is over.

use super::{
    course::{self, Course, Tally},
    device::{self, Identity, Orders, World},
    ledger::Seen,
    sink::Sink,
    stream::Transport,
    tokens::Tokens,
};
use crate::base::clock;
use anyhow::{Context, Result, bail};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

const GREETED_MAX: Duration = Duration::from_secs(30);
/// When all was due and nothing has come for this long, what is still missing is missing.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// After the last that is expected: what comes now is repeated or wrong.
const SETTLE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

/// A device for every user, spread over the nodes, half of them on WebSocket and half on SSE.
pub struct Crowd {
    pub world: Arc<World>,
    pub orders: Arc<Vec<watch::Sender<Orders>>>,
    devices: Vec<JoinHandle<Vec<Seen>>>,
}

impl Crowd {
    pub async fn connect(users: &[String], world: World, tokens: &Tokens) -> Result<Self> {
        let world = Arc::new(world);
        let mut orders = Vec::with_capacity(users.len());
        let mut devices = Vec::with_capacity(users.len());
        for (number, user) in users.iter().enumerate() {
            let (order, ordered) = watch::channel(Orders::Stay);
            let transport = if number % 2 == 0 {
                Transport::WebSocket
            } else {
                Transport::Sse
            };
            let identity = Identity {
                user: user.clone(),
                number,
                bearer: tokens.devices.get(user).cloned().unwrap_or_default(),
                transport,
                home: number % world.nodes.len(),
            };
            devices.push(tokio::spawn(device::live(identity, world.clone(), ordered)));
            orders.push(order);
        }
        let crowd = Self {
            world,
            orders: Arc::new(orders),
            devices,
        };
        crowd.greeted().await?;
        Ok(crowd)
    }

    async fn greeted(&self) -> Result<()> {
        let (all, end) = (self.devices.len() as u64, clock::now() + GREETED_MAX);
        while count(&self.world.greeted) < all {
            if clock::now() >= end {
                let (greeted, trouble) = (count(&self.world.greeted), self.world.last_trouble.lock().clone());
                bail!(
                    "{greeted} of {all} devices were connected within {GREETED_MAX:?}; the last trouble was {trouble}"
                );
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until all that must come has come and all that must not has had its time, or nothing comes any more; then a little for
    /// what should not come. Says what it waits for.
    pub async fn settle(&self, courses: &[Course<'_>], sink: &Sink, say: impl Fn(String)) {
        let (wanted, dues) = (Tally::of(courses), course::dues(courses));
        let begun = clock::now();
        let last_due = dues.last().map_or(begun, |due| due.at);
        let (mut have, mut since) = (self.tally(sink), begun);
        loop {
            let (now, latest) = (clock::now(), self.tally(sink));
            if latest != have {
                (have, since) = (latest, now);
            }
            let is_quiet = now.saturating_duration_since(since.max(last_due)) >= QUIET_MAX;
            if is_quiet || (now >= last_due && have.covers(&wanted)) {
                break;
            }
            say(course::waiting(&dues, now).unwrap_or_else(|| "last deliveries arrive".into()));
            sleep(POLL).await;
        }
        sleep(SETTLE).await;
    }

    fn tally(&self, sink: &Sink) -> Tally {
        Tally {
            read: count(&self.world.read),
            alerted: count(&self.world.alerted),
            acknowledged: count(&self.world.acknowledged),
            called: sink.ids(),
        }
    }

    /// What each device read, in the order of the users.
    pub async fn leave(self) -> Result<Vec<Vec<Seen>>> {
        for order in self.orders.iter() {
            order.send_replace(Orders::Leave);
        }
        let mut seen = Vec::with_capacity(self.devices.len());
        for device in self.devices {
            seen.push(device.await.context("a device")?);
        }
        Ok(seen)
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
