//! A copy of a segment that takes part in transactions.

use isogrid_grid::replica::{Answered, Seen};
use isogrid_grid::tx::{
    Deciding, Decision, Intent, Note, Open, Part, Preparing, Ruling, Settling, TxId, Vote, Wanted,
    join,
};

use super::fragment::Fragment;
use super::kv::{Key, State, record};
use super::server::{Answer, Moment, Out};

/// What a segment is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// What a key is.
    Read(Key),
    /// To hold keys for a transaction, which may be alone.
    Prepare(TxId, Intent, bool),
    /// To record a decision, and what is answered by it, unless there is one.
    Decide(TxId, Decision, Vec<Part>, Option<Answered>),
    /// To do what was decided.
    Settle(TxId, Decision),
    /// To forget a decision that all know.
    Close(TxId),
}

/// What it says, when that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The key is this.
    Read(State),
    /// Its vote.
    Vote(Vote),
    /// The decision that stands, or what was answered before.
    Ruling(Ruling),
    /// It is done.
    Done,
}

impl Fragment {
    /// Does what it is asked for, if it serves. It says nothing of what it did not do, and nothing
    /// of what is not committed in the end.
    pub(super) fn call(&mut self, at: Moment<'_>, number: u64, call: Call, out: &mut Vec<Out>) {
        let said = match call {
            Call::Read(key) => {
                let said = self.look(at, number, key);
                return said.into_iter().for_each(|said| self.tell(said, out));
            }
            _ if !self.serves(at) => None,
            Call::Prepare(tx, intent, alone) => self.prepare(at, tx, intent, alone).map(Said::Vote),
            Call::Decide(tx, wish, parts, answered) => {
                self.decide(at, (tx, wish, parts, answered)).map(Said::Ruling)
            }
            Call::Settle(tx, decision) => self.settle(tx, decision).map(|()| Said::Done),
            Call::Close(tx) => {
                let is_open = self.base.ledger.is_open(tx);
                let noted = if is_open { self.note(&Note::Close(tx)) } else { Some(()) };
                noted.map(|()| Said::Done)
            }
        };
        let Some(said) = said else { return };
        let (last, epoch) = (self.replica.last(), self.replica.epoch());
        if last <= self.replica.committed() {
            self.tell(Out::Said(number, said), out);
        } else {
            self.calls.entry(last).or_default().push((number, said, epoch));
        }
    }

    fn look(&self, at: Moment<'_>, number: u64, key: Key) -> Option<Out> {
        if self.base.ledger.is_held(&[key], false) {
            return None;
        }
        match self.read(at, key) {
            Answer::Read(state) => Some(Out::Said(number, Said::Read(state))),
            _ => None,
        }
    }

    fn prepare(
        &mut self,
        at: Moment<'_>,
        tx: TxId,
        mut intent: Intent,
        alone: bool,
    ) -> Option<Vote> {
        let version = |key: &[u8]| {
            let key = key.first().copied().unwrap_or(0);
            self.head.get(&key).copied().unwrap_or_else(|| self.base.get(key)).1
        };
        match self.base.ledger.prepare(at.now.wall, (tx, alone), &intent, version) {
            Preparing::Known(vote) => return Some(vote),
            Preparing::Refused(vote) => return self.note(&Note::End(tx)).map(|()| vote),
            Preparing::Unknown => return None,
            Preparing::New if alone && !intent.writes() => return Some(Vote::Prepared(0)),
            Preparing::New => {}
        }
        intent.version = u64::from(self.replica.epoch().0) << 40 | (self.replica.last() + 1);
        let version = intent.version;
        let note = if alone { Note::Alone(tx, intent) } else { Note::Prepare(tx, intent) };
        self.note(&note)?;
        if alone {
            let _ = self.settle(tx, Decision::Commit);
        }
        Some(Vote::Prepared(version))
    }

    fn decide(&mut self, at: Moment<'_>, wanted: Wanted) -> Option<Ruling> {
        let (tx, wish, _, answered) = &wanted;
        let seen = match answered.as_ref().map(|answered| answered.id) {
            None => Seen::New,
            Some(id) => match self.decided.get(&id) {
                Some((_, answer)) => Seen::Answered(answer.clone()),
                None => self.base.answers.seen(at.now.wall, id),
            },
        };
        match self.base.ledger.decide(at.now.wall, *tx, *wish, seen) {
            Deciding::Unknown => None,
            Deciding::Known(ruling) => Some(ruling),
            Deciding::New(decision) => {
                let note = Note::deciding(at.now.wall, wanted, decision);
                self.note(&note)?;
                if let Note::Decide(.., Some(Answered { id, answer, .. })) = note {
                    self.decided.insert(id, (self.replica.last(), answer));
                }
                Some(Ruling::Decided(decision))
            }
        }
    }

    fn settle(&mut self, tx: TxId, decision: Decision) -> Option<()> {
        let intent = match self.base.ledger.settle(tx) {
            Settling::Done => return Some(()),
            Settling::UnderWay => return None,
            Settling::Holds(intent) => intent.clone(),
        };
        let writes = intent.holds.iter().filter(|_| decision == Decision::Commit);
        let writes: Vec<(Key, u64)> = writes
            .filter_map(|hold| {
                let value = hold.write.as_deref()?.try_into().ok()?;
                Some((*hold.key.first()?, u64::from_le_bytes(value)))
            })
            .collect();
        let records: Vec<_> = writes.iter().map(|(key, to)| record(*key, Some(*to))).collect();
        let note = Note::End(tx);
        let seq = self.replica.append(join(&note, &records), 1).ok()?;
        self.base.ledger.noted(&note);
        let version = u64::from(self.replica.epoch().0) << 40 | seq;
        self.head.extend(writes.into_iter().map(|(key, to)| (key, (Some(to), version))));
        Some(())
    }

    fn note(&mut self, note: &Note) -> Option<()> {
        self.replica.append(join(note, &[]), 1).ok()?;
        self.base.ledger.noted(note);
        Some(())
    }

    /// Says what is committed.
    pub(super) fn say(&mut self, at: Moment<'_>, seq: u64, out: &mut Vec<Out>) {
        let later = self.calls.split_off(&(seq + 1));
        let served = at.control.serves(at.now, self.place.0, self.place.1);
        for (number, said, epoch) in
            std::mem::replace(&mut self.calls, later).into_values().flatten()
        {
            if served.is_some_and(|now| now >= epoch) {
                self.tell(Out::Said(number, said), out);
            }
        }
    }

    /// Looks after transactions that have waited for too long. One that was expelled and has not
    /// heard of it could not do what it is told: its questions recorded decisions anew for ever.
    pub(super) fn tend(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let open = self.base.ledger.tend(at.now.monotonic, at.now.wall);
        if self.serves(at) {
            out.extend(open.into_iter().map(|open: Open| Out::Resolve(self.place, open)));
        }
    }
}
