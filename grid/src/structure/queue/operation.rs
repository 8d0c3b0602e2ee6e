//! What can be asked of a queue, and what is answered.

use isogrid_engine::Timestamp;

use super::message::{Head, State};

/// Which messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that wait for a consumer.
    Ready,
    /// Those that wait for their time.
    Delayed,
    /// Those that somebody has.
    InFlight,
    /// Those that were delivered in vain too often.
    Dead,
}

/// Which delivery of a message somebody has. Whoever got a later one has the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    /// The message.
    pub id: u64,
    /// Its how manyeth delivery, those before it was dead included.
    pub attempt: u32,
}

/// What a message is published with. Times are in ms from now.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewMessage<'a> {
    /// An id of the publisher's: within the window a second message of it is none.
    pub dedup: Option<&'a [u8]>,
    /// Messages of one group are delivered one by one, in order.
    pub group: Option<&'a [u8]>,
    /// It is not delivered before.
    pub delay: u64,
    /// It is delivered so long; 0: for ever.
    pub ttl: u64,
    /// 0 to 9; 9 goes first.
    pub priority: u8,
    /// Bytes of its headers and body.
    pub len: u32,
}

/// Who asks for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Puller {
    /// Its name; all that it has goes back when it leaves.
    pub consumer: u128,
    /// How many it takes at the most; [`BATCH_MAX`](super::BATCH_MAX) is the most that it gets.
    pub most: usize,
    /// How long it has for them, ms; 0: as the queue says.
    pub visible: u64,
    /// What it gets is done with.
    pub auto: bool,
    /// The ticket with which it waited long enough a moment ago: it has its place again. 0: it asks
    /// behind all others.
    pub place: u64,
}

/// What becomes of a message that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It comes again in so many ms, 0: when its backoff is over; after its last attempt it is dead.
    Requeue(u64),
    /// It is dead.
    Dead,
    /// It is removed.
    Drop,
}

/// What can be asked.
#[derive(Debug, Clone, Copy)]
pub enum QueueOp<'a> {
    /// Takes a message. It is dealt with the next operation, when its bytes are kept.
    Publish(NewMessage<'a>),
    /// Takes the message back that was published last: its bytes could not be kept.
    Retract {
        /// It.
        id: u64,
    },
    /// Gives messages to those who wait.
    Deal,
    /// Asks for messages, and waits for some.
    Pull {
        /// Who.
        puller: Puller,
        /// How long, ms; 0: not at all.
        wait: u64,
    },
    /// Waits no more.
    Cancel {
        /// The ticket.
        ticket: u64,
    },
    /// A consumer is gone: what it has goes back.
    Leave {
        /// Its name.
        consumer: u128,
    },
    /// A message is done.
    Ack(Receipt),
    /// A message is refused.
    Nack {
        /// Which.
        receipt: Receipt,
        /// What becomes of it.
        refusal: Refusal,
        /// Why.
        reason: &'a str,
    },
    /// Its consumer has this long from now, ms.
    Extend {
        /// Which.
        receipt: Receipt,
        /// How long.
        visible: u64,
    },
    /// Shows messages behind an id, and changes nothing.
    Browse {
        /// Behind this one; 0: from the first on.
        behind: u64,
        /// How many at the most.
        most: usize,
        /// Which.
        which: Which,
    },
    /// Removes messages, but none that somebody has.
    Purge {
        /// Which.
        which: Which,
        /// How many at the most.
        most: usize,
    },
    /// Brings dead messages back.
    Redrive {
        /// How many at the most.
        most: usize,
    },
    /// Counts.
    Stats,
}

/// A message that is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// What its consumer says when it is done.
    pub receipt: Receipt,
    /// Which delivery it is since it was published or came back from the dead.
    pub attempt: u32,
    /// When it was published.
    pub published: Timestamp,
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: u64,
    /// What was said when it was published.
    pub head: Head,
    /// What has become of it.
    pub state: State,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueReply {
    /// Published.
    Published {
        /// Its id: above all before.
        id: u64,
    },
    /// A message of the same id of its publisher's was published.
    Duplicate {
        /// Its id.
        id: u64,
    },
    /// The queue takes no more.
    Full {
        /// Of what: `messages` or `bytes`.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Messages.
    Deliveries(Vec<Delivery>),
    /// There are none; when there are, this ticket gets them.
    Waiting {
        /// The ticket.
        ticket: u64,
    },
    /// Done.
    Done,
    /// The message is not there any more: it is done, or was removed.
    Gone,
    /// The message was delivered again, or its time is over.
    Stale,
    /// No message was ever delivered with this receipt.
    Unknown,
    /// Messages that are shown, and whether there are more.
    Shown(Vec<Shown>, bool),
    /// So many.
    Count(usize),
    /// What there is.
    Stats(QueueStats),
    /// The request makes no sense.
    Invalid(&'static str),
}

/// Something is to be told: whoever waited with a ticket has messages, or has waited long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The ticket.
    pub ticket: u64,
    /// The messages; none: it has waited long enough.
    pub deliveries: Vec<Delivery>,
}

/// What there is in a queue now, and what went through it since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Messages that wait for a consumer, or for others of their group.
    pub ready: u64,
    /// Messages that wait for their time.
    pub delayed: u64,
    /// Messages that somebody has.
    pub in_flight: u64,
    /// Messages that were delivered in vain too often.
    pub dead: u64,
    /// What all of them cost, as the bound counts it.
    pub bytes: u64,
    /// Requests that wait for messages.
    pub waiting: u64,
    /// What went through.
    pub went: Went,
}

/// What went through a queue since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Went {
    /// Messages that were published.
    pub published: u64,
    /// Messages that were not, since they had been before.
    pub duplicates: u64,
    /// Messages that were refused for want of room.
    pub refused: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries that were not the first ones.
    pub redelivered: u64,
    /// Messages that were done.
    pub acked: u64,
    /// Deliveries that were refused.
    pub nacked: u64,
    /// Deliveries whose time was over.
    pub timed_out: u64,
    /// Messages whose lifespan was over.
    pub expired: u64,
    /// Messages that were delivered in vain too often.
    pub died: u64,
    /// Messages that came back from the dead.
    pub redriven: u64,
    /// Receipts that were not the latest ones.
    pub stale: u64,
    /// Messages that the retention of a topic took: of a group those that were not done.
    pub lost: u64,
}
