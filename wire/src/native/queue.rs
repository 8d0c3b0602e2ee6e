//! Group 0x05: queues and topics.

use super::blob::{Json, Value};
use super::codec::Ms;
use super::declare::{choices, group, record};
use super::list::List;
use super::status::Status;

choices! {
    /// When a message counts as published. As much as queues always do may be done.
    PublishAck {
        /// When all copies in sync have it, and the disk where the queue is kept on one.
        0 Default "DEFAULT",
        /// When the primary has it.
        1 Owner "OWNER",
        /// When more than half of the copies have it.
        2 Majority "MAJORITY",
        /// When all copies have it.
        3 All "ALL",
    }
}

choices! {
    /// Which consumers get a message.
    ConsumeMode {
        /// One of them.
        0 Competing "COMPETING",
        /// Each: that is READ, of a topic.
        1 Broadcast "BROADCAST",
    }
}

choices! {
    /// When a message is done.
    ConsumeAck {
        /// When its consumer says so with ACK.
        0 Explicit "EXPLICIT",
        /// When it is sent: it is delivered at most once.
        1 Auto "AUTO",
    }
}

choices! {
    /// What becomes of a message that is refused.
    Refusal {
        /// It comes again; after its last attempt it is dead.
        0 Requeue "REQUEUE",
        /// It is dead.
        1 DeadLetter "DEAD_LETTER",
        /// It is removed.
        2 Drop "DROP",
    }
}

choices! {
    /// Which messages.
    MessageState {
        /// All of them.
        0 Any "ANY",
        /// Those that wait for a consumer.
        1 Ready "READY",
        /// Those that wait for their time.
        2 Delayed "DELAYED",
        /// Those that a consumer has.
        3 InFlight "IN_FLIGHT",
        /// Those that were delivered in vain too often.
        4 Dead "DEAD",
    }
}

choices! {
    /// Where reading begins.
    ReadFrom {
        /// With what is published from now on.
        0 New "NEW",
        /// With the oldest message that there is.
        1 First "FIRST",
        /// With the message of this id, or the next one.
        2 Position "POSITION",
        /// With what was published at this time or later.
        3 Time "TIME",
    }
}

record! {
    /// What is said of a message beside its body.
    MessageHeader<'a> {
        /// Its name.
        name: &'a str,
        /// What it says.
        value: &'a str,
    }
}

record! {
    /// What a message carries: at most 64 headers, and all of it at most `max_value` bytes.
    Content<'a> {
        /// What is said of the body.
        headers: List<'a, MessageHeader<'a>>,
        /// The body.
        body: Value<'a>,
    }
}

record! {
    /// A message to be published.
    NewMessage<'a> {
        /// An id of the publisher's, 1 to 255 bytes: a second message of it within five minutes, or
        /// 100,000 such ids, is a duplicate.
        dedup: Option<&'a [u8]>,
        /// Messages of one group, 1 to 255 bytes, are delivered one by one, in order.
        group: Option<&'a [u8]>,
        /// It is delivered in so long at the earliest.
        delay: Ms,
        /// It is delivered for so long; 0: for ever.
        ttl: Ms,
        /// 0 to 9; 9 goes first.
        priority: u8,
        /// What it carries.
        content: Content<'a>,
    }
}

record! {
    /// What became of one message of many.
    PublishedMessage {
        /// OK, or NOT_STORED: with an id it is a duplicate, without one the queue is full.
        status: Status,
        /// Its id, above those of all before; that of the first one for a duplicate, 0 for none.
        id: u64,
    }
}

record! {
    /// A message that is handed out.
    Delivery<'a> {
        /// What ACK, NACK and EXTEND are told, on any connection. It has no meaning to a client.
        receipt: &'a [u8],
        /// Its id.
        id: u64,
        /// Its how manyeth delivery this is, from 1; counted anew when it was redriven.
        attempt: u16,
        /// When it was published, ms since 1970.
        published_ms: u64,
        /// What it carries.
        content: Content<'a>,
    }
}

record! {
    /// A delivery that is refused.
    RefusedDelivery<'a> {
        /// Which.
        receipt: &'a [u8],
        /// With REQUEUE: it comes again in so long; 0: as the queue's backoff says.
        delay: Ms,
        /// What becomes of the message.
        refusal: Refusal,
        /// Why: kept with the message, the first 256 bytes.
        reason: &'a str,
    }
}

record! {
    /// Why a delivery was in vain.
    FailedDelivery<'a> {
        /// Which one, from 1.
        attempt: u16,
        /// When, ms since 1970.
        at_ms: u64,
        /// What its consumer said, or what became of it.
        reason: &'a str,
    }
}

record! {
    /// A message as it is shown.
    ShownMessage<'a> {
        /// Its id.
        id: u64,
        /// How it stands: never ANY.
        state: MessageState,
        /// How often it was delivered.
        attempts: u16,
        /// 0 to 9.
        priority: u8,
        /// Its group.
        group: Option<&'a [u8]>,
        /// When it was published, ms since 1970.
        published_ms: u64,
        /// Why deliveries were in vain; the last 16.
        causes: List<'a, FailedDelivery<'a>>,
        /// What it carries.
        content: Content<'a>,
    }
}

record! {
    /// A message of a topic.
    LogMessage<'a> {
        /// Its id, which is its position.
        id: u64,
        /// When it was published, ms since 1970.
        published_ms: u64,
        /// What it carries.
        content: Content<'a>,
    }
}

group! {
    /// Queues and topics. The object is a queue. A message is delivered to one consumer, which says with the
    /// receipt of the delivery when it is done; until then it comes again, and after so many
    /// deliveries in vain it is dead, which is where REDRIVE finds it. Delivered means at least once;
    /// what was acknowledged with OK is never delivered again.
    ///
    /// A topic keeps its messages until its retention takes them. PUBLISH, READ, BROWSE, PURGE and STATS
    /// are for topics too. A group of consumers of the topic `news` is the queue `news/NAME`, which gets
    /// each message of the topic; all but PUBLISH is for it.
    0x05 "queue";
    reserved {}

    /// Publishes messages, each on its own.
    0x0501 PUBLISH Publish<'a> (Dedup, Write, none) {
        /// When they count as published.
        ack: PublishAck,
        /// The messages: at most `max_keys`.
        messages: List<'a, NewMessage<'a>>,
    } => PublishReply<'a> {
        /// All are published, or were before.
        Ok {
            /// One a message, in the order of the request.
            results: List<'a, PublishedMessage>,
        }
        /// The queue is full: some are not. If none is, that is `QUOTA_EXCEEDED`.
        Partial {
            /// One a message, in the order of the request.
            results: List<'a, PublishedMessage>,
        }
    }

    /// Delivers messages as credit allows. A consumer that adds credit as it acknowledges never has
    /// more messages than the credit that it began with. What it has comes again at once when the
    /// stream or its connection ends.
    0x0502 CONSUME Consume<'a> (Stream, Write, none) {
        /// Empty: a group of a topic is a queue of its own.
        group: &'a str,
        /// The consumer's name, for people.
        consumer: &'a str,
        /// COMPETING, of a queue.
        mode: ConsumeMode,
        /// When a message is done.
        ack: ConsumeAck,
        /// A message comes again when it was not done in so many milliseconds; 0: as the queue says.
        ack_wait_ms: u32,
        /// How many messages may be sent before CREDIT comes.
        credit: u32,
    } => ConsumeReply {
        /// The queue was dropped.
        Ended {}
    }
    items Delivery<'a>;

    /// Messages are done. One that was removed before is done too.
    0x0503 ACK Ack<'a> (Idempotent, Write, none) {
        /// The receipts of their deliveries: at most `max_keys`.
        receipts: List<'a, &'a [u8]>,
    } => AckReply<'a> {
        /// All are.
        Ok {
            /// One a receipt, in the order of the request.
            results: List<'a, Status>,
        }
        /// Some are not: VERSION_MISMATCH is a message that was delivered again or is dead, NOT_FOUND
        /// a receipt that was never given. If all are of the first kind, that is `STALE_RECEIPT`.
        Partial {
            /// One a receipt, in the order of the request.
            results: List<'a, Status>,
        }
    }

    /// Refuses deliveries.
    0x0504 NACK Nack<'a> (Idempotent, Write, none) {
        /// Which ones, and what becomes of their messages: at most `max_keys`.
        deliveries: List<'a, RefusedDelivery<'a>>,
    } => NackReply<'a> {
        /// All are refused.
        Ok {
            /// One a delivery, in the order of the request.
            results: List<'a, Status>,
        }
        /// Some are not; as in ACK.
        Partial {
            /// One a delivery, in the order of the request.
            results: List<'a, Status>,
        }
    }

    /// Gives consumers more time.
    0x0505 EXTEND Extend<'a> (Idempotent, Write, none) {
        /// The receipts of deliveries: at most `max_keys`.
        receipts: List<'a, &'a [u8]>,
        /// So long from now, up to 12 hours.
        wait: Ms,
    } => ExtendReply<'a> {
        /// All have it.
        Ok {
            /// One a receipt, in the order of the request.
            results: List<'a, Status>,
        }
        /// Some have not; as in ACK. A message whose time was over is one of those.
        Partial {
            /// One a receipt, in the order of the request.
            results: List<'a, Status>,
        }
    }

    /// Delivers messages, and waits for one if there is none.
    0x0506 PULL Pull<'a> (Dedup, Write, none) {
        /// Empty, as in CONSUME.
        group: &'a str,
        /// How many at the most: 1 to 64.
        n: u16,
        /// How long to wait; 0: not at all.
        wait: Ms,
    } => PullReply<'a> {
        /// Those that there are; none, if it has waited long enough.
        Ok {
            /// In their order.
            deliveries: List<'a, Delivery<'a>>,
        }
    }

    /// Shows messages in the order of their ids, and changes nothing.
    0x0507 BROWSE Browse<'a> (Read, Read, none) {
        /// Goes on behind what this cursor came with. It is of no meaning to a client.
        cursor: Option<&'a [u8]>,
        /// How many at the most: 1 to 256.
        n: u16,
        /// Which.
        state: MessageState,
    } => BrowseReply<'a> {
        /// Some of them.
        Ok {
            /// The messages.
            messages: List<'a, ShownMessage<'a>>,
            /// There are more.
            cursor: Option<&'a [u8]>,
        }
    }

    /// Removes messages, but none that a consumer has. A group passes over them.
    0x0508 PURGE Purge (Idempotent, Admin, none) {
        /// Which.
        state: MessageState,
    } => PurgeReply {
        /// Gone.
        Ok {
            /// How many.
            count: u64,
        }
    }

    /// What there is, and what went through since the queue is served where it is.
    0x0509 STATS Stats (Read, Read, none) {} => StatsReply<'a> {
        /// Counts.
        Ok {
            /// `ready`, `delayed`, `in_flight`, `dead`, `bytes`, `waiting`, `published`, `duplicates`,
            /// `refused`, `delivered`, `redelivered`, `acked`, `nacked`, `timed_out`, `expired`, `died`,
            /// `redriven`, `stale`, `lost`. Of a topic `ready` is what it keeps, and `lost` what its
            /// retention took; of a group `lost` is what was taken before it was done.
            stats: Json<'a>,
        }
    }

    /// Brings dead messages back, the oldest first, with all their attempts.
    0x050a REDRIVE Redrive (Idempotent, Write, none) {
        /// How many at the most; 0: all.
        n: u32,
    } => RedriveReply {
        /// They are ready.
        Ok {
            /// How many.
            count: u64,
        }
    }

    /// Reads messages of a topic in their order, and waits for one if there is none. Nothing is changed
    /// by it, and the server knows nothing of who reads: who reads on says `next`. A position that the
    /// topic has not come to is `OUT_OF_RANGE`.
    0x050b READ Read (Read, Read, none) {
        /// Where.
        from: ReadFrom,
        /// With POSITION an id, with TIME ms since 1970, else 0.
        at: u64,
        /// How many at the most: 1 to 64.
        n: u16,
        /// How long to wait; 0: not at all.
        wait: Ms,
    } => ReadReply<'a> {
        /// Those that there are; none, if it has waited long enough.
        Ok {
            /// So many from the position on were taken by retention before they were read here. It is
            /// exact if the topic was served by one member all along, else it is at the most that.
            lost: u64,
            /// The position to read on from.
            next: u64,
            /// In their order.
            messages: List<'a, LogMessage<'a>>,
        }
    }
}
