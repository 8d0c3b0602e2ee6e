//! A message as a queue knows it: all but its bytes.

use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::options::{CAUSES_MAX, REASON_LEN_MAX};
use crate::bytes::{Input, put_bytes, put_many, put_option, put_u8, put_u32, put_u64};

/// What a message costs beside its bytes, as the bound of a queue counts it.
const OVERHEAD: u64 = 64;

/// What was said of a message when it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When it was published.
    pub published: Timestamp,
    /// It is not delivered before.
    pub due: Timestamp,
    /// It is not delivered from here on, unless it is in flight; 0: for ever.
    pub expires: Timestamp,
    /// 0 to 9; 9 goes first.
    pub priority: u8,
    /// Messages of one group are delivered one by one, in order.
    pub group: Option<Arc<[u8]>>,
    /// The id that its publisher gave.
    pub dedup: Option<Arc<[u8]>>,
    /// Bytes of its headers and body.
    pub len: u32,
}

impl Head {
    /// What it costs, as the bound of a queue counts it.
    #[must_use]
    pub fn cost(&self) -> u64 {
        let named = [&self.group, &self.dedup].into_iter().flatten();
        OVERHEAD + u64::from(self.len) + named.map(|name| name.len() as u64).sum::<u64>()
    }

    /// Whether its time is over.
    pub(in crate::structure) fn is_over(&self, now: Timestamp) -> bool {
        self.expires != 0 && self.expires <= now
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for time in [self.published, self.due, self.expires] {
            put_u64(out, time);
        }
        put_u8(out, self.priority);
        for name in [&self.group, &self.dedup] {
            put_option(out, name.as_deref(), put_bytes);
        }
        put_u32(out, self.len);
    }

    pub(in crate::structure) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (published, due, expires) = (input.u64()?, input.u64()?, input.u64()?);
        let priority = input.u8()?;
        let mut name = || match input.bool()? {
            true => Some(Some(Arc::from(input.bytes()?))),
            false => Some(None),
        };
        let (group, dedup) = (name()?, name()?);
        Some(Head { published, due, expires, priority, group, dedup, len: input.u32()? })
    }
}

/// Why a delivery did not end with an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Which delivery.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What its consumer said, or what became of it.
    pub reason: String,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// It can be delivered, once what is before it in its group is done.
    #[default]
    Ready,
    /// It is delivered from this time on.
    Delayed {
        /// When.
        until: Timestamp,
    },
    /// Somebody has it.
    InFlight {
        /// Until when.
        until: Timestamp,
        /// Who; 0 when another member was asked for it.
        consumer: u128,
    },
    /// It was delivered in vain too often.
    Dead {
        /// Since when.
        since: Timestamp,
    },
}

/// What has become of a message since it was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Where it stands.
    pub place: Place,
    /// How often it was delivered.
    pub attempts: u32,
    /// How often it had been when it was dead last and came back.
    pub before: u32,
    /// Why deliveries failed; the last ones.
    pub causes: Vec<Cause>,
}

const DELAYED: u8 = 1;
const IN_FLIGHT: u8 = 2;
const DEAD: u8 = 3;

impl State {
    /// Deliveries since it was dead last.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.attempts.saturating_sub(self.before)
    }

    /// Notes why the last delivery failed.
    pub(super) fn note(&mut self, at: Timestamp, reason: &str) {
        let end = reason.floor_char_boundary(REASON_LEN_MAX);
        let reason = reason.get(..end).unwrap_or_default().to_owned();
        if self.causes.len() >= CAUSES_MAX {
            self.causes.remove(0);
        }
        self.causes.push(Cause { attempt: self.tries(), at, reason });
    }

    /// Whether it is what every message begins as, and need not be kept.
    pub(super) fn is_new(&self) -> bool {
        self.attempts == 0
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (place, at) = match self.place {
            Place::Ready => (DELAYED, 0),
            Place::Delayed { until } => (DELAYED, until),
            Place::InFlight { until, .. } => (IN_FLIGHT, until),
            Place::Dead { since } => (DEAD, since),
        };
        put_u8(out, place);
        put_u64(out, at);
        put_u32(out, self.attempts);
        put_u32(out, self.before);
        put_many(out, self.causes.iter(), |out, cause| {
            put_u32(out, cause.attempt);
            put_u64(out, cause.at);
            put_bytes(out, cause.reason.as_bytes());
        });
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (place, at) = (input.u8()?, input.u64()?);
        let place = match place {
            DELAYED => Place::Delayed { until: at },
            IN_FLIGHT => Place::InFlight { until: at, consumer: 0 },
            DEAD => Place::Dead { since: at },
            _ => return None,
        };
        let (attempts, before) = (input.u32()?, input.u32()?);
        let causes = input.many(|input| {
            let (attempt, at) = (input.u32()?, input.u64()?);
            Some(Cause { attempt, at, reason: input.text()? })
        })?;
        Some(State { place, attempts, before, causes })
    }
}
