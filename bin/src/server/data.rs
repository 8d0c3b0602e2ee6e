//! The data directory of a node: opened before it listens, watched, and closed when it stops.

use std::path::Path;
use std::sync::Arc;

use isogrid_engine::persist::{
    DataDirectory, KeptTable, PersistConfig, PersistError, PersistMode, Persistence, Preload,
    Recovered,
};
use isogrid_engine::{Clock, SystemClock};

use super::node::Node;

/// What is kept on disk, and the lock on the directory.
pub struct Data {
    /// Keeps the caches.
    pub persistence: Arc<Persistence>,
    _directory: DataDirectory,
}

impl Data {
    /// Opens the data directory, if there is something to keep, and fills the caches.
    ///
    /// # Errors
    /// [`PersistError`] names the file and the next step.
    pub fn open(node: &Node) -> Result<Option<Data>, PersistError> {
        let Some(path) = &node.config.node.data_dir else { return Ok(None) };
        let tables = tables(node);
        if tables.is_empty() {
            return Ok(None);
        }
        let path = Path::new(path);
        let directory = DataDirectory::open(path)?;
        let log_bytes = node.config.node.log_size;
        let config = PersistConfig {
            log: directory.log()?,
            snapshots: directory.snapshots()?,
            mapped: true,
            storage_id: directory.storage_id(),
            store: Some(directory.store()),
            log_bytes,
            log_file_bytes: log_bytes,
        };
        let begun = node.now();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (persistence, recovered) = Persistence::open(config, tables, clock)?;
        tell(path, &recovered, node.now() - begun);
        Ok(Some(Data { persistence: Arc::new(persistence), _directory: directory }))
    }

    /// Writes the last checkpoint and closes the log.
    pub fn close(&self) {
        if let Err(error) = self.persistence.close() {
            tracing::error!(event = "data_not_closed", %error);
        }
    }
}

/// The caches that are to be kept.
fn tables(node: &Node) -> Vec<KeptTable> {
    let kept = node.config.caches.iter().filter_map(|config| {
        let mode = PersistMode::parse(&config.persist).filter(|m| *m != PersistMode::None)?;
        let table = node.catalog.cache(&config.name)?.shared_table();
        let preload = Preload::parse(&config.preload).unwrap_or_default();
        Some(KeptTable { name: config.name.clone(), table, mode, preload })
    });
    kept.collect()
}

fn tell(path: &Path, recovered: &Recovered, ms: u64) {
    let Recovered { entries, aside, changes, torn, unclaimed } = recovered;
    tracing::info!(event = "recovered", data_dir = %path.display(), entries, aside, changes, ms);
    if let Some(torn) = torn {
        tracing::warn!(event = "log_end_cut", torn, "these writes had not come to their end");
    }
    if !unclaimed.is_empty() {
        let caches = unclaimed.join(",");
        tracing::warn!(event = "caches_dropped", caches, "no configuration asks for them any more");
    }
}

/// Says once when the disk refuses to keep more, and once when it does again.
#[derive(Default)]
pub struct Watch {
    full: bool,
    failed: bool,
    checkpoint: Option<String>,
    store: Option<String>,
    damaged: u64,
}

impl Watch {
    /// Looks at the state of things.
    pub fn look(&mut self, persistence: &Persistence) {
        let full = persistence.is_out_of_space();
        if full != self.full {
            self.full = full;
            if full {
                tracing::error!(event = "out_of_storage", "writes are refused until there is room");
            } else {
                tracing::info!(event = "storage_back", "writes are taken again");
            }
        }
        if let Some(error) = persistence.failure().filter(|_| !self.failed) {
            self.failed = true;
            tracing::error!(event = "log_failed", %error, "writes are refused until a restart");
        }
        self.look_at_store(persistence);
        let trouble = persistence.checkpoint_trouble();
        if trouble != self.checkpoint {
            if let Some(error) = &trouble {
                tracing::error!(event = "checkpoint_failed", error, "it is tried again");
            }
            self.checkpoint = trouble;
        }
    }

    /// Says when what has no room in memory cannot be stored or read.
    fn look_at_store(&mut self, persistence: &Persistence) {
        let Some(stats) = persistence.overflow() else { return };
        if stats.trouble != self.store {
            match &stats.trouble {
                Some(why) => tracing::error!(
                    event = "store_failed",
                    why,
                    "entries that are not in memory are refused, and writes that need room"
                ),
                None => tracing::info!(event = "store_back", "entries are stored and read again"),
            }
            self.store = stats.trouble;
        }
        if stats.damaged > self.damaged {
            let values = stats.damaged - self.damaged;
            tracing::error!(event = "store_damaged", values, "what is stored is not served");
            self.damaged = stats.damaged;
        }
    }
}
