//! The real server, killed, cut from power, on disks that fill up, fail and rot. What it had
//! acknowledged must be there afterwards, and nothing else.
//!
//! How long each part runs, and how to run it longer, is in `docs/TESTING.md`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and wait for real processes"
)]

#[path = "durability/checker.rs"]
mod checker;
#[path = "durability/failing_sync.rs"]
mod failing_sync;
#[path = "durability/flips.rs"]
mod flips;
#[path = "durability/full_disk.rs"]
mod full_disk;
#[path = "durability/kill.rs"]
mod kill;
#[path = "durability/loading.rs"]
mod loading;
#[path = "durability/overflow.rs"]
mod overflow;
#[path = "durability/power_cut.rs"]
mod power_cut;
#[path = "durability/refused.rs"]
mod refused;
#[path = "durability/repair.rs"]
mod repair;

use std::fs;
use std::path::{Path, PathBuf};

use isogrid_tests::harness::{Server, StartError, temporary};
use isogrid_tests::seeds;

/// The owner with a cache of its own is behind the second listener.
const CONFIG: &str = r#"
[node]
threads = 2
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
cache = "emptied"
[[cache]]
name = "default"
memory = "64MiB"
eviction = "none"
[[cache]]
name = "emptied"
memory = "64MiB"
eviction = "none"
persist = "PERSIST"
"#;

/// A data directory and the configuration of the servers that use it; removed when dropped.
struct Place {
    folder: PathBuf,
    data: PathBuf,
    persist: &'static str,
    settings: Vec<String>,
}

impl Place {
    fn new(persist: &'static str) -> Place {
        let folder = temporary("durability");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("isogrid.toml"), CONFIG.replace("PERSIST", persist)).unwrap();
        let data = folder.join("data");
        Place { folder, data, persist, settings: Vec::new() }
    }

    /// The same with another data directory.
    fn at(data: &Path, persist: &'static str) -> Place {
        let mut place = Place::new(persist);
        place.data = data.to_owned();
        place
    }

    /// The same with `--set` in addition.
    fn with(mut self, setting: &str) -> Place {
        self.settings.push(setting.to_owned());
        self
    }

    /// A server that need not live until it is ready.
    fn begin(&self) -> Server {
        let config = self.folder.join("isogrid.toml");
        let (config, data) = (config.to_string_lossy(), self.data.to_string_lossy());
        let mut args = vec!["--config", &config, "--data-dir", &data, "--persist", self.persist];
        for setting in &self.settings {
            args.extend(["--set", setting]);
        }
        Server::begin_isogrid(&args)
    }

    fn try_start(&self) -> Result<Server, StartError> {
        let mut server = self.begin();
        server.until_ready()?;
        Ok(server)
    }

    fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|error| panic!("{error:?}"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Kills a server as nothing else can.
fn kill(mut server: Server) {
    server.signal("KILL");
    server.wait();
}

/// All files below a folder, as paths from it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(file), target).unwrap();
    }
}

/// The first seed of a test.
fn seed() -> u64 {
    seeds::number("ISOGRID_SEED", 1)
}

/// The last line of a failed run.
fn replay(test: &str, more: &str) -> String {
    format!("replay: {more} {}", seeds::replay(&format!("durability::{test}"), seed()))
}
