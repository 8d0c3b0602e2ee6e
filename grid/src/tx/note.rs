//! What of transactions stands in the log of a segment.

use isogrid_engine::Timestamp;

use super::{Decision, Hold, Intent, Known, Part, Ruling, TxId, Vote};
use crate::bytes::{Input, put_bytes, put_many, put_option, put_u8, put_u64, whole};
use crate::id::{GroupId, SegmentId};
use crate::mutant::is_planted;
use crate::replica::{Answered, Record};

/// The first byte of a record that has a note; no change of entries begins so.
const NOTED: u8 = 254;

/// An operation of a segment's log that is about a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It holds keys from here on.
    Prepare(TxId, Intent),
    /// All its keys are in this segment: it holds them, and it is committed.
    Alone(TxId, Intent),
    /// This is its decision, and here others took part; and this is what was answered by that to a
    /// request that may come again.
    Decide(TxId, Decision, Vec<Part>, Option<Answered>),
    /// It holds nothing any more. What it wrote is in the same record.
    End(TxId),
    /// All that took part know the decision.
    Close(TxId),
}

/// A record of changes, of several or of none, and of the note that goes with them.
#[must_use]
pub fn join(note: &Note, changes: &[Record]) -> Record {
    let mut out = vec![NOTED];
    note.encode(&mut out);
    changes.iter().for_each(|change| put_bytes(&mut out, change));
    out.into()
}

/// A note, and the changes that go with it.
pub type Noted<'r> = (Note, Vec<&'r [u8]>);

/// The note of a record, and its changes; `None` when it has none.
///
/// # Errors
/// The bytes are none of [`join`].
pub fn split(record: &[u8]) -> Option<Result<Noted<'_>, NotANote>> {
    let (NOTED, rest) = record.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    let mut input = Input(rest);
    let mut read = || {
        let (note, mut changes) = (Note::decode(&mut input)?, Vec::new());
        while !input.is_empty() {
            changes.push(input.bytes()?);
        }
        Some((note, changes))
    };
    Some(read().ok_or(NotANote))
}

/// A record that begins as one with a note, and has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of a transaction that is none")]
pub struct NotANote;

/// A decision that somebody wants: that, for these who took part, and what is answered by it.
pub type Wanted = (TxId, Decision, Vec<Part>, Option<Answered>);

impl Note {
    /// What is recorded where somebody wants a decision now: this one. Parts wait for a COMMIT
    /// alone, and an answer is one to what was wanted.
    #[must_use]
    pub fn deciding(
        now: Timestamp,
        (tx, wish, parts, answered): Wanted,
        decision: Decision,
    ) -> Note {
        let parts = if decision == Decision::Commit { parts } else { Vec::new() };
        let is_answer = decision == wish && !is_planted("tx-answer-forgotten");
        let answered = answered.filter(|_| is_answer);
        Note::Decide(tx, decision, parts, answered.map(|one| Answered { at: now, ..one }))
    }

    /// Which transaction it is about.
    #[must_use]
    pub fn tx(&self) -> TxId {
        match self {
            Note::Prepare(tx, _)
            | Note::Alone(tx, _)
            | Note::Decide(tx, ..)
            | Note::End(tx)
            | Note::Close(tx) => *tx,
        }
    }

    /// As bytes, for [`Note::of_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// What these bytes say; `None` when they say nothing.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Note> {
        whole(bytes, Note::decode)
    }

    /// Adds it to the end.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Note::Prepare(..) => 0,
            Note::Alone(..) => 1,
            Note::Decide(.., None) => 2,
            Note::End(_) => 3,
            Note::Close(_) => 4,
            Note::Decide(.., Some(_)) => 5,
        };
        put_u8(out, kind);
        self.tx().encode(out);
        match self {
            Note::Prepare(_, intent) | Note::Alone(_, intent) => intent.encode(out),
            Note::Decide(_, decision, parts, answered) => {
                put_decision(out, *decision);
                put_many(out, parts.iter(), |out, part| put_part(out, *part));
                answered.iter().for_each(|answered| answered.encode(out));
            }
            Note::End(_) | Note::Close(_) => {}
        }
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (kind, tx) = (input.u8()?, TxId::decode(input)?);
        Some(match kind {
            0 => Note::Prepare(tx, Intent::decode(input)?),
            1 => Note::Alone(tx, Intent::decode(input)?),
            2 => Note::Decide(tx, decision(input)?, input.many(part)?, None),
            3 => Note::End(tx),
            4 => Note::Close(tx),
            5 => {
                let (decision, parts) = (decision(input)?, input.many(part)?);
                Note::Decide(tx, decision, parts, Some(Answered::decode(input)?))
            }
            _ => return None,
        })
    }
}

fn put_decision(out: &mut Vec<u8>, decision: Decision) {
    put_u8(out, u8::from(decision == Decision::Commit));
}

fn decision(input: &mut Input<'_>) -> Option<Decision> {
    Some(if input.bool()? { Decision::Commit } else { Decision::Abort })
}

fn put_part(out: &mut Vec<u8>, (group, segment): Part) {
    let group = if is_planted("tx-group-forgotten") { GroupId(0) } else { group };
    group.encode(out);
    segment.encode(out);
}

fn part(input: &mut Input<'_>) -> Option<Part> {
    Some((GroupId::decode(input)?, SegmentId::decode(input)?))
}

impl Intent {
    /// Adds it to the end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_part(out, self.home);
        put_u64(out, self.version);
        put_many(out, self.holds.iter(), |out, hold| {
            put_bytes(out, &hold.key);
            put_option(out, hold.seen, put_u64);
            put_option(out, hold.write.as_deref(), put_bytes);
        });
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (home, version) = (part(input)?, input.u64()?);
        let holds = input.many(|input| {
            let (key, seen) = (input.bytes()?.to_vec(), input.option(Input::u64)?);
            let write = input.option(|input| input.bytes().map(<[u8]>::to_vec))?;
            Some(Hold { key, seen, write })
        })?;
        Some(Intent { home, version, holds })
    }
}

impl Vote {
    /// As bytes, for [`Vote::of_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Vote::Prepared(version) => {
                put_u8(&mut out, 0);
                put_u64(&mut out, *version);
            }
            Vote::Conflict(keys) => {
                put_u8(&mut out, 1);
                put_many(&mut out, keys.iter(), |out, key| put_bytes(out, key));
            }
            Vote::Over => put_u8(&mut out, 2),
            Vote::Full => put_u8(&mut out, 3),
        }
        out
    }

    /// What these bytes say; `None` when they say nothing.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Vote> {
        whole(bytes, |input| {
            Some(match input.u8()? {
                0 => Vote::Prepared(input.u64()?),
                1 => Vote::Conflict(input.many(|input| input.bytes().map(<[u8]>::to_vec))?),
                2 => Vote::Over,
                3 => Vote::Full,
                _ => return None,
            })
        })
    }
}

impl Ruling {
    /// As bytes, for [`Ruling::of_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Ruling::Decided(decision) => put_decision(&mut out, *decision),
            Ruling::Before(answer) => {
                put_u8(&mut out, 2);
                put_option(&mut out, answer.as_deref(), put_bytes);
            }
        }
        out
    }

    /// What these bytes say; `None` when they say nothing.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Ruling> {
        whole(bytes, |input| {
            Some(match input.u8()? {
                0 => Ruling::Decided(Decision::Abort),
                1 => Ruling::Decided(Decision::Commit),
                2 => Ruling::Before(input.option(|input| input.bytes().map(Into::into))?),
                _ => return None,
            })
        })
    }
}

impl Known {
    /// As a byte, for [`Known::of_byte`].
    #[must_use]
    pub fn to_byte(self) -> u8 {
        match self {
            Known::Nothing => 0,
            Known::Open => 1,
            Known::Decided(Decision::Abort) => 2,
            Known::Decided(Decision::Commit) => 3,
        }
    }

    /// What this byte says; `None` when it says nothing.
    #[must_use]
    pub fn of_byte(byte: u8) -> Option<Known> {
        Some(match byte {
            0 => Known::Nothing,
            1 => Known::Open,
            2 => Known::Decided(Decision::Abort),
            3 => Known::Decided(Decision::Commit),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::OpId;

    #[test]
    fn records_come_as_they_went() {
        let tx = TxId { begun: 7, name: OpId { client: [3; 16], number: 9 } };
        let hold = |key: &[u8], seen, write: Option<&[u8]>| Hold {
            key: key.to_vec(),
            seen,
            write: write.map(<[u8]>::to_vec),
        };
        let holds = vec![hold(b"a", Some(5), None), hold(b"b", None, Some(b"x"))];
        let intent = Intent { home: (GroupId(2), SegmentId(4)), version: 11, holds };
        let answered = Answered::new(OpId { client: [5; 16], number: 6 }, 8, b"done");
        let changes = [Record::from(&b"one"[..]), Record::from(&b""[..])];
        for note in [
            Note::Prepare(tx, intent.clone()),
            Note::Alone(tx, intent),
            Note::Decide(
                tx,
                Decision::Commit,
                vec![(GroupId(1), SegmentId(1)), (GroupId(7), SegmentId(9))],
                None,
            ),
            Note::Decide(tx, Decision::Abort, Vec::new(), None),
            Note::Decide(tx, Decision::Commit, vec![(GroupId(1), SegmentId(1))], Some(answered)),
            Note::End(tx),
            Note::Close(tx),
        ] {
            let record = join(&note, &changes);
            assert_eq!(split(&record), Some(Ok((note, vec![&b"one"[..], &b""[..]]))));
            let cut = &record[..record.len() - 5];
            assert_eq!(split(cut), Some(Err(NotANote)), "a record that was cut");
        }
        assert_eq!(split(b"another record"), None);
    }

    #[test]
    fn rulings_come_as_they_went() {
        let decided = [Decision::Commit, Decision::Abort].map(Ruling::Decided);
        let before = [Some((&b"so"[..]).into()), None].map(Ruling::Before);
        for ruling in decided.into_iter().chain(before) {
            let bytes = ruling.to_bytes();
            assert_eq!(Ruling::of_bytes(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Ruling::of_bytes(&bytes), Some(ruling));
        }
        assert_eq!(Ruling::of_bytes(&[3]), None);
    }

    #[test]
    fn votes_come_as_they_went() {
        let keys = vec![b"a".to_vec(), Vec::new()];
        for vote in [Vote::Prepared(9), Vote::Conflict(keys), Vote::Over, Vote::Full] {
            let bytes = vote.to_bytes();
            assert_eq!(Vote::of_bytes(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Vote::of_bytes(&bytes), Some(vote));
        }
        let known = (0..=4).map(Known::of_byte);
        let bytes: Vec<_> = known.map(|known| known.map(Known::to_byte)).collect();
        assert_eq!(bytes, [Some(0), Some(1), Some(2), Some(3), None]);
    }
}
