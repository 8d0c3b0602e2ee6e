//! Named counters: 64-bit numbers with a sign. One that nobody set is 0.

use std::collections::BTreeMap;

use isogrid_engine::Timestamp;

use super::Structure;
use crate::bytes::{Input, put_bytes, put_count, put_u64};

/// Longest name in bytes.
pub const NAME_LEN_MAX: usize = 255;

/// What can be asked.
#[derive(Debug, Clone, Copy)]
pub enum CounterOp<'a> {
    /// The value.
    Get {
        /// The counter.
        name: &'a str,
    },
    /// Adds, unless the sum does not fit into 64 bits.
    Add {
        /// The counter.
        name: &'a str,
        /// By how much.
        delta: i64,
    },
    /// Sets the value.
    Set {
        /// The counter.
        name: &'a str,
        /// The new value.
        value: i64,
    },
    /// Sets the value if it is the expected one.
    Cas {
        /// The counter.
        name: &'a str,
        /// What it must be; 0 also holds for a counter that is not there.
        expected: i64,
        /// The new value.
        value: i64,
    },
    /// Forgets the counter.
    Reset {
        /// The counter.
        name: &'a str,
    },
    /// Adds to many, each by itself: one that does not fit keeps none of the others from it.
    AddMany {
        /// Counters and by how much.
        all: &'a [(&'a str, i64)],
    },
    /// Takes so many numbers that nobody else gets, as long as the counter only goes up.
    IdBlock {
        /// The counter; it stands at the last number taken.
        name: &'a str,
        /// How many.
        count: u32,
    },
}

impl<'a> CounterOp<'a> {
    /// The counter that it is about; `None` when it is about many.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        match *self {
            CounterOp::Get { name }
            | CounterOp::Add { name, .. }
            | CounterOp::Set { name, .. }
            | CounterOp::Cas { name, .. }
            | CounterOp::Reset { name }
            | CounterOp::IdBlock { name, .. } => Some(name),
            CounterOp::AddMany { .. } => None,
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterReply {
    /// The value: after an addition or a comparison, before a set or a reset.
    Value(i64),
    /// The counter is not there; its value counts as 0.
    Absent,
    /// The sum does not fit: the value is still this, the bound that it would have passed that.
    Bound {
        /// The value.
        value: i64,
        /// `i64::MIN` or `i64::MAX`.
        bound: i64,
    },
    /// The value is not the expected one but this.
    Differs(i64),
    /// One answer for each, in order.
    Many(Vec<CounterReply>),
    /// Numbers from `first` on, `step` apart.
    Block {
        /// The first.
        first: u64,
        /// From one to the next.
        step: u32,
    },
    /// There are as many counters as there may be.
    Full {
        /// The limit.
        limit: usize,
    },
    /// The name is empty or too long.
    Name,
}

/// A record that has changed, to be kept ahead of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The counter.
    pub name: String,
    /// Its value before, to be put back when the change cannot be kept.
    pub before: Option<i64>,
    /// Its value now.
    pub after: Option<i64>,
}

/// The counters of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    values: BTreeMap<String, i64>,
    limit: usize,
}

impl Default for Counters {
    fn default() -> Self {
        Counters::with_limit(100_000)
    }
}

impl Counters {
    /// None yet, and at most so many. The default is 100,000.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Counters { values: BTreeMap::new(), limit }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Puts a value in its place: from where it is kept, or back.
    pub fn put_back(&mut self, name: &str, value: Option<i64>) {
        match value {
            Some(value) => drop(self.values.insert(name.to_owned(), value)),
            None => drop(self.values.remove(name)),
        }
    }

    fn change(
        &mut self,
        name: &str,
        out: &mut Vec<Kept>,
        decide: impl FnOnce(i64) -> (CounterReply, Option<i64>),
    ) -> CounterReply {
        if !(1..=NAME_LEN_MAX).contains(&name.len()) {
            return CounterReply::Name;
        }
        let before = self.values.get(name).copied();
        if before.is_none() && self.values.len() >= self.limit {
            return CounterReply::Full { limit: self.limit };
        }
        let (reply, after) = decide(before.unwrap_or(0));
        if after.is_some() && after != before {
            self.put_back(name, after);
            out.push(Kept { name: name.to_owned(), before, after });
        }
        reply
    }

    fn add(&mut self, name: &str, delta: i64, out: &mut Vec<Kept>) -> CounterReply {
        self.change(name, out, |value| match value.checked_add(delta) {
            Some(sum) => (CounterReply::Value(sum), Some(sum)),
            None => {
                let bound = if delta < 0 { i64::MIN } else { i64::MAX };
                (CounterReply::Bound { value, bound }, None)
            }
        })
    }

    fn reset(&mut self, name: &str, out: &mut Vec<Kept>) -> CounterReply {
        let Some(before) = self.values.remove(name) else { return CounterReply::Absent };
        out.push(Kept { name: name.to_owned(), before: Some(before), after: None });
        CounterReply::Value(before)
    }

    fn id_block(&mut self, name: &str, count: u32, out: &mut Vec<Kept>) -> CounterReply {
        self.change(name, out, |value| {
            let last = value.max(0).checked_add(i64::from(count));
            let first = u64::try_from(value.max(0)).unwrap_or(0) + 1;
            match last {
                Some(last) => (CounterReply::Block { first, step: 1 }, Some(last)),
                None => (CounterReply::Bound { value, bound: i64::MAX }, None),
            }
        })
    }
}

impl Structure for Counters {
    type Op<'a> = CounterOp<'a>;
    type Reply = CounterReply;
    type Effect = Kept;

    fn apply(&mut self, _: Timestamp, op: CounterOp<'_>, out: &mut Vec<Kept>) -> CounterReply {
        match op {
            CounterOp::Get { name } => {
                let value = self.values.get(name);
                value.map_or(CounterReply::Absent, |value| CounterReply::Value(*value))
            }
            CounterOp::Add { name, delta } => self.add(name, delta, out),
            CounterOp::Set { name, value } => {
                self.change(name, out, |before| (CounterReply::Value(before), Some(value)))
            }
            CounterOp::Cas { name, expected, value } => self.change(name, out, |before| {
                if before == expected {
                    (CounterReply::Value(value), Some(value))
                } else {
                    (CounterReply::Differs(before), None)
                }
            }),
            CounterOp::Reset { name } => self.reset(name, out),
            CounterOp::AddMany { all } => {
                let replies = all.iter().map(|(name, delta)| self.add(name, *delta, out));
                CounterReply::Many(replies.collect())
            }
            CounterOp::IdBlock { name, count } => self.id_block(name, count, out),
        }
    }

    fn advance(&mut self, _: Timestamp, _: &mut Vec<Kept>) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, self.limit);
        put_count(&mut out, self.values.len());
        for (name, value) in &self.values {
            put_bytes(&mut out, name.as_bytes());
            put_u64(&mut out, value.cast_unsigned());
        }
        out
    }

    fn restore(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let limit = usize::try_from(input.u64()?).ok()?;
        let all = input.many(|input| {
            let name = String::from_utf8(input.bytes()?.to_vec()).ok()?;
            Some((name, input.u64()?.cast_signed()))
        })?;
        let values = all.into_iter().collect();
        input.is_empty().then_some(Counters { values, limit })
    }
}

#[cfg(test)]
mod tests;
