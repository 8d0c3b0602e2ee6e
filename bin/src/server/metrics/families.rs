//! The table of every family.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use isogrid_engine::persist::Persistence;
use isogrid_engine::wal::Syncs;

use super::cluster;
use super::family::{Family, Kind, Number, Sample, by, one};
use super::queue;
use super::scrape::Scrape;
use super::session;
use crate::config::exposed;
use crate::server::connections::Spoken;
use crate::server::counters::Counts;
use crate::server::health::{State, ready};
use crate::server::tls::Tls;

use Kind::{Counter, Gauge, Info};

macro_rules! families {
    ($($kind:ident $name:literal [$($label:literal)*] $help:literal, $read:expr;)*) => {
        /// Every family there is.
        pub static FAMILIES: &[Family] = &[$(Family {
            name: $name, kind: $kind, labels: &[$($label),*], help: $help, read: $read,
        },)*];
    };
}

families! {
    Info "isogrid_build" ["version"] "The version that runs", |_| vec![Sample {
        labels: vec![env!("CARGO_PKG_VERSION").to_owned()], value: Number::Whole(1),
    }];
    Gauge "isogrid_node_state" ["state"]
        "1 for what the node is: starting, ready, not_ready, draining or stopping", node_state;
    Counter "isogrid_ops" ["cache" "op" "result" "protocol"]
        "Operations, by what became of them; of clear, how often it was asked for", operations;
    Counter "isogrid_writes_refused" ["cache" "reason" "protocol"]
        "Writes refused because of an error", refused_writes;
    Gauge "isogrid_cache_entries" ["cache"] "Entries",
        |s| by(s.of_caches(|cache| cache.entries));
    Gauge "isogrid_cache_bytes" ["cache"] "Bytes that the cache takes, everything counted",
        |s| by(s.of_caches(|cache| cache.bytes));
    Gauge "isogrid_cache_limit_bytes" ["cache"] "Bytes that the cache may take",
        |s| by(s.of_caches(|cache| cache.limit_bytes));
    Counter "isogrid_cache_hits" ["cache"] "Reads that found an entry",
        |s| by(s.counted(|counts| counts.get_hits));
    Counter "isogrid_cache_misses" ["cache"] "Reads that found none",
        |s| by(s.counted(|counts| counts.get_misses));
    Counter "isogrid_cache_evictions" ["cache" "reason"]
        "Entries that went to make room", |s| with(by(s.of_caches(|c| c.table.evicted)), "size");
    Counter "isogrid_cache_expirations" ["cache"] "Entries removed because their time was over",
        |s| by(s.of_caches(|cache| cache.table.expired));
    Gauge "isogrid_queue_messages" ["queue" "state"]
        "Messages by how they are: ready, delayed, in_flight or dead", queue::messages;
    Gauge "isogrid_queue_bytes" ["queue"] "Bytes of messages, as the bound of the queue counts them",
        |s| queue::of_all(s, |stats| stats.bytes);
    Gauge "isogrid_queue_waiting" ["queue"] "Requests and consumers that wait for messages",
        |s| queue::of_all(s, |stats| stats.waiting);
    Counter "isogrid_queue_published" ["queue" "result"]
        "Messages that came: published, duplicate, or refused since the queue was full",
        queue::published;
    Counter "isogrid_queue_delivered" ["queue" "attempt"] "Deliveries: the first ones, and again",
        queue::delivered;
    Counter "isogrid_queue_settled" ["queue" "how"]
        "How deliveries and messages ended: acked, nacked, timed_out, expired, died, redriven or lost",
        queue::settled;
    Counter "isogrid_queue_stale_receipts" ["queue"]
        "Receipts that came after their message was delivered again", |s| queue::of_all(s, |stats| stats.went.stale);
    Counter "isogrid_session_operations" ["what"]
        "What was done to web sessions here: created, saved, touched, destroyed or renewed", session::done;
    Counter "isogrid_session_conflicts" ["how"]
        "Attributes that two requests had changed at once: overwritten, or refused by a strict save",
        session::conflicts;
    Counter "isogrid_session_expirations" []
        "Web sessions, and what was known of those that had ended, removed because their time was over",
        |s| one(session::expired(s));
    Gauge "isogrid_session_bytes" [] "Bytes that web sessions take here, copies included",
        |s| one(session::bytes(s));
    Gauge "isogrid_session_limit_bytes" [] "Bytes that web sessions may take here",
        |s| one(session::limit(s));
    Gauge "isogrid_memory_bytes" ["kind"]
        "Memory of all caches: entries, their index, garbage that readers may still look at", memory;
    Gauge "isogrid_connections" ["protocol"] "Open connections",
        |s| by(s.node.connections.by_spoken().map(|(spoken, open)| (spoken.name(), open)));
    Gauge "isogrid_connections_limit" [] "Client connections that may be open",
        |s| one(s.node.config.limits.max_connections as u64);
    Counter "isogrid_connections_opened" [] "Connections ever opened",
        |s| one(s.node.connections.total.load(Relaxed));
    Counter "isogrid_connections_rejected" ["reason"]
        "Connections closed before anything was served", rejected;
    Counter "isogrid_connections_idle_closed" [] "Connections closed for being silent",
        |s| one(s.node.connections.idle_kicks.load(Relaxed));
    Counter "isogrid_connections_slow_closed" []
        "Connections closed since a request came slower than limits.request_rate",
        |s| one(s.node.connections.slow_kicks.load(Relaxed));
    Counter "isogrid_connections_delayed" []
        "Connections that waited in the backlog, since more came than limits.accept_rate",
        |s| one(s.node.accept_rate.delayed.load(Relaxed));
    Counter "isogrid_network_bytes" ["direction" "protocol"]
        "Bytes read from and written to memcached clients", network;
    Counter "isogrid_protocol_errors" ["protocol"] "Requests that could not be read",
        |s| by(by_protocol(s, |counts| counts.protocol_errors));
    Gauge "isogrid_inflight_requests" ["protocol"]
        "Requests that wait to be answered: for a lock, a message, the disk or other members; those of \
         one memcached connection are one",
        |s| by(s.node.connections.in_flight().map(|(spoken, n)| (spoken.name(), n)));
    Counter "isogrid_backpressure_seconds" ["protocol"]
        "How long connections were not read, since their answers were not taken or as many requests \
         as they may have were under way; counted when they go on", backpressure;
    Counter "isogrid_lock_waits" [] "Requests that waited for a lock or for permits, whatever came of it",
        |s| one(s.node.waits.count.load(Relaxed));
    Counter "isogrid_lock_wait_seconds" [] "How long those waited together",
        |s| seconds(Duration::from_millis(s.node.waits.ms.load(Relaxed)));
    Counter "isogrid_listener_resync" ["cache"]
        "How often a listener or a near cache was told to read anew, since more had changed than is kept for it",
        |s| by(s.of_caches(|cache| cache.resyncs));
    Gauge "isogrid_tls_cert_expiry_seconds" ["use"]
        "Seconds until the certificate ends that this node shows to clients, or to peers; negative once it has",
        certificates;
    Gauge "isogrid_insecure_listeners" []
        "Listeners that other machines reach without authentication and TLS",
        |s| one(exposed(&s.node.config).len() as u64);
    Gauge "isogrid_storage_log_bytes" [] "Bytes of the write-ahead log", |s| kept(s, Persistence::log_bytes);
    Counter "isogrid_storage_checkpoints" [] "Checkpoints written",
        |s| kept(s, Persistence::checkpoints);
    Counter "isogrid_wal_fsyncs" [] "Syncs of the write-ahead logs of caches and copies",
        |s| syncs(s, |syncs| Number::Whole(syncs.count));
    Counter "isogrid_wal_fsync_seconds" [] "How long those took together",
        |s| syncs(s, |syncs| Number::Real(Duration::from_micros(syncs.micros).as_secs_f64()));
    Gauge "isogrid_storage_full" [] "1 while writes are refused because the disk is full",
        |s| kept(s, |persistence| u64::from(persistence.is_out_of_space()));
    Gauge "isogrid_storage_failed" [] "1 once the log has failed: writes are refused until a restart",
        |s| kept(s, |persistence| u64::from(persistence.failure().is_some()));
    Gauge "isogrid_cluster_members" ["state"]
        "Members as this one sees them: joining, up, stopping, lost or leaving", cluster::members;
    Gauge "isogrid_cluster_roles" ["role"]
        "Members by what they are there for: data, or witness, which votes and has none",
        cluster::roles;
    Gauge "isogrid_cluster_member" [] "This member's number, 0 while it is none",
        |s| cluster::told(s, |told| told.member.unwrap_or(0));
    Gauge "isogrid_cluster_leader" [] "The number of the member that leads, 0 while none is known",
        |s| cluster::told(s, |told| told.leader.unwrap_or(0));
    Gauge "isogrid_cluster_term" [] "Raft's term", |s| cluster::told(s, |told| told.term);
    Gauge "isogrid_cluster_index" [] "The last entry of the metadata that was applied",
        |s| cluster::told(s, |told| told.index);
    Gauge "isogrid_cluster_has_lease" [] "1 while this member may serve", cluster::has_lease;
    Gauge "isogrid_invalidation_listeners" []
        "Members that are told of writes of invalidated caches",
        |s| cluster::invalidation(s, |all| all.listeners as u64);
    Gauge "isogrid_invalidation_served" [] "1 while invalidated caches are served, lease aside",
        |s| cluster::invalidation(s, |all| u64::from(all.serves));
    Counter "isogrid_invalidation_messages" []
        "Messages about writes of invalidated caches that each of those was sent",
        |s| cluster::invalidation(s, |all| all.sent);
    Counter "isogrid_invalidation_clears" []
        "How often all invalidated caches were cleared, since writes may have been missed",
        |s| cluster::invalidation(s, |all| all.clears);
    Gauge "isogrid_cluster_segments" ["cache" "state"]
        "Segments by how they are: complete, copies_missing or unserved", cluster::segments;
    Gauge "isogrid_cluster_copies" ["cache" "role"]
        "Segments of which this member is primary, has a backup in sync, or fills one",
        cluster::copies;
    Counter "isogrid_cluster_async_discarded" ["cache"]
        "Writes that this member had acknowledged at once and that a failover has lost, as it found when \
         it came back",
        |s| cluster::of_copies(s, |copies| copies.stats().discards());
    Counter "isogrid_cluster_async_discarded_kept" ["cache"]
        "Of those, how many are in a file of `cluster.discarded_dir`",
        |s| cluster::of_copies(s, |copies| copies.stats().discards_kept());
    Gauge "isogrid_cluster_async_tail_bytes" ["cache"]
        "Bytes of writes that this member has acknowledged at once and that not all copies have",
        |s| cluster::of_copies(s, |copies| copies.tail_bytes() as u64);
    Gauge "isogrid_cluster_unwritten_bytes" []
        "Bytes of changes of this member's copies of kept caches that are not on its disk yet",
        cluster::unwritten;
    Counter "isogrid_cluster_copies_taken_up" ["cache"]
        "Segments that this member took up from disks with `persist` = async after the processes of all \
         copies in sync had been killed: what was acknowledged in the last 100 ms before may be lost",
        |s| cluster::of_copies(s, |copies| copies.stats().torn());
    Counter "isogrid_cluster_fills" ["cache" "kind"]
        "Copies of segments that this member has filled on others: whole, with all entries, or lacking, \
         with the writes that they lacked",
        |s| cluster::fills(s, |stats| &stats.fills);
    Counter "isogrid_cluster_fill_bytes" ["cache" "kind"]
        "Bytes of entries and writes that were sent for that",
        |s| cluster::fills(s, |stats| &stats.bytes);
    Counter "isogrid_cluster_frames" ["lane" "direction"] "Frames from and to other members",
        cluster::frames;
    Counter "isogrid_cluster_bytes" ["lane" "direction"] "Bytes of those frames", cluster::bytes;
    Counter "isogrid_cluster_connects" [] "Connections made to other members",
        |s| cluster::transport(s, |stats| &stats.connects);
    Counter "isogrid_cluster_losses" []
        "Connections to other members that were lost or could not be made",
        |s| cluster::transport(s, |stats| &stats.losses);
    Counter "isogrid_cluster_refused" []
        "Connections to the peer port that were refused: of another cluster, or of no peer",
        |s| cluster::transport(s, |stats| &stats.refused);
    Counter "isogrid_cluster_damaged" []
        "Connections of members that were closed because of what came over them",
        |s| cluster::transport(s, |stats| &stats.damaged);
    Counter "isogrid_cluster_dropped" [] "Frames of the control lane that made room for newer ones",
        |s| cluster::transport(s, |stats| &stats.dropped);
    Counter "isogrid_cluster_announcements" ["kind"]
        "Announcements of other nodes (`cluster.discover`): taken, other_cluster or malformed",
        cluster::announcements;
    Counter "isogrid_cluster_executed_here" ["cache"]
        "Requests of clients for one key that were executed by the member that was asked",
        cluster::executed_here;
    Counter "isogrid_cluster_passed_on" [] "Requests that were passed on to other members",
        cluster::passed_on;
    Counter "process_cpu_seconds" [] "User and system CPU time",
        |s| vec![Sample { labels: Vec::new(), value: Number::Real(s.process.cpu_seconds) }];
    Gauge "process_resident_memory_bytes" [] "Resident memory", |s| one(s.process.resident_bytes);
    Gauge "isogrid_heap_allocated_bytes" [] "What was asked of the allocator, rounded up to its sizes",
        |s| one(s.heap.map_or(0, |heap| heap.allocated));
    Gauge "isogrid_heap_active_bytes" [] "Pages that hold it: what they have more is nobody's",
        |s| one(s.heap.map_or(0, |heap| heap.active));
    Gauge "process_virtual_memory_bytes" [] "Address space", |s| one(s.process.virtual_bytes);
    Gauge "process_open_fds" [] "Open files and sockets", |s| one(s.process.open_fds);
    Gauge "process_max_fds" [] "Files and sockets that may be open", |s| one(s.process.max_fds);
    Gauge "process_threads" [] "Threads", |s| one(s.process.threads);
    Gauge "process_start_time_seconds" [] "When the process began, in Unix seconds",
        |s| one(s.node.started / 1_000);
}

fn seconds(span: Duration) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value: Number::Real(span.as_secs_f64()) }]
}

fn backpressure(scrape: &Scrape) -> Vec<Sample> {
    let held = by_protocol(scrape, |counts| counts.held_ms).into_iter();
    let sample = |(protocol, ms): (&str, u64)| Sample {
        labels: vec![protocol.to_owned()],
        value: Number::Real(Duration::from_millis(ms).as_secs_f64()),
    };
    held.map(sample).collect()
}

/// The certificates that there are, with the time that each has left.
fn certificates(scrape: &Scrape) -> Vec<Sample> {
    let node = &scrape.node;
    let (now, cluster) = (node.now(), node.cluster.get());
    let peers = cluster.and_then(|cluster| cluster.peer_tls()?.expires());
    let ends = [("clients", node.tls.as_ref().and_then(Tls::expires)), ("peers", peers)];
    let left = |end: u64| {
        let span = Duration::from_millis(end.abs_diff(now)).as_secs_f64();
        Number::Real(if end < now { -span } else { span })
    };
    let sample =
        |(name, end): (&str, u64)| Sample { labels: vec![name.to_owned()], value: left(end) };
    ends.into_iter().filter_map(|(name, end)| Some(sample((name, end?)))).collect()
}

/// A figure of all logs together; nothing when there is none.
fn syncs(scrape: &Scrape, read: fn(Syncs) -> Number) -> Vec<Sample> {
    let node = &scrape.node;
    let own = node.data.get().map(|data| data.persistence.syncs());
    let copies = node.cluster.get().and_then(|cluster| cluster.copy_syncs());
    let both = own
        .into_iter()
        .chain(copies)
        .reduce(|a, b| Syncs { count: a.count + b.count, micros: a.micros + b.micros });
    let sample = |all| Sample { labels: Vec::new(), value: read(all) };
    both.map(sample).into_iter().collect()
}

fn node_state(scrape: &Scrape) -> Vec<Sample> {
    let node = &scrape.node;
    let is_ready = ready(node).iter().all(|check| check.state != State::Bad);
    let state = if node.is_stopping() {
        "stopping"
    } else if node.health.is_draining() {
        "draining"
    } else if !node.health.has_started() {
        "starting"
    } else if is_ready {
        "ready"
    } else {
        "not_ready"
    };
    let states = ["starting", "ready", "not_ready", "draining", "stopping"];
    by(states.map(|name| (name, u64::from(name == state))))
}

/// What became of each operation. Stores that were done are not counted one by one: they are those
/// that were asked for, without those that were not done.
fn results(c: &Counts) -> [(&'static str, &'static str, u64); 16] {
    let undone = c.set_not_stored + c.set_failed + c.cas_badval + c.cas_misses;
    [
        ("get", "hit", c.get_hits),
        ("get", "miss", c.get_misses),
        ("set", "stored", c.cmd_set.saturating_sub(undone)),
        ("set", "not_stored", c.set_not_stored),
        ("set", "conflict", c.cas_badval),
        ("set", "absent", c.cas_misses),
        ("set", "failed", c.set_failed),
        ("delete", "hit", c.delete_hits),
        ("delete", "miss", c.delete_misses),
        ("incr", "hit", c.incr_hits),
        ("incr", "miss", c.incr_misses),
        ("decr", "hit", c.decr_hits),
        ("decr", "miss", c.decr_misses),
        ("touch", "hit", c.touch_hits),
        ("touch", "miss", c.touch_misses),
        ("clear", "asked", c.cmd_flush),
    ]
}

fn operations(scrape: &Scrape) -> Vec<Sample> {
    let mut samples = Vec::new();
    for ((cache, spoken), counts) in &scrape.operations {
        for (op, result, value) in results(counts) {
            let labels = [cache, op, result, spoken.name()].map(str::to_owned).to_vec();
            samples.push(Sample { labels, value: Number::Whole(value) });
        }
    }
    samples
}

fn refused_writes(scrape: &Scrape) -> Vec<Sample> {
    let mut samples = Vec::new();
    for ((cache, spoken), counts) in &scrape.operations {
        for (reason, value) in [
            ("too_large", counts.store_too_large),
            ("out_of_memory", counts.store_no_memory),
            ("storage", counts.store_unrecorded),
        ] {
            let labels = [cache, reason, spoken.name()].map(str::to_owned).to_vec();
            samples.push(Sample { labels, value: Number::Whole(value) });
        }
    }
    samples
}

fn memory(scrape: &Scrape) -> Vec<Sample> {
    let (bytes, garbage) = (scrape.sum(|c| c.bytes), scrape.sum(|c| c.garbage_bytes));
    let index = scrape.sum(|cache| cache.index_bytes);
    let entries = bytes.saturating_sub(garbage + index);
    by([("entries", entries), ("index", index), ("garbage", garbage)])
}

fn rejected(scrape: &Scrape) -> Vec<Sample> {
    let connections = &scrape.node.connections;
    let by_address = connections.rejected_by_address.load(Relaxed);
    let unserved = &connections.unserved;
    by([
        ("full", connections.rejected.load(Relaxed).saturating_sub(by_address)),
        ("address", by_address),
        ("unknown_protocol", unserved.unknown_protocol.load(Relaxed)),
        ("not_accepted", unserved.not_accepted.load(Relaxed)),
        ("handshake_timeout", unserved.handshake_timeout.load(Relaxed)),
    ])
}

/// Sums by protocol, of those that have counted anything.
fn by_protocol(scrape: &Scrape, read: fn(&Counts) -> u64) -> Vec<(&'static str, u64)> {
    let of = |spoken: Spoken| {
        let counts = scrape.operations.iter().filter(|((_, of), _)| *of == spoken);
        counts.map(|(_, counts)| read(counts)).sum::<u64>()
    };
    let spoken = Spoken::ALL.into_iter().filter(|s| scrape.operations.keys().any(|(_, k)| k == s));
    spoken.map(|spoken| (spoken.name(), of(spoken))).collect()
}

fn network(scrape: &Scrape) -> Vec<Sample> {
    let sum = |read: fn(&Counts) -> u64| {
        let memcached = scrape.operations.iter().filter(|((_, of), _)| *of == Spoken::Memcached);
        memcached.map(|(_, counts)| read(counts)).sum::<u64>()
    };
    let directions = [("read", sum(|c| c.bytes_read)), ("written", sum(|c| c.bytes_written))];
    with(by(directions), Spoken::Memcached.name())
}

/// The samples with one more label.
fn with(mut samples: Vec<Sample>, label: &str) -> Vec<Sample> {
    samples.iter_mut().for_each(|sample| sample.labels.push(label.to_owned()));
    samples
}

/// A figure of what is kept on disk; nothing when nothing is.
fn kept(scrape: &Scrape, read: fn(&Persistence) -> u64) -> Vec<Sample> {
    scrape.node.data.get().map_or_else(Vec::new, |data| one(read(&data.persistence)))
}
