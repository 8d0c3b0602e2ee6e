//! The servers that are compared and how each is started: in memory only, one worker thread,
//! loopback, and a memory limit.

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;

use super::protocol::Protocol;

/// One mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// A server that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Product {
    /// Ours, over memcached's text protocol.
    Isogrid,
    /// The server that Isogrid replaces.
    Memcached,
    /// Over its own protocol, evicting as a cache does (allkeys-lru).
    Redis,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Isogrid => "isogrid",
            Self::Memcached => "memcached",
            Self::Redis => "redis",
        })
    }
}

impl Product {
    /// Every product, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Isogrid, Self::Memcached, Self::Redis];

    /// The language that it is driven in.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Isogrid | Self::Memcached => Protocol::MemcachedText,
            Self::Redis => Protocol::Resp,
        }
    }

    /// A request that it answers at once, to learn that it is up.
    pub fn greeting(self) -> &'static [u8] {
        match self {
            Self::Isogrid | Self::Memcached => b"version\r\n",
            Self::Redis => b"PING\r\n",
        }
    }

    /// Where its binary is when nobody says so: Isogrid's beside this one, the others in `PATH`.
    pub fn find(self) -> Option<PathBuf> {
        match self {
            Self::Isogrid => {
                std::env::current_exe().ok().map(|this| this.with_file_name("isogrid"))
            }
            Self::Memcached => in_path("memcached"),
            Self::Redis => in_path("redis-server"),
        }
        .filter(|path| path.is_file())
    }

    /// The arguments that start it.
    ///
    /// `added` comes last: Redis takes the last word on a setting, and Isogrid keeps data on disk
    /// when that is what it is asked for.
    pub fn arguments(
        self,
        port: u16,
        memory_mib: u64,
        eviction: Option<&str>,
        added: &str,
    ) -> Vec<String> {
        let line = match self {
            Self::Isogrid => format!(
                "serve -c /dev/null --memcached 127.0.0.1:{port} --http off {} {} \
                 --threads 1 --memory {memory_mib}MiB \
                 --set limits.max_connections_per_address=off",
                if added.contains("--native") { "" } else { "--native off" },
                if added.contains("--data-dir") { "" } else { "--ephemeral" }
            ),
            Self::Memcached => {
                format!("-t 1 -m {memory_mib} -l 127.0.0.1 -p {port} -U 0 -c 4096 -u root")
            }
            Self::Redis => format!(
                "--port {port} --bind 127.0.0.1 --appendonly no --maxmemory {} \
                 --maxmemory-policy allkeys-lru --io-threads 1",
                memory_mib * MIB
            ),
        };
        let mut arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match (self, eviction) {
            (Self::Redis, _) => arguments.extend(["--save".to_owned(), String::new()]),
            (Self::Isogrid, Some(policy)) => {
                arguments.extend(["--eviction".to_owned(), policy.to_owned()]);
            }
            _ => {}
        }
        arguments.extend(added.split_whitespace().map(str::to_owned));
        arguments
    }
}

/// The first file of that name in the directories of `PATH`.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_arguments_come_last() {
        for product in Product::ALL {
            let arguments = product.arguments(1, 64, None, "--one  two");
            assert!(arguments.ends_with(&["--one".to_owned(), "two".to_owned()]), "{arguments:?}");
        }
        let ephemeral = |added| {
            Product::Isogrid.arguments(1, 64, None, added).contains(&"--ephemeral".to_owned())
        };
        assert!(ephemeral("") && !ephemeral("--data-dir x"));
    }
}
