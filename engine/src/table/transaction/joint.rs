//! Transactions over several tables.

use std::sync::Arc;

use super::super::Table;
use super::super::snapshot::{Holder, Snapshot, at_once};
use super::commit::commit_all;
use super::{Committed, Isolation, Seen, TRANSACTION_BYTES_MAX, Transaction, TransactionError};
use crate::env::Timestamp;

/// Reads and writes of several tables that are done together or not at all. Tables join one by one.
///
/// All that is read is of one moment. When a table joins, that becomes a later one: if everything
/// that was read until then is still so, nobody can tell the difference; else the table does not
/// join.
pub struct Joint {
    isolation: Isolation,
    origin: u64,
    /// In the order in which they joined.
    tables: Vec<Arc<Table>>,
    /// A transaction in each of them.
    parts: Vec<Transaction<'static>>,
}

/// Why nothing of a transaction over several tables was done: the tables that it is about, by their
/// places in the order in which they joined. All reasons are of one kind.
pub type Refused = Vec<(usize, TransactionError)>;

impl Joint {
    /// One without tables.
    #[must_use]
    pub fn new(isolation: Isolation, origin: u64) -> Joint {
        Joint { isolation, origin, tables: Vec::new(), parts: Vec::new() }
    }

    /// The transaction in a table, which joins if it has not.
    ///
    /// # Errors
    /// [`TransactionError::Conflict`] with keys of other tables that are not as they were read: the
    /// table has not joined, and the transaction goes on without it.
    pub fn part(
        &mut self,
        table: &Arc<Table>,
        now: Timestamp,
    ) -> Result<&mut Transaction<'static>, TransactionError> {
        let joined = self.tables.iter().position(|joined| Arc::ptr_eq(joined, table));
        let at = match joined {
            Some(at) => at,
            None => self.admit(table, now)?,
        };
        // There always is one at this place.
        self.parts.get_mut(at).ok_or(TransactionError::Apart)
    }

    /// Lets a table join; its place.
    fn admit(&mut self, table: &Arc<Table>, now: Timestamp) -> Result<usize, TransactionError> {
        let mut tables = self.tables.clone();
        tables.push(Arc::clone(table));
        let mut snapshots = at_once(&tables, now);
        let (own, others) = (snapshots.pop(), snapshots);
        let pairs = self.parts.iter().zip(&others);
        let keys: Vec<_> = pairs.flat_map(|(part, later)| part.changed_in(later, now)).collect();
        if !keys.is_empty() {
            return Err(TransactionError::Conflict { keys });
        }
        self.parts.iter_mut().zip(others).for_each(|(part, later)| part.snapshot = later);
        let holder = Holder::Shared(Arc::clone(table));
        let part = own.map(|own| Transaction::new(holder, own, self.isolation));
        self.parts.extend(part.map(|part| Transaction { origin: self.origin, ..part }));
        self.tables = tables;
        Ok(self.parts.len() - 1)
    }

    /// Does all of it, or nothing; what was done in each table, in the order in which they joined.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn commit(self, now: Timestamp) -> Result<Vec<Committed>, Refused> {
        let bytes = self.parts.iter().map(Transaction::bytes).sum();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(vec![(0, TransactionError::TooLarge { bytes })]);
        }
        commit_all(self.parts, now)
    }
}

impl Transaction<'_> {
    /// The keys that it has read otherwise than a later snapshot has them.
    fn changed_in(&self, later: &Snapshot<'_>, now: Timestamp) -> Vec<Vec<u8>> {
        let pinned = self.table.table().pin();
        let changed = self.keys.iter().filter(|(key, touched)| {
            let entry = later.get(&pinned, touched.hash, key, now);
            let is = entry.map_or(Seen::Absent, |entry| Seen::Version(entry.seq()));
            touched.seen.is_some_and(|seen| seen != is)
        });
        changed.map(|(key, _)| key.to_vec()).collect()
    }
}
