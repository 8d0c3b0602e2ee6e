//! The first answer to a request that may come twice: a client that lost its connection asks
//! again with the same number, and is answered as the first time instead of doing it once more.
//!
//! Numbers belong to an instance of a client. Each instance has a window, bounded in answers, in
//! bytes and in time; so is the number of instances. A request that is still under way when it
//! comes again is told so: nobody does it twice at the same time. What is older than the window
//! cannot be told from what is new, so a client must not ask again after so long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use isogrid_engine::Timestamp;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupLimits {
    /// Answers of one instance. Default: 65,536.
    pub answers: usize,
    /// Bytes of all answers of all instances. Default: 64 MiB.
    pub bytes: usize,
    /// Instances, those with a request under way left out. Default: 10,000.
    pub instances: usize,
    /// How long, ms. Default: 10 min.
    pub window: u64,
}

impl Default for DedupLimits {
    fn default() -> Self {
        DedupLimits { answers: 65_536, bytes: 64 << 20, instances: 10_000, window: 600_000 }
    }
}

/// What is known of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<A> {
    /// Nothing: whoever asked is to do it, and then to say [`Dedup::done`] or [`Dedup::undone`].
    New,
    /// It is under way.
    UnderWay,
    /// It was answered so.
    Answered(A),
}

/// The instance of a client, as it says itself.
pub type Instance = [u8; 16];

#[derive(Debug)]
struct Window<A> {
    /// `None` while a request is under way.
    answers: BTreeMap<u64, Option<Answer<A>>>,
    /// Answered ones in the order of their answers.
    order: VecDeque<(Timestamp, u64)>,
    /// When it was used last.
    used: Timestamp,
}

#[derive(Debug)]
struct Answer<A> {
    answer: A,
    bytes: usize,
}

/// The answers that are remembered. `A` is cheap to clone, as `Arc<[u8]>` is.
#[derive(Debug)]
pub struct Dedup<A> {
    limits: DedupLimits,
    windows: BTreeMap<Instance, Window<A>>,
    /// By last use.
    idle: BTreeSet<(Timestamp, Instance)>,
    bytes: usize,
}

impl<A: Clone> Dedup<A> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(limits: DedupLimits) -> Self {
        Dedup { limits, windows: BTreeMap::new(), idle: BTreeSet::new(), bytes: 0 }
    }

    /// Bytes of the answers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is known of the request `number` of an instance. When that is nothing, it is under
    /// way from now on.
    pub fn begin(&mut self, now: Timestamp, instance: Instance, number: u64) -> Seen<A> {
        let (since, limit) = (now.saturating_sub(self.limits.window), self.limits.instances);
        self.expire(since, now);
        self.touch(now, instance);
        while self.windows.len() > limit && self.forget_idlest(instance) {}
        let Some(window) = self.windows.get_mut(&instance) else { return Seen::New };
        while window.order.front().is_some_and(|(at, _)| *at < since) {
            self.bytes -= window.forget_oldest();
        }
        match window.answers.get(&number) {
            Some(Some(known)) => Seen::Answered(known.answer.clone()),
            Some(None) => Seen::UnderWay,
            None => {
                window.answers.insert(number, None);
                Seen::New
            }
        }
    }

    /// The request was answered so; the answer takes `bytes`.
    pub fn done(
        &mut self,
        now: Timestamp,
        instance: Instance,
        number: u64,
        answer: A,
        bytes: usize,
    ) {
        let Some(window) = self.windows.get_mut(&instance) else { return };
        let Some(place) = window.answers.get_mut(&number).filter(|place| place.is_none()) else {
            return;
        };
        *place = Some(Answer { answer, bytes });
        window.order.push_back((now, number));
        self.bytes += bytes;
        while window.order.len() > self.limits.answers {
            self.bytes -= window.forget_oldest();
        }
        while self.bytes > self.limits.bytes && self.shrink_idlest() {}
    }

    /// The request was not done, and surely not: it is new when it comes again.
    pub fn undone(&mut self, instance: Instance, number: u64) {
        if let Some(window) = self.windows.get_mut(&instance)
            && window.answers.get(&number).is_some_and(Option::is_none)
        {
            window.answers.remove(&number);
        }
    }

    fn touch(&mut self, now: Timestamp, instance: Instance) {
        let new = || Window { answers: BTreeMap::new(), order: VecDeque::new(), used: now };
        let window = self.windows.entry(instance).or_insert_with(new);
        self.idle.remove(&(window.used, instance));
        window.used = window.used.max(now);
        self.idle.insert((window.used, instance));
    }

    /// Forgets the instances that were not used for longer than the window.
    fn expire(&mut self, since: Timestamp, now: Timestamp) {
        while let Some((used, instance)) = self.idle.first().copied().filter(|(at, _)| *at < since)
        {
            if self.windows.get(&instance).is_some_and(Window::is_busy) {
                // Somebody is at work for it and will say so.
                self.idle.remove(&(used, instance));
                self.touch(now, instance);
            } else {
                self.forget(instance);
            }
        }
    }

    /// Forgets the instance that was not used for the longest time, but none for which somebody
    /// is at work.
    fn forget_idlest(&mut self, but: Instance) -> bool {
        let is_idle = |other: &Instance| {
            *other != but && self.windows.get(other).is_some_and(|window| !window.is_busy())
        };
        let idlest = self.idle.iter().map(|(_, instance)| *instance).find(is_idle);
        idlest.map(|instance| self.forget(instance)).is_some()
    }

    fn forget(&mut self, instance: Instance) {
        if let Some(mut window) = self.windows.remove(&instance) {
            self.idle.remove(&(window.used, instance));
            while !window.order.is_empty() {
                self.bytes -= window.forget_oldest();
            }
        }
    }

    /// Takes one answer from the instance that was not used for the longest time.
    fn shrink_idlest(&mut self) -> bool {
        let has = |instance: &Instance| self.windows.get(instance).is_some_and(Window::has_answers);
        let Some(instance) = self.idle.iter().map(|(_, of)| *of).find(has) else { return false };
        self.bytes -= self.windows.get_mut(&instance).map_or(0, Window::forget_oldest);
        true
    }
}

impl<A> Window<A> {
    fn has_answers(&self) -> bool {
        !self.order.is_empty()
    }

    /// Whether a request is under way.
    fn is_busy(&self) -> bool {
        self.answers.len() > self.order.len()
    }

    /// The bytes of what was forgotten.
    fn forget_oldest(&mut self) -> usize {
        let oldest = self.order.pop_front().and_then(|(_, number)| self.answers.remove(&number));
        oldest.flatten().map_or(0, |answer| answer.bytes)
    }
}

#[cfg(test)]
mod tests;
