//! What data does: the cache over a table of the engine, and structures that are state machines.

pub mod cache;
pub mod counter;
mod gate;
pub mod lease;
pub mod lock;
mod number;
pub mod numbers;
pub mod queue;
pub mod session;
pub mod topic;

use isogrid_engine::Timestamp;

/// A state machine: the same operations at the same times give the same replies, effects and
/// snapshots, on every node. Time comes in as a number and never goes back; nothing here waits,
/// reads a clock or knows who asked.
///
/// What cannot be answered now is answered with a ticket, and a later operation, or the time, has
/// the effect that wakes it.
pub trait Structure: Sized {
    /// What can be asked of it.
    type Op<'a>;
    /// What it answers.
    type Reply;
    /// What has to be done for it beside answering.
    type Effect;

    /// Does one operation.
    fn apply(
        &mut self,
        now: Timestamp,
        op: Self::Op<'_>,
        out: &mut Vec<Self::Effect>,
    ) -> Self::Reply;

    /// Does what is due by time alone. Every operation does it first.
    fn advance(&mut self, now: Timestamp, out: &mut Vec<Self::Effect>);

    /// When something is due by time alone.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// The whole state as bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// The state of a snapshot; `None` when the bytes are none.
    fn restore(bytes: &[u8]) -> Option<Self>;
}
