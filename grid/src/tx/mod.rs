//! Transactions over segments, of one cache or of several: two phases, with a decision that is
//! recorded once (ADR 8).
//!
//! Each segment in which a transaction reads or writes takes part in it, and is its own judge: its
//! primary looks whether what was read is as it was, and puts an [`Intent`] into the segment's log,
//! which holds the keys until it is known how the transaction ends. When all have one, COMMIT is
//! recorded in the log of its *home*, one of the segments that it writes: the first decision that
//! is recorded there stands, whoever asks for it. Intents and decisions are operations of a log as
//! writes are, so all copies have them, and so does whoever takes over, is filled or restarts.
//!
//! | file | what |
//! |---|---|
//! | `ledger.rs` | what a segment knows of transactions: intents, decisions, and what is over |
//! | `coordinator.rs` | the two phases, as the member that was asked goes through them |
//! | `note.rs` | what of it stands in the log |
//!
//! A transaction that is a request which may come again (R34) is named by it in its decision, and
//! its answer is in the same record. So home has both or neither, whoever it is that asks: of all
//! transactions that were made of one request, the first that is decided is the only one.
//!
//! Who dies leaves nothing in doubt: an intent that has waited for [`PATIENCE_MS`] asks its home,
//! which records ABORT when it has nothing, so that a COMMIT that comes later is refused.

pub mod coordinator;
mod ledger;
mod note;

use isogrid_engine::Timestamp;

use crate::bytes::{Input, put_u64};
use crate::id::{GroupId, SegmentId};
use crate::replica::OpId;
use crate::replica::answers::Answer;

pub use self::coordinator::{Coordinator, Needs};
pub use self::ledger::{Deciding, Known, Ledger, Open, Preparing, Settling, Vote};
pub use self::note::{Note, Wanted, join, split};

/// How long an intent waits for its decision before its home is asked, and a COMMIT for those who
/// took part before they are told again, ms.
pub const PATIENCE_MS: u64 = 1_000;
/// How long after a transaction began its intents and its COMMIT are taken, by the clock of who
/// takes them, ms.
pub const TAKEN_MS: u64 = 30_000;
/// How long after that it is remembered how it ended, ms. Nothing of it is taken by then, whatever
/// is still on its way, also by a clock that was set back.
pub const REMEMBERED_MS: u64 = 30_000;
/// Bytes of the intents of a segment at most; more transactions are refused.
pub const INTENTS_BYTES: usize = 4 << 20;

/// Bytes of what a segment remembers of transactions that are over; beyond it forgets the oldest
/// sooner, and what comes of them then is answered by UNKNOWN, or by nothing being done.
pub const REMEMBERED_BYTES: usize = 512 << 10;

/// A segment that takes part in a transaction, and the group that it is of: each cache of a cluster
/// is a group of its own.
pub type Part = (GroupId, SegmentId);

/// A transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxId {
    /// When it began, by the clock of the member that was asked.
    pub begun: Timestamp,
    /// Its name, which nothing else ever has.
    pub name: OpId,
}

/// What a transaction does with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The key.
    pub key: Vec<u8>,
    /// The version that was read, 0 when there was no entry; `None`: it was not read.
    pub seen: Option<u64>,
    /// What is to be done to it, in the words of who keeps the entries; `None`: nothing.
    pub write: Option<Vec<u8>>,
}

/// What a transaction does in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Where its decision is recorded.
    pub home: Part,
    /// The version of what it writes here.
    pub version: u64,
    /// Its keys, each once.
    pub holds: Vec<Hold>,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// All of it is done.
    Commit,
    /// Nothing of it is.
    Abort,
}

/// What home says to who wants a decision of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// This one stands.
    Decided(Decision),
    /// Nothing of it is done: the request that it is was answered so before; `None` when nobody
    /// remembers how.
    Before(Answer),
}

impl TxId {
    /// Adds it to the end.
    pub fn encode(self, out: &mut Vec<u8>) {
        put_u64(out, self.begun);
        out.extend_from_slice(&self.name.client);
        put_u64(out, self.name.number);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (begun, client) = (input.u64()?, input.u128()?.to_le_bytes());
        Some(TxId { begun, name: OpId { client, number: input.u64()? } })
    }
}

impl Intent {
    /// Whether it writes anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.holds.iter().any(|hold| hold.write.is_some())
    }

    /// What it takes, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let one = |hold: &Hold| 64 + hold.key.len() + hold.write.as_ref().map_or(0, Vec::len);
        self.holds.iter().map(one).sum()
    }
}
