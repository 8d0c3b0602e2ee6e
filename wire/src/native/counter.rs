//! Group 0x03: counters.

use super::declare::{group, record};
use super::list::List;
use super::status::Status;

record! {
    /// What to add to one counter of many.
    CounterDelta<'a> {
        /// Its name.
        name: &'a str,
        /// Added; may be negative.
        delta: i64,
    }
}

record! {
    /// What became of one counter of many.
    CounterValue {
        /// OK or NOT_STORED (it would have left its bounds).
        status: Status,
        /// Its value.
        value: i64,
    }
}

group! {
    /// Counters of 64 bits with a sign. The object is a space of counters, in which each has a
    /// name of 1 to `max_key` bytes. A counter that was never written has the space's initial
    /// value.
    0x03 "counter";
    reserved {}

    /// Reads a counter.
    0x0301 GET Get<'a> (Read, Read, name) {
        /// Its name.
        name: &'a str,
    } => GetReply {
        /// It was written before.
        Ok {
            /// Its value.
            value: i64,
        }
        /// It was not.
        NotFound {}
    }

    /// Adds.
    0x0302 ADD Add<'a> (Dedup, Write, name) {
        /// Its name.
        name: &'a str,
        /// Added; may be negative.
        delta: i64,
    } => AddReply {
        /// Added.
        Ok {
            /// The new value.
            value: i64,
        }
        /// It would leave its bounds: it stays as it is.
        NotStored {
            /// The value.
            value: i64,
            /// The bound that it would cross.
            bound: i64,
        }
    }

    /// Sets.
    0x0303 SET Set<'a> (Idempotent, Write, name) {
        /// Its name.
        name: &'a str,
        /// The new value; outside of the bounds it is `OUT_OF_RANGE`.
        value: i64,
    } => SetReply {
        /// Set.
        Ok {
            /// The value before.
            prev: i64,
        }
    }

    /// Sets, if the value is as expected.
    0x0304 CAS Cas<'a> (Dedup, Write, name) {
        /// Its name.
        name: &'a str,
        /// The value expected.
        expect: i64,
        /// The new value; outside of the bounds it is `OUT_OF_RANGE`.
        value: i64,
    } => CasReply {
        /// Set.
        Ok {
            /// The new value.
            value: i64,
        }
        /// It has another value.
        VersionMismatch {
            /// The value.
            value: i64,
        }
    }

    /// Sets to the space's initial value.
    0x0305 RESET Reset<'a> (Idempotent, Write, name) {
        /// Its name.
        name: &'a str,
    } => ResetReply {
        /// Set.
        Ok {
            /// The value now.
            value: i64,
        }
    }

    /// Adds to many counters, each on its own.
    0x0306 ADD_MANY AddMany<'a> (Dedup, Write, deltas) {
        /// Names and what to add: at most `max_keys`.
        deltas: List<'a, CounterDelta<'a>>,
    } => AddManyReply<'a> {
        /// All are added.
        Ok {
            /// One a counter, in the order of the request.
            values: List<'a, CounterValue>,
        }
        /// Some would have left their bounds.
        Partial {
            /// One a counter, in the order of the request.
            values: List<'a, CounterValue>,
        }
    }

    /// Takes numbers that nobody else is ever given: first, first + step, .., n of them.
    0x0310 ID_BLOCK IdBlock<'a> (Dedup, Write, name) {
        /// The name of the sequence. Sequences and counters do not share names.
        name: &'a str,
        /// How many: 1 to 1,000,000.
        n: u32,
    } => IdBlockReply {
        /// They are the caller's.
        Ok {
            /// The first one.
            first: u64,
            /// From one to the next.
            step: u32,
        }
    }
}
