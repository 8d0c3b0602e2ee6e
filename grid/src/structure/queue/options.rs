//! What a queue is set to, and the bounds of what may be asked of it.

use isogrid_engine::Timestamp;

use crate::bytes::{Input, put_u8, put_u32, put_u64};

/// Longest id of a message that its publisher gives, and longest name of a group, in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Priorities are 0 to 9; 9 goes first.
pub const PRIORITY_MAX: u8 = 9;
/// Messages that are handed out at once, at the most (R86).
pub const BATCH_MAX: usize = 64;
/// For how long an id that a publisher gave is known, ms (R85).
pub const DEDUP_MS: u64 = 300_000;
/// How many of those are known, at the most.
pub const DEDUP_MAX: usize = 100_000;
/// Longest reason that is kept of why a delivery failed, in bytes.
pub const REASON_LEN_MAX: usize = 256;
/// Reasons that are kept of one message: the last ones.
pub const CAUSES_MAX: usize = 16;
/// The longest wait after a failed delivery that grows by itself, ms.
const BACKOFF_MAX_MS: u64 = 60_000;

/// What a queue is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOptions {
    /// Messages that it takes, dead ones included; more are refused. Default: 1,000,000.
    pub max_len: u64,
    /// Bytes of messages that it takes; more are refused. Default: 64 MiB.
    pub max_bytes: u64,
    /// How long who got a message has for it before others get it, ms. Default: 30,000.
    pub visible: u64,
    /// Deliveries of a message at the most; then it is dead. Default: 10.
    pub attempts: u32,
    /// How long a message waits after its first delivery was refused, ms; twice as long after each
    /// further one. Default: 100.
    pub backoff: u64,
    /// Whether dead messages are kept until somebody redrives or purges them. Default: yes.
    pub dead_letters: bool,
    /// Whether messages that name no group are one group: then all are delivered one by one, in
    /// order. Default: no.
    pub strict: bool,
    /// Whether one consumer gets all, as long as it is there. Default: no.
    pub exclusive: bool,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions {
            max_len: 1_000_000,
            max_bytes: 64 << 20,
            visible: 30_000,
            attempts: 10,
            backoff: 100,
            dead_letters: true,
            strict: false,
            exclusive: false,
        }
    }
}

impl QueueOptions {
    /// When a message comes again whose delivery of this number was refused at `now`.
    pub(super) fn again(&self, now: Timestamp, attempt: u32) -> Timestamp {
        let doubled = 1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        now.saturating_add(self.backoff.saturating_mul(doubled).min(BACKOFF_MAX_MS))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.max_len, self.max_bytes, self.visible, self.backoff] {
            put_u64(out, number);
        }
        put_u32(out, self.attempts);
        for switch in [self.dead_letters, self.strict, self.exclusive] {
            put_u8(out, switch.into());
        }
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (max_len, max_bytes) = (input.u64()?, input.u64()?);
        let (visible, backoff, attempts) = (input.u64()?, input.u64()?, input.u32()?);
        let (dead_letters, strict, exclusive) = (input.bool()?, input.bool()?, input.bool()?);
        let options =
            QueueOptions { max_len, max_bytes, visible, backoff, attempts, ..Self::default() };
        Some(QueueOptions { dead_letters, strict, exclusive, ..options })
    }
}
