//! The queues of a segment where they are served, and those who wait for their messages.

use std::collections::BTreeMap;

use isogrid_engine::{Error, Table, Timestamp};
use isogrid_grid::structure::queue::{
    NewMessage, Puller, QueueOp, QueueOptions, QueueReply, QueueStats,
};
use isogrid_grid::structures::NotKept;
use isogrid_grid::structures::queues::{Done, Given, Queues, Told};
use tokio::sync::oneshot;

/// Bytes of messages of all queues that a node takes. The table has room for more, so that what
/// becomes of those that are there can always be noted.
pub const BYTES_MAX: u64 = 256 << 20;

/// Why nothing was done.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// There is no such queue.
    Absent,
    /// It could not be kept, and nothing was changed.
    Undone(Error),
    /// What was done could not be kept, not all of it: what is in memory is not what is kept.
    NotKept(NotKept),
    /// What is kept is being read again.
    Reading,
    /// This member does not serve the queue now. Nothing was done.
    Elsewhere,
    /// It ceased to serve the queue meanwhile.
    Unknown,
}

/// Where queues are: the node's own, or those of a cluster in a segment that this member serves.
pub trait Place {
    /// Does something with them, and wakes whom that wakes.
    ///
    /// # Errors
    /// [`Trouble`].
    fn with<R>(&self, act: impl FnOnce(&mut Turn<'_>) -> Result<R, Trouble>) -> Result<R, Trouble>;

    /// Does an operation that does not wait.
    ///
    /// # Errors
    /// [`Trouble`].
    fn apply(&self, name: &str, op: QueueOp<'_>) -> Result<QueueReply, Trouble> {
        self.with(|turn| turn.apply(name, op).map(|done| done.reply))
    }
}

/// What comes of asking for messages.
pub enum Pulled {
    /// These.
    Now(Vec<Given>),
    /// Some when there are some, for this ticket; nothing comes when there is nothing to wait for
    /// any more.
    Later(u64, oneshot::Receiver<Vec<Given>>),
}

type Waiting = BTreeMap<(String, u64), oneshot::Sender<Vec<Given>>>;

/// Queues, and who waits.
pub struct Slot {
    /// The queues.
    pub queues: Queues,
    waiting: Waiting,
}

impl Slot {
    /// Nobody waits yet.
    pub fn new(queues: Queues) -> Slot {
        Slot { queues, waiting: Waiting::new() }
    }

    /// Does something, and tells those whom it wakes; none is told before it is known who it is.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn turn<R>(
        &mut self,
        table: &Table,
        now: Timestamp,
        act: impl FnOnce(&mut Turn<'_>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let Slot { queues, waiting } = self;
        let mut turn = Turn { queues, waiting, table, now, told: Vec::new() };
        let done = act(&mut turn);
        // What could not be kept is not handed out.
        if !matches!(done, Err(Trouble::NotKept(_))) {
            turn.tell();
        }
        done
    }

    /// What a queue is set to, and what there is in it.
    pub fn look(&self, name: &str) -> Option<(QueueOptions, QueueStats)> {
        self.queues.get(name).map(|queue| (*queue.options(), queue.stats()))
    }

    /// What there is in all queues.
    pub fn all(&self) -> Vec<(String, QueueStats)> {
        self.queues.all().map(|(name, queue)| (name.to_owned(), queue.stats())).collect()
    }

    /// When something is due by time.
    pub fn next_deadline(&self) -> Timestamp {
        self.queues.next_deadline().unwrap_or(Timestamp::MAX)
    }
}

/// What something is done with.
pub struct Turn<'t> {
    /// The queues.
    pub queues: &'t mut Queues,
    waiting: &'t mut Waiting,
    table: &'t Table,
    now: Timestamp,
    told: Vec<Told>,
}

impl Turn<'_> {
    /// Makes a queue. `Err` with the options of the one that is there.
    ///
    /// # Errors
    /// It was not made.
    pub fn create(
        &mut self,
        name: &str,
        options: QueueOptions,
    ) -> Result<Result<(), QueueOptions>, Trouble> {
        let made = self.queues.create(self.table, self.now, name, options);
        let known = self.queues.get(name).map_or(options, |queue| *queue.options());
        Ok(if made.map_err(Trouble::Undone)? { Ok(()) } else { Err(known) })
    }

    /// Drops a queue with all that is in it; `false` when there is none.
    ///
    /// # Errors
    /// It was not dropped.
    pub fn remove(&mut self, name: &str) -> Result<bool, Trouble> {
        let removed = self.queues.remove(self.table, self.now, name).map_err(Trouble::NotKept)?;
        // Who waits is told that there is nothing to wait for.
        self.waiting.retain(|(queue, _), _| queue != name);
        Ok(removed)
    }

    /// Publishes messages with these bytes: one answer each.
    ///
    /// # Errors
    /// None was published.
    pub fn publish(
        &mut self,
        name: &str,
        messages: &[(NewMessage<'_>, Vec<u8>)],
    ) -> Result<Vec<Result<QueueReply, Error>>, Trouble> {
        let mut replies = Vec::with_capacity(messages.len());
        for (new, bytes) in messages {
            let (used, limit) = (self.table.usage().bytes, BYTES_MAX);
            replies.push(if used.saturating_add(bytes.len() as u64) > limit {
                Err(Error::Full { used, limit })
            } else {
                let message = (name, new, &**bytes);
                self.queues.publish(self.table, self.now, message).ok_or(Trouble::Absent)?
            });
        }
        let is_kept =
            |reply: &&Result<QueueReply, Error>| matches!(reply, Ok(QueueReply::Published { .. }));
        let published = (name, replies.iter().filter(is_kept).count());
        let dealt = self.queues.deal(self.table, self.now, published, &mut self.told);
        dealt.ok_or(Trouble::Absent)?.map_err(Trouble::NotKept)?;
        Ok(replies)
    }

    /// Does an operation.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn apply(&mut self, name: &str, op: QueueOp<'_>) -> Result<Done, Trouble> {
        let done = self.queues.apply(self.table, self.now, (name, op), &mut self.told);
        done.ok_or(Trouble::Absent)?.map_err(Trouble::NotKept)
    }

    /// Asks for messages, and waits for some so long, ms.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn pull(&mut self, name: &str, puller: Puller, wait: u64) -> Result<Pulled, Trouble> {
        let done = self.apply(name, QueueOp::Pull { puller, wait })?;
        let QueueReply::Waiting { ticket } = done.reply else { return Ok(Pulled::Now(done.given)) };
        let (tell, given) = oneshot::channel();
        self.waiting.insert((name.to_owned(), ticket), tell);
        Ok(Pulled::Later(ticket, given))
    }

    /// Waits with a ticket no more. What it was given until now is in its channel.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn give_up(&mut self, name: &str, ticket: u64) -> Result<(), Trouble> {
        self.apply(name, QueueOp::Cancel { ticket })?;
        self.tell();
        self.waiting.remove(&(name.to_owned(), ticket));
        Ok(())
    }

    fn tell(&mut self) {
        for Told { queue, ticket, given } in self.told.drain(..) {
            // One that is dropped has looked into its channel, or will: see `Pending`.
            let _ = self.waiting.remove(&(queue, ticket)).map(|waiter| waiter.send(given));
        }
    }

    /// Does what is due by time.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn advance(&mut self) -> Result<(), Trouble> {
        self.queues.advance(self.table, self.now, &mut self.told).map_err(Trouble::NotKept)
    }

    /// The bytes of a message.
    pub fn payload(&self, name: &str, id: u64) -> Option<Vec<u8>> {
        self.queues.payload(self.table, self.now, name, id)
    }
}
