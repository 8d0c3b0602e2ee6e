//! Entries over any ordered map of bytes: how a batch becomes records, and records an entry. The
//! store on disk and its twin in memory share this, so that they write the same bytes and refuse
//! the same damage.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::layout::{self, Range};
use super::record::{self, Applied, Body, CHUNK_BYTES, MARKS_A_RECORD, Reason};
use super::{Batch, CacheId, Damage, Error, Page, Position, Scan, ScanCursor, Stored};

/// An ordered map of bytes, to read from. It does not change while it is borrowed.
pub(super) trait Tree {
    /// A record.
    type Record: AsRef<[u8]>;

    fn record(&self, tree_key: &[u8]) -> Result<Option<Self::Record>, Error>;

    /// Shows records in the order of their keys until told to stop.
    fn range(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), Error>;
}

/// Called with each record: its tree key and its bytes.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Changes of records, each key once: all of them are applied, or none.
pub(super) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Tree keys that one step of a clear removes.
const CLEAR_STEP: usize = 1000;

pub(super) fn get(tree: &impl Tree, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, Error> {
    let tree_key = layout::entry(cache, key);
    let Some(bytes) = tree.record(&tree_key)? else { return Ok(None) };
    let (found, stored) = entry(tree, cache, &tree_key, bytes.as_ref())?;
    // Two long keys with one digest: nobody has found such a pair.
    if found == key { Ok(Some(stored)) } else { Err(damaged(cache, &tree_key, "another key")) }
}

pub(super) fn applied(tree: &impl Tree) -> Result<Option<Applied>, Error> {
    let Some(bytes) = tree.record(layout::APPLIED)? else { return Ok(None) };
    let read = record::read_applied(layout::APPLIED, bytes.as_ref());
    read.map(Some).map_err(|reason| damaged(CacheId(0), layout::APPLIED, reason))
}

/// The digest of what the tree really holds.
pub(super) fn digest(tree: &impl Tree) -> Result<u64, Error> {
    let mut digest = 0u64;
    tree.range((Bound::Unbounded, Bound::Unbounded), &mut |tree_key, bytes| {
        if tree_key != layout::APPLIED {
            digest = digest.wrapping_add(record::fingerprint(tree_key, bytes));
        }
        ControlFlow::Continue(())
    })?;
    Ok(digest)
}

/// The changes that make an empty tree a store.
pub(super) fn birth() -> Changes {
    vec![(layout::APPLIED.to_vec(), Some(record::applied(layout::APPLIED, Applied::default())))]
}

fn damaged(cache: CacheId, tree_key: &[u8], reason: Reason) -> Error {
    let key = layout::entry_key(tree_key).to_vec();
    Error::Damaged(Damage::Entry { cache: cache.0, key, reason })
}

/// Reads an entry from its head on.
fn entry(
    tree: &impl Tree,
    cache: CacheId,
    tree_key: &[u8],
    bytes: &[u8],
) -> Result<(Vec<u8>, Stored), Error> {
    let refuse = |reason| damaged(cache, tree_key, reason);
    let head = record::read_head(tree_key, bytes).map_err(refuse)?;
    let chunks;
    let stream = match head.body {
        Body::Inline(stream) => stream,
        Body::Chunked { len, id } => {
            chunks = read_chunks(tree, cache, len, id)?.map_err(refuse)?;
            &chunks
        }
    };
    let (key, value) = if head.long_key {
        record::split_stream(stream).map_err(refuse)?
    } else {
        (layout::entry_key(tree_key), stream)
    };
    Ok((key.to_vec(), Stored { value: value.to_vec(), ..head.stored }))
}

fn read_chunks(
    tree: &impl Tree,
    cache: CacheId,
    len: u32,
    id: u64,
) -> Result<Result<Vec<u8>, Reason>, Error> {
    let mut stream = Vec::new();
    for n in 0..chunk_count(len) {
        let tree_key = layout::chunk(cache, id, n);
        let Some(bytes) = tree.record(&tree_key)? else { return Ok(Err("a missing chunk")) };
        match record::read_chunk(&tree_key, bytes.as_ref()) {
            Ok(chunk) => stream.extend_from_slice(chunk),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    let whole = u32::try_from(stream.len()) == Ok(len);
    Ok(if whole { Ok(stream) } else { Err("a chunk of another length") })
}

fn chunk_count(len: u32) -> u32 {
    len.div_ceil(u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX))
}

pub(super) fn reached(tree: &impl Tree, cache: CacheId) -> Result<Vec<(u16, u64)>, Error> {
    let prefix = layout::marks_prefix(cache);
    let mut all = Vec::new();
    let mut bad = None;
    tree.range(layout::range(&prefix, None, &layout::end_of(&prefix)), &mut |key, bytes| {
        let (Some(number), Ok(marks)) = (layout::marks_record(key), record::read_marks(key, bytes))
        else {
            bad = Some(damaged(cache, key, "checksum"));
            return ControlFlow::Break(());
        };
        let first = usize::from(number) * MARKS_A_RECORD;
        let known = (first..).zip(marks).filter(|(_, mark)| *mark != 0);
        all.extend(known.filter_map(|(at, mark)| Some((u16::try_from(at).ok()?, mark))));
        ControlFlow::Continue(())
    })?;
    bad.map_or(Ok(all), Err)
}

pub(super) fn scan(tree: &impl Tree, scan: &Scan<'_>) -> Result<Page, Error> {
    let (start, entries_max) = (layout::entries(scan.cache, scan.prefix), scan.entries_max.max(1));
    let end = layout::end_of(&start);
    let (mut heads, mut bytes_read) = (Vec::new(), 0);
    tree.range(layout::range(&start, scan.after, &end), &mut |key, bytes| {
        bytes_read += key.len() + bytes.len();
        heads.push((key.to_vec(), bytes.to_vec()));
        let full = heads.len() >= entries_max || bytes_read >= scan.bytes_max;
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let full = heads.len() >= entries_max || bytes_read >= scan.bytes_max;
    let (mut page, mut held) = (Page { entries: Vec::new(), next: None }, 0);
    let mut left = heads.into_iter();
    for (tree_key, bytes) in left.by_ref() {
        match entry(tree, scan.cache, &tree_key, &bytes) {
            Ok((key, _)) if !key.starts_with(scan.prefix) => {}
            Ok((key, stored)) => {
                held += key.len() + stored.value.len();
                page.entries.push(Ok((key, stored)));
            }
            Err(Error::Damaged(damage @ Damage::Entry { .. })) => page.entries.push(Err(damage)),
            Err(error) => return Err(error),
        }
        page.next = Some(ScanCursor(tree_key));
        if held >= scan.bytes_max {
            break;
        }
    }
    if !full && left.len() == 0 {
        page.next = None;
    }
    Ok(page)
}

/// The next step of a clear; empty when nothing is left. Heads go first: a head without its
/// chunks would read as damage.
fn clear_step(tree: &impl Tree, cache: CacheId) -> Result<Changes, Error> {
    let prefixes =
        [layout::entries(cache, b""), layout::chunks_prefix(cache), layout::marks_prefix(cache)];
    for prefix in prefixes {
        let mut changes = Changes::new();
        tree.range(layout::range(&prefix, None, &layout::end_of(&prefix)), &mut |key, _| {
            changes.push((key.to_vec(), None));
            if changes.len() < CLEAR_STEP {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if !changes.is_empty() {
            return Ok(changes);
        }
    }
    Ok(Changes::new())
}

/// Turns batches into changes. One for each store, used by one commit at a time.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What the tree holds, or will once the planned changes are applied.
    applied: Applied,
    /// Caches that may hold chunks. While one holds none, nobody looks for the old entry of a key
    /// that is put.
    chunked: BTreeMap<CacheId, bool>,
}

impl Writer {
    pub(super) fn new(applied: Applied) -> Self {
        Writer { applied, chunked: BTreeMap::new() }
    }

    pub(super) fn position(&self) -> Position {
        Position(self.applied.position)
    }

    /// The changes of a batch. They are taken as applied: a writer whose changes fail is of no
    /// more use.
    pub(super) fn plan(&mut self, tree: &impl Tree, batch: &Batch) -> Result<Changes, Error> {
        if batch.position < self.position() {
            return Err(Error::Backwards { given: batch.position, applied: self.position() });
        }
        let mut changes = Changes::with_capacity(batch.ops.len() + 1);
        for ((cache, key), op) in &batch.ops {
            self.plan_entry(tree, *cache, key, op.as_ref(), &mut changes)?;
        }
        plan_marks(tree, batch, &mut changes)?;
        self.applied.position = batch.position.0;
        self.seal(tree, &mut changes)?;
        Ok(changes)
    }

    /// The changes of the next step of a clear; empty when nothing is left.
    pub(super) fn plan_clear(
        &mut self,
        tree: &impl Tree,
        cache: CacheId,
    ) -> Result<Changes, Error> {
        let mut changes = clear_step(tree, cache)?;
        if !changes.is_empty() {
            self.seal(tree, &mut changes)?;
        }
        Ok(changes)
    }

    /// Brings the digest up to date and adds the record that holds it.
    fn seal(&mut self, tree: &impl Tree, changes: &mut Changes) -> Result<(), Error> {
        let mut digest = self.applied.digest;
        for (tree_key, new) in changes.iter() {
            if let Some(old) = tree.record(tree_key)? {
                digest = digest.wrapping_sub(record::fingerprint(tree_key, old.as_ref()));
            }
            let new = new.as_ref().map_or(0, |new| record::fingerprint(tree_key, new));
            digest = digest.wrapping_add(new);
        }
        self.applied.digest = digest;
        let applied = record::applied(layout::APPLIED, self.applied);
        changes.push((layout::APPLIED.into(), Some(applied)));
        Ok(())
    }

    fn plan_entry(
        &mut self,
        tree: &impl Tree,
        cache: CacheId,
        key: &[u8],
        op: Option<&Stored>,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        let tree_key = layout::entry(cache, key);
        if self.may_have_chunks(tree, cache)? {
            plan_removal_of_chunks(tree, cache, &tree_key, changes)?;
        }
        let head = op.map(|stored| self.plan_put(cache, key, &tree_key, stored, changes));
        changes.push((tree_key, head));
        Ok(())
    }

    fn may_have_chunks(&mut self, tree: &impl Tree, cache: CacheId) -> Result<bool, Error> {
        if let Some(known) = self.chunked.get(&cache) {
            return Ok(*known);
        }
        let (prefix, mut any) = (layout::chunks_prefix(cache), false);
        tree.range(layout::range(&prefix, None, &layout::end_of(&prefix)), &mut |_, _| {
            any = true;
            ControlFlow::Break(())
        })?;
        self.chunked.insert(cache, any);
        Ok(any)
    }

    /// The head of an entry; chunks go to `changes`.
    fn plan_put(
        &mut self,
        cache: CacheId,
        key: &[u8],
        tree_key: &[u8],
        stored: &Stored,
        changes: &mut Changes,
    ) -> Vec<u8> {
        let long_key = layout::is_long(key);
        let stream;
        let stream = if long_key {
            stream = record::stream(key, &stored.value);
            &stream
        } else {
            &stored.value
        };
        if stream.len() <= CHUNK_BYTES {
            return record::head(tree_key, stored, long_key, &Body::Inline(stream));
        }
        self.chunked.insert(cache, true);
        let id = self.applied.next_id;
        self.applied.next_id += 1;
        for (n, bytes) in (0..).zip(stream.chunks(CHUNK_BYTES)) {
            let tree_key = layout::chunk(cache, id, n);
            let chunk = record::chunk(&tree_key, bytes);
            changes.push((tree_key, Some(chunk)));
        }
        let len = u32::try_from(stream.len()).unwrap_or(u32::MAX);
        record::head(tree_key, stored, long_key, &Body::Chunked { len, id })
    }
}

/// The chunks of the entry that a put or delete replaces. A head that is damaged no longer tells
/// them; they stay until the cache is cleared.
fn plan_removal_of_chunks(
    tree: &impl Tree,
    cache: CacheId,
    tree_key: &[u8],
    changes: &mut Changes,
) -> Result<(), Error> {
    let Some(bytes) = tree.record(tree_key)? else { return Ok(()) };
    if let Ok(head) = record::read_head(tree_key, bytes.as_ref())
        && let Body::Chunked { len, id } = head.body
    {
        changes.extend((0..chunk_count(len)).map(|n| (layout::chunk(cache, id, n), None)));
    }
    Ok(())
}

/// Raises the marks of segments, one record for each 64.
fn plan_marks(tree: &impl Tree, batch: &Batch, changes: &mut Changes) -> Result<(), Error> {
    let mut records = BTreeMap::new();
    for ((cache, segment), version) in &batch.reached {
        let (record, at) = (usize::from(*segment) / MARKS_A_RECORD, usize::from(*segment));
        let tree_key = layout::marks(*cache, u16::try_from(record).unwrap_or(u16::MAX));
        if !records.contains_key(&tree_key) {
            let old = tree.record(&tree_key)?;
            let old = old.map(|bytes| record::read_marks(&tree_key, bytes.as_ref())).transpose();
            let old = old.map_err(|reason| damaged(*cache, &tree_key, reason))?;
            records.insert(tree_key.clone(), old.unwrap_or([0; MARKS_A_RECORD]));
        }
        let marks = records.get_mut(&tree_key).and_then(|all| all.get_mut(at % MARKS_A_RECORD));
        if let Some(mark) = marks {
            *mark = (*version).max(*mark);
        }
    }
    for (tree_key, marks) in records {
        let bytes = record::marks(&tree_key, &marks);
        changes.push((tree_key, Some(bytes)));
    }
    Ok(())
}
