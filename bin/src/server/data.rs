//! The data directory of a node: opened before it listens, watched, and closed when it stops.

use std::path::Path;
use std::sync::Arc;

use isogrid_engine::persist::behind::{
    Behind, BehindConfig, BehindOnDemand, BehindRecovered, BehindTable, Unwritten,
};
use isogrid_engine::persist::{
    DataDirectory, KeptTable, LOG_FILES, PersistConfig, PersistError, Persistence, Reader,
    Recovered,
};
use isogrid_engine::wal::WalError;
use isogrid_engine::{Clock, SystemClock};
use isogrid_grid::catalog::{CatalogFile, Contents, Kind, Origin, Record};
use isogrid_grid::structures;

use super::Error;
use super::node::Node;
use crate::config::ServerConfig;

/// How often the log says how much is left to write when the server stops, ms.
const PROGRESS_MS: u64 = 1_000;

/// What is kept on disk, and the lock on the directory.
pub struct Data {
    /// Keeps the caches that have a log.
    pub persistence: Arc<Persistence>,
    /// Keeps those that are written behind, if there are any.
    pub behind: Arc<BehindOnDemand>,
    directory: Arc<DataDirectory>,
}

impl Data {
    /// The data directory, if there is something to keep.
    ///
    /// # Errors
    /// [`enum@Error`] names the file and the next step.
    pub fn directory(config: &ServerConfig) -> Result<Option<DataDirectory>, Error> {
        let Some(path) = config.node.data_dir.as_deref().map(Path::new) else { return Ok(None) };
        if !config.keeps_alone() {
            return Ok(None);
        }
        let opened = DataDirectory::open(path);
        opened.map(Some).map_err(|source| Error::Data { path: path.to_owned(), source })
    }

    /// Fills the catalog and its caches, and the structures, with what the directory has of them.
    ///
    /// # Errors
    /// [`enum@Error`] names the file and the next step.
    pub fn open(node: &Node, directory: DataDirectory) -> Result<Data, Error> {
        let path = &*directory.path().to_owned();
        let failed = |source| Error::Data { path: path.to_owned(), source };
        let file = CatalogFile::new(directory.root().map_err(failed)?);
        let begun = node.now();
        load(node, &file.read().map_err(Error::Catalog)?)?;
        let mut tables = node.catalog.kept_tables();
        let structures = node.config.structures_alone();
        tables.extend(structures.into_iter().flat_map(|mode| node.kept_structures(mode)));
        let opened = open_tables(node, &directory, tables);
        let (persistence, recovered) = opened.map_err(failed)?;
        tell(path, &recovered, node.now() - begun);
        let (persistence, directory) = (Arc::new(persistence), Arc::new(directory));
        let behind = open_behind(&directory, node.catalog.behind_tables(), node).map_err(failed)?;
        let found = !recovered.unclaimed.is_empty();
        let mode = node.config.kept_mode().unwrap_or_default();
        let kept =
            node.catalog.keep_in(file, Arc::clone(&persistence), Arc::clone(&behind), mode, found);
        kept.map_err(Error::Catalog)?;
        Ok(Data { persistence, behind, directory })
    }

    /// Whose data it is.
    pub fn storage_id(&self) -> [u8; 16] {
        self.directory.storage_id()
    }

    /// What brings entries of a cache into memory that are not there.
    pub fn reader(&self, cache: &str) -> Option<Reader> {
        let behind = || self.behind.get()?.reader(cache);
        self.persistence.reader(cache).or_else(behind)
    }

    /// Writes what is behind and the last checkpoint, and closes the store and the log.
    pub fn close(&self, node: &Node) {
        if let Some(behind) = self.behind.get() {
            write_rest(behind, node);
        }
        if let Err(error) = self.persistence.close() {
            tracing::error!(event = "data_not_closed", %error);
        }
    }
}

/// Takes over the caches of the catalog's file, and says what is not as the configuration has it.
fn load(node: &Node, contents: &Contents) -> Result<(), Error> {
    let index = node.catalog.index();
    for Record { name, origin, options, .. } in &contents.caches {
        match index.by_name(Kind::Cache, name) {
            Some(declared) => {
                let differences = options.differences(&declared.options);
                let changes: Vec<_> = differences.iter().map(ToString::to_string).collect();
                if !changes.is_empty() {
                    let changes = changes.join("; ");
                    tracing::info!(event = "cache_changed", cache = name, changes, "configured so");
                }
            }
            None if *origin == Origin::Declared => {
                tracing::info!(event = "cache_not_configured", cache = name, "no more");
            }
            None => {}
        }
    }
    let refused = |source| Error::Cache { name: "of the catalog".to_owned(), source };
    node.catalog.load(contents, node.now()).map_err(refused)
}

fn open_tables(
    node: &Node,
    directory: &DataDirectory,
    tables: Vec<KeptTable>,
) -> Result<(Persistence, Recovered), PersistError> {
    let log_bytes = node.config.node.log_size;
    let mut dropped = node.catalog.dropped();
    if node.config.structures_alone().is_none() {
        // What the configuration keeps no more goes, as with a cache.
        dropped.extend(structures::TABLES.map(str::to_owned));
    }
    let config = PersistConfig {
        log_bytes,
        log_file_bytes: log_bytes / LOG_FILES,
        dropped,
        ..directory.config()?
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let opened = Persistence::open(config, tables, clock)?;
    directory.note_begun()?;
    Ok(opened)
}

/// The next step for who cannot use a data directory, where it is a command.
pub fn help(path: &Path, error: &PersistError) -> String {
    match error {
        PersistError::Log(WalError::Damaged(_)) => format!(
            "\n  help: `{}` keeps what is whole of the log; without --yes it only says what is lost",
            repair_command(path)
        ),
        _ => String::new(),
    }
}

/// The command that repairs the log of a data directory, fit for a shell.
pub fn repair_command(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    let safe = path.chars().all(plain) && !path.starts_with('-') && !path.is_empty();
    let word = if safe { path } else { format!("'{}'", path.replace('\'', "'\\''")) };
    let end = if word.starts_with("'-") { "-- " } else { "" };
    format!("isogrid log repair --yes {end}{word}")
}

/// Opens the store and fills the caches that are written behind. A store that no cache uses is
/// moved aside; the first one that is made opens another.
fn open_behind(
    directory: &Arc<DataDirectory>,
    tables: Vec<BehindTable>,
    node: &Node,
) -> Result<Arc<BehindOnDemand>, PersistError> {
    let of_store = Arc::clone(directory);
    let open = Box::new(move || {
        let (store, report) = of_store.behind_store()?;
        Ok(BehindConfig { store, report, storage_id: of_store.storage_id() })
    });
    let behind = Arc::new(BehindOnDemand::new(open, Arc::new(SystemClock::new())));
    if tables.is_empty() {
        if let Some(path) = directory.put_behind_aside(node.now())? {
            tracing::warn!(
                event = "store_aside",
                path = %path.display(),
                "no cache is written behind any more; delete it if nobody needs what it holds"
            );
        }
        return Ok(behind);
    }
    let begun = node.now();
    if let Some(recovered) = behind.begin(tables)? {
        tell_behind(&recovered, node.now() - begun);
    }
    Ok(behind)
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

fn tell(path: &Path, recovered: &Recovered, ms: u64) {
    let Recovered { entries, aside, later, changes, torn, unclaimed } = recovered;
    let data_dir = path.display();
    tracing::info!(event = "recovered", %data_dir, entries, aside, later, changes, ms);
    if let Some(torn) = torn {
        tracing::warn!(event = "log_end_cut", torn, "these writes had not come to their end");
    }
    tell_unclaimed(unclaimed);
}

fn tell_unclaimed(unclaimed: &[String]) {
    if !unclaimed.is_empty() {
        let caches = unclaimed.join(",");
        tracing::warn!(
            event = "caches_dropped",
            caches,
            "they were dropped, or are not kept any more"
        );
    }
}

/// Says once when the disk refuses to keep more, and once when it does again.
#[derive(Default)]
pub struct Watch {
    full: bool,
    reading: bool,
    failed: bool,
    checkpoint: Option<String>,
    store: Option<String>,
    damaged: u64,
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
        let reading = persistence.unread() > 0;
        if self.reading && !reading {
            tracing::info!(event = "preloaded", "the newest snapshot file is read");
        }
        self.reading = reading;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_directory_as_one_word() {
        for (path, word) in [
            ("isogrid-data", "isogrid-data"),
            ("/var/lib/isogrid", "/var/lib/isogrid"),
            ("my data", "'my data'"),
            ("it's", "'it'\\''s'"),
            ("-x", "-- '-x'"),
        ] {
            let command = repair_command(Path::new(path));
            assert_eq!(command, format!("isogrid log repair --yes {word}"));
        }
    }
}
