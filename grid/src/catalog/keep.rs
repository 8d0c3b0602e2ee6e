//! From the file to the catalog at a start, and back with each change.
//!
//! The order of steps is what makes a crash at any moment harmless. A cache that is made is in
//! the log before it is in the file: one that is only in the log is empty and nobody's. A cache
//! that is dropped leaves the file first, which remembers its name as dropped, so that its data
//! in the log and in the last checkpoint is known to be nobody's.

use std::collections::BTreeSet;
use std::sync::Arc;

use isogrid_engine::persist::behind::{BehindOnDemand, BehindTable};
use isogrid_engine::persist::{KeptTable, PersistError, PersistMode, Persistence};
use isogrid_engine::{ConfigError, Timestamp};

use super::error::CatalogError;
use super::file::{CatalogFile, Contents, Record};
use super::index::Index;
use super::object::{Kind, Object, Origin};
use super::options::CacheOptions;
use super::{Catalog, State, behind_table, kept_table};

/// Dropped names that the file remembers before a checkpoint makes them superfluous.
const DROPPED_MAX: usize = 256;

/// The ids from here on are those of caches of a cluster, given by their names.
const SHARED_IDS: u32 = 1 << 31;

/// An id that this node gave.
fn own(id: u32) -> Option<u32> {
    Some(id).filter(|id| *id < SHARED_IDS)
}

/// Where caches are kept.
pub(super) struct Keep {
    file: CatalogFile,
    pub persistence: Arc<Persistence>,
    pub behind: Arc<BehindOnDemand>,
}

impl Keep {
    fn add(&self, object: &Object) -> Result<(), PersistError> {
        kept_table(object).map_or(Ok(()), |kept| self.persistence.add_table(kept))?;
        behind_table(object).map_or(Ok(()), |table| self.behind.add_table(table))
    }

    /// Keeps the cache no more.
    pub fn remove(&self, name: &str, now: Timestamp) {
        self.persistence.remove_table(name, now);
        self.behind.remove_table(name, now);
    }
}

impl Catalog {
    /// Adds a cache that the configuration declares, at the start; `number` is its id where that is
    /// the same on all nodes of a cluster.
    ///
    /// # Errors
    /// When no cache can be made from the options.
    pub fn declare(
        &self,
        name: &str,
        options: CacheOptions,
        number: Option<u32>,
        now: Timestamp,
    ) -> Result<Arc<Object>, ConfigError> {
        let mut state = self.state.lock();
        let cache = Some(self.new_cache(name, &options, now)?);
        let (id, name) = (number.unwrap_or(state.next_id), name.to_owned());
        state.next_id = state.next_id.max(own(id).unwrap_or(0) + 1);
        let (kind, origin) = (Kind::Cache, Origin::Declared);
        let object = Arc::new(Object { id, kind, name, origin, options, cache });
        self.index.store(self.index.load().with(Arc::clone(&object)));
        Ok(object)
    }

    /// Takes over what the file says, before anybody was served: ids, and the caches that are not
    /// declared. Those that were declared once and have no data are forgotten.
    ///
    /// # Errors
    /// When no cache can be made from the file's options.
    pub fn load(&self, contents: &Contents, now: Timestamp) -> Result<(), ConfigError> {
        let mut state = self.state.lock();
        let mut objects = Vec::new();
        let known = self.index.load();
        let record_of = |name: &str| contents.caches.iter().find(|record| record.name == name);
        state.next_id = state.next_id.max(contents.next_id);
        for object in known.objects() {
            let mut object = (**object).clone();
            if object.cache.is_some() && own(object.id).is_some() {
                // The number that it had, or one that is new also for what the file once had.
                let known = record_of(&object.name).and_then(|record| own(record.id));
                object.id = known.unwrap_or(state.next_id);
                state.next_id = state.next_id.max(object.id.saturating_add(1));
            }
            objects.push(Arc::new(object));
        }
        let lives = |record: &&Record| {
            let declared = known.by_name(Kind::Cache, &record.name).is_some();
            let kept = record.options.persist != PersistMode::None;
            !declared && (kept || record.origin == Origin::Created)
        };
        for Record { id, name, origin, options } in contents.caches.iter().filter(lives) {
            let cache = Some(self.new_cache(name, options, now)?);
            let (name, options, origin) = (name.clone(), options.clone(), *origin);
            let kind = Kind::Cache;
            objects.push(Arc::new(Object { id: *id, kind, name, origin, options, cache }));
        }
        state.dropped.clone_from(&contents.dropped);
        state.dropped_behind.clone_from(&contents.dropped_behind);
        self.index.store(Index::of(objects));
        Ok(())
    }

    /// The caches of which data may be found.
    #[must_use]
    pub fn kept_tables(&self) -> Vec<KeptTable> {
        let all: Vec<_> = self.index.load().caches().filter_map(|o| kept_table(o)).collect();
        // What is declared again after it was dropped begins without the old data.
        let state = self.state.lock();
        all.into_iter().filter(|kept| !state.dropped.contains(&kept.name)).collect()
    }

    /// The caches of which data may be found in the store of those that are written behind.
    #[must_use]
    pub fn behind_tables(&self) -> Vec<BehindTable> {
        let state = self.state.lock();
        let behind = |object: &Arc<Object>| {
            let is_new = state.dropped_behind.contains(&object.name);
            Some(BehindTable { is_new, ..behind_table(object)? })
        };
        self.index.load().caches().filter_map(behind).collect()
    }

    /// Names of which data may be found that is nobody's: they were dropped, or are not to be
    /// kept any more.
    #[must_use]
    pub fn dropped(&self) -> Vec<String> {
        let index = self.index.load();
        let empty = index.caches().filter(|object| !object.options.persist.is_logged());
        let empty = empty.map(|object| object.name.clone());
        self.state.lock().dropped.iter().cloned().chain(empty).collect()
    }

    /// Keeps caches from now on, in what was opened with [`Catalog::kept_tables`] and
    /// [`Catalog::dropped`], and with [`Catalog::behind_tables`]; `found` says whether there was data of the dropped ones: then it goes
    /// now. Caches that are made from now on are kept as `mode` says, unless they say so.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub fn keep_in(
        &self,
        file: CatalogFile,
        persistence: Arc<Persistence>,
        behind: Arc<BehindOnDemand>,
        mode: PersistMode,
        found: bool,
    ) -> Result<(), CatalogError> {
        let mut state = self.state.lock();
        let kept = |error| CatalogError::kept(&error);
        if found {
            persistence.checkpoint().map_err(kept)?;
        }
        let index = self.index.load();
        for again in index.caches().filter(|object| state.dropped.contains(&object.name)) {
            kept_table(again).map_or(Ok(()), |kept| persistence.add_table(kept)).map_err(kept)?;
        }
        state.dropped.clear();
        // Their store was opened, if there is one, and has forgotten what nobody wants.
        state.dropped_behind.clear();
        state.defaults.persist = mode;
        state.keep = Some(Keep { file, persistence, behind });
        state.write(&index)
    }

    /// Writes the file again if nobody knows what is in it, because the disk failed before.
    pub fn mend(&self) {
        if let Some(mut state) = self.state.try_lock().filter(|state| state.unsure) {
            let _ = state.write(&self.index.load());
        }
    }
}

impl State {
    /// Makes the index what is found after a restart.
    pub(super) fn write(&mut self, index: &Index) -> Result<(), CatalogError> {
        let Some(keep) = &self.keep else { return Ok(()) };
        let record = |object: &Arc<Object>| {
            let Object { id, name, origin, options, .. } = (**object).clone();
            Record { id, name, origin, options }
        };
        let caches = index.caches().map(record).collect();
        let contents = Contents {
            next_id: self.next_id,
            dropped: self.dropped.clone(),
            dropped_behind: self.dropped_behind.clone(),
            caches,
        };
        let written = keep.file.write(&contents);
        self.unsure = written.is_err();
        written
    }

    /// Forgets dropped names once there are many: a checkpoint is without the data of all that
    /// are dropped by now, and so is a store that is settled.
    fn forget_dropped(&mut self) {
        let Some(keep) = &self.keep else { return };
        if self.dropped.len() >= DROPPED_MAX && keep.persistence.checkpoint().is_ok() {
            self.dropped.clear();
        }
        if self.dropped_behind.len() >= DROPPED_MAX && keep.behind.settle().is_ok() {
            self.dropped_behind.clear();
        }
    }

    /// The dropped names of caches that are kept in the same place, if it is kept.
    fn dropped_like(&mut self, object: &Object) -> Option<&mut BTreeSet<String>> {
        match object.options.persist {
            _ if self.keep.is_none() => None,
            PersistMode::None => None,
            PersistMode::Async | PersistMode::Sync => Some(&mut self.dropped),
            PersistMode::Behind => Some(&mut self.dropped_behind),
        }
    }

    pub(super) fn kept_made(
        &mut self,
        object: &Object,
        index: &Index,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        if let Some(keep) = &self.keep {
            keep.add(object).map_err(|error| CatalogError::kept(&error))?;
        }
        let was_dropped = self.dropped_like(object).is_some_and(|all| all.remove(&object.name));
        let written = self.write(index);
        if let Some(keep) = self.keep.as_ref().filter(|_| written.is_err()) {
            keep.remove(&object.name, now);
        }
        if let Some(dropped) = self.dropped_like(object).filter(|_| was_dropped && written.is_err())
        {
            dropped.insert(object.name.clone());
        }
        written
    }

    pub(super) fn kept_dropping(
        &mut self,
        object: &Object,
        index: &Index,
    ) -> Result<(), CatalogError> {
        self.forget_dropped();
        let added = self.dropped_like(object).is_some_and(|all| all.insert(object.name.clone()));
        let written = self.write(index);
        if let Some(dropped) = self.dropped_like(object).filter(|_| added && written.is_err()) {
            dropped.remove(&object.name);
        }
        written
    }
}
