//! The process's limit of open files. Each connection is one, so a limit of connections that the
//! system does not allow would end in connections that nobody accepts.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files kept for everything that is no connection.
const RESERVED: u64 = 512;

/// How many of `wanted` connections the system allows, after raising the limit as far as it lets
/// us; fewer are said in the log.
pub fn connections_max(wanted: usize) -> usize {
    let allowed = raise(wanted as u64 + RESERVED);
    let places = usize::try_from(places(allowed)).unwrap_or(usize::MAX);
    if places < wanted {
        tracing::warn!(
            event = "few_open_files",
            open_files = allowed,
            wanted,
            connections = places,
            "fewer connections than limits.max_connections: raise the hard limit of open files \
             (`ulimit -Hn`, or LimitNOFILE= in a systemd unit)"
        );
    }
    places.min(wanted)
}

/// The limit, raised to `wanted` where it was less and the system allows it.
fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    let raised = wanted.min(maximum.unwrap_or(u64::MAX));
    if raised <= current {
        return current;
    }
    let limit = Rlimit { current: Some(raised), maximum };
    setrlimit(Resource::Nofile, limit).map_or(current, |()| raised)
}

/// The most that the system lets the limit be raised to.
pub fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// What remains for connections; half where the limit is small.
pub fn places(open_files: u64) -> u64 {
    open_files - RESERVED.min(open_files / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_kept_back() {
        for (open_files, connections) in
            [(64, 32), (1_024, 512), (4_096, 3_584), (u64::MAX, u64::MAX - 512)]
        {
            assert_eq!(places(open_files), connections, "{open_files}");
        }
    }
}
