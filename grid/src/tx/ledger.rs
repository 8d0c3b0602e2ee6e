//! What a copy of a segment knows of transactions.
//!
//! What a note of the log says is done by every copy when it is committed. The primary asks here
//! before it records one, and notes at once what it has recorded: what follows must not contradict
//! it, though nobody knows yet whether it stands. When the copy ceases to serve, what was not
//! committed by then is taken back; if it is committed after all, it comes again with the log.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;

use super::{
    Decision, INTENTS_BYTES, Intent, Note, PATIENCE_MS, Part, REMEMBERED_BYTES, REMEMBERED_MS,
    Ruling, TAKEN_MS, TxId,
};
use crate::bytes::{Input, put_many, put_u64, whole};
use crate::membership::Monotonic;
use crate::mutant::is_planted;
use crate::replica::{OpId, Seen};

/// What a segment says to a transaction that wants to hold keys of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// It holds them, and its writes will have this version.
    Prepared(u64),
    /// These are not as it saw them, or another transaction holds them.
    Conflict(Vec<Vec<u8>>),
    /// It is over, or so old that nothing of it is taken any more.
    Over,
    /// So many others hold keys that there is no room.
    Full,
}

/// What is to be done about a transaction that wants to hold keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preparing {
    /// Nothing: this is the answer.
    Known(Vote),
    /// This is the answer, and its end is to be recorded ahead of it. It is alone, so nobody else
    /// says that it is not done; asked again, it must not be done after all.
    Refused(Vote),
    /// An intent is to be recorded.
    New,
    /// It may have been done, and nobody here knows any more.
    Unknown,
}

/// What is to be done about a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deciding {
    /// There was one perhaps, and nobody here knows any more.
    Unknown,
    /// Nothing: this is the answer.
    Known(Ruling),
    /// This is to be recorded.
    New(Decision),
}

/// What is to be done about a transaction that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settling<'a> {
    /// Nothing: it holds nothing here, as soon as all that was recorded is committed.
    Done,
    /// What it holds is to be written, or not, and its end to be recorded.
    Holds(&'a Intent),
    /// Somebody is doing that.
    UnderWay,
}

/// What a segment knows of a transaction by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing, or not any more.
    Nothing,
    /// It holds keys here, and its decision is elsewhere or is not yet.
    Open,
    /// This is its decision.
    Decided(Decision),
}

/// What has waited for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// An intent for its decision, which this segment knows.
    Ask(TxId, Part),
    /// A COMMIT for these to know it.
    Tell(TxId, Vec<Part>),
}

/// What one that is over takes, and a decision, bytes, about.
const OVER_BYTES: usize = 96;
const DECIDED_BYTES: usize = 160;

/// The transactions that a copy of a segment knows.
#[derive(Debug, Clone)]
pub struct Ledger {
    intents: BTreeMap<TxId, Held>,
    keys: BTreeMap<Vec<u8>, Holders>,
    decisions: BTreeMap<TxId, Decided>,
    /// Those that held something here and do not any more, with the version of what they wrote.
    over: BTreeMap<TxId, u64>,
    /// Those that were refused here, which is not committed yet.
    refused: BTreeSet<TxId>,
    bytes: usize,
    /// Bytes of what is over at most.
    room: usize,
    /// Of those that began until then it may be forgotten how they ended: nothing of them is taken.
    forgotten: Timestamp,
}

#[derive(Debug, Clone)]
struct Held {
    intent: Intent,
    state: State,
    since: Option<Monotonic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Recorded here, and not committed yet.
    Noted,
    /// Committed.
    Known,
    /// Its end is being recorded here.
    Ending,
}

#[derive(Debug, Clone)]
struct Decided {
    decision: Decision,
    /// Who may not know it yet.
    parts: Vec<Part>,
    is_noted: bool,
    since: Option<Monotonic>,
}

/// Who holds a key: one that writes it, or those that read it. While a copy is filled it hears of
/// some that are over already, and so of several that write.
#[derive(Debug, Clone, Default)]
struct Holders {
    writers: BTreeSet<TxId>,
    readers: BTreeSet<TxId>,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::with_room(REMEMBERED_BYTES)
    }
}

impl Ledger {
    /// One that remembers what is over in so many bytes.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Ledger {
            intents: BTreeMap::new(),
            keys: BTreeMap::new(),
            decisions: BTreeMap::new(),
            over: BTreeMap::new(),
            refused: BTreeSet::new(),
            bytes: 0,
            room,
            forgotten: 0,
        }
    }

    /// What is to be done about a transaction that wants to hold keys, and that may be alone;
    /// `version` knows what they have, 0 where there is none.
    pub fn prepare(
        &self,
        now: Timestamp,
        (tx, alone): (TxId, bool),
        intent: &Intent,
        version: impl Fn(&[u8]) -> u64,
    ) -> Preparing {
        let refused = if alone { Preparing::Refused } else { Preparing::Known };
        if let Some(held) = self.intents.get(&tx) {
            return Preparing::Known(Vote::Prepared(held.intent.version));
        }
        match (self.over.get(&tx), self.decision(tx)) {
            // It was alone here, and its answer got lost.
            (Some(version), Some(Decision::Commit)) => {
                return Preparing::Known(Vote::Prepared(*version));
            }
            // It alone says how it ended; of others the decision is elsewhere, and not COMMIT, since
            // that needs the answer that is asked for.
            (None, None) if alone && self.may_be_forgotten(tx) => return Preparing::Unknown,
            (None, None) if !self.is_late(now, tx) && !self.refused.contains(&tx) => {}
            _ => return Preparing::Known(Vote::Over),
        }
        let conflicts: Vec<Vec<u8>> = intent
            .holds
            .iter()
            .filter(|hold| {
                let is_changed = hold.seen.is_some_and(|seen| seen != version(&hold.key));
                is_changed || self.is_held_by_others(&hold.key, hold.write.is_some(), None)
            })
            .map(|hold| hold.key.clone())
            .collect();
        if !conflicts.is_empty() {
            return refused(Vote::Conflict(conflicts));
        }
        if self.bytes > 0 && self.bytes + intent.bytes() > INTENTS_BYTES {
            return refused(Vote::Full);
        }
        Preparing::New
    }

    /// What is to be done about a decision that somebody wants: the first one stands, and of all
    /// transactions that were made of one request only one is decided. ABORT is recorded too, so
    /// that a COMMIT that is on its way is refused. `seen` is what is known of the request; one
    /// that cannot come again is new.
    #[must_use]
    pub fn decide(&self, now: Timestamp, tx: TxId, wish: Decision, seen: Seen) -> Deciding {
        match (self.decision(tx), seen) {
            // What was seen is its own answer.
            (Some(Decision::Commit), _) => Deciding::Known(Ruling::Decided(Decision::Commit)),
            (_, Seen::Answered(answer)) => Deciding::Known(Ruling::Before(answer)),
            (_, Seen::Forgotten) => Deciding::Known(Ruling::Before(None)),
            (Some(decision), Seen::New) => Deciding::Known(Ruling::Decided(decision)),
            (None, Seen::New) => self.decide_first(now, tx, wish),
        }
    }

    fn decide_first(&self, now: Timestamp, tx: TxId, wish: Decision) -> Deciding {
        match wish {
            Decision::Abort if is_planted("tx-guess-abort") => {
                Deciding::Known(Ruling::Decided(Decision::Abort))
            }
            // Who waits for one holds keys: then none was forgotten.
            Decision::Commit if self.may_be_forgotten(tx) => Deciding::Unknown,
            _ if self.is_late(now, tx) => Deciding::New(Decision::Abort),
            _ => Deciding::New(wish),
        }
    }

    /// What is to be done about a transaction whose decision is known.
    #[must_use]
    pub fn settle(&self, tx: TxId) -> Settling<'_> {
        match self.intents.get(&tx) {
            None => Settling::Done,
            Some(held) if held.state == State::Ending => Settling::UnderWay,
            Some(held) => Settling::Holds(&held.intent),
        }
    }

    /// Its end is being recorded, or is not after all.
    pub fn ending(&mut self, tx: TxId, is_ending: bool) {
        if let Some(held) = self.intents.get_mut(&tx) {
            held.state = if is_ending { State::Ending } else { State::Known };
        }
    }

    /// Whether a COMMIT is known here that others may not know.
    #[must_use]
    pub fn is_open(&self, tx: TxId) -> bool {
        self.decisions.get(&tx).is_some_and(|decided| !decided.parts.is_empty())
    }

    /// The decision, if it is recorded here.
    #[must_use]
    pub fn decision(&self, tx: TxId) -> Option<Decision> {
        self.decisions.get(&tx).map(|decided| decided.decision)
    }

    /// What is known of a transaction, for who has only its name. True when what was recorded is
    /// committed.
    #[must_use]
    pub fn known(&self, name: OpId) -> Known {
        let decided = self.decisions.iter().find(|(tx, _)| tx.name == name);
        match decided.map(|(_, decided)| decided.decision) {
            Some(decision) => Known::Decided(decision),
            None if self.intents.keys().any(|tx| tx.name == name) => Known::Open,
            None => Known::Nothing,
        }
    }

    /// Whether a transaction holds a key so that nobody else may do this with it.
    #[must_use]
    pub fn is_held(&self, key: &[u8], writes: bool) -> bool {
        if is_planted("tx-half-read") && !writes {
            return false;
        }
        self.is_held_by_others(key, writes, None)
    }

    /// The same, for a transaction that may hold it itself.
    #[must_use]
    pub fn is_held_by_others(&self, key: &[u8], writes: bool, own: Option<TxId>) -> bool {
        let is_other = |tx: &TxId| Some(*tx) != own;
        self.keys.get(key).is_some_and(|holders| {
            holders.writers.iter().any(is_other) || writes && holders.readers.iter().any(is_other)
        })
    }

    /// How many intents there are.
    #[must_use]
    pub fn intents(&self) -> usize {
        self.intents.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_over = self.over.is_empty() && self.forgotten == 0;
        self.intents.is_empty() && self.decisions.is_empty() && is_over
    }

    /// What waits for a decision, or for others to hear of one.
    #[must_use]
    pub fn doubts(&self) -> usize {
        self.intents.len() + self.decisions.values().filter(|one| !one.parts.is_empty()).count()
    }

    /// The primary has recorded this.
    pub fn noted(&mut self, note: &Note) {
        match note {
            Note::Prepare(tx, intent) => self.hold(*tx, intent.clone(), State::Noted),
            Note::Alone(tx, intent) => {
                self.hold(*tx, intent.clone(), State::Noted);
                self.decided(*tx, Decision::Commit, Vec::new(), true);
            }
            Note::Decide(tx, decision, parts, _) => {
                self.decided(*tx, *decision, parts.clone(), true);
            }
            // They hold until it is committed: what they wrote is not to be seen before.
            Note::End(tx) if self.intents.contains_key(tx) => self.ending(*tx, true),
            Note::End(tx) => drop(self.refused.insert(*tx)),
            Note::Close(_) => {}
        }
    }

    /// This is committed. Told twice it is the same.
    pub fn apply(&mut self, note: &Note) {
        match note {
            Note::Prepare(tx, intent) => self.hold(*tx, intent.clone(), State::Known),
            Note::Alone(tx, intent) => {
                self.hold(*tx, intent.clone(), State::Known);
                self.decided(*tx, Decision::Commit, Vec::new(), false);
            }
            Note::Decide(tx, decision, parts, _) => {
                self.decided(*tx, *decision, parts.clone(), false);
            }
            Note::End(tx) => self.end(*tx),
            Note::Close(tx) => {
                self.decisions.get_mut(tx).into_iter().for_each(|one| one.parts.clear());
            }
        }
        self.make_room();
    }

    fn hold(&mut self, tx: TxId, intent: Intent, state: State) {
        if is_planted("tx-not-taken-over")
            && state == State::Known
            && !self.intents.contains_key(&tx)
        {
            return;
        }
        if let Some(held) = self.intents.get_mut(&tx) {
            if held.state == State::Noted {
                held.state = state;
            }
            return;
        }
        // A copy that is filled may hear that it is over before it hears that it began.
        if self.over.contains_key(&tx) {
            return;
        }
        for hold in &intent.holds {
            let holders = self.keys.entry(hold.key.clone()).or_default();
            let kind =
                if hold.write.is_some() { &mut holders.writers } else { &mut holders.readers };
            kind.insert(tx);
        }
        self.bytes += intent.bytes();
        self.intents.insert(tx, Held { intent, state, since: None });
    }

    /// The version of what it was to write.
    fn release(&mut self, tx: TxId) -> Option<u64> {
        let held = self.intents.remove(&tx)?;
        self.bytes -= held.intent.bytes();
        for hold in &held.intent.holds {
            let Some(holders) = self.keys.get_mut(&hold.key) else { continue };
            holders.writers.remove(&tx);
            holders.readers.remove(&tx);
            if holders.writers.is_empty() && holders.readers.is_empty() {
                self.keys.remove(&hold.key);
            }
        }
        Some(held.intent.version)
    }

    fn decided(&mut self, tx: TxId, decision: Decision, parts: Vec<Part>, is_noted: bool) {
        let new = || Decided { decision, parts, is_noted, since: None };
        let decided = self.decisions.entry(tx).or_insert_with(new);
        decided.is_noted &= is_noted;
    }

    fn end(&mut self, tx: TxId) {
        let version = self.release(tx);
        self.refused.remove(&tx);
        self.over.entry(tx).or_insert(version.unwrap_or(0));
    }

    /// The copy does not serve any more: what is not committed is taken back.
    pub fn passive(&mut self) {
        let noted = |(tx, held): (&TxId, &Held)| (held.state == State::Noted).then_some(*tx);
        let gone: Vec<TxId> = self.intents.iter().filter_map(noted).collect();
        for tx in gone {
            self.release(tx);
        }
        self.decisions.retain(|_, decided| !decided.is_noted);
        self.refused.clear();
        self.intents.values_mut().for_each(|held| held.state = State::Known);
    }

    /// What has waited for too long, and forgets what nobody can ask for any more.
    pub fn tend(&mut self, monotonic: Monotonic, wall: Timestamp) -> Vec<Open> {
        self.forget(wall);
        let is_due = |since: &mut Option<Monotonic>| {
            let is_due = monotonic >= *since.get_or_insert(monotonic) + PATIENCE_MS;
            since.take_if(|_| is_due).is_some()
        };
        let mut open = Vec::new();
        for (tx, held) in &mut self.intents {
            if held.state != State::Ending && is_due(&mut held.since) {
                open.push(Open::Ask(*tx, held.intent.home));
            }
        }
        for (tx, decided) in &mut self.decisions {
            // What is not committed may never be: nobody is told of it.
            if !decided.is_noted && !decided.parts.is_empty() && is_due(&mut decided.since) {
                open.push(Open::Tell(*tx, decided.parts.clone()));
            }
        }
        open
    }

    /// Forgets the oldest of those that are over and known to be by all, if they take too much.
    fn make_room(&mut self) {
        while self.remembered() > self.room {
            let decided = |tx: &TxId| self.decisions.get(tx).is_none_or(|one| one.is_closed());
            let is_over = |tx: &&TxId| !self.intents.contains_key(tx) && decided(tx);
            let over = self.over.keys().find(is_over);
            let Some(tx) = over.into_iter().chain(self.decisions.keys().find(is_over)).min() else {
                return;
            };
            let tx = *tx;
            self.over.remove(&tx);
            self.decisions.remove(&tx);
            self.forgotten = self.forgotten.max(tx.begun);
        }
    }

    /// Bytes of what is over, about.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.over.len() * OVER_BYTES + self.decisions.len() * DECIDED_BYTES
    }

    /// Whether it may have ended here without a trace, though it is not late.
    fn may_be_forgotten(&self, tx: TxId) -> bool {
        tx.begun <= self.forgotten
    }

    /// Whether so much time has passed since a transaction began, or so many others were over, that
    /// nothing of it is taken.
    fn is_late(&self, now: Timestamp, tx: TxId) -> bool {
        now > tx.begun.saturating_add(TAKEN_MS) || self.may_be_forgotten(tx)
    }

    fn forget(&mut self, now: Timestamp) {
        let is_old = |tx: &TxId| now > tx.begun.saturating_add(TAKEN_MS + REMEMBERED_MS);
        // The oldest come first.
        while self.over.first_entry().is_some_and(|first| is_old(first.key())) {
            self.over.pop_first();
        }
        if self.decisions.first_key_value().is_some_and(|(tx, _)| is_old(tx)) {
            let is_done = |tx: &TxId, decided: &Decided| {
                is_old(tx) && decided.is_closed() && !self.intents.contains_key(tx)
            };
            self.decisions.retain(|tx, decided| !is_done(tx, decided));
        }
    }

    /// All that is committed as bytes, behind `out`: for a copy that is filled.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let is_known = |held: &Held| held.state != State::Noted;
        let mut notes: Vec<Note> = Vec::new();
        let known = self.intents.iter().filter(|(_, held)| is_known(held));
        notes.extend(known.map(|(tx, held)| Note::Prepare(*tx, held.intent.clone())));
        notes.extend(
            self.decisions
                .iter()
                .filter(|(_, one)| !one.is_noted)
                .map(|(tx, one)| Note::Decide(*tx, one.decision, one.parts.clone(), None)),
        );
        put_many(out, notes.iter(), |out, note| note.encode(out));
        put_many(out, self.over.iter(), |out, (tx, version)| {
            tx.encode(out);
            put_u64(out, *version);
        });
        put_u64(out, self.forgotten);
    }

    /// Adds what another copy knows; `None` when the bytes are none of [`Ledger::encode`].
    pub fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        let (notes, over, forgotten) = whole(bytes, |input: &mut Input<'_>| {
            let notes = input.many(Note::decode)?;
            let over = input.many(|input| Some((TxId::decode(input)?, input.u64()?)))?;
            Some((notes, over, input.u64()?))
        })?;
        notes.iter().for_each(|note| self.apply(note));
        self.over.extend(over);
        self.forgotten = self.forgotten.max(forgotten);
        self.make_room();
        Some(())
    }
}

impl Decided {
    /// Whether it is committed, and all know it.
    fn is_closed(&self) -> bool {
        !self.is_noted && self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests;
