//! This node.

use std::time::Duration;

use isogrid_engine::persist::LOG_BYTES_DEFAULT;

use super::AuthConfig;

/// This node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its name in logs. Default: the host name, else `isogrid`.
    pub name: String,
    /// Worker threads: a bound on the CPU used. Default: the number of cores. Minimum: 1.
    pub threads: usize,
    /// How long a SIGTERM waits for requests that are under way, and before that for other members
    /// of a cluster to take over what the node serves. Default: 5 s.
    pub drain_timeout: Duration,
    /// Bytes that all caches together may be given; one that is made while the server runs is
    /// refused above it. `None` = as much memory as the machine has. Default: none.
    pub memory: Option<u64>,
    /// Where caches that persist are kept; `None` = nowhere. Default: `isogrid-data`.
    pub data_dir: Option<String>,
    /// Where backups of the running server are written; `auto` = `backups` in the data directory,
    /// `None` = nowhere. Default: `auto`.
    pub backup_dir: Option<String>,
    /// Bytes of the log between two checkpoints; its files are a quarter. Default: 128 MiB.
    pub log_size: u64,
    /// How long a SIGTERM waits for changes that are written behind; `None` = until all are
    /// written. Default: none.
    pub behind_timeout: Option<Duration>,
    /// Whether a crash may leave an image of the memory, with what is secret in it. Default: off.
    pub core_dumps: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: host_name(),
            threads: cores(),
            drain_timeout: Duration::from_secs(5),
            memory: None,
            data_dir: Some("isogrid-data".to_owned()),
            backup_dir: Some(AuthConfig::AUTO.to_owned()),
            log_size: LOG_BYTES_DEFAULT,
            behind_timeout: None,
            core_dumps: false,
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "isogrid".to_owned(),
        name => name.to_owned(),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
