//! What objects exist: named caches, made, changed and dropped while the server runs.
//!
//! Every object has a number that is never given to another one, over restarts too. Looking one
//! up takes no lock; what was looked up may be kept. A cache that was dropped stays empty for
//! whoever still holds it, and refuses every write.
//!
//! With a data directory the catalog is a file in it, and a change is durable before it is
//! answered: the file is what says which caches there are, the log and the checkpoints say what
//! is in them. A cache that the configuration declares gets its options from there at each start;
//! one that it declares no more stays as it was, with its data, until somebody drops it.
//!
//! | file | what it is |
//! |---|---|
//! | `object.rs` | kinds, origins, what is known of an object |
//! | `options.rs` | the options of a cache, their texts and bounds |
//! | `error.rs` | why a change is refused |
//! | `index.rs` | what readers look up without a lock |
//! | `file.rs` | the file |
//! | `keep.rs` | from the file to the catalog at a start, and back with each change |

mod error;
mod file;
mod index;
mod keep;
mod object;
mod options;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use isogrid_engine::persist::behind::BehindTable;
use isogrid_engine::persist::{KeptTable, PersistMode, discard};
use isogrid_engine::{Allocator, ConfigError, TableConfig, Timestamp};
use parking_lot::Mutex;

pub use error::CatalogError;
pub use file::{CatalogFile, Contents, Record};
use index::Current;
pub use index::Index;
use keep::Keep;
pub use object::{Description, Kind, Object, Origin};
pub use options::{CacheMode, CacheOptions, Difference, OptionError, RegionOptions, persist_name};

use crate::events::Budget;
use crate::structure::cache::Cache;

/// The id of the counters that are always there.
pub const COUNTERS_ID: u32 = 1;
/// The id of the leases, locks and semaphores that are always there.
pub const LOCKS_ID: u32 = 2;
/// The first id that is given out.
const FIRST_ID: u32 = 16;
/// The name of what the server has always.
const BUILT_IN: &str = "default";

/// What a catalog may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Caches. Default: 1,024.
    pub caches: usize,
    /// Bytes that all caches together may be given. Those that the configuration declares are
    /// taken as they are; one more is refused. Default: no limit.
    pub bytes: u64,
    /// Bytes that a cache must be given at the least. Default: 1 MiB.
    pub cache_bytes_min: u64,
}

impl Default for CatalogLimits {
    fn default() -> Self {
        CatalogLimits { caches: 1_024, bytes: u64::MAX, cache_bytes_min: 1 << 20 }
    }
}

/// The objects of a node.
pub struct Catalog {
    index: Current,
    limits: CatalogLimits,
    allocator: Allocator,
    /// What the seeds of the caches are made from.
    seed: u64,
    /// What may wait for the consumers of the events of all caches together.
    event_budget: Arc<Budget>,
    /// Held while a change is made, disk included; never by readers.
    state: Mutex<State>,
}

struct State {
    next_id: u32,
    /// Names of dropped caches of which data may still be on the disk.
    dropped: BTreeSet<String>,
    /// The same of those that were written behind.
    dropped_behind: BTreeSet<String>,
    /// What a cache gets that is made without saying so.
    defaults: CacheOptions,
    /// Where caches are kept, if anywhere.
    keep: Option<Keep>,
    /// The last write of the file failed: it is the old one or the new one.
    unsure: bool,
}

/// What [`Catalog::resolve`] found or made.
#[derive(Clone)]
pub struct Resolved {
    /// The object.
    pub object: Arc<Object>,
    /// Whether it was made just now.
    pub created: bool,
}

impl Catalog {
    /// A catalog with nothing but what is always there. It keeps nothing on disk until
    /// [`Catalog::keep_in`]. Caches that are kept get their entries back sooner where the `seed` is
    /// what it was.
    #[must_use]
    pub fn new(limits: CatalogLimits, allocator: Allocator, seed: u64) -> Self {
        let built_in = [(COUNTERS_ID, Kind::Counters), (LOCKS_ID, Kind::Locks)];
        let object = |(id, kind)| {
            let (name, origin) = (BUILT_IN.to_owned(), Origin::BuiltIn);
            Object { id, kind, name, origin, options: CacheOptions::default(), cache: None }
        };
        let objects = built_in.map(object).map(Arc::new);
        let state = State {
            next_id: FIRST_ID,
            dropped: BTreeSet::new(),
            dropped_behind: BTreeSet::new(),
            defaults: CacheOptions::default(),
            keep: None,
            unsure: false,
        };
        let index = Current::new(Index::of(objects.to_vec()));
        let (event_budget, state) = (Arc::default(), Mutex::new(state));
        Catalog { index, limits, allocator, seed, event_budget, state }
    }

    /// All objects at this moment.
    #[must_use]
    pub fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// The same for the thread that asks, which has it at hand if it was given back with
    /// [`Index::give_back`] since the last change.
    #[must_use]
    #[inline]
    pub fn lend(&self) -> Arc<Index> {
        self.index.lend()
    }

    /// The object of this id.
    #[must_use]
    #[inline]
    pub fn object(&self, id: u32) -> Option<Arc<Object>> {
        self.index.load().by_id(id).cloned()
    }

    /// The cache of this id.
    #[must_use]
    #[inline]
    pub fn cache_by_id(&self, id: u32) -> Option<Arc<Cache>> {
        self.index.load().by_id(id)?.cache.clone()
    }

    /// The cache of this name.
    #[must_use]
    pub fn cache(&self, name: &str) -> Option<Arc<Cache>> {
        self.index.load().by_name(Kind::Cache, name)?.cache.clone()
    }

    /// All caches, by id.
    #[must_use]
    pub fn caches(&self) -> Vec<Arc<Cache>> {
        self.index.load().objects().iter().filter_map(|object| object.cache.clone()).collect()
    }

    /// The object of this kind and name. With `create` a cache that is not there is made, with
    /// these options and the defaults for the others; one that is there must have them.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] without `create`, [`CatalogError::Exists`] with the differences,
    /// and whatever speaks against making it.
    pub fn resolve(
        &self,
        kind: Kind,
        name: &str,
        create: Option<&[(&str, &str)]>,
        now: Timestamp,
    ) -> Result<Resolved, CatalogError> {
        if let Some(object) = self.index.load().by_name(kind, name).cloned() {
            return open(object, create);
        }
        let kind_name = kind.name();
        let not_found = || CatalogError::NotFound { kind: kind_name, name: name.to_owned() };
        let wanted = create.filter(|_| kind == Kind::Cache).ok_or_else(not_found)?;
        let mut state = self.state.lock();
        // Somebody may have been faster.
        if let Some(object) = self.index.load().by_name(kind, name).cloned() {
            return open(object, create);
        }
        let options = state.defaults.with(wanted)?;
        let object = self.make(&mut state, name, options, now)?;
        Ok(Resolved { object, created: true })
    }

    fn make(
        &self,
        state: &mut State,
        name: &str,
        options: CacheOptions,
        now: Timestamp,
    ) -> Result<Arc<Object>, CatalogError> {
        self.check_new(state, name, &options)?;
        let cache = self.new_cache(name, &options, now).map_err(refused)?;
        let id = state.next_id;
        state.next_id += 1;
        let (name, origin) = (name.to_owned(), Origin::Created);
        let object = Object { id, kind: Kind::Cache, name, origin, options, cache: Some(cache) };
        let object = Arc::new(object);
        let index = self.index.load().with(Arc::clone(&object));
        state.kept_made(&object, &index, now)?;
        self.index.store(index);
        Ok(object)
    }

    fn new_cache(
        &self,
        name: &str,
        options: &CacheOptions,
        now: Timestamp,
    ) -> Result<Arc<Cache>, ConfigError> {
        let seed = TableConfig::seed_of(self.seed, name);
        let cache = Cache::new(name, options.cache_config(self.allocator, seed), now)?;
        cache.set_event_budget(Arc::clone(&self.event_budget));
        Ok(Arc::new(cache))
    }

    fn check_new(
        &self,
        state: &State,
        name: &str,
        options: &CacheOptions,
    ) -> Result<(), CatalogError> {
        if !is_name(name) {
            return Err(CatalogError::Name { name: name.to_owned() });
        }
        if options.mode == CacheMode::Invalidated && options.persist != PersistMode::None {
            return Err(CatalogError::Option(OptionError::Value {
                name: "persist",
                value: persist_name(options.persist).to_owned(),
                allowed: "none, as an invalidated cache has",
            }));
        }
        if options.persist != PersistMode::None && state.keep.is_none() {
            return Err(CatalogError::NothingIsKept { mode: persist_name(options.persist) });
        }
        let caches = self.index.load().caches().count() + 1;
        if caches > self.limits.caches {
            return Err(limit("caches", caches as u64, self.limits.caches as u64));
        }
        self.check_bytes(name, options.memory)
    }

    /// Whether the cache of this name may have so many bytes beside the others.
    fn check_bytes(&self, name: &str, bytes: u64) -> Result<(), CatalogError> {
        let least = self.limits.cache_bytes_min;
        if bytes < least {
            return Err(CatalogError::Option(OptionError::Value {
                name: "memory",
                value: crate::unit::show_size(bytes),
                allowed: "at least as much as the largest item (limits.max_item_size)",
            }));
        }
        let index = self.index.load();
        let others = index.caches().filter(|other| other.name != name);
        let taken = others.fold(0u64, |sum, other| sum.saturating_add(other.options.memory));
        let want = taken.saturating_add(bytes);
        let over = want > self.limits.bytes;
        if over { Err(limit("bytes of all caches", want, self.limits.bytes)) } else { Ok(()) }
    }

    /// Changes options of a cache; only those that change while it runs.
    ///
    /// # Errors
    /// [`CatalogError`]; then none was changed.
    pub fn alter(&self, name: &str, changes: &[(&str, &str)]) -> Result<Arc<Object>, CatalogError> {
        let mut state = self.state.lock();
        let object = self.find(Kind::Cache, name)?;
        let options = object.options.with(changes)?;
        let differences = object.options.differences(&options);
        let fixed = differences.into_iter().filter(|d| !CacheOptions::is_live(d.name));
        let fixed: Vec<_> = fixed.collect();
        if !fixed.is_empty() {
            let name = name.to_owned();
            return Err(CatalogError::NotLive { name, differences: fixed });
        }
        if options.memory > object.options.memory {
            self.check_bytes(name, options.memory)?;
        }
        let altered = Arc::new(Object { options, ..(*object).clone() });
        let index = self.index.load().with(Arc::clone(&altered));
        state.write(&index)?;
        if let Some(cache) = &altered.cache {
            let CacheOptions { memory, ttl, max_idle, .. } = altered.options;
            if memory != object.options.memory {
                cache.table().set_max_bytes(memory);
            }
            cache.set_defaults(ttl, max_idle);
        }
        if let Some((keep, table)) = state.keep.as_ref().zip(behind_table(&altered)) {
            keep.behind.alter_table(&table);
        }
        self.index.store(index);
        Ok(altered)
    }

    /// Drops a cache: its memory is free and its data is gone for good when this returns; its id
    /// is never given again. Who still holds it finds it empty.
    ///
    /// # Errors
    /// [`CatalogError`]; then it is there as before.
    pub fn drop_object(&self, kind: Kind, name: &str, now: Timestamp) -> Result<(), CatalogError> {
        let mut state = self.state.lock();
        let object = self.find(kind, name)?;
        let Some(cache) = object.cache.as_ref() else {
            return Err(CatalogError::BuiltIn { name: name.to_owned() });
        };
        let index = self.index.load().without(object.id);
        state.kept_dropping(&object, &index)?;
        self.index.store(index);
        if let Some(keep) = &state.keep {
            keep.remove(name, now);
        }
        discard(cache.table(), now);
        Ok(())
    }

    /// Notes what is kept elsewhere: it can be found by its number and its name from now on. `false`:
    /// another object has the number.
    pub fn note(&self, kind: Kind, name: &str, id: u32) -> bool {
        let _state = self.state.lock();
        let index = self.index.load();
        let is_it = |object: &Arc<Object>| object.kind == kind && object.name == name;
        if let Some(known) = index.by_id(id) {
            return is_it(known);
        }
        let (name, options, origin) = (name.to_owned(), CacheOptions::default(), Origin::Created);
        let object = Arc::new(Object { id, kind, name, origin, options, cache: None });
        self.index.store(index.with(object));
        true
    }

    /// What was noted is there no more.
    pub fn forget(&self, kind: Kind, name: &str) {
        let _state = self.state.lock();
        let index = self.index.load();
        if let Some(object) = index.by_name(kind, name).filter(|object| object.cache.is_none()) {
            self.index.store(index.without(object.id));
        }
    }

    /// The object of this kind and name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub fn find(&self, kind: Kind, name: &str) -> Result<Arc<Object>, CatalogError> {
        let found = self.index.load().by_name(kind, name).cloned();
        let not_found = || CatalogError::NotFound { kind: kind.name(), name: name.to_owned() };
        found.ok_or_else(not_found)
    }

    /// What there is, of one kind or of all, by kind and name.
    #[must_use]
    pub fn list(&self, kind: Option<Kind>) -> Vec<Description> {
        let index = self.index.load();
        let wanted = |object: &&Arc<Object>| kind.is_none_or(|kind| object.kind == kind);
        let mut all: Vec<_> =
            index.objects().iter().filter(wanted).map(|object| object.describe()).collect();
        all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        all
    }

    /// Everything that is to be said of an object.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub fn describe(&self, kind: Kind, name: &str) -> Result<Description, CatalogError> {
        self.find(kind, name).map(|object| object.describe())
    }
}

fn open(object: Arc<Object>, create: Option<&[(&str, &str)]>) -> Result<Resolved, CatalogError> {
    if object.cache.is_some() {
        let wanted = object.options.with(create.unwrap_or_default())?;
        let differences = object.options.differences(&wanted);
        if !differences.is_empty() {
            return Err(CatalogError::Exists { name: object.name.clone(), differences });
        }
    }
    Ok(Resolved { object, created: false })
}

/// Whether a text may name an object.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn limit(what: &'static str, want: u64, limit: u64) -> CatalogError {
    CatalogError::Limit { what, want, limit }
}

/// What the options' own bounds do not catch.
fn refused(error: ConfigError) -> CatalogError {
    let (name, value) = ("regions", error.to_string());
    CatalogError::Option(OptionError::Value { name, value, allowed: "what a table takes" })
}

fn kept_table(object: &Object) -> Option<KeptTable> {
    let (mode, name) = (object.options.persist, object.name.clone());
    let table = object.cache.as_ref()?.shared_table();
    let preload = object.options.preload.clone();
    mode.is_logged().then_some(KeptTable { name, table, mode, preload })
}

fn behind_table(object: &Object) -> Option<BehindTable> {
    let behind = object.options.persist == PersistMode::Behind;
    let table = object.cache.as_ref().filter(|_| behind)?.shared_table();
    let CacheOptions { behind_delay: delay_ms, behind_queue, .. } = object.options;
    let bytes_max = usize::try_from(behind_queue).unwrap_or(usize::MAX);
    Some(BehindTable { delay_ms, bytes_max, ..BehindTable::new(&object.name, table) })
}
