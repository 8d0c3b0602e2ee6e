//! Topics of a cluster: one log behind every node, also while its primary is killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_cli/dev.rs"]
mod dev;

use std::collections::BTreeSet;
use std::time::Duration;

use dev::Dev;
use isogrid_engine::env::{Clock as _, SystemClock};
use isogrid_engine::hash::stable_segment;
use isogrid_tests::queues::{id_of, text};
use isogrid_wire::client::queue::{Message, Settled};
use isogrid_wire::client::topic::{Event, From, Subscriber, Topic};
use isogrid_wire::client::{Client, Options, Queue};
use isogrid_wire::native::ErrorCode;
use serde_json::json;

const NOW: Duration = Duration::ZERO;
/// How much larger than the ids of an epoch those of the next one are, at least.
const EPOCH: u64 = 1 << 39;

/// A client of one node alone.
async fn client(dev: &Dev, node: usize) -> Client {
    let options = Options::default()
        .timeout(Duration::from_secs(30))
        .backoff(Duration::from_millis(5), Duration::from_millis(100))
        .routing(false);
    Client::connect([dev.native_address(node)], options).await.unwrap()
}

async fn topic(dev: &Dev, node: usize) -> Topic {
    client(dev, node).await.topic("news").await.unwrap()
}

/// The node that serves the topic, and the other two.
fn nodes_of(dev: &Dev) -> [usize; 3] {
    let topology = dev.said(0, "cluster topology --cache $queues -o json").json();
    let segment = stable_segment(b"news", 256);
    let member = &topology["caches"][0]["segments"][segment]["primary"];
    let is_it =
        |node: &usize| dev.said(*node, "cluster status -o json").json()["member"] == *member;
    let first = (0..3).find(is_it).unwrap_or_else(|| panic!("{topology}"));
    [first, (first + 1) % 3, (first + 2) % 3]
}

/// Publishes one by one: the ids of what was answered.
async fn publish(topic: &Topic, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(id_of(topic.publish(&Message::new(n.to_string())).await.unwrap()));
    }
    ids
}

/// Publishes until the member has changed that gives the ids, and 20 more.
async fn publish_on(topic: &Topic, last: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.last().is_none_or(|id| *id < last + EPOCH) {
        ids.extend(publish(topic, 1).await);
    }
    ids.extend(publish(topic, 20).await);
    ids
}

/// Consumes until it has had all of these; what came, in the order in which it came first.
async fn drain(group: &Queue, all: &[u64]) -> Vec<u64> {
    let (mut open, mut got) = (all.iter().copied().collect::<BTreeSet<_>>(), Vec::new());
    let mut consumer = group.consume().credit(8).open().await.unwrap();
    while !open.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
        let delivery = next.unwrap_or_else(|_| panic!("{} did not come", open.len())).unwrap();
        assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        open.remove(&delivery.id);
        got.push(delivery.id);
    }
    got
}

async fn message(reader: &mut Subscriber) -> u64 {
    let next = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
    match next.expect("it comes").unwrap() {
        Event::Message(message) => message.id,
        Event::Lost(count) => panic!("{count} are lost"),
    }
}

/// Two groups get every message once, whichever node it is published and consumed at; whoever reads
/// gets the same, from a position and from a time on.
#[tokio::test]
async fn one_topic_answers_behind_every_node() {
    let dev = Dev::three(&["--no-restart"]);
    let options = json!({"max_age": "1h", "max_len": 50});
    let news = client(&dev, 0).await.topic_with("news", &options).await.unwrap();
    let refused = client(&dev, 1).await.topic_with("news", &json!({"max_len": 5})).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::ObjectExists));
    let all = [news, topic(&dev, 1).await, topic(&dev, 2).await];
    let groups =
        [all[1].group("a", From::New).await.unwrap(), all[2].group("b", From::New).await.unwrap()];
    let mut reader = all[2].subscribe(From::New).await.unwrap();
    let mut ids = Vec::new();
    for topic in &all {
        ids.extend(publish(topic, 10).await);
    }
    assert!(ids.is_sorted());
    for (node, group) in groups.iter().enumerate() {
        // Two of the group at two nodes have each message once between them.
        let name = group.name().split_once('/').unwrap().1;
        let other = all[node].group(name, From::First).await.unwrap();
        let pulled = other.pull(5, NOW).await.unwrap();
        for delivery in &pulled {
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
        assert!(pulled.iter().map(|one| one.id).eq(ids[..5].iter().copied()));
        assert_eq!(drain(group, &ids[5..]).await, ids[5..], "{name}");
        assert!(other.pull(1, NOW).await.unwrap().is_empty());
    }
    for id in &ids {
        assert_eq!(message(&mut reader).await, *id);
    }
    // Who waits at any node is told.
    let waits = tokio::spawn(async move { message(&mut reader).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let time = SystemClock::new().now();
    // Clocks of members may be half a second apart (R90); these are of one machine.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let next = publish(&all[1], 3).await;
    assert_eq!(waits.await.unwrap(), next[0]);
    for topic in &all {
        let page = topic.read(From::Position(ids[20]), 64, NOW).await.unwrap();
        let got: Vec<u64> = page.messages.iter().map(|one| one.id).collect();
        assert_eq!((page.lost, got), (0, [&ids[20..], &next].concat()));
        let page = topic.read(From::Time(time), 64, NOW).await.unwrap();
        assert!(page.messages.iter().map(|one| one.id).eq(next.iter().copied()));
    }
    publish(&all[0], 40).await;
    let page = all[2].read(From::Position(ids[0]), 1, NOW).await.unwrap();
    assert_eq!((page.lost, page.messages[0].id), (23, ids[23]), "retention took them");
    // By name it is the same everywhere, and it goes with its groups.
    for node in 0..3 {
        assert!(dev.said(node, "topic list -o json").out.contains("\"news\""), "at node {node}");
        assert!(dev.said(node, "queue list -o json").out.contains("\"news/b\""), "at node {node}");
    }
    assert_eq!(dev.said(1, "topic delete news --yes").code, Some(0));
    for node in 0..3 {
        assert!(client(&dev, node).await.topic_that_is("news").await.is_err(), "at node {node}");
        let listed = dev.said(node, "queue list -o json").out;
        assert!(!listed.contains("news"), "at node {node}: {listed}");
    }
}

/// The member that serves the topic is killed while messages come and go: nothing that was answered is
/// skipped by any group or reader, and what was acknowledged does not come again.
#[tokio::test]
async fn groups_and_readers_go_on_behind_their_cursors_at_a_new_primary() {
    let dev = Dev::three(&["--no-restart"]);
    topic(&dev, 0).await;
    let nodes = nodes_of(&dev);
    let news = topic(&dev, nodes[1]).await;
    let options = json!({"visible": "5s"});
    let group = news.group_with("g", From::New, &options).await.unwrap();
    let idle = news.group("idle", From::New).await.unwrap();
    let mut reader = topic(&dev, nodes[2]).await.subscribe(From::New).await.unwrap();
    let before = publish(&news, 30).await;
    let held = group.pull(12, NOW).await.unwrap();
    assert!(held.iter().map(|one| one.id).eq(before[..12].iter().copied()));
    for delivery in &held[..10] {
        assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
    }
    for id in &before[..7] {
        assert_eq!(message(&mut reader).await, *id);
    }
    let publisher = tokio::spawn({
        let (news, last) = (news.clone(), before[29]);
        async move { publish_on(&news, last).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    dev.kill(nodes[0]);
    let after = publisher.await.unwrap();
    let last = after.last().unwrap();
    assert!(after.is_sorted(), "ids rise");
    assert_eq!(held[10].ack().await.unwrap(), Settled::Done, "a receipt of before counts");
    // Two nodes share the group; what was in flight comes when its time is over.
    let rest: Vec<u64> = before[11..].iter().chain(&after).copied().collect();
    let got = drain(&group, &rest).await;
    let done = before[..11].iter().filter(|id| got.contains(id)).count();
    assert_eq!(done, 0, "what was acknowledged came again");
    // Nothing at all is skipped by whoever was away, nor by who reads.
    let all: Vec<u64> = before.iter().chain(&after).copied().collect();
    let idle = drain(&idle, &all).await;
    assert!(all.iter().all(|id| idle.contains(id)));
    let mut read = Vec::new();
    while read.last() != Some(last) {
        read.push(message(&mut reader).await);
    }
    let wanted: BTreeSet<u64> = before[7..].iter().chain(&after).copied().collect();
    assert!(read.is_sorted_by(|a, b| a < b), "each once and in order");
    assert!(wanted.is_subset(&read.iter().copied().collect()), "none is skipped");
    let from = client(&dev, nodes[2]).await.topic_that_is("news").await.unwrap();
    let page = from.read(From::Position(before[3]), 5, NOW).await.unwrap();
    assert!(page.messages.iter().map(|one| one.id).eq(before[3..8].iter().copied()));
    let one = group.pull(1, NOW).await.unwrap();
    assert!(one.is_empty(), "{:?}", one.first().map(text));
}
