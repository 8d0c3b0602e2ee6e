//! G18, G19, G20, R85-R89: what was published is delivered or still there, once; what was acknowledged
//! is never delivered again; nothing is delivered that nobody published.
//!
//! Each answer says when it was executed, so answers may come in any order. What was executed before
//! the last declared loss (R29, R63) proves nothing any more: it may have been undone.

use std::collections::BTreeMap;

use isogrid_grid::structure::queue::Receipt;

use super::Lost;
use crate::sim::job::{Handed, Name, New, Stamp, options_of};

/// Whether what was executed then was not declared lost since.
fn holds(stamp: Stamp, lost: Lost) -> bool {
    u64::from(stamp.epoch) << 40 >= lost.any
}

/// Messages that are delivered first in the order of their ids: those of a group, or those of a
/// priority that have neither a group nor a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Group(u8),
    Priority(u8),
}

fn class_of(queue: Name, new: New) -> Option<Class> {
    match new.group {
        0 if options_of(queue).strict => Some(Class::Group(0)),
        0 => (new.delay == 0).then_some(Class::Priority(new.priority)),
        group => Some(Class::Group(group)),
    }
}

/// What is in a message, and what became of it.
#[derive(Debug)]
struct Body {
    new: New,
    /// Requests to publish it of which nobody said that they were surely not done.
    requests: u32,
    id: Option<u64>,
}

#[derive(Debug)]
struct Message {
    body: u64,
    /// The last proof that it was published.
    proof: Stamp,
    /// Acknowledgements that were asked for, and not surely refused.
    acks: u32,
    /// The same of requests to take it for dead.
    deaths: u32,
    /// With which delivery it was acknowledged.
    done: Option<(u32, Stamp)>,
    /// Somebody was told that it is not there any more.
    gone: Option<Stamp>,
    /// Its deliveries that somebody has heard of.
    given: BTreeMap<u32, Stamp>,
}

#[derive(Debug, Default)]
struct Queue {
    made: Option<Stamp>,
    bodies: BTreeMap<u64, Body>,
    messages: BTreeMap<u64, Message>,
    firsts: BTreeMap<Class, BTreeMap<u64, Stamp>>,
}

/// What a queue has at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The message.
    pub id: u64,
    /// What is in it.
    pub body: u64,
    /// How often it was delivered since it was published or came back, when it is dead.
    pub dead: Option<u32>,
}

/// All queues.
#[derive(Debug, Default)]
pub struct TotalQueue {
    queues: BTreeMap<Name, Queue>,
    told: BTreeMap<&'static str, u64>,
}

impl TotalQueue {
    /// Counts what happened.
    pub fn note(&mut self, what: &'static str) {
        *self.told.entry(what).or_default() += 1;
    }

    /// What happened, and how often.
    #[must_use]
    pub fn told(&self) -> &BTreeMap<&'static str, u64> {
        &self.told
    }

    fn queue(&mut self, queue: Name) -> &mut Queue {
        self.queues.entry(queue).or_default()
    }

    /// The queue is there.
    pub fn made(&mut self, queue: Name, stamp: Stamp) {
        let made = &mut self.queue(queue).made;
        *made = (*made).max(Some(stamp));
    }

    /// There is no such queue.
    ///
    /// # Errors
    /// There is.
    pub fn absent(&mut self, queue: Name, stamp: Stamp, lost: Lost) -> Result<(), String> {
        match self.queue(queue).made.filter(|made| holds(*made, lost) && *made < stamp) {
            Some(made) => {
                Err(format!("G18: queue {queue} was there at {made:?}, not at {stamp:?}"))
            }
            None => Ok(()),
        }
    }

    /// Somebody asks for a message to be published.
    pub fn publish(&mut self, queue: Name, new: New) {
        let body = Body { new, requests: 0, id: None };
        self.queue(queue).bodies.entry(new.body).or_insert(body).requests += 1;
    }

    /// It surely was not.
    ///
    /// # Errors
    /// It was.
    pub fn refused(&mut self, queue: Name, body: u64, lost: Lost) -> Result<(), String> {
        let queue = self.queue(queue);
        let Some(known) = queue.bodies.get_mut(&body) else { return Ok(()) };
        known.requests -= 1;
        let message = known.id.and_then(|id| queue.messages.get(&id));
        match message.filter(|message| known.requests == 0 && holds(message.proof, lost)) {
            Some(message) => Err(format!("R36: {body} was surely not published: {message:?}")),
            None => Ok(()),
        }
    }

    /// A message with this in it was published under this id, now or before.
    ///
    /// # Errors
    /// That cannot be.
    pub fn published(
        &mut self,
        queue: Name,
        (id, body): (u64, u64),
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        if !holds(stamp, lost) {
            return Ok(());
        }
        self.made(queue, stamp);
        self.queue(queue).see((id, body), stamp, lost)
    }

    /// A message is delivered to somebody.
    ///
    /// # Errors
    /// It must not be.
    pub fn delivered(
        &mut self,
        queue: Name,
        Handed { receipt, attempt, body }: Handed,
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        let Receipt { id, attempt: number } = receipt;
        self.published(queue, (id, body), stamp, lost)?;
        if !holds(stamp, lost) {
            return Ok(());
        }
        let most = options_of(queue).attempts;
        let all = self.queue(queue);
        let Some(message) = all.messages.get_mut(&id) else { return Ok(()) };
        let is_again = message.done.is_some_and(|(of, at)| of < number && holds(at, lost));
        let is_gone = message.gone.is_some_and(|gone| gone < stamp && holds(gone, lost));
        if is_again || is_gone {
            return Err(format!(
                "G18: {receipt:?} is given at {stamp:?} after its end: {message:?}"
            ));
        }
        if message.given.insert(number, stamp).is_some_and(|before| holds(before, lost)) {
            return Err(format!("R86: {receipt:?} is given twice: {message:?}"));
        }
        if attempt > most {
            return Err(format!("G20: {receipt:?} is the {attempt}th of {most} attempts"));
        }
        all.in_order(queue, (receipt, body), stamp, lost)
    }

    /// Somebody asks for a message to be done with, or to be dead.
    pub fn end(&mut self, queue: Name, receipt: Receipt, dies: bool) {
        let message = self.queue(queue).messages.get_mut(&receipt.id);
        message.into_iter().for_each(|one| one.asked(dies, 1));
    }

    /// That was surely not done.
    pub fn not_ended(&mut self, queue: Name, receipt: Receipt, dies: bool) {
        let message = self.queue(queue).messages.get_mut(&receipt.id);
        message.into_iter().for_each(|one| one.asked(dies, -1));
    }

    /// A receipt is taken; with it the message is done, or not.
    ///
    /// # Errors
    /// Another one was given since, or none was ever given like it, or the message is done already.
    pub fn taken(
        &mut self,
        queue: Name,
        receipt: Receipt,
        is_done: bool,
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        let Some(message) = self.queue(queue).messages.get_mut(&receipt.id) else { return Ok(()) };
        if !holds(stamp, lost) {
            return Ok(());
        }
        let attempt = receipt.attempt;
        let mut later = message.given.range(attempt + 1..).filter(|(_, at)| holds(**at, lost));
        if later.next().is_some_and(|(_, at)| is_done || *at < stamp) {
            return Err(format!(
                "R87: {receipt:?} is stale, and was taken at {stamp:?}: {message:?}"
            ));
        }
        if !message.given.contains_key(&attempt) {
            return Err(format!("R87: nobody was given {receipt:?}, which was taken: {message:?}"));
        }
        let ends = message.done.map(|(_, at)| at).into_iter().chain(message.gone);
        if ends.into_iter().any(|at| at < stamp && holds(at, lost)) {
            return Err(format!("G18: {receipt:?} was taken after its end: {message:?}"));
        }
        if is_done {
            message.done = Some((attempt, stamp));
        }
        message.proof = message.proof.max(stamp);
        Ok(())
    }

    /// A message is not there any more, says the answer to somebody with a receipt, who asked for it
    /// to be done with, or not.
    ///
    /// # Errors
    /// Nobody else has asked for its end.
    pub fn gone(
        &mut self,
        queue: Name,
        receipt: Receipt,
        asked: bool,
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        let Some(message) = self.queue(queue).messages.get_mut(&receipt.id) else { return Ok(()) };
        if !holds(stamp, lost) || !holds(message.proof, lost) {
            return Ok(());
        }
        if message.acks <= u32::from(asked) {
            return Err(format!("G18: {receipt:?} is gone at {stamp:?}, by nobody: {message:?}"));
        }
        message.gone = Some(message.gone.map_or(stamp, |gone| gone.min(stamp)));
        Ok(())
    }

    /// No message was ever delivered with this receipt, says somebody.
    ///
    /// # Errors
    /// One was.
    pub fn no_receipt(
        &mut self,
        queue: Name,
        receipt: Receipt,
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        let Some(message) = self.queue(queue).messages.get(&receipt.id) else { return Ok(()) };
        let given = message.given.get(&receipt.attempt).filter(|given| holds(**given, lost));
        match given.filter(|_| holds(stamp, lost)) {
            Some(given) => {
                Err(format!("R86: {receipt:?} is forgotten, which was given at {given:?}"))
            }
            None => Ok(()),
        }
    }

    /// In the end all is there that was not asked to be done with, and nothing that is done with.
    /// `None`: the queue is not there.
    ///
    /// # Errors
    /// What is there, or is not.
    pub fn audit(
        &mut self,
        queue: Name,
        left: Option<&[Left]>,
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        let Some(left) = left else { return self.absent(queue, stamp, lost) };
        let most = options_of(queue).attempts;
        let all = self.queue(queue);
        for Left { id, body, dead } in left {
            all.see((*id, *body), stamp, lost)?;
            let Some(message) = all.messages.get(id) else { continue };
            let ends = message.done.map(|(_, at)| at).into_iter().chain(message.gone);
            if ends.into_iter().any(|at| holds(at, lost)) {
                return Err(format!("G18: {id:x} is still there after its end: {message:?}"));
            }
            if dead.is_some_and(|tries| tries < most) && message.deaths == 0 {
                return Err(format!("G20: {id:x} died after {dead:?} of {most}: {message:?}"));
            }
        }
        let is_left = |id: &u64| left.iter().any(|left| left.id == *id);
        let due = |message: &Message| message.acks == 0 && holds(message.proof, lost);
        match all.messages.iter().find(|(id, message)| due(message) && !is_left(id)) {
            Some((id, message)) => {
                Err(format!("G18: {id:x} is lost from queue {queue}: {message:?}"))
            }
            None => Ok(()),
        }
    }
}

impl Message {
    fn asked(&mut self, dies: bool, times: i32) {
        let count = if dies { &mut self.deaths } else { &mut self.acks };
        *count = count.saturating_add_signed(times);
    }
}

impl Queue {
    /// A message of this id, with this in it, is or was in the queue.
    fn see(&mut self, (id, body): (u64, u64), stamp: Stamp, lost: Lost) -> Result<(), String> {
        let known = self.bodies.get_mut(&body).filter(|known| known.requests > 0);
        let Some(known) = known else {
            return Err(format!("G18: nobody published {body}, which is {id:x} at {stamp:?}"));
        };
        if id < lost.empty {
            return Err(format!("R29: {id:x} was declared lost, and is there at {stamp:?}"));
        }
        let new = Message {
            body,
            proof: stamp,
            acks: 0,
            deaths: 0,
            done: None,
            gone: None,
            given: BTreeMap::new(),
        };
        if let Some(other) = known.id.replace(id).filter(|other| *other != id)
            && self.messages.get(&other).is_some_and(|other| holds(other.proof, lost))
        {
            return Err(format!("G19: {body} is there twice, as {other:x} and {id:x}"));
        }
        let message = self.messages.entry(id).or_insert(new);
        if message.body != body {
            return Err(format!("R85: {id:x} is both {} and {body}", message.body));
        }
        message.proof = message.proof.max(stamp);
        Ok(())
    }

    /// Of a class messages are delivered for the first time in the order of their ids (R88).
    fn in_order(
        &mut self,
        queue: Name,
        (Receipt { id, attempt }, body): (Receipt, u64),
        stamp: Stamp,
        lost: Lost,
    ) -> Result<(), String> {
        let class = self.bodies.get(&body).and_then(|body| class_of(queue, body.new));
        let Some(class) = class.filter(|_| attempt == 1) else { return Ok(()) };
        let firsts = self.firsts.entry(class).or_default();
        firsts.retain(|_, at| holds(*at, lost));
        let before = firsts.range(..id).next_back().filter(|(_, at)| **at > stamp);
        let behind = firsts.range(id + 1..).next().filter(|(_, at)| **at < stamp);
        if let Some((other, at)) = before.or(behind) {
            return Err(format!(
                "R88: {id:x} was given at {stamp:?} and {other:x} at {at:?}, both of {class:?}"
            ));
        }
        firsts.insert(id, stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
