//! What is asked of a queue, and what is said to it.

use isogrid_grid::replica::OpId;
use isogrid_grid::structure::queue::{QueueOptions, Receipt, Refusal};

/// A queue: one of [`KINDS`].
pub type Name = u8;
/// How many queues there are.
pub const KINDS: u8 = 5;

/// The name of a queue.
#[must_use]
pub fn name_of(queue: Name) -> String {
    format!("jobs{queue}")
}

/// What a queue is set to: a plain one, one whose messages die soon, one of which all are one group,
/// one for one consumer, and one that is full soon.
#[must_use]
pub fn options_of(queue: Name) -> QueueOptions {
    let plain = QueueOptions { visible: 2_000, ..QueueOptions::default() };
    match queue {
        0 => plain,
        1 => QueueOptions { visible: 300, attempts: 3, backoff: 20, ..plain },
        2 => QueueOptions { visible: 1_000, strict: true, ..plain },
        3 => QueueOptions { visible: 1_000, exclusive: true, ..plain },
        _ => QueueOptions { max_len: 12, ..plain },
    }
}

/// A message that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct New {
    /// What is in it: no other message has that, unless it is published once more under its id.
    pub body: u64,
    /// Whether it has an id, which is its body.
    pub dedup: bool,
    /// Its group; 0: none.
    pub group: u8,
    /// 0 to 9.
    pub priority: u8,
    /// It is not delivered before, ms.
    pub delay: u64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// To make the queue.
    Make,
    /// To take a message.
    Publish(New),
    /// So many messages at the most for this consumer, which waits so long, ms.
    Pull(u128, usize, u64),
    /// A message is done.
    Ack(Receipt),
    /// It is not.
    Nack(Receipt, Refusal),
    /// Its consumer has so long for it, ms.
    Extend(Receipt, u64),
    /// A consumer is gone.
    Leave(u128),
    /// Dead messages come back, so many at the most.
    Redrive(usize),
}

/// A request that has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Its number.
    pub number: u64,
    /// The queue.
    pub queue: Name,
    /// What is asked for.
    pub job: Job,
    /// Under what it may come again.
    pub id: Option<OpId>,
}

/// When something was executed: of two the later one is greater. An epoch has one primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp {
    /// In which epoch.
    pub epoch: u32,
    /// As the how manyeth there.
    pub turn: u64,
}

/// A message that is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// What its consumer says when it is done.
    pub receipt: Receipt,
    /// Which delivery it is since it was published or came back from the dead.
    pub attempt: u32,
    /// What is in it.
    pub body: u64,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is done.
    Done,
    /// The message is published, under this number.
    Published(u64),
    /// One of its id was published, under this number.
    Duplicate(u64),
    /// The queue takes no more.
    Full,
    /// These.
    Given(Vec<Handed>),
    /// The message is not there any more.
    Gone,
    /// The receipt is not the latest one.
    Stale,
    /// No message was ever delivered with it.
    NoReceipt,
    /// There is no such queue.
    Absent,
    /// Surely not done.
    Failed,
    /// Nobody here knows.
    Unknown,
}

impl Said {
    /// Whether nothing was done, and it may be when it is asked for again.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        matches!(self, Said::Failed)
    }

    /// What is kept of it, for who asks again: no messages are.
    #[must_use]
    pub fn encode(&self, stamp: Stamp) -> Vec<u8> {
        let (kind, id) = match self {
            Said::Done => (0, 0),
            Said::Published(id) => (1, *id),
            Said::Duplicate(id) => (2, *id),
            Said::Full => (3, 0),
            Said::Gone => (4, 0),
            Said::Stale => (5, 0),
            Said::NoReceipt => (6, 0),
            Said::Absent => (7, 0),
            Said::Given(_) | Said::Failed | Said::Unknown => (8, 0),
        };
        let numbers = [kind, id, stamp.epoch.into(), stamp.turn];
        numbers.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// What was kept, and when it was executed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> (Said, Stamp) {
        let mut numbers = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(0);
        let (kind, id, epoch, turn) = (next(), next(), next(), next());
        let said = match kind {
            0 => Said::Done,
            1 => Said::Published(id),
            2 => Said::Duplicate(id),
            3 => Said::Full,
            4 => Said::Gone,
            5 => Said::Stale,
            6 => Said::NoReceipt,
            7 => Said::Absent,
            _ => Said::Unknown,
        };
        (said, Stamp { epoch: u32::try_from(epoch).unwrap_or(0), turn })
    }
}
