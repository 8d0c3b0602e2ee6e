//! The committed entries of a copy: a segment of the engine's table.

use std::collections::BTreeMap;

use isogrid_engine::table::{Change, SegmentCopy, encode_change, removals};

use super::changes;
use super::once::Open;
use crate::replica::answers::split;
use crate::replica::{Answers, Base, Op, OpId};
use crate::tx::{self, Ledger, Note};

/// Bytes of a chunk, about (R41).
const CHUNK_BYTES: usize = 256 << 10;
/// How a chunk begins that has answers in place of entries: no entry has such a number.
const ANSWERS: &[u8] = &[0xff; 8];
/// How one begins that has transactions, and where it comes: behind the answers.
const LEDGER: &[u8] = &[0xfe; 8];

/// What an operation makes of a key.
enum State {
    /// The entry of this number, which this record puts.
    Put(u64, Vec<u8>),
    /// There is none any more.
    Gone,
}

/// What a record makes of a key, as far as it says anything of it.
fn state_in(record: &[u8], key: &[u8]) -> Option<State> {
    let mut state = None;
    let read = changes(record, |change| match change {
        Change::Put { key: of, seq, .. } if of == key => {
            let mut bytes = Vec::new();
            encode_change(&change, &mut bytes);
            state = Some(State::Put(seq, bytes));
        }
        Change::Remove { key: of, .. } if of == key => state = Some(State::Gone),
        Change::Clear | Change::Life { .. } => state = Some(State::Gone),
        _ => {}
    });
    // What cannot be read may say anything of it.
    read.map_or(Some(State::Gone), |()| state)
}

/// What a copy keeps beside its table.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// From this operation on they were prepared here, as the primary: then a commit only shows
    /// them.
    pub prepared_from: Option<u64>,
    /// Up to here what was done is in the table, though it may not be committed (R37).
    pub shown: u64,
    /// What was removed since filling began, and under which number: a chunk may have it still.
    pub gone: Option<BTreeMap<Vec<u8>, u64>>,
    /// The answers to requests that may come again, of what is committed (R34).
    pub answers: Answers,
    /// Transactions that hold keys, or are decided here.
    pub ledger: Ledger,
    /// The answers of what is not committed, and requests that are being executed.
    pub open: BTreeMap<OpId, Open>,
    /// What came could not be done: the copy is not what it seems to be. It answers nobody until it
    /// is filled anew (R50).
    pub is_broken: bool,
}

/// The table's segment with its lock held.
pub(super) struct TableBase<'a, 't> {
    pub copy: &'a mut SegmentCopy<'t>,
    pub beside: &'a mut Beside,
}

impl Base for TableBase<'_, '_> {
    fn apply(&mut self, op: &Op) {
        let Beside { prepared_from, shown, gone, answers, ledger, open, is_broken } =
            &mut *self.beside;
        let is_shown = op.seq <= *shown;
        let is_prepared = prepared_from.is_some_and(|from| op.seq >= from);
        if is_prepared {
            self.copy.publish_upto(op.seq);
        }
        let mut change = |change: &[u8]| {
            if is_shown || (is_prepared && !SegmentCopy::is_clear(change)) {
                return;
            }
            *is_broken |= self.copy.replay(change).is_err();
            if let Some(gone) = gone {
                removals(change, |key, seq| {
                    gone.insert(key.to_vec(), seq);
                });
            }
        };
        if let Some(noted) = tx::split(&op.record) {
            match noted {
                Ok((note, changes)) => {
                    changes.into_iter().for_each(change);
                    // Its keys are let go when what it wrote is seen.
                    ledger.apply(&note);
                    if let Note::Decide(.., Some(answered)) = note {
                        open.remove(&answered.id);
                        answers.note(answered);
                    }
                }
                Err(_) => *is_broken = true,
            }
            return;
        }
        let answered = split(&op.record, &mut change);
        *is_broken |= answered.is_none();
        if let Some(answered) = answered.flatten() {
            open.remove(&answered.id);
            answers.note(answered);
        }
    }

    fn show(&mut self, op: &Op) {
        self.copy.publish_upto(op.seq);
        self.beside.shown = op.seq;
        let (copy, is_broken) = (&mut *self.copy, &mut self.beside.is_broken);
        split(&op.record, |change| {
            if SegmentCopy::is_clear(change) {
                *is_broken |= copy.replay(change).is_err();
            }
        });
    }

    fn newest<'o>(
        &self,
        key: &[u8],
        mut open: impl Iterator<Item = &'o Op>,
    ) -> Option<(u64, Vec<u8>)> {
        match open.find_map(|op| state_in(&op.record, key)) {
            Some(State::Put(seq, record)) => Some((seq, record)),
            Some(State::Gone) => None,
            None => self.copy.encode_entry(key),
        }
    }

    fn is_sound(&self) -> bool {
        !self.beside.is_broken
    }

    fn chunk(&self, after: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut bytes = Vec::new();
        if after.is_none() && !self.beside.answers.is_empty() {
            bytes.extend_from_slice(ANSWERS);
            self.beside.answers.encode(&mut bytes);
            return (bytes, Some(LEDGER.to_vec()));
        }
        if after.is_none_or(|after| after == LEDGER) {
            let Beside { ledger, .. } = &*self.beside;
            if !ledger.is_empty() {
                bytes.extend_from_slice(LEDGER);
                ledger.encode(&mut bytes);
                return (bytes, Some(0_u64.to_le_bytes().to_vec()));
            }
        }
        let after = after.filter(|after| *after != LEDGER);
        let from = after.and_then(|after| after.try_into().ok()).map_or(0, u64::from_le_bytes);
        let next = self.copy.chunk(from, CHUNK_BYTES, &mut bytes);
        (bytes, next.map(|next| next.to_le_bytes().to_vec()))
    }

    fn begin_filling(&mut self) {
        self.copy.follow();
        self.copy.empty();
        *self.beside = Beside { gone: Some(BTreeMap::new()), ..Beside::default() };
    }

    fn take(&mut self, chunk: &[u8]) -> Option<()> {
        if let Some(answers) = chunk.strip_prefix(ANSWERS) {
            return self.beside.answers.merge(answers);
        }
        if let Some(ledger) = chunk.strip_prefix(LEDGER) {
            return self.beside.ledger.merge(ledger);
        }
        let gone = self.beside.gone.as_ref();
        let is_gone = |key: &[u8], seq: u64| {
            gone.and_then(|gone| gone.get(key)).is_some_and(|gone| *gone >= seq)
        };
        self.copy.take_chunk(chunk, &is_gone).ok()
    }

    fn filled(&mut self) {
        self.beside.gone = None;
    }
}
