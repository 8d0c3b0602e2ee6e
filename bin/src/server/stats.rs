//! `stats`: real figures under memcached's names, so that exporters and dashboards work.
//!
//! What memcached counts of its slab allocator, LRU threads or crawler and we do not have is 0.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use isogrid_engine::persist::Persistence;
use isogrid_engine::persist::behind::Behind;
use isogrid_grid::Cache;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Framing, Refusal, Reply};

use super::connections::State;
use super::dispatch::VERSION;
use super::dump;
use super::node::Node;
use super::settings;
use crate::config::exposed;

/// What a `stats` request is answered with.
pub enum Answer {
    /// Rows, then the end.
    Rows(Rows),
    /// `RESET`.
    Reset,
    /// `OK`.
    Ok,
    /// Text as it is, then the end.
    Text(Vec<u8>),
    /// No such statistics.
    Refused(Refusal),
}

/// Rows of names and values.
#[derive(Default)]
pub struct Rows(Vec<(String, String)>);

impl Rows {
    /// Adds a row.
    pub fn put(&mut self, name: impl Into<String>, value: impl Display) {
        self.0.push((name.into(), value.to_string()));
    }

    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.put(*name, 0);
        }
    }
}

/// Answers `stats ARGUMENT`.
pub fn answer(node: &Node, cache: &Cache, argument: &[u8], now: u64) -> Answer {
    let words: Vec<&[u8]> =
        argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => Answer::Rows(general(node, cache, now)),
        [b"settings", ..] => Answer::Rows(settings::rows(node, cache)),
        [b"items", ..] => Answer::Rows(items(node, cache)),
        [b"slabs", ..] => Answer::Rows(slabs(node, cache)),
        [b"sizes", ..] => Answer::Rows(sizes(cache, now)),
        [b"conns", ..] => Answer::Rows(conns(node, now)),
        [b"extstore", ..] => Answer::Rows(Rows::default()),
        [b"reset", ..] => reset(node, cache),
        [b"detail", what, ..] => detail(node, what),
        [b"detail"] => Answer::Refused(Refusal::Client("usage: stats detail on|off|dump")),
        [b"cachedump", class, most, ..] => cachedump(node, cache, class, most, now),
        [b"cachedump", ..] => Answer::Refused(Refusal::Client("bad command line")),
        _ => Answer::Refused(Refusal::Unknown),
    }
}

/// Logins and TLS, where there are any.
fn security(node: &Node, rows: &mut Rows) {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    if node.security.is_required() {
        rows.put("auth_denied", count(&node.security.denied));
        rows.put("unauthenticated_connections", node.unauthenticated.len());
        rows.put("unauthenticated_closed", count(&node.unauthenticated.closed));
    }
    if let Some(tls) = &node.tls {
        rows.put("ssl_new_sessions", count(&tls.handshakes));
        rows.put("ssl_handshake_errors", count(&tls.failures) + count(&node.handshakes.closed));
        let age = node.now().saturating_sub(tls.loaded_at()) / 1_000;
        rows.put("time_since_server_cert_refresh", age);
        let left = tls.expires().map(|end| end.saturating_sub(node.now()) / 1_000);
        rows.put("ssl_certificate_seconds_left", left.unwrap_or_default());
    }
}

/// Encodes an answer.
pub fn encode(answer: Answer, framing: &Framing<'_>, out: &mut Output) {
    match answer {
        Answer::Rows(Rows(rows)) => {
            for (name, value) in &rows {
                framing.encode(&Reply::Stat { name, value }, out);
            }
            framing.encode(&Reply::StatEnd, out);
        }
        Answer::Reset => framing.encode(&Reply::Reset, out),
        Answer::Ok => framing.encode(&Reply::Ok, out),
        Answer::Text(text) => {
            framing.encode(&Reply::Raw(&text), out);
            framing.encode(&Reply::StatEnd, out);
        }
        Answer::Refused(refusal) => framing.encode(&Reply::Refused(refusal), out),
    }
}

fn reset(node: &Node, cache: &Cache) -> Answer {
    node.counters.reset();
    node.detail.reset();
    cache.table().reset_metrics();
    node.connections.total.store(0, Ordering::Relaxed);
    node.connections.rejected.store(0, Ordering::Relaxed);
    node.connections.rejected_by_address.store(0, Ordering::Relaxed);
    Answer::Reset
}

fn detail(node: &Node, what: &[u8]) -> Answer {
    match what {
        b"on" => node.detail.switch(true),
        b"off" => node.detail.switch(false),
        b"dump" => return Answer::Text(node.detail.dump().into_bytes()),
        _ => return Answer::Refused(Refusal::Client("usage: stats detail on|off|dump")),
    }
    Answer::Ok
}

/// All entries are of slab class 1 here.
fn cachedump(node: &Node, cache: &Cache, class: &[u8], most: &[u8], now: u64) -> Answer {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<usize>().ok();
    let (Some(class), Some(most)) = (number(class), number(most)) else {
        return Answer::Refused(Refusal::Client("bad command line format"));
    };
    if !node.config.protocol.dump {
        return Answer::Refused(Refusal::Client("stats cachedump not allowed"));
    }
    match class {
        1 => {
            let most = if most == 0 { CACHEDUMP_MAX } else { most.min(CACHEDUMP_MAX) };
            Answer::Text(dump::cachedump(cache, most, now))
        }
        0..=63 => Answer::Text(Vec::new()),
        _ => Answer::Refused(Refusal::Client("Illegal slab id")),
    }
}

/// memcached's dump ends at 2 MiB of text; ours at so many entries.
const CACHEDUMP_MAX: usize = 8_192;

fn general(node: &Node, cache: &Cache, now: u64) -> Rows {
    let mut rows = Rows::default();
    let (user, system) = cpu_seconds();
    rows.put("pid", std::process::id());
    rows.put("uptime", now.saturating_sub(node.started) / 1000);
    rows.put("time", now / 1000);
    rows.put("version", VERSION);
    rows.put("libevent", concat!("isogrid-", env!("CARGO_PKG_VERSION")));
    rows.put("pointer_size", usize::BITS);
    rows.put("rusage_user", user);
    rows.put("rusage_system", system);
    connections(node, cache, &mut rows);
    commands(node, cache, &mut rows);
    storage(cache, &mut rows);
    rows
}

fn connections(node: &Node, cache: &Cache, rows: &mut Rows) {
    let connections = &node.connections;
    rows.put("max_connections", node.config.limits.max_connections);
    rows.put("curr_connections", connections.open());
    rows.put("total_connections", connections.total.load(Ordering::Relaxed));
    rows.put("rejected_connections", connections.rejected.load(Ordering::Relaxed));
    let by_address = connections.rejected_by_address.load(Ordering::Relaxed);
    rows.put("rejected_connections_per_address", by_address);
    rows.put("insecure_listeners", exposed(&node.config).len());
    security(node, rows);
    if let Some(data) = node.data.get() {
        kept(&data.persistence, rows);
        if let Some(behind) = data.behind.get() {
            written_behind(behind, cache.name(), rows);
        }
    }
    rows.put("connection_structures", connections.open());
    rows.zeros(&["response_obj_oom", "response_obj_count", "response_obj_bytes"]);
    rows.zeros(&["read_buf_count", "read_buf_bytes", "read_buf_bytes_free", "read_buf_oom"]);
    rows.put("reserved_fds", 5 * node.config.node.threads);
    rows.put("idle_kicks", connections.idle_kicks.load(Ordering::Relaxed));
}

/// What is kept on disk: our own names, memcached has none.
fn kept(persistence: &Persistence, rows: &mut Rows) {
    rows.put("storage_log_bytes", persistence.log_bytes());
    rows.put("storage_checkpoints", persistence.checkpoints());
    rows.put("storage_full", u8::from(persistence.is_out_of_space()));
    rows.put("storage_failed", u8::from(persistence.failure().is_some()));
    let Some(stats) = persistence.overflow() else { return };
    rows.put("storage_passivated", stats.passivated);
    rows.put("storage_loaded", stats.loaded);
    rows.put("storage_loads_waiting", persistence.loads_waiting());
    rows.put("storage_unread", persistence.unread());
    rows.put("storage_keys", stats.keys);
    rows.put("storage_queued", stats.waiting);
    rows.put("storage_store_bytes", stats.store_bytes);
    rows.put("storage_expired", stats.expired);
    rows.put("storage_damaged", stats.damaged);
    rows.put("storage_store_failures", stats.failures);
    rows.put("storage_store_failed", u8::from(stats.trouble.is_some()));
}

/// How far the store is behind the cache of the connection.
fn written_behind(behind: &Behind, cache: &str, rows: &mut Rows) {
    let Some(lag) = behind.lag(cache) else { return };
    rows.put("behind_entries", lag.entries);
    rows.put("behind_bytes", lag.bytes);
    rows.put("behind_oldest_ms", lag.oldest_ms);
    rows.put("behind_failing", lag.failing);
    rows.put("behind_coalesced", lag.coalesced);
    rows.put("behind_batches", lag.batches);
    rows.put("behind_written", lag.written);
    rows.put("behind_retries", lag.retries);
    rows.put("behind_refused", lag.refused);
    rows.put("behind_away", lag.away);
    rows.put("behind_loaded", lag.loaded);
    rows.put("behind_store_failed", u8::from(behind.trouble().is_some()));
}

fn commands(node: &Node, cache: &Cache, rows: &mut Rows) {
    let counts = node.counters.sum();
    let metrics = cache.table().metrics();
    let paused_ms = node.connections.paused_ms.load(Ordering::Relaxed);
    for (name, value) in [
        ("cmd_get", counts.cmd_get),
        ("cmd_set", counts.cmd_set),
        ("cmd_flush", counts.cmd_flush),
        ("cmd_touch", counts.cmd_touch),
        ("cmd_meta", counts.cmd_meta),
        ("get_hits", counts.get_hits),
        ("get_misses", counts.get_misses),
        ("get_expired", metrics.read_expired),
        ("get_flushed", metrics.read_cleared),
        ("delete_misses", counts.delete_misses),
        ("delete_hits", counts.delete_hits),
        ("incr_misses", counts.incr_misses),
        ("incr_hits", counts.incr_hits),
        ("decr_misses", counts.decr_misses),
        ("decr_hits", counts.decr_hits),
        ("cas_misses", counts.cas_misses),
        ("cas_hits", counts.cas_hits),
        ("cas_badval", counts.cas_badval),
        ("touch_hits", counts.touch_hits),
        ("touch_misses", counts.touch_misses),
        ("store_too_large", counts.store_too_large),
        ("store_no_memory", counts.store_no_memory),
        ("store_unrecorded", counts.store_unrecorded),
        ("auth_cmds", counts.auth_cmds),
        ("auth_errors", counts.auth_errors),
        ("bytes_read", counts.bytes_read),
        ("bytes_written", counts.bytes_written),
        ("limit_maxbytes", node.memory_limit.load(Ordering::Relaxed)),
        ("accepting_conns", u64::from(node.connections.has_place())),
        ("listen_disabled_num", node.connections.paused.load(Ordering::Relaxed)),
        ("time_in_listen_disabled_us", paused_ms * 1000),
        ("threads", node.config.node.threads as u64),
        ("conn_yields", counts.conn_yields),
        ("protocol_errors", counts.protocol_errors),
    ] {
        rows.put(name, value);
    }
}

fn storage(cache: &Cache, rows: &mut Rows) {
    let usage = cache.table().usage();
    let metrics = cache.table().metrics();
    let index = cache.table().index_bytes();
    rows.put("hash_power_level", (usage.entries.max(1) * 2).ilog2());
    rows.put("hash_bytes", index);
    rows.zeros(&["hash_is_expanding", "slab_reassign_rescues", "slab_reassign_chunk_rescues"]);
    rows.zeros(&["slab_reassign_evictions_nomem", "slab_reassign_inline_reclaim"]);
    rows.zeros(&["slab_reassign_busy_items", "slab_reassign_busy_deletes"]);
    rows.zeros(&["slab_reassign_running", "slabs_moved", "lru_crawler_running"]);
    rows.zeros(&["lru_crawler_starts", "lru_maintainer_juggles", "malloc_fails"]);
    rows.zeros(&["log_worker_dropped", "log_worker_written", "log_watcher_skipped"]);
    rows.zeros(&["log_watcher_sent", "log_watchers", "unexpected_napi_ids"]);
    rows.put("round_robin_fallback", 0);
    rows.put("bytes", usage.bytes);
    rows.put("curr_items", usage.entries);
    rows.put("total_items", metrics.stored);
    rows.put("slab_global_page_pool", 0);
    rows.put("expired_unfetched", metrics.expired_unfetched);
    rows.put("evicted_unfetched", metrics.evicted_unfetched);
    rows.put("evicted_active", metrics.evicted.saturating_sub(metrics.evicted_unfetched));
    rows.put("evictions", metrics.evicted);
    rows.put("reclaimed", metrics.expired);
    rows.put("crawler_reclaimed", metrics.expired);
    rows.zeros(&["crawler_items_checked", "lrutail_reflocked", "moves_to_cold"]);
    rows.zeros(&["moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped"]);
    rows.put("garbage_bytes", usage.retired_bytes);
    rows.put("segments", cache.table().segment_count());
    rows.put("cache", cache.name());
    rows.put("expired", metrics.expired);
    rows.put("total_malloced", usage.bytes);
}

/// All entries as slab class 1.
fn items(node: &Node, cache: &Cache) -> Rows {
    let (usage, metrics) = (cache.table().usage(), cache.table().metrics());
    let mut rows = Rows::default();
    if usage.entries == 0 {
        return rows;
    }
    for (name, value) in [
        ("number", usage.entries),
        ("number_hot", 0),
        ("number_warm", 0),
        ("number_cold", usage.entries),
        ("age_hot", 0),
        ("age_warm", 0),
        ("age", 0),
        ("mem_requested", usage.bytes),
        ("evicted", metrics.evicted),
        ("evicted_nonzero", metrics.evicted_with_ttl),
        ("evicted_time", 0),
        ("outofmemory", metrics.refused),
        ("tailrepairs", 0),
        ("reclaimed", metrics.expired),
        ("expired_unfetched", metrics.expired_unfetched),
        ("evicted_unfetched", metrics.evicted_unfetched),
        ("evicted_active", metrics.evicted.saturating_sub(metrics.evicted_unfetched)),
        ("crawler_reclaimed", metrics.expired),
        ("crawler_items_checked", 0),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", 0),
        ("moves_to_warm", 0),
        ("moves_within_lru", 0),
        ("direct_reclaims", 0),
        ("hits_to_hot", 0),
        ("hits_to_warm", 0),
        ("hits_to_cold", node.counters.sum().get_hits),
        ("hits_to_temp", 0),
    ] {
        rows.put(format!("items:1:{name}"), value);
    }
    rows
}

/// One slab class that holds everything.
fn slabs(node: &Node, cache: &Cache) -> Rows {
    let usage = cache.table().usage();
    let counts = node.counters.sum();
    let mut rows = Rows::default();
    let chunk = usage.bytes.checked_div(usage.entries).unwrap_or(0);
    if usage.entries > 0 {
        for (name, value) in [
            ("chunk_size", chunk),
            ("chunks_per_page", (1 << 20) / chunk.max(1)),
            ("total_pages", usage.bytes.div_ceil(1 << 20)),
            ("total_chunks", usage.entries),
            ("used_chunks", usage.entries),
            ("free_chunks", 0),
            ("free_chunks_end", 0),
            ("get_hits", counts.get_hits),
            ("cmd_set", counts.cmd_set),
            ("delete_hits", counts.delete_hits),
            ("incr_hits", counts.incr_hits),
            ("decr_hits", counts.decr_hits),
            ("cas_hits", counts.cas_hits),
            ("cas_badval", counts.cas_badval),
            ("touch_hits", counts.touch_hits),
        ] {
            rows.put(format!("1:{name}"), value);
        }
    }
    rows.put("active_slabs", u64::from(usage.entries > 0));
    rows.put("total_malloced", usage.bytes);
    rows
}

/// How many entries there are of each size, in steps of 32 bytes, of the first so many entries.
fn sizes(cache: &Cache, now: u64) -> Rows {
    let mut histogram = std::collections::BTreeMap::<usize, u64>::new();
    let (mut cursor, mut seen) = (Some(isogrid_engine::Cursor::default()), 0);
    while let Some(at) = cursor.filter(|_| seen < SIZES_MAX) {
        cursor = cache.table().scan(at, 1_024, now, |entry| {
            seen += 1;
            *histogram.entry(entry.charge().next_multiple_of(32)).or_default() += 1;
        });
    }
    let mut rows = Rows::default();
    for (size, entries) in histogram {
        rows.put(size.to_string(), entries);
    }
    rows
}

/// Entries that `stats sizes` looks at: a sample, so that it never stops the world.
const SIZES_MAX: usize = 100_000;

fn conns(node: &Node, now: u64) -> Rows {
    let mut rows = Rows::default();
    for (id, info) in node.connections.list() {
        let (state, since) = info.state();
        let state = match state {
            State::Idle => "conn_read",
            State::Reading => "conn_nread",
            State::Writing => "conn_mwrite",
        };
        rows.put(format!("{id}:addr"), &info.peer.name);
        rows.put(format!("{id}:listen_addr"), &info.local);
        rows.put(format!("{id}:state"), state);
        rows.put(format!("{id}:secs_since_last_cmd"), now.saturating_sub(since) / 1000);
    }
    rows
}

/// User and system time of the process, as seconds with six places.
fn cpu_seconds() -> (String, String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the command in parentheses, which may hold blanks; utime and stime in 1/100 s.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(|t| t.parse().unwrap_or(0u64));
    let mut seconds = || {
        let ticks = ticks.next().unwrap_or(0);
        format!("{}.{:06}", ticks / 100, ticks % 100 * 10_000)
    };
    (seconds(), seconds())
}
