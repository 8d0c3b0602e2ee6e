//! The commit: lock, validate, prepare, record, publish; of one table or of several as one.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::entry::draft;
use super::super::observer::Told;
use super::super::segment::{Lack, Locked, Visible};
use super::super::snapshot::Holder;
use super::super::version::SEQ_BITS;
use super::super::{Change, NewEntry, Snapshot, Table};
use super::{Committed, Isolation, Refused, Touched, Transaction, TransactionError, Write};
use crate::env::Timestamp;
use crate::error::Error;

/// A key of a transaction.
type Key<'k> = (&'k [u8], &'k Touched);

/// A transaction without its snapshot.
struct Work<'t> {
    table: Holder<'t>,
    isolation: Isolation,
    origin: u64,
    keys: BTreeMap<Box<[u8]>, Touched>,
}

/// The segments of a transaction with their locks held.
struct Commit<'t> {
    table: &'t Table,
    /// In ascending order.
    parts: Vec<Part<'t>>,
    /// In the order of their segments.
    keys: Rc<[Key<'t>]>,
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
        match commit_all(vec![self], now) {
            Ok(mut done) => Ok(done.pop().unwrap_or_default()),
            Err(mut refused) => {
                Err(refused.pop().map_or(TransactionError::Blocked, |(_, why)| why))
            }
        }
    }
}

/// Commits transactions of different tables as one; what was done in each of them.
pub(super) fn commit_all(
    parts: Vec<Transaction<'_>>,
    now: Timestamp,
) -> Result<Vec<Committed>, Refused> {
    let split = |part| {
        let Transaction { table, snapshot, isolation, keys, origin, .. } = part;
        (Work { table, isolation, origin, keys }, snapshot)
    };
    let (works, snapshots): (Vec<_>, Vec<_>) = parts.into_iter().map(split).unzip();
    // Whoever takes gates and locks of several tables does so in this order.
    let mut ranked: Vec<_> = works.iter().enumerate().collect();
    ranked.sort_by_key(|(_, work)| work.table.table().rank());
    // Until all is published: no snapshot may be taken between the segments.
    let tables = ranked.iter().map(|(_, work)| work.table.table());
    let _gates: Vec<_> = tables.map(|table| table.shared.snapshots.gate()).collect();
    let lock = |(at, work)| (at, Commit::lock(work, now));
    let mut commits: Vec<(usize, Commit<'_>)> = ranked.into_iter().map(lock).collect();
    commits.sort_by_key(|(at, _)| *at);
    let mut commits: Vec<_> = commits.into_iter().map(|(_, commit)| commit).collect();
    let result = validate(&mut commits, snapshots).and_then(|()| apply(&mut commits));
    let lacks = commits.iter().filter_map(|commit| Some((commit.table, commit.lack?)));
    let lacks: Vec<_> = lacks.collect();
    drop(commits);
    lacks.iter().for_each(|(table, lack)| table.relieve(lack.leaving, now));
    result
}

/// Whether all is as the transactions take it to be. Their snapshots end with this: they shall not
/// keep what is written over.
fn validate(commits: &mut [Commit<'_>], snapshots: Vec<Snapshot<'_>>) -> Result<(), Refused> {
    let checked = commits.iter_mut().zip(&snapshots).enumerate();
    let mut refused: Refused = checked
        .filter_map(|(at, (commit, snapshot))| Some((at, commit.validate(snapshot).err()?)))
        .collect();
    let weight = |(_, why): &(usize, TransactionError)| match why {
        TransactionError::Away { .. } => 2,
        TransactionError::Conflict { .. } => 1,
        _ => 0,
    };
    let most = refused.iter().map(weight).max();
    refused.retain(|one| Some(weight(one)) == most);
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// Prepares all, records it, and publishes it; or takes it back.
fn apply(commits: &mut [Commit<'_>]) -> Result<Vec<Committed>, Refused> {
    let prepared = commits
        .iter_mut()
        .enumerate()
        .map(|(at, commit)| commit.prepare().map_err(|why| (at, TransactionError::Refused(why))));
    let recorded = prepared.collect::<Result<Vec<_>, _>>().and_then(|changes| {
        let record = record(commits, &changes)?;
        let done =
            commits.iter().zip(&changes).map(|(commit, changes)| commit.done(changes, record));
        Ok(done.collect::<Vec<_>>())
    });
    match recorded {
        Ok(done) => {
            commits.iter_mut().zip(&done).for_each(|(commit, done)| commit.publish(done.record));
            Ok(done)
        }
        Err(refused) => {
            commits.iter_mut().for_each(Commit::abort);
            Err(vec![refused])
        }
    }
}

/// Tells the journals of all changes in one record; its number, if there is one.
fn record(
    commits: &[Commit<'_>],
    changes: &[Vec<Change<'_>>],
) -> Result<Option<u64>, (usize, TransactionError)> {
    let written = commits.iter().zip(changes).enumerate().filter(|(_, (_, all))| !all.is_empty());
    let written: Vec<_> = written.map(|(at, (commit, changes))| (at, commit, changes)).collect();
    let apart = |at: usize| (at, TransactionError::Apart);
    let waits = written.first().is_some_and(|(_, commit, _)| commit.waits);
    if let Some((at, ..)) = written.iter().find(|(_, commit, _)| commit.waits != waits) {
        return Err(apart(*at));
    }
    if waits {
        written.iter().for_each(|(_, commit, _)| commit.expect_record());
    }
    let journals = written.iter().filter_map(|(at, commit, changes)| {
        Some((*at, commit.table.shared.journal.get()?, changes))
    });
    let journals: Vec<_> = journals.collect();
    let Some((first, rest)) = journals.split_first() else { return Ok(None) };
    let refused = |at: usize| move |why| (at, TransactionError::Refused(Error::Unrecorded(why)));
    let (at, journal, own) = first;
    if rest.is_empty() {
        return journal.record(&Change::Transaction(own)).map(Some).map_err(refused(*at));
    }
    let mut joined = Vec::new();
    for (at, other, changes) in &journals {
        if other.log().is_none() || other.log() != journal.log() {
            return Err(apart(*at));
        }
        other.join(changes, &mut joined).map_err(refused(*at))?;
    }
    journal.record_joined(&joined).map(Some).map_err(refused(*at))
}

impl<'t> Commit<'t> {
    /// Takes the locks of all segments that the keys are in.
    fn lock(work: &'t Work<'_>, now: Timestamp) -> Commit<'t> {
        let table = work.table.table();
        let reads_count = work.isolation == Isolation::Serializable;
        let keys = work.keys.iter().map(|(key, touched)| (&**key, touched));
        let mut keys: Vec<Key<'t>> =
            keys.filter(|(_, touched)| reads_count || touched.write.is_some()).collect();
        keys.sort_by_key(|(_, touched)| touched.hash.segment);
        let mut numbers: Vec<_> = keys.iter().map(|(_, touched)| touched.hash.segment).collect();
        numbers.dedup();
        let part = |number: u32| {
            let segment = table.segments.get(number as usize)?;
            let locked = segment.lock(&table.shared, now).by(work.origin);
            Some(Part { number, locked, first: None })
        };
        let waits = table.shared.journal.get().is_some_and(|journal| journal.publishes());
        let parts = numbers.into_iter().filter_map(part).collect();
        Commit { table, parts, keys: keys.into(), waits, lack: None }
    }

    fn part(&mut self, number: u32) -> Option<&mut Part<'t>> {
        let at = self.parts.partition_point(|part| part.number < number);
        self.parts.get_mut(at)
    }

    fn validate(&mut self, snapshot: &Snapshot<'_>) -> Result<(), TransactionError> {
        let (mut changed, mut away) = (Vec::new(), Vec::new());
        let (mut blocked, waits) = (false, self.waits);
        for (key, touched) in &*Rc::clone(&self.keys) {
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

    /// Prepares all writes. The deletions come first: puts may evict, and the deletion of what was
    /// evicted would leave nothing that could be recorded.
    fn prepare(&mut self) -> Result<Vec<Change<'t>>, Error> {
        let keys = Rc::clone(&self.keys);
        let mut changes = Vec::with_capacity(keys.len());
        for (key, touched) in &*keys {
            if let Some(Write::Remove) = touched.write {
                changes.extend(self.prepare_remove(key, touched)?);
            }
        }
        for (key, touched) in &*keys {
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

    /// The journal may say that the record is kept before its number is noted.
    fn expect_record(&self) {
        let written = self.parts.iter().filter(|part| part.first.is_some());
        written.for_each(|part| part.locked.expect_record());
    }

    fn done(&self, changes: &[Change<'_>], record: Option<u64>) -> Committed {
        let recorded = !changes.is_empty() && self.table.shared.journal.get().is_some();
        Committed { versions: self.versions(changes), record: record.filter(|_| recorded) }
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
