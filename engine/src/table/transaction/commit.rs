//! The commit: lock, validate, prepare, record, publish.

use super::super::entry::draft;
use super::super::observer::Told;
use super::super::segment::{Lack, Locked, Visible};
use super::super::version::SEQ_BITS;
use super::super::{Change, NewEntry, Snapshot, Table, Unrecorded};
use super::{Committed, Isolation, Touched, Transaction, TransactionError, Write};
use crate::env::Timestamp;
use crate::error::Error;

/// A key of a transaction.
type Key<'k> = (&'k [u8], &'k Touched);

/// The segments of a transaction with their locks held.
struct Commit<'t> {
    table: &'t Table,
    /// In ascending order.
    parts: Vec<Part<'t>>,
    /// Whether the writes are seen only when the journal publishes their record.
    waits: bool,
    lack: Option<Lack>,
}

struct Part<'t> {
    number: u32,
    locked: Locked<'t>,
    /// The sequence number of the first write that was prepared.
    first: Option<u64>,
}

impl Transaction<'_> {
    /// Does all of it, or nothing.
    ///
    /// # Errors
    /// [`TransactionError`] says why not, and of a conflict with which keys.
    pub fn commit(self, now: Timestamp) -> Result<Committed, TransactionError> {
        let Transaction { table, snapshot, isolation, keys, origin, .. } = self;
        let table = table.table();
        let reads_count = isolation == Isolation::Serializable;
        let mut keys: Vec<Key<'_>> = keys
            .iter()
            .map(|(key, touched)| (&**key, touched))
            .filter(|(_, touched)| reads_count || touched.write.is_some())
            .collect();
        keys.sort_by_key(|(_, touched)| touched.hash.segment);
        // Until all is published: no snapshot may be taken between the segments.
        let _gate = table.shared.snapshots.gate();
        let mut commit = Commit::lock(table, &keys, origin, now);
        commit.validate(&keys, &snapshot)?;
        // Its own snapshot shall not keep what it writes over.
        drop(snapshot);
        let result = commit.apply(&keys);
        let lack = commit.lack;
        drop(commit);
        if let Some(lack) = lack {
            table.relieve(lack.leaving, now);
        }
        result
    }
}

impl<'t> Commit<'t> {
    /// Takes the locks of all segments that the keys, which stand in their order, are in.
    fn lock(table: &'t Table, keys: &[Key<'_>], origin: u64, now: Timestamp) -> Commit<'t> {
        let mut numbers: Vec<_> = keys.iter().map(|(_, touched)| touched.hash.segment).collect();
        numbers.dedup();
        let part = |number: u32| {
            let segment = table.segments.get(number as usize)?;
            let locked = segment.lock(&table.shared, now).by(origin);
            Some(Part { number, locked, first: None })
        };
        let waits = table.shared.journal.get().is_some_and(|journal| journal.publishes());
        Commit { table, parts: numbers.into_iter().filter_map(part).collect(), waits, lack: None }
    }

    fn part(&mut self, number: u32) -> Option<&mut Part<'t>> {
        let at = self.parts.partition_point(|part| part.number < number);
        self.parts.get_mut(at)
    }

    fn validate(
        &mut self,
        keys: &[Key<'_>],
        snapshot: &Snapshot<'_>,
    ) -> Result<(), TransactionError> {
        let (mut changed, mut away) = (Vec::new(), Vec::new());
        let (mut blocked, waits) = (false, self.waits);
        for (key, touched) in keys {
            let hash = touched.hash;
            let Some(part) = self.part(hash.segment) else { continue };
            if part.locked.has_changed(hash, key, touched.seen, snapshot.mark(hash.segment)) {
                changed.push(key.to_vec());
            }
            let found = part.locked.find(hash, key);
            if part.locked.is_away(hash, found, key) {
                away.push(key.to_vec());
            }
            blocked |= touched.write.is_some() && !part.locked.may_publish(waits);
        }
        if !away.is_empty() {
            away.sort_unstable();
            return Err(TransactionError::Away { keys: away });
        }
        if !changed.is_empty() {
            changed.sort_unstable();
            return Err(TransactionError::Conflict { keys: changed });
        }
        if blocked { Err(TransactionError::Blocked) } else { Ok(()) }
    }

    fn apply(&mut self, keys: &[Key<'_>]) -> Result<Committed, TransactionError> {
        let recorded = self.prepare(keys).and_then(|changes| {
            let record = self.record(&changes)?;
            Ok(Committed { versions: self.versions(&changes), record })
        });
        match &recorded {
            Ok(committed) => self.publish(committed.record),
            Err(_) => self.abort(),
        }
        Ok(recorded?)
    }

    /// Prepares all writes. The deletions come first: puts may evict, and the deletion of what was
    /// evicted would leave nothing that could be recorded.
    fn prepare<'k>(&mut self, keys: &[Key<'k>]) -> Result<Vec<Change<'k>>, Error> {
        let mut changes = Vec::with_capacity(keys.len());
        for (key, touched) in keys {
            if let Some(Write::Remove) = touched.write {
                changes.extend(self.prepare_remove(key, touched)?);
            }
        }
        for (key, touched) in keys {
            if let Some(Write::Put(entry)) = &touched.write {
                let new = NewEntry { version: entry.version, ..entry.as_new() };
                changes.extend(self.prepare_put(key, touched, new)?);
            }
        }
        Ok(changes)
    }

    fn prepare_remove<'k>(
        &mut self,
        key: &'k [u8],
        touched: &Touched,
    ) -> Result<Option<Change<'k>>, Error> {
        let hash = touched.hash;
        let Some(part) = self.part(hash.segment) else { return Ok(None) };
        let found = part.locked.find(hash, key);
        let Some(seq) = part.locked.remove(hash, found, Visible::Together)? else {
            return Ok(None);
        };
        part.first.get_or_insert(seq);
        let epoch = part.locked.epoch_of(seq);
        Ok(Some(Change::Remove { key, epoch, seq }))
    }

    fn prepare_put<'k>(
        &mut self,
        key: &'k [u8],
        touched: &Touched,
        new: NewEntry<'k>,
    ) -> Result<Option<Change<'k>>, Error> {
        let hash = touched.hash;
        let Some(part) = self.part(hash.segment) else { return Ok(None) };
        let found = part.locked.find(hash, key);
        let (seq, lack) = part.locked.put(hash, found, draft(key, &new), Visible::Together)?;
        part.first.get_or_insert(seq);
        let epoch = part.locked.epoch_of(seq);
        self.lack = lack.or(self.lack);
        Ok(Some(Change::Put { key, entry: new, epoch, seq }))
    }

    /// Tells the journal of all changes in one record.
    fn record(&self, changes: &[Change<'_>]) -> Result<Option<u64>, Unrecorded> {
        let journal = self.table.shared.journal.get().filter(|_| !changes.is_empty());
        let Some(journal) = journal else { return Ok(None) };
        if self.waits {
            self.written().for_each(|(part, _)| part.locked.expect_record());
        }
        journal.record(&Change::Transaction(changes)).map(Some)
    }

    fn written(&self) -> impl Iterator<Item = (&Part<'t>, u64)> {
        self.parts.iter().filter_map(|part| Some((part, part.first?)))
    }

    fn versions(&self, changes: &[Change<'_>]) -> Vec<(Vec<u8>, u64)> {
        let version = |change: &Change<'_>| match change {
            Change::Put { key, entry, epoch, seq } => {
                let own = u64::from(*epoch) << SEQ_BITS | seq;
                Some((key.to_vec(), entry.version.unwrap_or(own)))
            }
            _ => None,
        };
        let mut versions: Vec<_> = changes.iter().filter_map(version).collect();
        versions.sort_unstable();
        versions
    }

    /// Makes everything visible, or lets it wait for the record.
    fn publish(&mut self, record: Option<u64>) {
        let record = record.filter(|_| self.waits);
        let mut told = Told::default();
        for part in &mut self.parts {
            match (part.first, record) {
                (Some(first), Some(record)) => part.locked.wait_for(first, record),
                (Some(first), None) => part.locked.publish_from(first, &mut told),
                (None, _) => {}
            }
        }
        told.tell(&self.table.shared);
    }

    /// Takes back what was prepared: it is the newest in each segment, since the locks are held.
    fn abort(&mut self) {
        for part in &mut self.parts {
            if let Some(first) = part.first {
                part.locked.abort(first);
            }
        }
    }
}
