//! The Rust client of a cluster of real processes: its requests find the members that serve their
//! keys, also when members are killed, when all are started again, and when addresses mislead.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_client/near.rs"]
mod near;

use std::sync::Arc;
use std::time::Duration;

use dev::Dev;
use isogrid_wire::client::cache::Written;
use isogrid_wire::client::{Cache, Client, Options, Routing};

const NODES: usize = 3;
const REQUESTS: u64 = 10_000;
const TASKS: u64 = 8;

/// A client that is told of one node alone.
async fn client(dev: &Dev, node: usize, routing: bool) -> (Client, Cache) {
    let options = Options::default()
        .timeout(Duration::from_secs(20))
        .backoff(Duration::from_millis(5), Duration::from_millis(100))
        .routing(routing);
    let client = Client::connect([dev.native_address(node)], options).await.unwrap();
    let cache = client.cache("default").must_exist().open().await.unwrap();
    (client, cache)
}

/// Reads and writes over all keys; the share of the requests that were sent to who executed them, in
/// thousandths.
async fn direct_share(client: &Client, cache: &Cache, requests: u64) -> u64 {
    let before = client.routing().await;
    let cache = Arc::new(cache.clone());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move {
                for n in (task..requests).step_by(usize::try_from(TASKS).unwrap()) {
                    let key = format!("key{}", n / 2);
                    if n % 2 == 0 {
                        cache.put(key.as_bytes(), &n.to_be_bytes()).await.unwrap();
                    } else {
                        drop(cache.get(key.as_bytes()).await.unwrap());
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let Routing { direct, passed_on, .. } = client.routing().await;
    let (direct, passed_on) = (direct - before.direct, passed_on - before.passed_on);
    assert!(direct + passed_on >= requests || before == client.routing().await);
    direct * 1_000 / (direct + passed_on).max(1)
}

/// Requests that servers executed themselves, and that they passed on.
fn counted(dev: &Dev, nodes: &[usize]) -> [u64; 2] {
    let sum = |series| nodes.iter().map(|node| dev.metric(*node, series)).sum();
    ["isogrid_cluster_executed_here_total{cache=\"default\"}", "isogrid_cluster_passed_on_total"]
        .map(sum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_to_who_serves_their_keys_also_after_a_kill() {
    let dev = Dev::three(&["--no-restart"]);
    let (client, cache) = client(&dev, 0, true).await;
    let before = counted(&dev, &[0, 1, 2]);
    let share = direct_share(&client, &cache, REQUESTS).await;
    let after = counted(&dev, &[0, 1, 2]);
    assert!(
        share >= 990,
        "{share} of 1000 went to who executed them: {:?}",
        client.routing().await
    );
    assert!(
        after[0] - before[0] >= REQUESTS * 99 / 100,
        "executed where asked: {before:?} {after:?}"
    );
    assert!(after[1] - before[1] <= REQUESTS / 100, "passed on: {before:?} {after:?}");
    assert_eq!(client.routing().await.connected, NODES);
    many_keys_are_asked_of_their_members(&dev, &cache).await;

    // The one that it began with: what it asked for goes on over the others.
    dev.kill(0);
    direct_share(&client, &cache, 500).await;
    dev.settles(&[1, 2]);
    let share = direct_share(&client, &cache, REQUESTS).await;
    assert!(share >= 990, "{share} of 1000 after a kill: {:?}", client.routing().await);
    assert_eq!(client.routing().await.connected, NODES - 1);
}

/// One request to each member, and the answers in the order of the keys.
async fn many_keys_are_asked_of_their_members(dev: &Dev, cache: &Cache) {
    let before = counted(dev, &[0, 1, 2])[1];
    let names: Vec<String> = (0..300).map(|n| format!("many{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_bytes(), name.as_bytes())).collect();
    assert_eq!(cache.put_many(&entries, None).await.unwrap().len(), 300);
    let mut asked: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
    asked.insert(7, b"none");
    let got = cache.get_many(&asked).await.unwrap();
    for (key, entry) in asked.iter().zip(&got) {
        let value = entry.as_ref().map(|entry| &*entry.value);
        assert_eq!(value, Some(*key).filter(|key| *key != b"none"));
    }
    let there: Vec<_> = asked.iter().map(|key| *key != b"none").collect();
    assert_eq!(cache.touch_many(&asked, None).await.unwrap(), there);
    assert_eq!(cache.remove_many(&asked).await.unwrap(), there);
    assert!(cache.get_many(&asked).await.unwrap().iter().all(Option::is_none));
    assert_eq!(counted(dev, &[0, 1, 2])[1], before, "nobody passed anything on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_survives_a_restart_of_all_with_and_without_their_data() {
    let folder = isogrid_tests::harness::temporary("cluster-client");
    let folder = folder.to_str().unwrap();
    let mut dev = Dev::three(&["--data-dir", folder, "--mode", "replicated"]);
    let (offset, address) = (dev.offset(), dev.native_address(1));
    let (client, cache) = client(&dev, 1, true).await;
    assert!(direct_share(&client, &cache, 500).await >= 900);
    for wipe in [false, true] {
        let epoch = client.routing().await.epoch;
        dev.signal("TERM");
        assert!(dev.wait().success());
        assert!(cache.get(b"k").timeout(Duration::from_millis(200)).await.is_err());
        if wipe {
            // Another cluster, whose epochs begin anew.
            std::fs::remove_dir_all(folder).unwrap();
        }
        drop(dev);
        dev = Dev::three(&["--data-dir", folder, "--mode", "replicated", "--port-offset", &offset]);
        assert_eq!(dev.native_address(1), address);
        let put = cache.put(b"k", b"again").await.unwrap();
        assert!(matches!(put, Written::Stored { .. }), "{put:?}");
        direct_share(&client, &cache, 200).await;
        let share = direct_share(&client, &cache, 2_000).await;
        let now = client.routing().await;
        assert!(share >= 990 && now.epoch != epoch, "{share} of 1000, {now:?}");
    }
    drop(dev);
    std::fs::remove_dir_all(folder).unwrap();
}

/// As behind a translation of addresses: what members say of themselves leads nowhere, or all to one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_mislead_cost_a_hop_and_nothing_else() {
    let dev = Dev::three(&["--set", "cluster.endpoint=127.0.0.1:1"]);
    let (client, cache) = client(&dev, 2, true).await;
    let share = direct_share(&client, &cache, 1_000).await;
    assert!((1..=600).contains(&share), "what the one serves that is reached: {share} of 1000");
    assert_eq!(client.routing().await.connected, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_routing_one_connection_does_it_all() {
    let dev = Dev::three(&[]);
    let (client, cache) = client(&dev, 1, false).await;
    direct_share(&client, &cache, 1_000).await;
    assert_eq!(client.routing().await, Routing { connected: 1, ..Routing::default() });
    assert!(counted(&dev, &[1])[1] > 300, "the member passes on what others serve");
}

/// Each of them has a tag, and is asked of another member when the one that took it is gone: the
/// copies know what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_while_members_are_killed_counts_once() {
    const COUNTS: usize = 1_200;
    const KEYS: usize = 40;
    let dev = Dev::three(&["--mode", "replicated", "--no-restart"]);
    let (client, cache) = client(&dev, 0, true).await;
    let keys: Vec<String> = (0..KEYS).map(|key| format!("count{key}")).collect();
    for key in &keys {
        cache.put(key.as_bytes(), b"0").await.unwrap();
    }
    let tasks: Vec<_> = (0..COUNTS)
        .map(|n| {
            let (cache, key) = (cache.clone(), keys[n % KEYS].clone());
            tokio::spawn(async move { cache.incr(key.as_bytes(), 1).await })
        })
        .collect();
    // Some are answered, and others under way.
    tokio::time::sleep(Duration::from_millis(20)).await;
    dev.kill(0);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for key in &keys {
        let entry = cache.get(key.as_bytes()).await.unwrap().unwrap();
        assert_eq!(&*entry.value, (COUNTS / KEYS).to_string().as_bytes(), "{key}");
    }
    drop(client);
}

/// A client that asks for nothing is told of each new table by the member that it is connected to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_knows_who_serves_what_after_a_kill() {
    let dev = Dev::three(&["--no-restart"]);
    // Nor does it look whether its connections live.
    let options = Options::default().keepalive(Duration::from_secs(600));
    let client = Client::connect([dev.native_address(0)], options).await.unwrap();
    let cache = client.cache("default").must_exist().open().await.unwrap();
    assert!(direct_share(&client, &cache, 500).await >= 900);
    let before = client.routing().await.epoch;
    dev.kill(1);
    let begin = tokio::time::Instant::now();
    while client.routing().await.epoch == before {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", client.routing().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // By what it was told it knows where all keys are.
    let dev = &dev;
    tokio::task::block_in_place(|| dev.settles(&[0, 2]));
    assert!(direct_share(&client, &cache, 2_000).await >= 990);
}
