//! The side that grants leases: the Raft leader's, for as long as it leads.

use std::collections::{BTreeMap, BTreeSet};

use super::Monotonic;
use crate::id::{Incarnation, NodeId};
use crate::invalidation::Silence;
use crate::mutant::is_planted;

/// How long the leader waits for the other members to confirm that it leads, ms; then it asks
/// again (R73).
const ROUND_MS: u64 = 200;
/// How long a member is taken for silent that somebody has said so of, ms: who still waits for it says
/// it again before that.
const SILENT_MS: u64 = 1_000;

/// A member asks for its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Who.
    pub node: NodeId,
    /// Which process of it.
    pub incarnation: Incarnation,
    /// Its number, by which it knows when it was sent.
    pub n: u64,
}

/// A lease is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What it answers.
    pub beat: Beat,
    /// How far the leader's metadata were.
    pub index: u64,
}

/// What the leader has granted.
#[derive(Debug, Clone)]
pub struct Grants {
    length: u64,
    since: Monotonic,
    granted: BTreeMap<NodeId, Monotonic>,
    withheld: BTreeSet<NodeId>,
    /// Arrived since the round that is under way began.
    waiting: BTreeMap<NodeId, Beat>,
    round: Option<Round>,
    rounds: u64,
    /// Who waits for whom, and when that was said.
    silent: BTreeMap<(NodeId, NodeId), (Silence, Monotonic)>,
    /// Who is to hear that a lease is over.
    over: Vec<(NodeId, Silence)>,
}

#[derive(Debug, Clone)]
struct Round {
    number: u64,
    began: Monotonic,
    beats: BTreeMap<NodeId, Beat>,
    /// Leases that were over when it began, and who has asked.
    over: Vec<(NodeId, Silence)>,
    /// Where the log stood when the others confirmed.
    confirmed: Option<u64>,
}

impl Grants {
    /// Those of a leader that leads since now. It knows nothing of what others granted (R10).
    #[must_use]
    pub fn new(length: u64, now: Monotonic) -> Self {
        Grants {
            length,
            since: now,
            granted: BTreeMap::new(),
            withheld: BTreeSet::new(),
            waiting: BTreeMap::new(),
            round: None,
            rounds: 0,
            silent: BTreeMap::new(),
            over: Vec::new(),
        }
    }

    /// A beat has arrived.
    pub fn beat(&mut self, beat: Beat) {
        self.waiting.insert(beat.node, beat);
    }

    /// A member waits for another one that does not answer it: that one gets no lease until it does,
    /// and who waits hears when its lease is over (R38).
    pub fn silent(&mut self, from: NodeId, silence: Silence, now: Monotonic) {
        self.silent.insert((from, silence.node), (silence, now));
    }

    fn is_silent(&self, node: NodeId) -> bool {
        self.silent.keys().any(|(_, silent)| *silent == node)
    }

    /// Begins to find out whether we still lead, for all beats that have arrived. The number is
    /// what the confirmation will name; `None` when there is nothing to find out, or a round is
    /// under way (R7).
    pub fn begin_round(&mut self, now: Monotonic) -> Option<u64> {
        let is_busy = self.round.as_ref().is_some_and(|round| now < round.began + ROUND_MS);
        if is_busy || (self.waiting.is_empty() && self.round.is_none()) {
            return None;
        }
        let mut beats = self.round.take().map_or_else(BTreeMap::new, |round| round.beats);
        beats.append(&mut self.waiting);
        self.rounds += 1;
        self.silent.retain(|_, (_, said)| now < *said + SILENT_MS);
        let silent = self.silent.iter().map(|((from, _), (silence, _))| (*from, *silence));
        let over = silent.filter(|(_, silence)| self.is_over(silence.node, now)).collect();
        self.round = Some(Round { number: self.rounds, began: now, beats, over, confirmed: None });
        Some(self.rounds)
    }

    /// The others have confirmed round `number`, when the log stood at `index`.
    pub fn confirmed(&mut self, number: u64, index: u64) {
        let round = self.round.as_mut().filter(|round| round.number == number);
        round.into_iter().for_each(|round| round.confirmed = Some(index));
    }

    /// The leases that are granted now: those of a confirmed round, once the leader has applied
    /// what the log held then (R7). `applied` is how far it is.
    pub fn grant(&mut self, now: Monotonic, applied: u64) -> Vec<Grant> {
        let is_ready = |round: &mut Round| {
            round.confirmed.is_some_and(|index| applied >= index) || is_planted("grant-unconfirmed")
        };
        let Some(round) = self.round.take_if(is_ready) else { return Vec::new() };
        for (from, silence) in round.over {
            self.silent.remove(&(from, silence.node));
            self.over.push((from, silence));
        }
        let may = |beat: &Beat| !self.withheld.contains(&beat.node) && !self.is_silent(beat.node);
        let beats = round.beats.into_values().filter(may);
        let grants: Vec<Grant> = beats.map(|beat| Grant { beat, index: applied }).collect();
        grants.iter().for_each(|grant| {
            self.granted.insert(grant.beat.node, now);
        });
        grants
    }

    /// Who is to hear now that a lease is over for which it waits. We led when that was so: a round
    /// that began then is confirmed, and nobody else has granted one before (R7, R10).
    pub fn take_over(&mut self) -> Vec<(NodeId, Silence)> {
        std::mem::take(&mut self.over)
    }

    /// These get no lease until it is called with others: something is about to be taken from
    /// them (R9).
    pub fn withhold(&mut self, nodes: BTreeSet<NodeId>) {
        self.withheld = if is_planted("no-withhold") { BTreeSet::new() } else { nodes };
    }

    /// Whether the member has a lease, as far as we granted it.
    #[must_use]
    pub fn holds(&self, node: NodeId, now: Monotonic) -> bool {
        self.granted.get(&node).is_some_and(|at| now < at + self.length)
    }

    /// Whether every lease that the member may have, from us or from a leader before us, is over
    /// for sure (R9a, R10).
    #[must_use]
    pub fn is_over(&self, node: NodeId, now: Monotonic) -> bool {
        let since = if is_planted("no-new-leader-wait") { 0 } else { self.since };
        let last = self.granted.get(&node).copied().unwrap_or(0).max(since);
        let length = if is_planted("take-early") { self.length / 2 } else { self.length };
        // One more, since clocks are read in whole milliseconds.
        now > last + length * 101 / 100 + 1
    }
}
