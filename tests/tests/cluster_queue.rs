//! Queues of a cluster: one object behind every node, also while its primary is killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_queue/account.rs"]
mod account;
#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_queue/even_odd.rs"]
mod even_odd;
#[path = "cluster_queue/failover.rs"]
mod failover;
#[path = "cluster_queue/share.rs"]
mod share;

use std::time::Duration;

use dev::Dev;
use isogrid_engine::hash::stable_segment;
use isogrid_tests::queues::{counts, id_of, one, stat, text};
use isogrid_wire::client::queue::{Message, Published, Settled};
use isogrid_wire::client::{Client, Options, Queue};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::queue::MessageState;
use serde_json::json;

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(10);

/// Three nodes. One that is killed stays away.
fn three() -> Dev {
    Dev::three(&["--no-restart"])
}

/// A client of one node alone.
async fn client(dev: &Dev, node: usize) -> Client {
    let options = Options::default()
        .timeout(Duration::from_secs(30))
        .backoff(Duration::from_millis(5), Duration::from_millis(100))
        .routing(false);
    Client::connect([dev.native_address(node)], options).await.unwrap()
}

async fn queue(dev: &Dev, node: usize, name: &str) -> Queue {
    client(dev, node).await.queue(name).await.unwrap()
}

/// The node that serves a queue, and the other two.
fn nodes_of(dev: &Dev, queue: &str) -> [usize; 3] {
    let topology = dev.said(0, "cluster topology --cache $queues -o json").json();
    let segment = stable_segment(queue.as_bytes(), 256);
    let member = &topology["caches"][0]["segments"][segment]["primary"];
    let is_it =
        |node: &usize| dev.said(*node, "cluster status -o json").json()["member"] == *member;
    let first = (0..3).find(is_it).unwrap_or_else(|| panic!("{topology}"));
    [first, (first + 1) % 3, (first + 2) % 3]
}

/// What is asked at any node is asked of one queue.
#[tokio::test]
async fn one_queue_answers_behind_every_node() {
    let dev = three();
    let options = json!({"attempts": 2, "backoff": "0s", "max_len": 9});
    let jobs = client(&dev, 0).await.queue_with("jobs", &options).await.unwrap();
    let refused = client(&dev, 1).await.queue_with("jobs", &json!({"attempts": 3})).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::ObjectExists));
    let all = [jobs, queue(&dev, 1, "jobs").await, queue(&dev, 2, "jobs").await];
    let mut ids = Vec::new();
    for (at, queue) in all.iter().enumerate() {
        let message = Message::new(at.to_string()).dedup(at.to_string()).header("at", "x");
        ids.push(id_of(queue.publish(&message).await.unwrap()));
        for other in &all {
            let known = other.publish(&message).await.unwrap();
            assert_eq!(known, Published::Duplicate(ids[at]), "from all nodes");
        }
    }
    assert!(ids.is_sorted() && ids[0] > 1 << 40, "the epoch is in front: {ids:?}");
    for (at, queue) in all.iter().enumerate() {
        // Each is pulled at one node, prolonged at another, and done at the third.
        let (next, last) = (&all[(at + 1) % 3], &all[(at + 2) % 3]);
        let delivery = one(queue).await;
        assert_eq!((delivery.id, text(&delivery)), (ids[at], &*at.to_string()));
        let shown = next.browse(MessageState::InFlight).await.unwrap();
        assert_eq!(shown.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[at]]);
        delivery.refuse("once more").await.unwrap();
        let again = one(next).await;
        assert_eq!((again.id, again.attempt), (ids[at], 2));
        assert_eq!(delivery.ack().await.unwrap(), Settled::Stale);
        assert_eq!(again.extend(SOON).await.unwrap(), Settled::Done);
        match at {
            0 => drop(again.refuse("for good").await.unwrap()),
            _ => assert_eq!(again.ack().await.unwrap(), Settled::Done),
        }
        assert_eq!(stat(last, "dead").await, 1);
    }
    assert_eq!(all[1].redrive(0).await.unwrap(), 1);
    let many: Vec<_> = (0..12).map(|n| Message::new(n.to_string())).collect();
    let published = all[2].publish_many(&many).await.unwrap();
    let done = published.iter().filter(|one| matches!(one, Published::Done(_))).count();
    assert_eq!(done, 8, "it has nine: {published:?}");
    let full = all[0].publish(&many[0]).await.unwrap_err();
    assert_eq!(full.code(), Some(ErrorCode::QuotaExceeded), "{full}");
    // By name it is the same everywhere.
    for node in 0..3 {
        let said = dev.said(node, "queue list -o json").out;
        assert!(said.contains("\"jobs\""), "at node {node}: {said}");
    }
    assert_eq!(all[0].purge(MessageState::Any).await.unwrap(), 9);
    assert_eq!(dev.said(2, "queue delete jobs --yes").code, Some(0));
    for node in 0..3 {
        assert!(client(&dev, node).await.queue_that_is("jobs").await.is_err(), "at node {node}");
        assert!(!dev.said(node, "queue list -o json").out.contains("\"jobs\""));
    }
    // One that is made anew gives out no id a second time.
    let jobs = queue(&dev, 1, "jobs").await;
    assert!(id_of(jobs.publish(&Message::new("new")).await.unwrap()) > ids[2]);
}

/// A message goes to who waits, whichever node it waits at, and not before its time; who gives up takes
/// nothing with it.
#[tokio::test]
async fn who_waits_at_any_node_gets_what_comes() {
    let dev = three();
    let nodes = nodes_of(&dev, "late");
    for waits_at in nodes {
        let waiting = queue(&dev, waits_at, "late").await;
        let waits = tokio::spawn({
            let waiting = waiting.clone();
            async move { one(&waiting).await }
        });
        let other = queue(&dev, nodes[(waits_at + 1) % 3], "late").await;
        counts(&other, "waiting", 1).await;
        let message = Message::new("x").delay(Duration::from_millis(1_500));
        let id = id_of(other.publish(&message).await.unwrap());
        assert_eq!(other.browse(MessageState::Delayed).await.unwrap().len(), 1);
        let delivery = waits.await.unwrap();
        assert_eq!((delivery.id, delivery.attempt), (id, 1), "it waited at node {waits_at}");
        assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        let gave_up = tokio::time::timeout(Duration::from_millis(300), waiting.pull(1, SOON)).await;
        assert!(gave_up.is_err());
        counts(&other, "waiting", 0).await;
        other.publish(&Message::new("y")).await.unwrap();
        let delivery = other.pull(1, NOW).await.unwrap().pop().unwrap();
        assert_eq!((text(&delivery), delivery.attempt), ("y", 1));
        assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
    }
}
