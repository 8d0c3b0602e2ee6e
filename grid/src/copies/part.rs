//! Transactions over segments, as the copy of a segment takes part in them (ADR 8): what its
//! [`Ledger`] allows is put into its log, and what was decided is written to its table.

use std::sync::atomic::Ordering;

use isogrid_engine::table::{Change, Unrecorded, decode_change};
use isogrid_engine::{Error, NewEntry, Timestamp};

use super::once::{Open, Withheld};
use super::{Copies, Fragment, SCRATCH, State};
use crate::membership::Now;
use crate::replica::{Answered, OpId, Record, Seen};
use crate::tx::{
    Deciding, Decision, Intent, Known, Ledger, Note, Part, Preparing, Ruling, Settling, TxId, Vote,
    join,
};

impl Copies {
    /// Whether a transaction holds a key so that it must not be read now, or not be written. What
    /// is read or decided after this said no is true, as far as transactions go: one that comes in
    /// between is not acknowledged before.
    #[must_use]
    #[inline]
    pub fn is_held(&self, segment: u32, key: &[u8], writes: bool) -> bool {
        let fragment = self.fragments.get(segment as usize).filter(|_| self.has_intents(segment));
        fragment.is_some_and(|fragment| fragment.lock().beside.ledger.is_held(key, writes))
    }

    /// Whether a transaction holds any key of a segment; without a lock.
    #[must_use]
    #[inline]
    pub fn has_intents(&self, segment: u32) -> bool {
        let fragment = self.fragments.get(segment as usize);
        fragment.is_some_and(|fragment| fragment.intents.load(Ordering::Acquire) > 0)
    }

    /// Lets a transaction hold the keys of its intent, if they are as it saw them. One that is
    /// `alone` has no other segment, and is committed with that. As every answer this one is true
    /// when what was recorded is committed.
    ///
    /// # Errors
    /// [`Unrecorded`]: it holds nothing.
    pub fn prepare(
        &self,
        now: Now,
        segment: u32,
        tx: TxId,
        intent: Intent,
        alone: bool,
    ) -> Result<Vote, Unrecorded> {
        let vote = self.hold(now, segment, tx, intent, alone)?;
        if alone && matches!(vote, Vote::Prepared(_)) {
            // What is not written now is written when it has waited for too long.
            let _ = self.settle(now, segment, tx, Decision::Commit);
        }
        Ok(vote)
    }

    fn hold(
        &self,
        now: Now,
        segment: u32,
        tx: TxId,
        mut intent: Intent,
        alone: bool,
    ) -> Result<Vote, Unrecorded> {
        let at = segment as usize;
        let (Some(mut copy), Some(fragment)) =
            (self.table.copy(at, now.wall), self.fragments.get(at))
        else {
            return Err(Unrecorded::Elsewhere);
        };
        let mut state = fragment.lock_active()?;
        let ledger = &state.beside.ledger;
        match ledger.prepare(now.wall, (tx, alone), &intent, |key| copy.version_of(key)) {
            Preparing::Known(vote) => return Ok(vote),
            Preparing::Refused(vote) => {
                return self.note(fragment, &mut state, &Note::End(tx)).map(|()| vote);
            }
            Preparing::Unknown => return Err(Unrecorded::Elsewhere),
            Preparing::New => {}
        }
        if alone && !intent.writes() {
            return Ok(Vote::Prepared(0));
        }
        intent.version = copy.take_version();
        let version = intent.version;
        let note = if alone { Note::Alone(tx, intent) } else { Note::Prepare(tx, intent) };
        self.note(fragment, &mut state, &note)?;
        Ok(Vote::Prepared(version))
    }

    /// The decision of a transaction whose home this segment is: the first one that is recorded,
    /// or now this one, with what is answered by it. True when what was recorded is committed.
    ///
    /// # Errors
    /// [`Unrecorded`]: nothing was.
    pub fn decide(
        &self,
        now: Timestamp,
        segment: u32,
        (tx, wish, parts): (TxId, Decision, Vec<Part>),
        answered: Option<Answered>,
    ) -> Result<Ruling, Unrecorded> {
        let fragment = self.fragments.get(segment as usize).ok_or(Unrecorded::Elsewhere)?;
        let mut state = fragment.lock_active()?;
        let seen = match &answered {
            Some(answered) => state.beside.seen(now, answered.id).ok_or(Unrecorded::Busy)?,
            None => Seen::New,
        };
        let decision = match state.beside.ledger.decide(now, tx, wish, seen) {
            Deciding::Unknown => return Err(Unrecorded::Elsewhere),
            Deciding::Known(ruling) => return Ok(ruling),
            Deciding::New(decision) => decision,
        };
        let note = Note::deciding(now, (tx, wish, parts, answered), decision);
        self.note(fragment, &mut state, &note)?;
        if let Note::Decide(.., Some(Answered { id, answer, .. })) = note {
            state.beside.open.insert(id, Open::Answered(answer));
        }
        Ok(Ruling::Decided(decision))
    }

    /// All that took part know the decision of a transaction whose home this segment is.
    ///
    /// # Errors
    /// [`Unrecorded`]: they will be told again.
    pub fn close_tx(&self, segment: u32, tx: TxId) -> Result<(), Unrecorded> {
        let fragment = self.fragments.get(segment as usize).ok_or(Unrecorded::Elsewhere)?;
        let mut state = fragment.lock_active()?;
        if state.beside.ledger.is_open(tx) {
            self.note(fragment, &mut state, &Note::Close(tx))?;
        }
        Ok(())
    }

    /// What a segment knows of a transaction by its name. True when what was recorded is committed.
    ///
    /// # Errors
    /// [`Unrecorded`]: the copy does not serve.
    pub fn known_tx(&self, segment: u32, name: OpId) -> Result<Known, Unrecorded> {
        let fragment = self.fragments.get(segment as usize).ok_or(Unrecorded::Elsewhere)?;
        Ok(fragment.lock_active()?.beside.ledger.known(name))
    }

    /// Does what was decided: writes what a transaction was to write here, or not, and lets go of
    /// its keys once that is committed.
    ///
    /// # Errors
    /// [`Unrecorded`]: its keys are still held. It may be told again.
    pub fn settle(
        &self,
        now: Now,
        segment: u32,
        tx: TxId,
        decision: Decision,
    ) -> Result<(), Unrecorded> {
        let at = segment as usize;
        let fragment = self.fragments.get(at).ok_or(Unrecorded::Elsewhere)?;
        let (intent, tenure) = {
            let mut state = fragment.lock_active()?;
            let intent = match state.beside.ledger.settle(tx) {
                Settling::Done => return Ok(()),
                Settling::UnderWay => return Err(Unrecorded::Busy),
                Settling::Holds(intent) => intent.clone(),
            };
            state.beside.ledger.ending(tx, true);
            (intent, fragment.tenure.load(Ordering::Acquire))
        };
        let withheld = Withheld { place: (self.group, at), seqs: Vec::new(), tx: Some(tx) };
        SCRATCH.with_borrow_mut(|scratch| scratch.withheld = Some(withheld));
        let done = match decision {
            Decision::Commit => self.write(&intent, now.wall),
            Decision::Abort => Ok(()),
        };
        let withheld = SCRATCH.with_borrow_mut(|scratch| scratch.withheld.take());
        let seqs = withheld.map(|withheld| withheld.seqs).unwrap_or_default();
        let mut state = fragment.lock();
        if fragment.tenure.load(Ordering::Acquire) != tenure {
            // Nothing of it has left, and nothing will.
            return Err(Unrecorded::Elsewhere);
        }
        let ended = done.and_then(|()| match seqs.split_last() {
            None => self.note(fragment, &mut state, &Note::End(tx)),
            Some((last, front)) => {
                state.seal_all(*last, front, |changes| join(&Note::End(tx), changes));
                Ok(())
            }
        });
        if ended.is_err() {
            // What was written of it is written again: nobody reads it before.
            seqs.iter().for_each(|seq| state.release(*seq));
            state.beside.ledger.ending(tx, false);
        }
        ended
    }

    /// Writes what an intent says to the table.
    fn write(&self, intent: &Intent, now: Timestamp) -> Result<(), Unrecorded> {
        let pinned = self.table.pin();
        for hold in &intent.holds {
            let Some(change) = hold.write.as_deref().and_then(decode_change) else { continue };
            let key = hold.key.as_slice();
            let Some(mut entry) = pinned.entry(self.table.hash(key), key, now) else { continue };
            let done = match change {
                Change::Put { entry: new, .. } => {
                    let version = new.version.or(Some(intent.version));
                    entry.put(&NewEntry { version, ..new }).map(drop)
                }
                _ => entry.remove().map(drop),
            };
            done.map_err(|error| match error {
                Error::Unrecorded(why) => why,
                // There is no room yet.
                _ => Unrecorded::Busy,
            })?;
        }
        Ok(())
    }

    /// Puts a note into the log.
    fn note(&self, fragment: &Fragment, state: &mut State, note: &Note) -> Result<(), Unrecorded> {
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        fragment.append(state, (join(note, &[]), None), self.min_insync)?;
        state.beside.ledger.noted(note);
        fragment.count_intents(&state.beside.ledger);
        Ok(())
    }

    /// What of a segment's transactions is not over; for status and tests.
    #[must_use]
    pub fn doubts(&self, segment: u32) -> usize {
        let fragment = self.fragments.get(segment as usize);
        fragment.map_or(0, |fragment| fragment.lock().beside.ledger.doubts())
    }
}

impl Fragment {
    pub(super) fn count_intents(&self, ledger: &Ledger) {
        self.intents.store(ledger.intents() as u64, Ordering::Release);
    }

    fn lock_active(&self) -> Result<std::sync::MutexGuard<'_, State>, Unrecorded> {
        let state = self.lock();
        if state.replica.is_active() { Ok(state) } else { Err(Unrecorded::Elsewhere) }
    }
}

impl State {
    /// Whether a transaction holds a key of a change, which is not its own.
    pub(super) fn holds(&self, change: &Change<'_>, own: Option<TxId>) -> bool {
        match change {
            Change::Put { key, .. } | Change::Remove { key, .. } => {
                self.beside.ledger.is_held_by_others(key, true, own)
            }
            Change::Transaction(changes) => changes.iter().any(|change| self.holds(change, own)),
            Change::Clear | Change::Life { .. } => self.beside.ledger.intents() > 0,
        }
    }

    /// Makes one record of operations that are withheld, the last of them; the others are empty.
    pub(super) fn seal_all(
        &mut self,
        last: u64,
        front: &[u64],
        join: impl FnOnce(&[Record]) -> Record,
    ) {
        let all = front.iter().chain([&last]);
        let changes: Vec<Record> =
            all.filter_map(|seq| self.replica.withheld(*seq).cloned()).collect();
        let nothing = crate::replica::answers::join(None, &[]);
        front.iter().for_each(|seq| self.replica.seal(*seq, nothing.clone()));
        self.replica.seal(last, join(&changes));
    }
}
