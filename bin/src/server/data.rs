//! The data directory of a node: opened before it listens, watched, and closed when it stops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isogrid_engine::persist::behind::{
    Behind, BehindConfig, BehindRecovered, BehindTable, Unwritten,
};
use isogrid_engine::persist::{
    DataDirectory, KeptTable, PersistConfig, PersistError, PersistMode, Persistence, Recovered,
};
use isogrid_engine::{Clock, SystemClock};

use super::node::Node;

/// How often the log says how much is left to write when the server stops, ms.
const PROGRESS_MS: u64 = 1_000;

/// What is kept on disk, and the lock on the directory.
pub struct Data {
    /// Keeps the caches that have a log.
    pub persistence: Arc<Persistence>,
    /// Keeps those that are written behind, if there are any.
    pub behind: Option<Behind>,
    _directory: DataDirectory,
}

impl Data {
    /// Opens the data directory, if there is something to keep, and fills the caches.
    ///
    /// # Errors
    /// [`PersistError`] names the file and the next step.
    pub fn open(node: &Node) -> Result<Option<Data>, PersistError> {
        let Some(path) = &node.config.node.data_dir else { return Ok(None) };
        let (tables, behind) = (tables(node), behind_tables(node));
        if tables.is_empty() && behind.is_empty() {
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
            log_bytes,
            log_file_bytes: log_bytes,
        };
        let begun = node.now();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (persistence, recovered) = Persistence::open(config, tables, Arc::clone(&clock))?;
        tell(path, &recovered, node.now() - begun);
        let behind = open_behind(&directory, behind, clock, node)?;
        let persistence = Arc::new(persistence);
        Ok(Some(Data { persistence, behind, _directory: directory }))
    }

    /// Writes what is behind and the last checkpoint, and closes the store and the log.
    pub fn close(&self, node: &Node) {
        if let Some(behind) = &self.behind {
            write_rest(behind, node);
        }
        if let Err(error) = self.persistence.close() {
            tracing::error!(event = "data_not_closed", %error);
        }
    }
}

/// Opens the store and fills the caches that are written behind. A store that no cache uses is
/// moved aside.
fn open_behind(
    directory: &DataDirectory,
    tables: Vec<BehindTable>,
    clock: Arc<dyn Clock>,
    node: &Node,
) -> Result<Option<Behind>, PersistError> {
    if tables.is_empty() {
        if let Some(path) = directory.put_behind_aside(node.now())? {
            tracing::warn!(
                event = "store_aside",
                path = %path.display(),
                "no cache is written behind any more; delete it if nobody needs what it holds"
            );
        }
        return Ok(None);
    }
    let begun = node.now();
    let (store, report) = directory.behind_store()?;
    let config = BehindConfig { store, report, storage_id: directory.storage_id() };
    let (behind, recovered) = Behind::open(config, tables, clock)?;
    tell_behind(&recovered, node.now() - begun);
    Ok(Some(behind))
}

fn tell_behind(recovered: &BehindRecovered, ms: u64) {
    let BehindRecovered { entries, expired, left_out, alarms, unclaimed } = recovered;
    tracing::info!(event = "recovered_behind", entries, expired, left_out, ms);
    alarms.iter().for_each(|alarm| tracing::error!(event = "store_alarm", alarm));
    tell_unclaimed(unclaimed);
}

/// Writes everything before the end, unless a second signal or the configured time ends that.
fn write_rest(behind: &Behind, node: &Node) {
    let begun = node.now();
    let limit = node.config.node.behind_timeout.map(|limit| limit.as_millis());
    let mut told = begun;
    let unwritten = behind.close(&mut |left| {
        let now = node.now();
        if left > 0 && now - told >= PROGRESS_MS {
            told = now;
            let trouble = behind.trouble().unwrap_or_default();
            tracing::info!(event = "writing_behind", left, trouble, "a second signal ends this");
        }
        !node.is_hurried() && limit.is_none_or(|limit| u128::from(now - begun) < limit)
    });
    tell_unwritten(&unwritten);
}

fn tell_unwritten(unwritten: &Unwritten) {
    let Unwritten { entries, keys, reason } = unwritten;
    let reason = reason.as_deref().unwrap_or_default();
    if *entries > 0 {
        let name = |(cache, key): &(String, Vec<u8>)| format!("{cache}/{}", key.escape_ascii());
        let keys = keys.iter().map(name).collect::<Vec<_>>().join(" ");
        tracing::error!(event = "not_written", entries, keys, reason, "these changes are lost");
    } else if !reason.is_empty() {
        tracing::error!(event = "data_not_closed", error = reason);
    }
}

/// The caches that are written behind.
fn behind_tables(node: &Node) -> Vec<BehindTable> {
    let millis = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let behind = node.config.caches.iter().filter_map(|config| {
        let mode = PersistMode::parse(&config.persist)?;
        let table = node.catalog.cache(&config.name)?.shared_table();
        (mode == PersistMode::Behind).then(|| BehindTable {
            name: config.name.clone(),
            table,
            delay_ms: millis(config.behind_delay),
            bytes_max: usize::try_from(config.behind_queue).unwrap_or(usize::MAX),
        })
    });
    behind.collect()
}

/// The caches that are to be kept by a log.
fn tables(node: &Node) -> Vec<KeptTable> {
    let kept = node.config.caches.iter().filter_map(|config| {
        let logged = |mode: &PersistMode| matches!(mode, PersistMode::Async | PersistMode::Sync);
        let mode = PersistMode::parse(&config.persist).filter(logged)?;
        let table = node.catalog.cache(&config.name)?.shared_table();
        Some(KeptTable { name: config.name.clone(), table, mode })
    });
    kept.collect()
}

fn tell(path: &Path, recovered: &Recovered, ms: u64) {
    let Recovered { entries, changes, torn, unclaimed } = recovered;
    tracing::info!(event = "recovered", data_dir = %path.display(), entries, changes, ms);
    if let Some(torn) = torn {
        tracing::warn!(event = "log_end_cut", torn, "these writes had not come to their end");
    }
    tell_unclaimed(unclaimed);
}

fn tell_unclaimed(unclaimed: &[String]) {
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
    behind: Option<String>,
    failing: u64,
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
        let trouble = persistence.checkpoint_trouble();
        if trouble != self.checkpoint {
            if let Some(error) = &trouble {
                tracing::error!(event = "checkpoint_failed", error, "it is tried again");
            }
            self.checkpoint = trouble;
        }
    }

    /// Looks at what is written behind.
    pub fn look_behind(&mut self, behind: &Behind) {
        for alarm in behind.take_alarms() {
            tracing::error!(event = "store_alarm", alarm);
        }
        let trouble = behind.trouble();
        match (&trouble, &self.behind) {
            (Some(error), known) if known.as_ref() != Some(error) => {
                tracing::error!(event = "store_failed", error, "what waits is tried again");
            }
            (None, Some(_)) => tracing::info!(event = "store_back", "changes are written again"),
            _ => {}
        }
        self.behind = trouble;
        let (failing, error) = behind.failing().unwrap_or_default();
        if (failing > 0) != (self.failing > 0) {
            if failing > 0 {
                tracing::error!(event = "keys_failing", keys = failing, error, "they are retried");
            } else {
                tracing::info!(event = "keys_written", "every key was written again");
            }
        }
        self.failing = failing;
    }
}
