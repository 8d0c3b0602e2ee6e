//! Group 0x03: counters. A change is answered when it is kept, and so is a value that is read: it
//! may be one that is not kept yet.

use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::counter::{CounterOp, CounterReply};
use isogrid_wire::native::counter::{
    AddManyReply, AddReply, CasReply, CounterValue, GetReply, IdBlockReply, Request, ResetReply,
    SetReply,
};
use isogrid_wire::native::{ErrorCode, List, Status};

use super::failure::Failure;
use super::reply::Reply;
use super::request::{At, Flow};
use super::session::Session;

/// Numbers of one block at the most.
const BLOCK_MAX: u32 = 1_000_000;
/// Ahead of the names of sequences: counters and sequences do not share names.
const SEQUENCE: &str = "\u{1}";

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn counter(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        at.object(Kind::Counters)?;
        if let Some(way) = self.structures_of_cluster() {
            return self.clustered_counter(&way, at, request);
        }
        self.window.wrote_to(self.node.structures_mode());
        match request {
            Request::AddMany(many) => {
                self.check_keys(many.deltas.len())?;
                let all: Vec<_> = many.deltas.iter().map(|one| (one.name, one.delta)).collect();
                self.add_many(&all, reply)?;
            }
            one => {
                let count = |op: CounterOp<'_>| Ok(self.node.structures.counters(self.now, op)?);
                answer(one, count, reply)?;
            }
        }
        Ok(Flow::Said)
    }

    fn add_many(&self, all: &[(&str, i64)], reply: &mut Reply<'_>) -> Result<(), Failure> {
        let answers = match self.node.structures.counters(self.now, CounterOp::AddMany { all })? {
            CounterReply::Many(answers) => answers,
            _ => Vec::new(),
        };
        let mut values = Vec::with_capacity(answers.len());
        for answer in answers {
            let status = match &answer {
                CounterReply::Bound { .. } => Status::NotStored,
                _ => Status::Ok,
            };
            // A name that cannot be one, or one counter too many: the others are added all the
            // same.
            let value =
                checked(answer).map(|answer| CounterValue { status, value: value_of(&answer) });
            values.push(value.unwrap_or(CounterValue { status: Status::NotStored, value: 0 }));
        }
        let done = values.iter().all(|value| value.status == Status::Ok);
        let values = List::of(&values);
        reply.say(&if done {
            AddManyReply::Ok { values }
        } else {
            AddManyReply::Partial { values }
        });
        Ok(())
    }
}

/// Answers a request for one counter by what `count` does.
///
/// # Errors
/// Why it was not done.
pub fn answer(
    request: &Request<'_>,
    count: impl FnOnce(CounterOp<'_>) -> Result<CounterReply, Failure>,
    reply: &mut Reply<'_>,
) -> Result<(), Failure> {
    let count = |op: CounterOp<'_>| checked(count(op)?);
    match *request {
        Request::Get(get) => reply.say(&match count(CounterOp::Get { name: get.name })? {
            CounterReply::Value(value) => GetReply::Ok { value },
            _ => GetReply::NotFound {},
        }),
        Request::Add(add) => {
            let op = CounterOp::Add { name: add.name, delta: add.delta };
            reply.say(&match count(op)? {
                CounterReply::Bound { value, bound } => AddReply::NotStored { value, bound },
                answer => AddReply::Ok { value: value_of(&answer) },
            });
        }
        Request::Set(set) => {
            let op = CounterOp::Set { name: set.name, value: set.value };
            reply.say(&SetReply::Ok { prev: value_of(&count(op)?) });
        }
        Request::Cas(cas) => {
            let op = CounterOp::Cas { name: cas.name, expected: cas.expect, value: cas.value };
            reply.say(&match count(op)? {
                CounterReply::Differs(value) => CasReply::VersionMismatch { value },
                answer => CasReply::Ok { value: value_of(&answer) },
            });
        }
        Request::Reset(reset) => {
            count(CounterOp::Reset { name: reset.name })?;
            reply.say(&ResetReply::Ok { value: 0 });
        }
        Request::IdBlock(block) => {
            if !(1..=BLOCK_MAX).contains(&block.n) {
                return Err(Failure::invalid(format!("`n` is 1 to {BLOCK_MAX}")));
            }
            let name = sequence(block.name);
            match count(CounterOp::IdBlock { name: &name, count: block.n })? {
                CounterReply::Block { first, step } => reply.say(&IdBlockReply::Ok { first, step }),
                _ => return Err(Failure::of(ErrorCode::OutOfRange)),
            }
        }
        Request::AddMany(_) => return Err(Failure::of(ErrorCode::Internal)),
    }
    Ok(())
}

/// The name of the counter that a sequence is.
pub fn sequence(name: &str) -> String {
    format!("{SEQUENCE}{name}")
}

/// The answers that are failures here.
fn checked(answer: CounterReply) -> Result<CounterReply, Failure> {
    match answer {
        CounterReply::Name => Err(Failure::invalid("a counter's name has 1 to 255 bytes")),
        CounterReply::Full { limit } => {
            let why = format!("there are {limit} counters, as many as there may be");
            Err(Failure::new(ErrorCode::QuotaExceeded, why).with("limit", limit.to_string()))
        }
        answer => Ok(answer),
    }
}

fn value_of(answer: &CounterReply) -> i64 {
    match answer {
        CounterReply::Value(value)
        | CounterReply::Differs(value)
        | CounterReply::Bound { value, .. } => *value,
        _ => 0,
    }
}
