//! Leases, locks and semaphores for connections: who has to wait gets a [`Pending`] and is woken.

mod hosting;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use isogrid_grid::structure::lock::{LockOp, LockReply, Outcome, Wake};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::node::Node;
pub use hosting::{Hosting, Told, Trouble, Waits, Way};

/// The longest sleep: refilling and looking after the table are due now and then.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// Who waits, and for what.
#[derive(Default)]
pub struct Waiting {
    /// Held around every operation, so that nobody is woken before it is known who it is.
    tickets: Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>,
    /// Something is due earlier than before.
    earlier: Notify,
}

/// What there is to answer.
pub enum Answer<P = Pending> {
    /// This.
    Now(LockReply),
    /// What comes of it.
    Later(P),
}

/// A request that waits. Dropping it gives up: what it was given meanwhile goes back.
pub struct Pending {
    node: Arc<Node>,
    ticket: u64,
    outcome: oneshot::Receiver<Outcome>,
    /// How what it is given can be given back.
    back: Back,
    told: bool,
}

/// How what a request is given can be given back.
#[derive(Clone)]
pub struct Back {
    is_lock: bool,
    key: Vec<u8>,
    lease: u64,
    permits: u32,
}

impl Back {
    /// Of a request that may wait.
    pub fn of(op: &LockOp<'_>) -> Option<Back> {
        match *op {
            LockOp::Lock { key, lease, .. } => {
                Some(Back { is_lock: true, key: key.to_vec(), lease, permits: 0 })
            }
            LockOp::Acquire { key, lease, permits, .. } => {
                Some(Back { is_lock: false, key: key.to_vec(), lease, permits })
            }
            _ => None,
        }
    }

    /// Gives back what was granted under this token.
    fn op(&self, token: u64) -> LockOp<'_> {
        let Back { is_lock, key, lease, permits } = self;
        match is_lock {
            true => LockOp::Unlock { key, token },
            false => LockOp::Release { key, lease: *lease, permits: *permits },
        }
    }
}

impl Waiting {
    /// Does one operation, and wakes whom it wakes.
    pub fn apply(&self, node: &Arc<Node>, op: LockOp<'_>) -> Answer {
        let (mut tickets, mut out) = (self.tickets.lock(), Vec::new());
        let reply = node.structures.locks(node.now(), op, &mut out);
        let pending = match reply {
            LockReply::Waiting { ticket } => Back::of(&op).map(|back| {
                let (wake, outcome) = oneshot::channel();
                tickets.insert(ticket, wake);
                Pending { node: Arc::clone(node), ticket, outcome, back, told: false }
            }),
            _ => None,
        };
        deliver(&mut tickets, out);
        drop(tickets);
        if pending.is_some() || matches!(reply, LockReply::Lease { .. }) {
            self.earlier.notify_one();
        }
        pending.map_or(Answer::Now(reply), Answer::Later)
    }

    /// Ends what is due by time; when there is more.
    fn advance(&self, node: &Node) -> Option<u64> {
        let (mut tickets, mut out) = (self.tickets.lock(), Vec::new());
        node.structures.advance(node.now(), &mut out);
        deliver(&mut tickets, out);
        node.structures.next_deadline()
    }

    fn refill(&self, node: &Node) {
        let mut out = Vec::new();
        if let Err(error) = node.structures.refill(node.now(), &mut out) {
            tracing::warn!(event = "tokens_not_reserved", %error, "it is tried again");
        }
        deliver(&mut self.tickets.lock(), out);
    }
}

fn deliver(tickets: &mut BTreeMap<u64, oneshot::Sender<Outcome>>, wakes: Vec<Wake>) {
    for Wake { ticket, outcome } in wakes {
        // One that is dropped has looked into its channel, or will: see `Pending`.
        let _ = tickets.remove(&ticket).map(|waiter| waiter.send(outcome));
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = std::task::ready!(Pin::new(&mut self.outcome).poll(cx));
        self.told = true;
        // A sender is never dropped before it has sent, but when the node goes.
        Poll::Ready(outcome.unwrap_or(Outcome::LeaseGone))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let waiting = &self.node.waiting;
        waiting.apply(&self.node, LockOp::Cancel { ticket: self.ticket });
        waiting.tickets.lock().remove(&self.ticket);
        let Ok(Outcome::Granted { token }) = self.outcome.try_recv() else { return };
        let op = self.back.op(token);
        waiting.apply(&self.node, op);
    }
}

/// Ends leases and waits when they are due, until the node is dropped.
pub async fn run(node: Arc<Node>) {
    loop {
        let due = node.waiting.advance(&node);
        let hosted = node.hosting.tick(&node);
        if node.structures.wants_refill() {
            let of_thread = Arc::clone(&node);
            let refill = move || of_thread.waiting.refill(&of_thread);
            let _ = tokio::task::spawn_blocking(refill).await;
        }
        node.structures.maintain(node.now());
        let left = due.map(|due| due.saturating_sub(node.now())).into_iter().chain(hosted).min();
        let left = left.map(|left| Duration::from_millis(left.max(1)));
        tokio::select! {
            biased;
            () = node.waiting.earlier.notified() => {}
            () = node.hosting.earlier() => {}
            () = tokio::time::sleep(left.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;

    fn now(node: &Arc<Node>, op: LockOp<'_>) -> LockReply {
        match node.waiting.apply(node, op) {
            Answer::Now(reply) => reply,
            Answer::Later(_) => panic!("it waits"),
        }
    }

    fn lease(node: &Arc<Node>) -> u64 {
        match now(node, LockOp::GrantLease { ttl: 60_000, about: b"" }) {
            LockReply::Lease { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn lock<'a>(key: &'a [u8], lease: u64, wait: u64) -> LockOp<'a> {
        LockOp::Lock { key, lease, shared: false, wait }
    }

    fn pending(answer: Answer) -> Pending {
        match answer {
            Answer::Later(pending) => pending,
            Answer::Now(reply) => panic!("{reply:?}"),
        }
    }

    fn started() -> Arc<Node> {
        let node = Node::new(ServerConfig::ephemeral()).unwrap();
        node.open_data().unwrap();
        node
    }

    #[test]
    fn who_gives_up_waiting_gets_nothing_and_holds_nothing() {
        let node = started();
        let (a, b, c) = (lease(&node), lease(&node), lease(&node));
        let LockReply::Granted { token } = now(&node, lock(b"k", a, 0)) else { panic!("free") };
        let second = pending(node.waiting.apply(&node, lock(b"k", b, 60_000)));
        let third = pending(node.waiting.apply(&node, lock(b"k", c, 60_000)));
        // The second was granted the lock when it gives up: the third has it then.
        assert_eq!(now(&node, LockOp::Unlock { key: b"k", token }), LockReply::Done);
        drop(second);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(matches!(runtime.block_on(third), Outcome::Granted { .. }));
        assert_eq!(now(&node, lock(b"k", b, 0)), LockReply::Held { holder: Some(c) });
        // One that was not granted anything leaves the queue.
        drop(pending(node.waiting.apply(&node, lock(b"k", a, 60_000))));
        let LockReply::LockInfo(Some(info)) = now(&node, LockOp::LockInfo { key: b"k" }) else {
            panic!("it is held");
        };
        assert_eq!((info.waiting, node.waiting.tickets.lock().len()), (0, 0));
    }

    #[test]
    fn who_waits_too_long_is_told_so() {
        let node = started();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcome = runtime.block_on(async {
            let running = tokio::spawn(run(Arc::clone(&node)));
            let (a, b) = (lease(&node), lease(&node));
            now(&node, lock(b"k", a, 0));
            let outcome = pending(node.waiting.apply(&node, lock(b"k", b, 30))).await;
            running.abort();
            (outcome, a)
        });
        assert_eq!(outcome.0, Outcome::TimedOut { holder: Some(outcome.1) });
    }
}
