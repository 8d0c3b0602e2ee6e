//! The queues of a segment where they are served, and those who wait for their messages.

use std::collections::BTreeMap;

use isogrid_engine::{Error, Table, Timestamp};
use isogrid_grid::structure::queue::{NewMessage, Puller, QueueOp, QueueReply, QueueStats};
use isogrid_grid::structure::topic::{Ahead, Start};
use isogrid_grid::structures::NotKept;
use isogrid_grid::structures::queues::names::Options;
use isogrid_grid::structures::queues::{Done, Given, Made, Queues, Read, Told};
use tokio::sync::{oneshot, watch};

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
    /// A topic has not come to the position that was asked for.
    Ahead(Ahead),
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

/// Who reads topics, by their names: each is told that there is something new.
type Readers = BTreeMap<String, watch::Sender<()>>;

type Waiting = BTreeMap<(String, u64), oneshot::Sender<Vec<Given>>>;

/// Queues, and who waits.
pub struct Slot {
    /// The queues.
    pub queues: Queues,
    waiting: Waiting,
    readers: Readers,
}

impl Slot {
    /// Nobody waits yet.
    pub fn new(queues: Queues) -> Slot {
        Slot { queues, waiting: Waiting::new(), readers: Readers::new() }
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
        let Slot { queues, waiting, readers } = self;
        let mut turn = Turn { queues, waiting, readers, table, now, told: Vec::new() };
        let done = act(&mut turn);
        // What could not be kept is not handed out.
        if !matches!(done, Err(Trouble::NotKept(_))) {
            turn.tell();
        }
        done
    }

    /// What a queue is set to, and what there is in it.
    pub fn look(&self, name: &str) -> Option<(Options, QueueStats)> {
        self.queues.look(name)
    }

    /// What there is in all queues.
    pub fn all(&self) -> Vec<(String, QueueStats)> {
        let stats = |name: String| {
            let (_, stats) = self.queues.look(&name)?;
            Some((name, stats))
        };
        self.queues.names().filter_map(stats).collect()
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
    readers: &'t mut Readers,
    table: &'t Table,
    now: Timestamp,
    told: Vec<Told>,
}

impl Turn<'_> {
    /// Makes a queue, a topic or a group; what came of it, and what it is set to now.
    ///
    /// # Errors
    /// It was not made.
    pub fn create(&mut self, name: &str, options: Options) -> Result<(Made, Options), Trouble> {
        let made = self.queues.create(self.table, self.now, name, options);
        let known = self.queues.look(name).map_or(options, |(options, _)| options);
        Ok((made.map_err(Trouble::Undone)?, known))
    }

    /// Drops a queue with all that is in it; `false` when there is none.
    ///
    /// # Errors
    /// It was not dropped.
    pub fn remove(&mut self, name: &str) -> Result<bool, Trouble> {
        let groups = self.queues.groups_of(name);
        let removed = self.queues.remove(self.table, self.now, name).map_err(Trouble::NotKept)?;
        // Who waits is told that there is nothing to wait for.
        self.waiting.retain(|(queue, _), _| queue != name && !groups.contains(queue));
        self.readers.remove(name);
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
        // Nobody has to be there.
        self.readers.get(name).into_iter().for_each(|readers| readers.send_replace(()));
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

    /// Messages of a topic from there on, and how to hear of more.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn read(
        &mut self,
        name: &str,
        start: Start,
        most: usize,
    ) -> Result<(Read, watch::Receiver<()>), Trouble> {
        let read = self.queues.read(self.table, self.now, (name, start, most));
        let read = read.ok_or(Trouble::Absent)?.map_err(Trouble::Ahead)?;
        let readers = self.readers.entry(name.to_owned());
        Ok((read, readers.or_insert_with(|| watch::channel(()).0).subscribe()))
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
