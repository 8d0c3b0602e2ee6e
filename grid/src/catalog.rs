//! What structures exist, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_engine::{ConfigError, Timestamp};

use crate::events::Budget;
use crate::structure::cache::{Cache, CacheConfig};

/// The named caches of a node. Made once at the start; looking one up takes no lock.
#[derive(Default)]
pub struct Catalog {
    caches: BTreeMap<String, Arc<Cache>>,
    /// What may wait for the consumers of all caches together.
    event_budget: Arc<Budget>,
}

impl Catalog {
    /// A catalog without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a cache, or replaces the one of that name.
    ///
    /// # Errors
    /// When no cache can be made from the configuration.
    pub fn create(
        &mut self,
        name: &str,
        config: CacheConfig,
        now: Timestamp,
    ) -> Result<Arc<Cache>, ConfigError> {
        let cache = Arc::new(Cache::new(name, config, now)?);
        cache.set_event_budget(Arc::clone(&self.event_budget));
        self.caches.insert(name.to_owned(), Arc::clone(&cache));
        Ok(cache)
    }

    /// The cache of that name.
    #[must_use]
    pub fn cache(&self, name: &str) -> Option<Arc<Cache>> {
        self.caches.get(name).cloned()
    }

    /// All caches, by name.
    pub fn caches(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.caches.values()
    }
}
