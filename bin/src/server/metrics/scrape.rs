//! What the families read: the server's figures, taken once for an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_engine::metrics::MetricsSnapshot;

use super::process::Process;
use crate::server::connections::Spoken;
use crate::server::counters::Counts;
use crate::server::heap::Heap;
use crate::server::node::Node;

/// Caches that have series of their own; the others share one, so that no number of caches makes
/// more series than a monitoring system can bear.
const CACHES_MAX: usize = 200;
/// The name of what the others share.
const OTHER: &str = "other";

/// The figures of a cache, or of those that share a name.
#[derive(Debug, Default, Clone, Copy)]
pub struct CacheFigures {
    /// Entries.
    pub entries: u64,
    /// Bytes of everything, garbage included.
    pub bytes: u64,
    /// The limit.
    pub limit_bytes: u64,
    /// Bytes of garbage.
    pub garbage_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Listeners and near caches that were told to read anew.
    pub resyncs: u64,
    /// What the table counts.
    pub table: MetricsSnapshot,
}

/// All figures at one moment.
pub struct Scrape {
    /// The server.
    pub node: Arc<Node>,
    /// By name.
    pub caches: BTreeMap<String, CacheFigures>,
    /// By name and protocol.
    pub operations: BTreeMap<(String, Spoken), Counts>,
    /// What the kernel says.
    pub process: Process,
    /// What the allocator says.
    pub heap: Option<Heap>,
}

impl Scrape {
    /// Takes the figures now.
    pub fn new(node: &Arc<Node>) -> Self {
        let mut scrape = Scrape {
            node: Arc::clone(node),
            caches: BTreeMap::new(),
            operations: BTreeMap::new(),
            process: Process::now(),
            heap: Heap::now(),
        };
        for cache in node.catalog.caches() {
            let table = cache.table();
            let usage = table.usage();
            let name = label(&scrape.caches, cache.name());
            let sum = scrape.caches.entry(name).or_default();
            sum.entries += usage.entries;
            sum.bytes += usage.bytes;
            sum.limit_bytes += usage.max_bytes;
            sum.garbage_bytes += usage.retired_bytes;
            sum.index_bytes += table.index_bytes() as u64;
            sum.resyncs += cache.event_metrics().resyncs;
            sum.table = sum.table.plus(table.metrics());
        }
        for (cache, spoken, counts) in node.counters.sums() {
            let name = if scrape.caches.contains_key(&cache) { &cache } else { OTHER };
            scrape.operations.entry((name.to_owned(), spoken)).or_default().plus(&counts);
        }
        scrape
    }

    /// A figure of each cache.
    pub fn of_caches(&self, read: fn(&CacheFigures) -> u64) -> Vec<(&str, u64)> {
        self.caches.iter().map(|(name, figures)| (name.as_str(), read(figures))).collect()
    }

    /// A figure of all caches together.
    pub fn sum(&self, read: fn(&CacheFigures) -> u64) -> u64 {
        self.caches.values().map(read).sum()
    }

    /// What each cache's operations counted, over all protocols.
    pub fn counted(&self, read: fn(&Counts) -> u64) -> Vec<(&str, u64)> {
        let names = self.caches.keys().map(|name| (name.as_str(), 0));
        let mut sums: BTreeMap<&str, u64> = names.collect();
        for ((name, _), counts) in &self.operations {
            *sums.entry(name).or_default() += read(counts);
        }
        sums.into_iter().collect()
    }
}

/// What a cache is called: its name, as long as there are not too many.
fn label(there: &BTreeMap<String, CacheFigures>, name: &str) -> String {
    if there.len() < CACHES_MAX { name.to_owned() } else { OTHER.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheConfig, ServerConfig};

    #[test]
    fn many_caches_make_a_bounded_number_of_series() {
        let cache = |n: usize| {
            let mut cache = CacheConfig { name: format!("c{n:04}"), ..CacheConfig::default() };
            cache.limits.max_bytes = 1 << 20;
            cache.segments = Some(1);
            cache
        };
        let config =
            ServerConfig { caches: (0..300).map(cache).collect(), ..ServerConfig::ephemeral() };
        let node = Node::new(config).unwrap();
        let counts = || Counts { get_hits: 1, ..Counts::default() };
        for n in 0..300 {
            node.counters.of(&format!("c{n:04}"), Spoken::Http).take(&mut counts());
        }
        let scrape = Scrape::new(&node);
        assert_eq!(scrape.caches.len(), CACHES_MAX + 1);
        assert_eq!(scrape.sum(|figures| figures.limit_bytes), 300 << 20, "nothing is left out");
        let hits = scrape.counted(|counts| counts.get_hits);
        assert_eq!(hits.len(), CACHES_MAX + 1);
        assert_eq!(hits.iter().map(|(_, hits)| hits).sum::<u64>(), 300);
    }
}
