//! The bytes of one recorded change. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: 1 put, 2 remove, 3 clear, 4 life, 5 transaction, 6 of several caches |
//! | 1 | parts that follow the key: 1 flags, 2 deadline, 4 max-idle, 8 version, 16 marks |
//! | 1, .. | length and bytes of the cache's name |
//! | 8 | `epoch << 40 \| seq`, for a life the highest seq; not for a clear |
//! | 2, .. | length and bytes of the key; neither this nor what follows for a life |
//! | 4, 8, 4, 8, 4 | the parts |
//! | .. | the value, to the end |
//!
//! Behind the name of a transaction stand its changes, each as 4 bytes of length and a record of
//! its own without a name. One over several caches has no name, and in the place of changes a
//! transaction of each cache.

use crate::table::{Change, Marks, NewEntry, SEQ_BITS};

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR: u8 = 3;
const LIFE: u8 = 4;
const TRANSACTION: u8 = 5;
const JOINT: u8 = 6;

const FLAGS: u8 = 1;
const DEADLINE: u8 = 2;
const IDLE: u8 = 4;
const VERSION: u8 = 8;
const MARKS: u8 = 16;

/// Adds the bytes of a change of the cache `name` (at most 255 bytes) to `out`.
pub(crate) fn encode(name: &str, change: &Change<'_>, out: &mut Vec<u8>) {
    match change {
        Change::Put { key, entry, epoch, seq } => {
            head(PUT, parts(entry), name, out);
            place(key, *epoch, *seq, out);
            put_parts(entry, out);
            entry.value.iter().for_each(|piece| out.extend_from_slice(piece));
        }
        Change::Remove { key, epoch, seq } => {
            head(REMOVE, 0, name, out);
            place(key, *epoch, *seq, out);
        }
        Change::Clear => head(CLEAR, 0, name, out),
        Change::Transaction(changes) => {
            head(TRANSACTION, 0, name, out);
            changes.iter().for_each(|change| nested("", change, out));
        }
        Change::Life { seq } => {
            head(LIFE, 0, name, out);
            out.extend_from_slice(&seq.to_le_bytes());
        }
    }
}

/// Adds the bytes of a transaction over several caches that [`nested`] are in.
pub(crate) fn encode_joint(parts: &[u8], out: &mut Vec<u8>) {
    head(JOINT, 0, "", out);
    out.extend_from_slice(parts);
}

/// Adds a record as it stands within another one.
pub(crate) fn nested(name: &str, change: &Change<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    encode(name, change, out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

/// Gives the record of each cache that a record is of; `None` when one is refused, or the bytes are
/// none of ours.
pub(crate) fn each_cache<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(&'a str, &'a [u8]) -> Option<()>,
) -> Option<()> {
    if bytes.first() != Some(&JOINT) {
        return visit(cache(bytes)?, bytes);
    }
    let mut input = Input(split_name(bytes)?.1);
    while !input.0.is_empty() {
        let record = input.nested()?;
        visit(cache(record)?, record)?;
    }
    Some(())
}

/// Gives each change of one cache in order, with the bytes that [`single`] makes it from; `None` when
/// the bytes are none of ours.
pub(crate) fn each<'a>(bytes: &'a [u8], mut visit: impl FnMut(&'a [u8], Change<'a>)) -> Option<()> {
    if bytes.first() != Some(&TRANSACTION) {
        visit(bytes, single(bytes)?);
        return Some(());
    }
    let mut input = Input(split_name(bytes)?.1);
    while !input.0.is_empty() {
        let change = input.nested()?;
        visit(change, single(change)?);
    }
    Some(())
}

/// Whether it is the record of a life.
pub(crate) fn is_life(bytes: &[u8]) -> bool {
    bytes.first() == Some(&LIFE)
}

/// The name of the cache; none has the one of a record of several.
fn cache(bytes: &[u8]) -> Option<&str> {
    split_name(bytes).map(|(name, _)| name)
}

/// The cache and key of each change, as far as damaged bytes tell them: any of it may be wrong.
pub(crate) fn names(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Some((name, behind)) = split_name(bytes) else { return Vec::new() };
    if bytes.first() == Some(&JOINT) {
        return whole(behind).flat_map(names).collect();
    }
    let key = |bytes: &[u8]| {
        let mut input = Input(split_name(bytes)?.1);
        input.take(8)?;
        let len = u16::from_le_bytes(input.array()?);
        input.take(usize::from(len)).map(<[u8]>::to_vec)
    };
    let named = |bytes: &[u8]| {
        let key = key(bytes).filter(|_| matches!(bytes.first(), Some(&PUT | &REMOVE)))?;
        Some((name.to_owned(), key))
    };
    if bytes.first() != Some(&TRANSACTION) {
        return named(bytes).into_iter().collect();
    }
    whole(behind).filter_map(named).collect()
}

/// The records within another one, up to the first that is cut off.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut input = Input(bytes);
    std::iter::from_fn(move || input.nested())
}

fn split_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let mut input = Input(bytes);
    let [_, _, name_len] = input.array()?;
    let name = std::str::from_utf8(input.take(usize::from(name_len))?).ok()?;
    Some((name, input.0))
}

fn head(kind: u8, parts: u8, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind, parts, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
    out.extend_from_slice(name.as_bytes());
}

fn place(key: &[u8], epoch: u32, seq: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(u64::from(epoch) << SEQ_BITS | seq).to_le_bytes());
    out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(key);
}

fn parts(entry: &NewEntry<'_>) -> u8 {
    [
        (entry.flags != 0, FLAGS),
        (entry.deadline.is_some(), DEADLINE),
        (entry.max_idle.is_some(), IDLE),
        (entry.version.is_some(), VERSION),
        (entry.marks != Marks::default(), MARKS),
    ]
    .iter()
    .fold(0, |set, (there, part)| if *there { set | part } else { set })
}

fn put_parts(entry: &NewEntry<'_>, out: &mut Vec<u8>) {
    if entry.flags != 0 {
        out.extend_from_slice(&entry.flags.to_le_bytes());
    }
    if let Some(deadline) = entry.deadline {
        out.extend_from_slice(&deadline.to_le_bytes());
    }
    if let Some(max_idle) = entry.max_idle {
        out.extend_from_slice(&max_idle.to_le_bytes());
    }
    if let Some(version) = entry.version {
        out.extend_from_slice(&version.to_le_bytes());
    }
    if entry.marks != Marks::default() {
        out.extend_from_slice(&entry.marks.bits().to_le_bytes());
    }
}

/// The change of a record that is no transaction, or of a part of one.
pub(crate) fn single(bytes: &[u8]) -> Option<Change<'_>> {
    let (kind, parts) = (*bytes.first()?, *bytes.get(1)?);
    let mut input = Input(split_name(bytes)?.1);
    if kind == CLEAR {
        return input.0.is_empty().then_some(Change::Clear);
    }
    let order = u64::from_le_bytes(input.array()?);
    if kind == LIFE {
        return input.0.is_empty().then_some(Change::Life { seq: order });
    }
    let (epoch, seq) = (u32::try_from(order >> SEQ_BITS).ok()?, order & ((1 << SEQ_BITS) - 1));
    let key_len = u16::from_le_bytes(input.array()?);
    let key = input.take(usize::from(key_len))?;
    match kind {
        PUT => {
            let entry = input.entry(parts)?;
            Some(Change::Put { key, entry, epoch, seq })
        }
        REMOVE if input.0.is_empty() => Some(Change::Remove { key, epoch, seq }),
        _ => None,
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn nested(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(len).ok()?)
    }

    fn entry(&mut self, parts: u8) -> Option<NewEntry<'a>> {
        let mut entry = NewEntry::default();
        if parts & FLAGS != 0 {
            entry.flags = u32::from_le_bytes(self.array()?);
        }
        if parts & DEADLINE != 0 {
            entry.deadline = Some(u64::from_le_bytes(self.array()?));
        }
        if parts & IDLE != 0 {
            entry.max_idle = Some(u32::from_le_bytes(self.array()?));
        }
        if parts & VERSION != 0 {
            entry.version = Some(u64::from_le_bytes(self.array()?));
        }
        if parts & MARKS != 0 {
            entry.marks = Marks::of_bits(u32::from_le_bytes(self.array()?))?;
        }
        entry.value = [std::mem::take(&mut self.0), b""];
        Some(entry)
    }
}
