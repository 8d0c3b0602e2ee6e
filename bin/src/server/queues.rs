//! The queues of a node that stands alone, for its connections: who has to wait for messages gets a
//! [`Pending`] and is woken.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use isogrid_engine::persist::{KeptTable, PersistMode, Preload};
use isogrid_engine::{Error, Table, Timestamp};
use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::queue::{
    NewMessage, QueueOp, QueueOptions, QueueReply, QueueStats, Refusal,
};
use isogrid_grid::structures::NotKept;
use isogrid_grid::structures::queues::{Done, Given, Queues, Told};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::node::Node;
use crate::cluster::object_number;

/// All queues of a node are in one segment, and have one log and one order.
const SEGMENT: u32 = 0;
/// Bytes of messages of all queues that a node takes. The table has room for more, so that what
/// becomes of those that are there can always be noted.
const BYTES_MAX: u64 = 256 << 20;
/// How far ids are ahead of those of a millisecond before: they rise over restarts too.
const IDS_PER_MS: u32 = 20;
/// The longest sleep: looking after the table is due now and then.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Entries that are looked after at a time.
const BUDGET: usize = 1_000;

/// The queues of a node.
pub struct LocalQueues {
    table: Arc<Table>,
    state: Mutex<State>,
    /// What is in memory is not what is kept, and is to be read again.
    broken: AtomicBool,
    /// Something is due earlier than before.
    earlier: Notify,
}

struct State {
    queues: Queues,
    waiting: BTreeMap<(String, u64), oneshot::Sender<Vec<Given>>>,
    /// When the task that looks after all wakes.
    wakes_at: Timestamp,
}

/// What there is to answer.
pub enum Answer {
    /// This.
    Now(Done),
    /// Messages, when there are some.
    Later(Pending),
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// There is no such queue.
    Absent,
    /// What was done could not be kept, not all of it.
    NotKept(NotKept),
    /// What is kept is being read again.
    Reading,
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
        let queues = Queues::load(&table, SEGMENT, 1, 0);
        let state = State { queues, waiting: BTreeMap::new(), wakes_at: 0 };
        let (broken, earlier) = (AtomicBool::new(false), Notify::new());
        LocalQueues { table, state: Mutex::new(state), broken, earlier }
    }

    /// The table, to be kept in this mode.
    pub fn kept_table(&self, mode: PersistMode) -> KeptTable {
        let (name, table) = (Queues::TABLE.to_owned(), Arc::clone(&self.table));
        KeptTable { name, table, mode, preload: Preload::All }
    }

    /// Takes over what is in the table; the names of the queues. Who waits asks again.
    pub fn load(&self, now: Timestamp) -> Vec<String> {
        let mut state = self.state.lock();
        state.queues = Queues::load(&self.table, SEGMENT, now << IDS_PER_MS, now);
        state.waiting.clear();
        self.broken.store(false, Ordering::Release);
        state.queues.all().map(|(name, _)| name.to_owned()).collect()
    }

    /// Makes a queue. `Err` with the options of the one that is there.
    ///
    /// # Errors
    /// It was not made.
    pub fn create(
        &self,
        now: Timestamp,
        name: &str,
        options: QueueOptions,
    ) -> Result<Result<(), QueueOptions>, Trouble> {
        self.with(now, |queues, _| {
            let made = queues.create(&self.table, now, name, options).map_err(undone)?;
            let known = queues.get(name).map_or(options, |queue| *queue.options());
            Ok(if made { Ok(()) } else { Err(known) })
        })
    }

    /// Drops a queue with all that is in it; `false` when there is none.
    ///
    /// # Errors
    /// It was not dropped.
    pub fn remove(&self, now: Timestamp, name: &str) -> Result<bool, Trouble> {
        let removed = self.with(now, |queues, _| {
            queues.remove(&self.table, now, name).map_err(|why| self.broke(why))
        })?;
        // Who waits is told that there is nothing to wait for.
        self.state.lock().waiting.retain(|(queue, _), _| queue != name);
        Ok(removed)
    }

    /// What a queue is set to, and what there is in it.
    pub fn look(&self, name: &str) -> Option<(QueueOptions, QueueStats)> {
        let state = self.state.lock();
        state.queues.get(name).map(|queue| (*queue.options(), queue.stats()))
    }

    /// What there is in all queues.
    pub fn all(&self) -> Vec<(String, QueueStats)> {
        let state = self.state.lock();
        state.queues.all().map(|(name, queue)| (name.to_owned(), queue.stats())).collect()
    }

    /// Publishes messages with these bytes: one answer each.
    ///
    /// # Errors
    /// None was published.
    pub fn publish(
        &self,
        now: Timestamp,
        name: &str,
        messages: &[(NewMessage<'_>, Vec<u8>)],
    ) -> Result<Vec<Result<QueueReply, Error>>, Trouble> {
        self.with(now, |queues, told| {
            let mut replies = Vec::with_capacity(messages.len());
            for (new, bytes) in messages {
                let (used, limit) = (self.table.usage().bytes, BYTES_MAX);
                replies.push(if used.saturating_add(bytes.len() as u64) > limit {
                    Err(Error::Full { used, limit })
                } else {
                    let message = (name, new, &**bytes);
                    queues.publish(&self.table, now, message).ok_or(Trouble::Absent)?
                });
            }
            self.apply_to(queues, now, (name, QueueOp::Deal), told)?;
            Ok(replies)
        })
    }

    /// Does an operation, and wakes whom it wakes.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn apply(&self, node: &Arc<Node>, name: &str, op: QueueOp<'_>) -> Result<Answer, Trouble> {
        let now = node.now();
        let (done, given) = self.with_state(now, |state, told| {
            let done = self.apply_to(&mut state.queues, now, (name, op), told)?;
            let QueueReply::Waiting { ticket } = done.reply else { return Ok((done, None)) };
            let (tell, given) = oneshot::channel();
            state.waiting.insert((name.to_owned(), ticket), tell);
            Ok((done, Some((ticket, given))))
        })?;
        let pending = given.map(|(ticket, given)| {
            let (node, queue) = (Arc::clone(node), name.to_owned());
            Pending { node, queue, ticket, given, told: false }
        });
        Ok(pending.map_or(Answer::Now(done), Answer::Later))
    }

    /// Does one that does not wait.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn apply_now(
        &self,
        now: Timestamp,
        name: &str,
        op: QueueOp<'_>,
    ) -> Result<QueueReply, Trouble> {
        self.with(now, |queues, told| {
            self.apply_to(queues, now, (name, op), told).map(|done| done.reply)
        })
    }

    /// The bytes of a message.
    pub fn payload(&self, now: Timestamp, name: &str, id: u64) -> Option<Vec<u8>> {
        self.state.lock().queues.payload(&self.table, now, name, id)
    }

    fn apply_to(
        &self,
        queues: &mut Queues,
        now: Timestamp,
        op: (&str, QueueOp<'_>),
        told: &mut Vec<Told>,
    ) -> Result<Done, Trouble> {
        let done = queues.apply(&self.table, now, op, told).ok_or(Trouble::Absent)?;
        done.map_err(|why| self.broke(why))
    }

    fn broke(&self, why: NotKept) -> Trouble {
        self.broken.store(true, Ordering::Release);
        self.earlier.notify_one();
        Trouble::NotKept(why)
    }

    fn with<R>(
        &self,
        now: Timestamp,
        act: impl FnOnce(&mut Queues, &mut Vec<Told>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        self.with_state(now, |state, told| act(&mut state.queues, told))
    }

    /// Does something, and tells those whom it wakes; none is told before it is known who it is.
    fn with_state<R>(
        &self,
        now: Timestamp,
        act: impl FnOnce(&mut State, &mut Vec<Told>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let (mut state, mut told) = (self.state.lock(), Vec::new());
        if self.broken.load(Ordering::Acquire) {
            return Err(Trouble::Reading);
        }
        let done = act(&mut state, &mut told);
        for Told { queue, ticket, given } in told {
            // One that is dropped has looked into its channel, or will: see `Pending`.
            let _ = state.waiting.remove(&(queue, ticket)).map(|waiter| waiter.send(given));
        }
        let due = state.queues.next_deadline().unwrap_or(Timestamp::MAX).max(now);
        if due < state.wakes_at {
            state.wakes_at = due;
            self.earlier.notify_one();
        }
        done
    }

    /// Does what is due by time; when more is.
    fn advance(&self, now: Timestamp) -> Timestamp {
        let advanced = self.with(now, |queues, told| {
            queues.advance(&self.table, now, told).map_err(|why| self.broke(why))
        });
        let mut state = self.state.lock();
        let due = advanced.ok().and_then(|()| state.queues.next_deadline());
        state.wakes_at = due.unwrap_or(Timestamp::MAX);
        state.wakes_at
    }
}

/// Nothing was changed.
fn undone(why: Error) -> Trouble {
    Trouble::NotKept(NotKept { why, done: 0 })
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
        let (queues, now) = (&self.node.queues, self.node.now());
        let _ = queues.apply_now(now, &self.queue, QueueOp::Cancel { ticket: self.ticket });
        queues.state.lock().waiting.remove(&(self.queue.clone(), self.ticket));
        let (refusal, reason) = (Refusal::Requeue(1), "nobody waited for it any more");
        for Given { delivery, .. } in self.given.try_recv().unwrap_or_default() {
            let nack = QueueOp::Nack { receipt: delivery.receipt, refusal, reason };
            let _ = queues.apply_now(now, &self.queue, nack);
        }
    }
}

/// A queue can be found by its name and its number from now on; `false`: another object has that.
pub fn note(node: &Node, name: &str) -> bool {
    // It has one of its own beside a cache of the same name.
    node.catalog.note(Kind::Queue, name, object_number(&format!("queue {name}")))
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
        let left = Duration::from_millis(due.saturating_sub(node.now()).max(1));
        tokio::select! {
            biased;
            () = node.queues.earlier.notified() => {}
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
