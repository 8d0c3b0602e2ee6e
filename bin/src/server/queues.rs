//! The queues of a node that stands alone, for its connections: who has to wait for messages gets a
//! [`Pending`] and is woken. Those of a cluster are in `hosting.rs`.

mod hosting;
mod reading;
mod slot;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use isogrid_engine::persist::{KeptTable, PersistMode, Preload};
use isogrid_engine::{Table, Timestamp};
use isogrid_grid::structure::queue::{Puller, QueueOp, QueueStats, Refusal};
use isogrid_grid::structures::queues::names::Options;
use isogrid_grid::structures::queues::{Given, Queues};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::node::Node;
pub use hosting::{Here, Hosting, Way};
pub use reading::read;
use slot::BYTES_MAX;
pub use slot::{Place, Pulled, Slot, Trouble, Turn};

/// All queues of a node are in one segment, and have one log and one order.
const SEGMENT: u32 = 0;
/// How far ids are ahead of those of a millisecond before: they rise over restarts too.
const IDS_PER_MS: u32 = 20;
/// The longest sleep: looking after the table is due now and then.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Entries that are looked after at a time.
const BUDGET: usize = 1_000;
/// Why a message comes again that nobody heard of.
pub const UNHEARD: &str = "nobody waited for it any more";

/// The queues of a node that stands alone.
pub struct LocalQueues {
    table: Arc<Table>,
    state: Mutex<State>,
    /// What is in memory is not what is kept, and is to be read again.
    broken: AtomicBool,
    /// Something is due earlier than before.
    earlier: Notify,
}

struct State {
    slot: Slot,
    /// When the task that looks after all wakes.
    wakes_at: Timestamp,
}

/// What there is to answer who asks for messages.
pub enum Answer {
    /// These.
    Now(Vec<Given>),
    /// Some, when there are some.
    Later(Pending),
}

/// A request that waits for messages. Dropping it gives up; what it was given meanwhile goes back.
pub struct Pending {
    node: Arc<Node>,
    queue: String,
    ticket: u64,
    given: oneshot::Receiver<Vec<Given>>,
    told: bool,
}

impl LocalQueues {
    /// None yet: see [`LocalQueues::load`].
    pub fn new(table: Table) -> Self {
        table.set_max_bytes(BYTES_MAX + BYTES_MAX / 4);
        let table = Arc::new(table);
        let slot = Slot::new(Queues::load(&table, SEGMENT, 1, 0));
        let (broken, earlier) = (AtomicBool::new(false), Notify::new());
        let state = Mutex::new(State { slot, wakes_at: 0 });
        LocalQueues { table, state, broken, earlier }
    }

    /// The table, to be kept in this mode.
    pub fn kept_table(&self, mode: PersistMode) -> KeptTable {
        let (name, table) = (Queues::TABLE.to_owned(), Arc::clone(&self.table));
        KeptTable { name, table, mode, preload: Preload::All }
    }

    /// Takes over what is in the table; the names of the queues. Who waits asks again.
    pub fn load(&self, now: Timestamp) -> Vec<String> {
        let mut state = self.state.lock();
        state.slot = Slot::new(Queues::load(&self.table, SEGMENT, now << IDS_PER_MS, now));
        self.broken.store(false, Ordering::Release);
        state.slot.all().into_iter().map(|(name, _)| name).collect()
    }

    /// What a queue is set to, and what there is in it.
    pub fn look(&self, name: &str) -> Option<(Options, QueueStats)> {
        self.state.lock().slot.look(name)
    }

    /// What there is in all queues.
    pub fn all(&self) -> Vec<(String, QueueStats)> {
        self.state.lock().slot.all()
    }

    fn with<R>(
        &self,
        now: Timestamp,
        act: impl FnOnce(&mut Turn<'_>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let mut state = self.state.lock();
        if self.broken.load(Ordering::Acquire) {
            return Err(Trouble::Reading);
        }
        let done = state.slot.turn(&self.table, now, act);
        let due = state.slot.next_deadline().max(now);
        if due < state.wakes_at {
            state.wakes_at = due;
            self.earlier.notify_one();
        }
        if matches!(done, Err(Trouble::NotKept(_))) {
            self.broken.store(true, Ordering::Release);
            self.earlier.notify_one();
        }
        done
    }

    /// Does what is due by time; when more is.
    fn advance(&self, now: Timestamp) -> Timestamp {
        let advanced = self.with(now, |turn| turn.advance());
        let mut state = self.state.lock();
        let due = advanced.map(|()| state.slot.next_deadline());
        state.wakes_at = due.unwrap_or(Timestamp::MAX);
        state.wakes_at
    }
}

impl Place for Arc<Node> {
    fn with<R>(&self, act: impl FnOnce(&mut Turn<'_>) -> Result<R, Trouble>) -> Result<R, Trouble> {
        self.queues.with(self.now(), act)
    }
}

/// Asks for messages of this node's queues, and waits for some so long, ms.
///
/// # Errors
/// [`Trouble`].
pub fn pull(node: &Arc<Node>, name: &str, puller: Puller, wait: u64) -> Result<Answer, Trouble> {
    let pulled = node.with(|turn| turn.pull(name, puller, wait))?;
    Ok(match pulled {
        Pulled::Now(given) => Answer::Now(given),
        Pulled::Later(ticket, given) => {
            let (node, queue) = (Arc::clone(node), name.to_owned());
            Answer::Later(Pending { node, queue, ticket, given, told: false })
        }
    })
}

/// Bounds what a table of the cluster's queues takes: a copy has to take what its primary took, which
/// refuses messages long before.
pub fn bound_shared(table: &Table) {
    table.set_max_bytes(4 * BYTES_MAX);
}

impl Future for Pending {
    /// The messages; `None` when there is nothing to wait for any more.
    type Output = Option<Vec<Given>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let given = std::task::ready!(Pin::new(&mut self.given).poll(cx));
        self.told = true;
        Poll::Ready(given.ok())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let _ = self.node.with(|turn| turn.give_up(&self.queue, self.ticket));
        for Given { delivery, .. } in self.given.try_recv().unwrap_or_default() {
            let (receipt, refusal) = (delivery.receipt, Refusal::Requeue(1));
            let nack = QueueOp::Nack { receipt, refusal, reason: UNHEARD };
            let _ = self.node.apply(&self.queue, nack);
        }
    }
}

/// The queues of the cluster, if the node is of one: those of its own are not used then.
pub fn of_cluster(node: &Node) -> Option<Way> {
    let cluster = node.cluster.get()?;
    Some((Arc::clone(cluster), Arc::clone(cluster.cache(Queues::TABLE)?)))
}

/// What there is in the queues that this node serves.
pub fn all(node: &Node) -> Vec<(String, QueueStats)> {
    of_cluster(node).map_or_else(|| node.queues.all(), |way| node.hosted_queues.all(&way))
}

/// Does what is due, until the node is dropped.
pub async fn run(node: Arc<Node>) {
    loop {
        let due = node.queues.advance(node.now());
        if node.queues.broken.load(Ordering::Acquire) {
            let of_thread = Arc::clone(&node);
            let _ = tokio::task::spawn_blocking(move || read_again(&of_thread)).await;
        }
        node.queues.table.maintain(node.now(), BUDGET);
        let of_cluster = of_cluster(&node).map(|way| node.hosted_queues.tick(&way));
        let due = due.min(of_cluster.unwrap_or(Timestamp::MAX));
        let left = Duration::from_millis(due.saturating_sub(node.now()).max(1));
        tokio::select! {
            biased;
            () = node.queues.earlier.notified() => {}
            () = node.hosted_queues.earlier() => {}
            () = tokio::time::sleep(left.min(SLEEP_MAX)) => {}
        }
    }
}

/// Reads what is kept, once all that was recorded is: who reads sees no more than that.
fn read_again(node: &Node) {
    if let Some(data) = node.data.get()
        && let Err(error) = data.persistence.wait_durable(data.persistence.last())
    {
        return tracing::warn!(event = "queues_not_kept", %error, "they are refused");
    }
    node.queues.load(node.now());
}
