//! `stats settings`: how the server runs, under memcached's names.

use std::sync::atomic::Ordering;

use isogrid_grid::Cache;

use super::node::Node;
use super::stats::Rows;
use crate::config::{Address, ClientCertificates, ProtocolChoice};

/// The rows of `stats settings`.
pub fn rows(node: &Node, cache: &Cache) -> Rows {
    let mut rows = Rows::default();
    listening(node, &mut rows);
    behaviour(node, cache, &mut rows);
    allocator(&mut rows);
    absent(&mut rows);
    tls(node, &mut rows);
    rows
}

fn on(set: bool) -> &'static str {
    if set { "yes" } else { "no" }
}

fn listening(node: &Node, rows: &mut Rows) {
    let addresses = || node.config.memcached.iter().map(|listener| &listener.address);
    let tcp = addresses().find_map(|address| match address {
        Address::Tcp(tcp) => Some(*tcp),
        Address::Unix(..) => None,
    });
    let unix = addresses().find_map(|address| match address {
        Address::Unix(path, mask) => Some((path.display().to_string(), *mask)),
        Address::Tcp(_) => None,
    });
    rows.put("maxbytes", node.memory_limit.load(Ordering::Relaxed));
    rows.put("maxconns", node.config.limits.max_connections);
    rows.put("tcpport", tcp.map_or(0, |tcp| tcp.port()));
    rows.put("udpport", 0);
    rows.put("inter", tcp.map_or_else(|| "NULL".to_owned(), |tcp| tcp.ip().to_string()));
    rows.put("verbosity", node.verbosity.load(Ordering::Relaxed));
    rows.put("oldest", 0);
    let (path, mask) = unix.unwrap_or(("NULL".to_owned(), 0o700));
    rows.put("domain_socket", path);
    rows.put("umask", format!("{mask:o}"));
}

fn behaviour(node: &Node, cache: &Cache, rows: &mut Rows) {
    let (protocol, limits) = (&node.config.protocol, &node.config.limits);
    let eviction = cache.config().table.eviction;
    rows.put("evictions", if eviction.name() == "none" { "off" } else { "on" });
    rows.put("eviction_policy", eviction);
    rows.put("shutdown_command", on(protocol.shutdown_command));
    rows.put("growth_factor", "1.25");
    rows.put("chunk_size", 48);
    rows.put("num_threads", node.config.node.threads);
    rows.put("num_threads_per_udp", 0);
    rows.put("stat_key_prefix", protocol.prefix_delimiter);
    rows.put("detail_enabled", on(node.detail.is_on()));
    rows.put("reqs_per_event", limits.requests_per_turn);
    rows.put("cas_enabled", on(protocol.cas));
    rows.put("tcp_backlog", limits.backlog);
    let choice = node.config.memcached.first().map(|listener| listener.protocol);
    let choice = match choice.unwrap_or(ProtocolChoice::Auto) {
        ProtocolChoice::Auto => "auto-negotiate",
        ProtocolChoice::Ascii => "ascii",
        ProtocolChoice::Binary => "binary",
    };
    rows.put("binding_protocol", choice);
    let (required, protocols) = (node.security.is_required(), &node.config.memcached);
    let speaks = |no| required && protocols.iter().any(|listener| listener.protocol != no);
    rows.put("auth_enabled_sasl", on(speaks(ProtocolChoice::Ascii)));
    rows.put("auth_enabled_ascii", on(speaks(ProtocolChoice::Binary)));
    rows.put("item_size_max", limits.max_item_size);
    rows.put("maxconns_per_address", limits.max_connections_per_address.unwrap_or(0));
    rows.put("maxconns_fast", on(limits.refuse_fast));
    rows.put("client_flags_size", 4);
    let flush = node.config.memcached.iter().all(|listener| listener.flush);
    rows.put("flush_enabled", on(flush));
    rows.put("dump_enabled", on(protocol.dump));
    rows.put("idle_timeout", limits.idle_timeout.map_or(0, |timeout| timeout.as_secs()));
}

/// memcached's slab allocator and LRU threads: what we have instead needs no settings.
fn allocator(rows: &mut Rows) {
    for (name, value) in [
        ("hashpower_init", "0"),
        ("slab_reassign", "no"),
        ("slab_automove", "0"),
        ("slab_automove_ratio", "0.80"),
        ("slab_automove_window", "30"),
        ("slab_chunk_max", "0"),
        ("lru_crawler", "yes"),
        ("lru_crawler_sleep", "100"),
        ("lru_crawler_tocrawl", "0"),
        ("tail_repair_time", "0"),
        ("hash_algorithm", "rapidhash"),
        ("lru_maintainer_thread", "no"),
        ("lru_segmented", "no"),
        ("hot_lru_pct", "0"),
        ("warm_lru_pct", "0"),
        ("hot_max_factor", "0.00"),
        ("warm_max_factor", "0.00"),
        ("temp_lru", "no"),
        ("temporary_ttl", "0"),
        ("watcher_logbuf_size", "0"),
        ("worker_logbuf_size", "0"),
        ("read_buf_mem_limit", "0"),
        ("track_sizes", "no"),
        ("inline_ascii_response", "no"),
    ] {
        rows.put(name, value);
    }
}

/// What memcached has and we do not: external storage, NAPI ids.
fn absent(rows: &mut Rows) {
    for name in [
        "ext_item_size",
        "ext_item_age",
        "ext_low_ttl",
        "ext_recache_rate",
        "ext_wbuf_size",
        "ext_compact_under",
        "ext_drop_under",
        "ext_max_sleep",
        "ext_max_frag",
        "slab_automove_freeratio",
        "ext_drop_unread",
    ] {
        rows.put(name, 0);
    }
    rows.put("num_napi_ids", "(null)");
    rows.put("memory_file", "(null)");
}

fn tls(node: &Node, rows: &mut Rows) {
    let tls = &node.config.tls;
    let file = |path: &Option<String>, none: &str| path.as_deref().unwrap_or(none).to_owned();
    rows.put("ssl_enabled", on(node.tls.is_some()));
    rows.put("ssl_chain_cert", file(&tls.cert, "(null)"));
    rows.put("ssl_key", file(&tls.key, "(null)"));
    let verify = match tls.client {
        ClientCertificates::Off => 0,
        ClientCertificates::Optional => 1,
        ClientCertificates::Required => 2,
    };
    rows.put("ssl_verify_mode", verify);
    rows.put("ssl_keyformat", 1);
    rows.put("ssl_ciphers", "NULL");
    rows.put("ssl_ca_cert", file(&tls.ca, "NULL"));
    rows.put("ssl_wbuf_size", 0);
    rows.put("ssl_session_cache", on(node.tls.is_some()));
    rows.put("ssl_kernel_tls", "no");
    let version = node.tls.as_ref().map_or("(null)", |_| match tls.min_version.as_str() {
        "1.3" => "tlsv1.3",
        _ => "tlsv1.2",
    });
    rows.put("ssl_min_version", version);
}
