//! Methods about caches.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::Cache;
use isogrid_grid::catalog::Kind;
use serde_json::{Value, json};

use super::{Fault, Invocation};
use crate::config::CacheMode;
use crate::server::caches;
use crate::server::counters::Counts;
use crate::server::invalidated::Gate;
use crate::server::keeper::Keeper;
use crate::server::native::clustered::whole;
use crate::server::node::Node;

/// How long it may take to clear a cache of the cluster.
const CLEAR_PATIENCE: Duration = Duration::from_secs(10);

/// Each cache with its entries and bytes.
pub fn list(node: &Node) -> Vec<Value> {
    let row = |cache: &Arc<Cache>| {
        let usage = cache.table().usage();
        json!({
            "name": cache.name(),
            "entries": usage.entries,
            "bytes": usage.bytes,
            "limit_bytes": usage.max_bytes,
        })
    };
    node.catalog.caches().iter().map(row).collect()
}

/// How a cache is configured and doing.
pub fn describe(node: &Node, cache: &Cache) -> Value {
    let (usage, metrics) = (cache.table().usage(), cache.table().metrics());
    let mut counts = Counts::default();
    for (name, _, of_cache) in node.counters.sums() {
        if name == cache.name() {
            counts.plus(&of_cache);
        }
    }
    let config = cache.config();
    let kept = node.config.caches.iter().find(|kept| kept.name == cache.name());
    let object = caches::describe(node, Kind::Cache, cache.name());
    let options = object.map(|found| caches::to_json(&found).get("options").cloned());
    json!({
        "name": cache.name(),
        "entries": usage.entries,
        "bytes": usage.bytes,
        "limit_bytes": usage.max_bytes,
        "garbage_bytes": usage.retired_bytes,
        "config": {
            "mode": mode(node, cache.name()),
            "eviction": config.table.eviction.name(),
            "max_entries": config.table.max_entries,
            "segments": cache.table().segment_count(),
            "ttl_ms": config.default_ttl,
            "max_idle_ms": config.default_max_idle,
            "persist": kept.map(|kept| kept.persist.as_str()),
        },
        "options": options.ok().flatten(),
        "stats": {
            "hits": counts.get_hits,
            "misses": counts.get_misses,
            "sets": counts.cmd_set,
            "stored": metrics.stored,
            "evicted": metrics.evicted,
            "expired": metrics.expired,
            "refused": metrics.refused,
        },
    })
}

/// Where its entries are.
fn mode(node: &Node, name: &str) -> &'static str {
    let of_file = node.config.caches.iter().find(|cache| cache.name == name);
    match of_file.map(|cache| cache.mode) {
        Some(CacheMode::Distributed) => "distributed",
        Some(CacheMode::Replicated) => "replicated",
        _ if node.cluster.get().is_some_and(|of| of.invalidated(name).is_some()) => "invalidated",
        _ => "local",
    }
}

/// The same for the cache that is named.
///
/// # Errors
/// When there is none.
pub fn describe_named(call: &Invocation) -> Result<Value, Fault> {
    Ok(describe(&call.node, &*named(call)?))
}

/// Removes every entry, of all members if the cache is the cluster's, and answers when that is kept.
///
/// # Errors
/// When there is no such cache, it cannot be recorded, or some members cannot be reached.
pub async fn clear(call: Invocation) -> Result<Value, Fault> {
    let cache = named(&call)?;
    let cluster = call.node.cluster.get();
    let shared = cluster.and_then(|cluster| Some((cluster, cluster.cache(cache.name())?)));
    if let Some((cluster, shared)) = shared {
        let way = (Arc::clone(cluster), Arc::clone(shared));
        let entries = whole::clear_all(way, CLEAR_PATIENCE).await?;
        return Ok(cleared(&cache, entries));
    }
    let gate = Gate::open(&call.node, cache.name()).await?;
    gate.iter().for_each(|gate| gate.writes(None));
    let mut keeper = call.node.keeper(cache.name());
    keeper.iter_mut().for_each(Keeper::wrote);
    let (now, entries) = (call.node.now(), cache.table().usage().entries);
    cache.clear(now, now).map_err(Fault::Write)?;
    if let Some(keeper) = &mut keeper {
        let kept = std::future::poll_fn(|cx| keeper.poll_kept(cx)).await;
        kept.map_err(|error| Fault::Unknown(format!("it is unknown what is kept: {error}")))?;
    }
    if let Some(gate) = gate {
        gate.was_written(None).await?;
    }
    Ok(cleared(&cache, entries))
}

fn cleared(cache: &Cache, entries: u64) -> Value {
    tracing::info!(event = "cache_cleared", cache = cache.name(), entries, "by an operator");
    json!({ "cache": cache.name(), "entries": entries })
}

fn named(call: &Invocation) -> Result<Arc<Cache>, Fault> {
    let name = call.text("cache").unwrap_or_default();
    call.node.catalog.cache(name).ok_or_else(|| Fault::NoSuchCache(name.to_owned()))
}
