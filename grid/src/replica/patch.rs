//! A record as what differs from the one that put its entry before: so a change of a few bytes of a
//! large value moves a few bytes.
//!
//! What is made of a patch is checked: it is the record that it was made for, or none. Whoever has
//! another entry than the one that it was made from gets the record itself.

use crate::bytes::{Input, put_short, put_u8, put_u32, put_varint};
use crate::mutant::is_planted;

/// As many equal bytes are left out at least: fewer cost as much to name.
const SAME_MIN: usize = 8;
/// Within so many bytes of a difference equal ones are looked for at the same distance from the
/// front, or from the end.
const WINDOW: usize = 64;
/// Runs of equal bytes that are looked for from either end: as many as attributes of a session.
const RUNS_MAX: usize = 512;
/// Bytes that are compared at once.
const STRIDE: usize = 256;

/// The entry that a patch is made from, as the record that would put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// The number of what put it so, which no other state of the key has.
    pub number: u64,
    /// That record.
    pub record: &'a [u8],
    /// How many bytes stand ahead of the value in it. They and the value are compared each on their
    /// own, so that both may get longer.
    pub head: usize,
}

/// A record, as what it has of another one and what is new in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    key: Vec<u8>,
    number: u64,
    /// How long the record is that is made of it, and its CRC32C.
    len: usize,
    crc: u32,
    pieces: Vec<Piece>,
}

/// Some new bytes, and behind them some of the old record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Piece {
    new: Vec<u8>,
    from: usize,
    len: usize,
}

/// Bytes that two records have in common: where they begin in the old one and in the new one, and
/// how many they are.
type Same = (usize, usize, usize);

impl Patch {
    /// What makes a record, with so many bytes ahead of the value, of the one before.
    #[must_use]
    pub fn between(before: Before<'_>, record: &[u8], head: usize) -> Patch {
        Patch::in_runs(before, (record, head), SAME_MIN)
    }

    /// As [`Patch::between`], which leaves out runs of as few bytes as `same_min`: for records so
    /// short that it would leave out none.
    #[must_use]
    pub fn in_runs(before: Before<'_>, (record, head): (&[u8], usize), same_min: usize) -> Patch {
        let Before { key, number, record: old, head: old_head } = before;
        let (old_ahead, old_value) = old.split_at(old_head.min(old.len()));
        let (ahead, value) = record.split_at(head.min(record.len()));
        let mut same = difference(old_ahead, ahead, same_min.max(1));
        let behind = |(from, at, len): Same| (old_ahead.len() + from, ahead.len() + at, len);
        same.extend(difference(old_value, value, same_min.max(1)).into_iter().map(behind));
        let pieces = pieces(record, same);
        Patch { key: key.to_vec(), number, len: record.len(), crc: crc32c::crc32c(record), pieces }
    }

    /// The same change, of which `record` is made now: what it was made for, behind something else;
    /// `None` when that is not so.
    #[must_use]
    pub fn behind(&self, record: &[u8]) -> Option<Patch> {
        let (front, rest) = record.split_at_checked(record.len().checked_sub(self.len)?)?;
        if crc32c::crc32c(rest) != self.crc {
            return None;
        }
        let mut all = self.clone();
        match all.pieces.first_mut() {
            Some(first) => first.new = [front, &first.new].concat(),
            None => all.pieces.push(Piece { new: front.to_vec(), ..Piece::default() }),
        }
        (all.len, all.crc) = (record.len(), crc32c::crc32c(record));
        Some(all)
    }

    /// The key of the entry that it is made from.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Bytes that it takes in a message, about.
    #[must_use]
    pub fn cost(&self) -> usize {
        /// What names a run of equal bytes, and what stands ahead of all of them.
        const PIECE: usize = 8;
        const HEAD: usize = 24;
        let pieces: usize = self.pieces.iter().map(|piece| PIECE + piece.new.len()).sum();
        HEAD + self.key.len() + pieces
    }

    /// The record, made from the one that put the key's entry under this number; `None` when that is
    /// not the entry that the patch was made from.
    #[must_use]
    pub fn apply(&self, number: u64, old: &[u8]) -> Option<Vec<u8>> {
        let is_any = is_planted("patch-on-any-base");
        if number != self.number && !is_any {
            return None;
        }
        let mut record = Vec::new();
        for Piece { new, from, len } in &self.pieces {
            let same = old.get(*from..from.checked_add(*len)?)?;
            if record.len() + new.len() + len > self.len {
                return None;
            }
            record.extend_from_slice(new);
            record.extend_from_slice(same);
        }
        let is_it = record.len() == self.len && crc32c::crc32c(&record) == self.crc;
        (is_it || is_any).then_some(record)
    }

    /// Adds its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, &self.key);
        put_varint(out, self.number);
        put_varint(out, self.len as u64);
        put_u32(out, self.crc);
        put_varint(out, self.pieces.len() as u64);
        let mut end = 0;
        for piece in &self.pieces {
            put_packed(out, &piece.new);
            // Mostly as much is left out as comes in its place.
            put_varint(out, zigzag(piece.from.wrapping_sub(end + piece.new.len())));
            put_varint(out, piece.len as u64);
            end = piece.from + piece.len;
        }
    }

    /// Takes one from the front.
    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (key, number) = (input.short()?.to_vec(), input.varint()?);
        let (len, crc) = (size(input)?, input.u32()?);
        let (mut pieces, mut end) = (Vec::new(), 0_usize);
        for _ in 0..input.varint()? {
            let new = packed(input, len)?;
            let from = end.checked_add(new.len())?.wrapping_add(unzigzag(input.varint()?)?);
            let len = size(input)?;
            end = from.checked_add(len)?;
            pieces.push(Piece { new, from, len });
        }
        Some(Patch { key, number, len, crc, pieces })
    }
}

/// Adds bytes with their length. Behind one that is 0 stands how many more are: numbers have many.
fn put_packed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        put_u8(out, *byte);
        rest = behind;
        if *byte == 0 {
            let most = behind.iter().take(u8::MAX.into());
            let zeros = most.take_while(|byte| **byte == 0).count();
            put_u8(out, u8::try_from(zeros).unwrap_or(u8::MAX));
            rest = behind.get(zeros..).unwrap_or_default();
        }
    }
}

/// Bytes of [`put_packed`], at most so many.
fn packed(input: &mut Input<'_>, most: usize) -> Option<Vec<u8>> {
    let (len, mut bytes) = (size(input)?, Vec::new());
    while bytes.len() < len.min(most) {
        match input.u8()? {
            0 => bytes.resize(bytes.len() + 1 + usize::from(input.u8()?), 0),
            byte => bytes.push(byte),
        }
    }
    (bytes.len() == len).then_some(bytes)
}

fn size(input: &mut Input<'_>) -> Option<usize> {
    usize::try_from(input.varint()?).ok()
}

/// A difference of two sizes as a number that is small when that is, whichever is the larger one.
fn zigzag(difference: usize) -> u64 {
    let signed = difference.cast_signed() as i64;
    (signed << 1 ^ signed >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> Option<usize> {
    let signed = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
    isize::try_from(signed).ok().map(isize::cast_unsigned)
}

/// What two records have in common, in order: looked for from the front, and in what is left from the
/// end. So what is found is all but one change of any length, and some that change no length.
fn difference(old: &[u8], new: &[u8], same_min: usize) -> Vec<Same> {
    let front = runs(old.len().min(new.len()), same_min, |at| {
        common(old.get(at..).unwrap_or_default(), new.get(at..).unwrap_or_default())
    });
    let ahead = front.last().map_or(0, |(at, len)| at + len);
    let (rest_old, rest_new) =
        (old.get(ahead..).unwrap_or_default(), new.get(ahead..).unwrap_or_default());
    let back = runs(rest_old.len().min(rest_new.len()), same_min, |at| {
        let but = |all: &[u8]| all.len() - at;
        common_end(
            rest_old.get(..but(rest_old)).unwrap_or_default(),
            rest_new.get(..but(rest_new)).unwrap_or_default(),
        )
    });
    let from_end = |(at, len): (usize, usize)| (old.len() - at - len, new.len() - at - len, len);
    let front = front.into_iter().map(|(at, len)| (at, at, len));
    front.chain(back.into_iter().rev().map(from_end)).collect()
}

/// Runs of equal bytes at the same distance from an end of two records: at which, and how many. So
/// many are equal from a distance on as `common` says.
fn runs(limit: usize, same_min: usize, common: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
    let (mut all, mut at) = (Vec::new(), 0);
    while all.len() < RUNS_MAX {
        let tried = at..limit.min(at + WINDOW + 1);
        let mut found = tried.map(|at| (at, common(at))).filter(|(_, len)| *len >= same_min);
        let Some(run) = found.next() else { return all };
        at = run.0 + run.1;
        all.push(run);
    }
    all
}

/// How many bytes are equal at the front.
fn common(a: &[u8], b: &[u8]) -> usize {
    let strides = a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE));
    let far = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    let rest = a.iter().skip(far).zip(b.iter().skip(far));
    far + rest.take_while(|(a, b)| a == b).count()
}

/// How many bytes are equal at the end.
fn common_end(a: &[u8], b: &[u8]) -> usize {
    let strides = a.rchunks_exact(STRIDE).zip(b.rchunks_exact(STRIDE));
    let far = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    let rest = a.iter().rev().skip(far).zip(b.iter().rev().skip(far));
    far + rest.take_while(|(a, b)| a == b).count()
}

/// A record in pieces, of which these bytes are the old one's.
fn pieces(record: &[u8], same: Vec<Same>) -> Vec<Piece> {
    let mut done = 0;
    let mut all: Vec<Piece> = Vec::with_capacity(same.len() + 1);
    for (from, at, len) in same {
        let new = record.get(done..at).unwrap_or_default().to_vec();
        all.push(Piece { new, from, len });
        done = at + len;
    }
    let new = record.get(done..).unwrap_or_default();
    if !new.is_empty() {
        let from = all.last().map_or(0, |last| last.from + last.len);
        all.push(Piece { new: new.to_vec(), from, len: 0 });
    }
    all
}

#[cfg(test)]
mod tests;
