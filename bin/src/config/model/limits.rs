//! What a client may ask for at most.

use std::time::Duration;

/// What a client may ask for at most. Every limit that is hit is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// Largest item in bytes (key, value and about 50 bytes of header, as memcached's `-I`).
    /// Default: 1 MiB. Bounds: 1 KiB..=1 GiB.
    pub max_item_size: usize,
    /// Connections at once. Default: 10,000 (drop-in: 1,024).
    pub max_connections: usize,
    /// Connections at once from one address, an IPv6 address counted as its /64; `None` = as many
    /// as there are. Default: 1,000 (drop-in: none).
    pub max_connections_per_address: Option<usize>,
    /// Refuse at once with an error line when full (memcached's `maxconns_fast`), or leave the
    /// client in the backlog. Default: true.
    pub refuse_fast: bool,
    /// The listen backlog. Default: 1,024.
    pub backlog: u32,
    /// Connections accepted a second, after twice as many at once; `None` = as they come. Default:
    /// 2,000 (drop-in: none). Bounds: 1..=1,000,000.
    pub accept_rate: Option<u64>,
    /// Close a connection that sent nothing for so long; `None` = never. Default: 1 h (drop-in:
    /// never).
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose request is half read for so long. Default: 30 s (drop-in: never).
    pub request_timeout: Option<Duration>,
    /// Close a connection whose request has been coming for 5 s or more, and slower than so many
    /// bytes a second; `None` = never. Default: 1 KiB (drop-in: never). Bounds: 1..=1 MiB.
    pub request_rate: Option<u64>,
    /// Close a connection that does not read its answers for so long. Default: 30 s (drop-in:
    /// never).
    pub write_timeout: Option<Duration>,
    /// Close a connection that has not said which protocol it speaks for so long, on listeners
    /// that accept several. Default: 10 s.
    pub handshake_timeout: Duration,
    /// Requests of one connection before others get their turn (memcached's `-R`). Default: 32
    /// (drop-in: 20).
    pub requests_per_turn: usize,
    /// Connections at once that have to log in and have not; over it the oldest is closed.
    /// Default: 512.
    pub unauthenticated: usize,
    /// Close a connection that has not logged in for so long; `None` = never. Default: 10 s
    /// (drop-in: never).
    pub login_timeout: Option<Duration>,
    /// Close a connection after so many failed logins, and one that sends or gets more than 4 KiB
    /// before it has logged in; `None` = never. Default: 3 (drop-in: never).
    pub login_tries: Option<u64>,
    /// Requests of one user that wait at once, for locks, permits or messages; `None` = as many as
    /// the node takes. Default: 1,000. Bounds: 1..=1,000,000.
    pub waiting_per_user: Option<usize>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_item_size: 1 << 20,
            max_connections: 10_000,
            max_connections_per_address: Some(1_000),
            refuse_fast: true,
            backlog: 1_024,
            accept_rate: Some(2_000),
            idle_timeout: Some(Duration::from_secs(3_600)),
            request_timeout: Some(Duration::from_secs(30)),
            request_rate: Some(1 << 10),
            write_timeout: Some(Duration::from_secs(30)),
            handshake_timeout: Duration::from_secs(10),
            requests_per_turn: 32,
            unauthenticated: 512,
            login_timeout: Some(Duration::from_secs(10)),
            login_tries: Some(3),
            waiting_per_user: Some(1_000),
        }
    }
}
