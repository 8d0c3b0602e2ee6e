//! The data directory of a node: opened before it listens, watched, and closed when it stops.

use std::path::Path;
use std::sync::Arc;

use isogrid_engine::persist::{
    DataDirectory, KeptTable, PersistConfig, PersistError, Persistence, Recovered,
};
use isogrid_engine::wal::WalError;
use isogrid_engine::{Clock, SystemClock};
use isogrid_grid::catalog::{CatalogFile, Contents, Kind, Origin, Record};

use super::Error;
use super::node::Node;

/// What is kept on disk, and the lock on the directory.
pub struct Data {
    /// Keeps the caches.
    pub persistence: Arc<Persistence>,
    directory: DataDirectory,
}

impl Data {
    /// Opens the data directory, if there is something to keep, and fills the catalog and its
    /// caches.
    ///
    /// # Errors
    /// [`enum@Error`] names the file and the next step.
    pub fn open(node: &Node) -> Result<Option<Data>, Error> {
        let Some(path) = &node.config.node.data_dir else { return Ok(None) };
        let Some(mode) = node.config.kept_mode() else { return Ok(None) };
        let path = Path::new(path);
        let failed = |source| Error::Data { path: path.to_owned(), source };
        let directory = DataDirectory::open(path).map_err(failed)?;
        let file = CatalogFile::new(directory.root().map_err(failed)?);
        let begun = node.now();
        load(node, &file.read().map_err(Error::Catalog)?)?;
        let mut tables = node.catalog.kept_tables();
        tables.push(node.structures.kept_table(mode));
        let opened = open_tables(node, &directory, tables);
        let (persistence, recovered) = opened.map_err(failed)?;
        tell(path, &recovered, node.now() - begun);
        let persistence = Arc::new(persistence);
        let found = !recovered.unclaimed.is_empty();
        let kept = node.catalog.keep_in(file, Arc::clone(&persistence), mode, found);
        kept.map_err(Error::Catalog)?;
        Ok(Some(Data { persistence, directory }))
    }

    /// Whose data it is.
    pub fn storage_id(&self) -> [u8; 16] {
        self.directory.storage_id()
    }

    /// Writes the last checkpoint and closes the log.
    pub fn close(&self) {
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
    let config = PersistConfig {
        log_bytes,
        log_file_bytes: log_bytes,
        dropped: node.catalog.dropped(),
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

fn tell(path: &Path, recovered: &Recovered, ms: u64) {
    let Recovered { entries, changes, torn, unclaimed } = recovered;
    tracing::info!(event = "recovered", data_dir = %path.display(), entries, changes, ms);
    if let Some(torn) = torn {
        tracing::warn!(event = "log_end_cut", torn, "these writes had not come to their end");
    }
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
    failed: bool,
    checkpoint: Option<String>,
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
