//! What a member does for transactions that have waited for too long.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use isogrid_engine::Allocator;
use isogrid_grid::structures::new_table;
use isogrid_grid::tx::TxId;

use super::*;
use crate::config::{Address, ClusterConfig, NodeConfig, ServerConfig};

/// Counts what it is to find out.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Executor for Counting {
    fn execute(&self, _: &Arc<Shared>, _: Items<'_>, _: &mut Executed) -> Vec<u32> {
        Vec::new()
    }

    fn resolve(&self, _: &Arc<Shared>, _: SegmentId, _: Open) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An expelled member that had not heard of it asked for decisions, and had ABORT recorded, which it
/// could not carry out; so it asked again, for ever (seed 601429 of the simulator).
#[tokio::test]
async fn who_may_not_serve_asks_for_no_decision() {
    let config = ServerConfig {
        node: NodeConfig { data_dir: None, ..NodeConfig::default() },
        cluster: ClusterConfig {
            peer: Address::local(0),
            bootstrap_expect: 1,
            ..ClusterConfig::default()
        },
        ..ServerConfig::default()
    };
    let table = |name: &str| {
        let new = || new_table(SEGMENTS, Allocator::Glibc, 0).map(Arc::new).ok();
        (name == Structures::TABLE).then(new).flatten()
    };
    let (cluster, driver) =
        Cluster::join(&config, String::new(), None, table, |_| {}).await.unwrap();
    let counting = Arc::new(Counting::default());
    cluster.set_executor(Arc::clone(&counting) as Arc<dyn Executor>);
    let shared = Arc::clone(cluster.structures().unwrap());
    let asked_in_all = || {
        let home = (shared.group, SegmentId(1));
        let open = Open::Ask(TxId { begun: 0, name: cluster.name() }, home);
        cluster.carry_out(vec![Out::Resolve(shared.group, SegmentId(0), open)]);
        counting.0.load(Ordering::Relaxed)
    };
    assert_eq!(asked_in_all(), 0, "it is no member yet");
    let driving = tokio::spawn(driver.run());
    while !cluster.serves(&shared, 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(asked_in_all(), 1, "it serves");
    driving.abort();
    let _ = driving.await;
    cluster.lease_until.store(0, Ordering::Release);
    assert_eq!(asked_in_all(), 1, "its lease is over");
}
