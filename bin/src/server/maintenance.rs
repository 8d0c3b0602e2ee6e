//! What happens without a request: expiry, freeing memory, ending dead connections, and
//! warnings that are due.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::structures::is_of_structures;

use super::data::Watch;
use super::defragment::Defragment;
use super::exposed::Exposed;
use super::heap::Heap;
use super::node::Node;
use super::reload::Reload;
use super::secure::HANDSHAKE_TIMEOUT;

/// How often caches are looked after: with the wheel's tick of 32 ms expired entries are gone
/// within 100 ms.
const TICK: Duration = Duration::from_millis(25);
/// Entries of a segment handled before others have their turn.
const BUDGET: usize = 256;
/// Ticks between two sweeps over the connections, and two looks at the hour and the allocator.
const SWEEP_TICKS: u32 = 10;

/// Looks after the node until it is dropped.
pub async fn run(node: Arc<Node>) {
    let mut ticks = 0u32;
    let mut watch = Watch::default();
    let mut defragment = Defragment::default();
    let mut reload = Reload::new(&node);
    let mut exposed = Exposed::new(&node.config);
    loop {
        tokio::time::sleep(TICK).await;
        ticks = ticks.wrapping_add(1);
        let caches = node.catalog.caches();
        for cache in &caches {
            while cache.maintain(node.now(), BUDGET) {
                tokio::task::yield_now().await;
            }
        }
        node.sessions.table().maintain(node.now(), BUDGET);
        defragment.step(&caches, node.now());
        let of_cluster = node.cluster.get().into_iter().flat_map(|cluster| cluster.caches());
        for shared in of_cluster.filter(|shared| is_of_structures(&shared.name)) {
            shared.table().maintain(node.now(), BUDGET);
        }
        if ticks.is_multiple_of(SWEEP_TICKS) {
            if let Some(heap) = Heap::now() {
                defragment.look(heap);
                defragment.set_aside(heap, &caches);
            }
            node.connections.sweep(&node.config.limits, node.now());
            node.handshakes.sweep(HANDSHAKE_TIMEOUT, node.now());
            if let Some(limit) = node.config.limits.login_timeout {
                node.unauthenticated.sweep(limit, node.now());
            }
            exposed.warn(node.now());
            reload.look(&node);
            if let Some(data) = node.data.get() {
                watch.look(&data.persistence);
                let of_thread = Arc::clone(&node);
                tokio::task::spawn_blocking(move || of_thread.catalog.mend());
                data.behind.get().into_iter().for_each(|behind| watch.look_behind(behind));
            }
        }
    }
}
