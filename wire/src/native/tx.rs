//! Group 0x02: transactions.

use super::blob::{Key, Value};
use super::declare::{choices, group, record};
use super::list::List;
use super::options::WriteOptions;
use super::sub::{SubReply, SubRequest};

choices! {
    /// What a transaction is protected from.
    Isolation {
        /// It reads from one moment; of two that write one key the first to commit wins.
        0 Snapshot "SNAPSHOT",
        /// As if transactions ran one after the other: what it read is checked too.
        1 Serializable "SERIALIZABLE",
    }
}

choices! {
    /// What is compared.
    CompareOp {
        /// The entry is there.
        0 Exists "EXISTS",
        /// It is not.
        1 Absent "ABSENT",
        /// It has this version; 0: it is absent.
        2 VersionIs "VERSION_IS",
        /// It has another version than this one.
        3 VersionIsNot "VERSION_IS_NOT",
        /// It has this value.
        4 ValueIs "VALUE_IS",
        /// It has another value, or is absent.
        5 ValueIsNot "VALUE_IS_NOT",
    }
}

record! {
    /// A condition on one entry.
    Compare<'a> {
        /// The cache.
        object: u32,
        /// The entry.
        key: Key<'a>,
        /// What is compared.
        what: CompareOp,
        /// With VERSION_IS and VERSION_IS_NOT; else 0.
        version: u64,
        /// With VALUE_IS and VALUE_IS_NOT; else empty.
        value: Value<'a>,
    }
}

record! {
    /// An entry that was read, and the version that it had then.
    ReadVersion<'a> {
        /// The cache.
        object: u32,
        /// The entry.
        key: Key<'a>,
        /// The version; 0: it was absent.
        version: u64,
    }
}

choices! {
    /// What is done to an entry.
    WriteOp {
        /// It gets the value.
        0 Put "PUT",
        /// It is removed.
        1 Remove "REMOVE",
        /// It gets new lifetimes.
        2 Touch "TOUCH",
    }
}

record! {
    /// A write of a transaction.
    TxWrite<'a> {
        /// The cache.
        object: u32,
        /// The entry.
        key: Key<'a>,
        /// What is done.
        op: WriteOp,
        /// With PUT; else empty.
        value: Value<'a>,
        /// Lifetimes and flags. Conditions are refused: they belong to the reads.
        write: WriteOptions,
    }
}

record! {
    /// An entry that is not as the transaction saw it.
    Conflict<'a> {
        /// The cache.
        object: u32,
        /// The entry.
        key: Key<'a>,
        /// The version that is there; 0 if none is, or if it is being written.
        version: u64,
    }
}

choices! {
    /// How a transaction stands.
    TxState {
        /// Nothing is known of it: it ended long ago, or never was.
        0 Unknown "UNKNOWN",
        /// It is open.
        1 Active "ACTIVE",
        /// All of it is in force.
        2 Committed "COMMITTED",
        /// Nothing of it is.
        3 Aborted "ABORTED",
    }
}

group! {
    /// Transactions: all or nothing, over up to 16 caches, of the node alone or of its cluster. The object of these requests is 0; the caches are in the body. GET, PUT, REMOVE, TOUCH, GET_TOUCH, INCR,
    /// APPEND, PREPEND, MAP_GET and MAP_UPDATE of group 0x01 join a transaction by the extension `tx`; the version of
    /// what it has written itself is 0 until it is committed.
    0x02 "tx";
    reserved {}

    /// Checks conditions and executes one of two lists of requests, at one moment.
    0x0201 EXEC Exec<'a> (Dedup, Inner, none) {
        /// All must hold for `then` to be executed; none: it is.
        compare: List<'a, Compare<'a>>,
        /// GET, PUT, REMOVE, TOUCH, GET_TOUCH, INCR, APPEND, PREPEND, MAP_GET and MAP_UPDATE of
        /// group 0x01.
        then: List<'a, SubRequest<'a>>,
        /// The same, for when a condition does not hold.
        otherwise: List<'a, SubRequest<'a>>,
    } => ExecReply<'a> {
        /// Executed.
        Ok {
            /// Whether the conditions held.
            held: bool,
            /// One a request of the list that was executed, in its order.
            replies: List<'a, SubReply<'a>>,
        }
        /// One of the requests was not done, and so none is: its answer is the last.
        Partial {
            /// Whether the conditions held.
            held: bool,
            /// One a request, up to the one that was not done.
            replies: List<'a, SubReply<'a>>,
        }
    }

    /// Commits a transaction that the client has kept to itself: if all that it read is as it was,
    /// all that it writes is written.
    0x0202 COMMIT_OCC CommitOcc<'a> (Dedup, Inner, none) {
        /// What was read, once each.
        reads: List<'a, ReadVersion<'a>>,
        /// What is written, one write an entry.
        writes: List<'a, TxWrite<'a>>,
    } => CommitOccReply<'a> {
        /// It is in force.
        Ok {
            /// The version of each write, in their order; 0 for one that removed.
            versions: List<'a, u64>,
        }
        /// Nothing of it is.
        VersionMismatch {
            /// Entries that are not as they were read.
            conflicts: List<'a, Conflict<'a>>,
        }
    }

    /// Begins a transaction that the server keeps. It belongs to this connection, and reads from
    /// the moment of its first request. The first request for another cache moves it on to a later
    /// moment, if all that was read is the same there; else that request is refused with
    /// `TX_CONFLICT`, not to be tried again, and the transaction goes on without it.
    0x0203 BEGIN Begin (Idempotent, None, none) {
        /// What it is protected from.
        isolation: Isolation,
        /// After this time without a request it is rolled back; 0: 30 seconds; at most 10
        /// minutes.
        idle_ms: u32,
    } => BeginReply {
        /// It is open.
        Ok {
            /// Its number, for the extension `tx`.
            tx: u64,
        }
    }

    /// Commits.
    0x0204 COMMIT Commit (Idempotent, None, none) {
        /// The transaction.
        tx: u64,
    } => CommitReply<'a> {
        /// It is in force.
        Ok {}
        /// Somebody else was first, and nothing of it is in force. It has ended.
        VersionMismatch {
            /// Entries that are not as they were.
            conflicts: List<'a, Conflict<'a>>,
        }
    }

    /// Rolls back.
    0x0205 ROLLBACK Rollback (Idempotent, None, none) {
        /// The transaction.
        tx: u64,
    } => RollbackReply {
        /// Nothing of it is in force.
        Ok {}
    }

    /// How a transaction ended, for a client whose connection broke while it was committing. In a
    /// cluster any node says so; UNKNOWN where nothing of it had left the node that was asked to
    /// commit, or it is a minute ago.
    0x0206 STATUS TxStatus (Read, None, none) {
        /// The transaction.
        tx: u64,
    } => TxStatusReply {
        /// Always.
        Ok {
            /// How it stands.
            state: TxState,
        }
    }
}
