//! The two phases, as the member goes through them that was asked for a transaction.
//!
//! It promises nothing itself: what it knows ends with it, and the segments end the transaction
//! without it. It says COMMITTED only when the decision is recorded on all copies of the home.

use std::collections::{BTreeMap, BTreeSet};

use super::{Decision, Part, Ruling, Vote};
use crate::mutant::is_planted;
use crate::replica::answers::Answer;

/// What came of something that was asked for; `None`: nobody knows whether it was done.
pub type Heard<T> = Option<T>;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A segment has voted.
    Voted(Part, Heard<Vote>),
    /// The home has a decision.
    Decided(Heard<Ruling>),
    /// A segment knows the decision.
    Settled(Part),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the segment for its vote; the transaction has no other one if it is `alone`.
    Prepare(Part, bool),
    /// Ask the home to record COMMIT, for these who took part.
    Decide(Vec<Part>),
    /// Tell the segment how it ended.
    Settle(Part, Decision),
    /// All know: the home may forget it.
    Close,
    /// Tell who asked.
    Answer(Outcome),
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is done; the version of what it wrote, by segments.
    Committed(BTreeMap<Part, u64>),
    /// Nothing of it is, since these keys are not as it saw them or others hold them.
    Conflict(Vec<(Part, Vec<u8>)>),
    /// Nothing of it is: a segment was not there, or had no room.
    Failed,
    /// Nothing of it is, but the request that it is was answered so before; `None` when nobody
    /// remembers how.
    Before(Answer),
    /// Nobody here knows. All of it is done, or nothing.
    Unknown,
}

/// Which decision a transaction needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None, since it writes nothing: that all hold their keys at one moment is the answer.
    Nothing,
    /// One, which is the vote where it has one segment.
    Decision,
    /// One that an answer is recorded with, whatever it writes and however many segments it has:
    /// what is answered is known when all have voted.
    Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Voting,
    Deciding,
    Settling(Decision),
}

/// One transaction.
#[derive(Debug)]
pub struct Coordinator {
    home: Part,
    needs: Needs,
    phase: Phase,
    parts: BTreeSet<Part>,
    /// Who is waited for in this phase.
    waits_for: BTreeSet<Part>,
    versions: BTreeMap<Part, u64>,
    conflicts: Vec<(Part, Vec<u8>)>,
    has_failed: bool,
}

impl Coordinator {
    /// One over these segments, with its decision at `home`: one of them, or where the answer is
    /// looked for.
    pub fn begin(home: Part, parts: BTreeSet<Part>, needs: Needs, out: &mut Vec<Action>) -> Self {
        let coordinator = Coordinator {
            home,
            needs,
            phase: Phase::Voting,
            waits_for: parts.clone(),
            parts,
            versions: BTreeMap::new(),
            conflicts: Vec::new(),
            has_failed: false,
        };
        let alone = coordinator.is_alone();
        out.extend(coordinator.parts.iter().map(|part| Action::Prepare(*part, alone)));
        coordinator
    }

    /// Whether its one segment decides alone.
    fn is_alone(&self) -> bool {
        self.parts.len() == 1 && self.needs != Needs::Answer
    }

    /// The versions of what it writes, of the segments that have voted for it.
    #[must_use]
    pub fn versions(&self) -> &BTreeMap<Part, u64> {
        &self.versions
    }

    /// Where the decision is.
    #[must_use]
    pub fn home(&self) -> Part {
        self.home
    }

    /// Does what an event asks for.
    pub fn step(&mut self, event: Event, out: &mut Vec<Action>) {
        match (self.phase, event) {
            (Phase::Voting, Event::Voted(part, vote)) if self.waits_for.remove(&part) => {
                self.hear(part, vote, out);
            }
            (Phase::Deciding, Event::Decided(heard)) => self.decided(heard, out),
            (Phase::Settling(decision), Event::Settled(part)) => {
                let is_last = self.waits_for.remove(&part) && self.waits_for.is_empty();
                let is_decided = self.needs != Needs::Nothing;
                if is_last && is_decided && decision == Decision::Commit {
                    out.push(Action::Close);
                }
            }
            // Of a phase that is over.
            _ => {}
        }
    }

    fn hear(&mut self, part: Part, vote: Heard<Vote>, out: &mut Vec<Action>) {
        if self.is_alone() {
            return out.push(Action::Answer(alone(part, vote)));
        }
        match vote {
            Some(Vote::Prepared(version)) => drop(self.versions.insert(part, version)),
            Some(Vote::Conflict(keys)) => self.conflicts.extend(of(part, keys)),
            Some(Vote::Over | Vote::Full) | None => self.has_failed = true,
        }
        if self.waits_for.is_empty() {
            self.all_voted(out);
        }
    }

    fn all_voted(&mut self, out: &mut Vec<Action>) {
        if self.versions.len() < self.parts.len() {
            // Nobody else ever asks for a COMMIT: it is surely not done.
            self.settle(Decision::Abort, out);
            out.push(Action::Answer(self.refused()));
        } else if self.needs != Needs::Nothing {
            self.phase = Phase::Deciding;
            if is_planted("tx-early-answer") {
                out.push(Action::Answer(Outcome::Committed(self.versions.clone())));
            }
            out.push(Action::Decide(self.parts.iter().copied().collect()));
        } else {
            out.push(Action::Answer(Outcome::Committed(self.versions.clone())));
            self.settle(Decision::Abort, out);
        }
    }

    fn decided(&mut self, heard: Heard<Ruling>, out: &mut Vec<Action>) {
        let (outcome, decision) = match heard {
            Some(Ruling::Decided(Decision::Commit)) => {
                (Outcome::Committed(self.versions.clone()), Decision::Commit)
            }
            Some(Ruling::Decided(Decision::Abort)) => (Outcome::Failed, Decision::Abort),
            // Nobody else ever asks for its COMMIT, and for its ABORT whoever waits.
            Some(Ruling::Before(answer)) => (Outcome::Before(answer), Decision::Abort),
            // The segments find out what it was.
            None => return out.push(Action::Answer(Outcome::Unknown)),
        };
        out.push(Action::Answer(outcome));
        self.settle(decision, out);
    }

    fn settle(&mut self, decision: Decision, out: &mut Vec<Action>) {
        self.phase = Phase::Settling(decision);
        self.waits_for = self.parts.clone();
        out.extend(self.parts.iter().map(|part| Action::Settle(*part, decision)));
    }

    fn refused(&mut self) -> Outcome {
        match std::mem::take(&mut self.conflicts) {
            keys if keys.is_empty() => Outcome::Failed,
            keys => Outcome::Conflict(keys),
        }
    }
}

/// The outcome of a transaction of one segment, which decides alone.
fn alone(part: Part, vote: Heard<Vote>) -> Outcome {
    match vote {
        Some(Vote::Prepared(version)) => Outcome::Committed(BTreeMap::from([(part, version)])),
        Some(Vote::Conflict(keys)) => Outcome::Conflict(of(part, keys).collect()),
        Some(Vote::Over | Vote::Full) => Outcome::Failed,
        None => Outcome::Unknown,
    }
}

/// Keys with the segment that they are in.
fn of(part: Part, keys: Vec<Vec<u8>>) -> impl Iterator<Item = (Part, Vec<u8>)> {
    keys.into_iter().map(move |key| (part, key))
}

#[cfg(test)]
mod tests;
