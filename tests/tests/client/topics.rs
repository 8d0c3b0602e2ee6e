//! Topics: each group gets each message, who reads gets all in order, and a kill loses nothing.

use std::time::Duration;

use isogrid_engine::env::{Clock as _, SystemClock};
use isogrid_tests::harness::Server;
use isogrid_tests::queues::{counts, id_of, one, stat, text};
use isogrid_wire::client::queue::{Message, Published, Settled};
use isogrid_wire::client::topic::{Event, From, Topic};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::catalog::ObjectKind;
use isogrid_wire::native::queue::MessageState;
use serde_json::json;

use super::{Place, client, server};

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(10);

async fn publish(topic: &Topic, bodies: std::ops::Range<u32>) -> Vec<u64> {
    let all: Vec<_> = bodies.map(|n| Message::new(n.to_string())).collect();
    topic.publish_many(&all).await.unwrap().into_iter().map(id_of).collect()
}

/// Somebody was away for ten thousand messages and gets all of them, in order (H2); each group gets
/// each once (H14).
#[tokio::test]
async fn a_group_that_was_away_gets_all_in_order() {
    let (_server, address) = server();
    let news = client(&address).await.topic("news").await.unwrap();
    let durable = news.group("durable", From::New).await.unwrap();
    let mut ids = Vec::new();
    for at in 0..50 {
        ids.extend(publish(&news, at * 200..(at + 1) * 200).await);
    }
    let shared = client(&address).await.topic("news").await.unwrap();
    let shared = shared.group("shared", From::First).await.unwrap();
    assert_eq!((stat(&durable, "ready").await, stat(&shared, "ready").await), (10_000, 10_000));
    let mut consumer = durable.consume().credit(64).auto().open().await.unwrap();
    for (at, id) in ids.iter().enumerate() {
        let delivery = consumer.next().await.unwrap();
        assert_eq!((delivery.id, text(&delivery)), (*id, &*at.to_string()));
    }
    // Two of one group share.
    let two = [shared.pull(64, NOW).await.unwrap(), shared.pull(64, NOW).await.unwrap()];
    assert!(two.iter().flatten().map(|one| one.id).eq(ids[..128].iter().copied()));
}

#[tokio::test]
async fn a_group_is_a_queue_and_a_topic_is_none() {
    let (_server, address) = server();
    let client = client(&address).await;
    let options = json!({"max_len": 5});
    let news = client.topic_with("news", &options).await.unwrap();
    let refused = client.topic_with("news", &json!({"max_len": 6})).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::ObjectExists));
    let of_group = json!({"attempts": 2, "backoff": "0s"});
    let group = news.group_with("g", From::New, &of_group).await.unwrap();
    let message = Message::new("x").header("a", "b").dedup("1").group("key");
    let Published::Done(first) = news.publish(&message).await.unwrap() else { panic!("new") };
    assert_eq!(news.publish(&message).await.unwrap(), Published::Duplicate(first));
    // It dies for this group alone.
    for _ in 0..2 {
        let delivery = one(&group).await;
        assert_eq!((delivery.id, &*delivery.headers[0].0), (first, "a"));
        delivery.refuse("no").await.unwrap();
    }
    assert_eq!(group.browse(MessageState::Dead).await.unwrap()[0].causes.len(), 2);
    assert_eq!(group.redrive(0).await.unwrap(), 1);
    assert_eq!(one(&group).await.ack().await.unwrap(), Settled::Done);
    assert_eq!(news.read(From::First, 9, NOW).await.unwrap().messages[0].headers[0].1, "b");
    // What waits at the group wakes.
    let waits = tokio::spawn({
        let group = group.clone();
        async move { one(&group).await }
    });
    counts(&group, "waiting", 1).await;
    let id = publish(&news, 0..1).await[0];
    let delivery = waits.await.unwrap();
    assert_eq!((delivery.id, delivery.ack().await.unwrap()), (id, Settled::Done));
    for (error, code) in [
        (group.publish(&message).await.unwrap_err(), ErrorCode::InvalidArgument),
        (
            news.publish(&Message::new("x").delay(SOON)).await.unwrap_err(),
            ErrorCode::InvalidArgument,
        ),
        (news.read(From::Position(id + 2), 1, NOW).await.unwrap_err(), ErrorCode::OutOfRange),
        (news.group("h", From::Position(id + 2)).await.unwrap_err(), ErrorCode::OutOfRange),
        (client.queue("none/g").await.unwrap_err(), ErrorCode::InvalidArgument),
    ] {
        assert_eq!(error.code(), Some(code), "{error}");
    }
    // A group may pass over what it has not taken.
    publish(&news, 0..3).await;
    assert_eq!(group.purge(MessageState::Any).await.unwrap(), 3);
    assert!(group.pull(1, NOW).await.unwrap().is_empty());
    assert_eq!(news.purge().await.unwrap(), 5);
    assert!(client.catalog().drop_object(ObjectKind::Topic, "news").await.unwrap());
    assert!(client.queue_that_is("news/g").await.is_err(), "its groups are gone too");
}

/// Who is slow is told how many it has missed, and nothing else is skipped.
#[tokio::test]
async fn a_subscriber_reads_all_or_is_told_how_many_are_lost() {
    let (_server, address) = server();
    let news = client(&address).await.topic_with("news", &json!({"max_len": 100})).await.unwrap();
    let mut late = news.subscribe(From::New).await.unwrap();
    let ids = publish(&news, 0..30).await;
    for id in &ids {
        let Event::Message(message) = late.next().await.unwrap() else { panic!("none is lost") };
        assert_eq!(message.id, *id);
    }
    let waits = tokio::spawn(async move { (late.next().await.unwrap(), late) });
    let since = SystemClock::new().now() + 20;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut more = publish(&news, 30..31).await;
    let (event, mut late) = waits.await.unwrap();
    more.extend(publish(&news, 31..200).await);
    assert!(matches!(event, Event::Message(message) if message.id == more[0]), "it was woken");
    let (mut lost, mut got) = (0, vec![more[0]]);
    while got.last() != more.last() {
        match late.next().await.unwrap() {
            Event::Lost(count) => lost += count,
            Event::Message(message) => got.push(message.id),
        }
    }
    assert_eq!((lost + got.len() as u64, got.is_sorted()), (170, true));
    assert!(got.ends_with(&more[70..]), "what is kept comes");
    let page = news.read(From::Position(ids[0]), 1, NOW).await.unwrap();
    assert_eq!((page.lost, page.messages[0].id), (100, more[70]));
    // By time it begins with the first that is kept.
    let page = news.read(From::Time(since), 64, NOW).await.unwrap();
    assert_eq!((page.lost, page.messages[0].id, page.messages.len()), (0, more[70], 64));
    let quiet = news.read(From::New, 1, Duration::from_millis(30)).await.unwrap();
    assert_eq!((quiet.messages.len(), quiet.next), (0, more[169] + 1));
}

/// Cursors, what is in flight, and what retention took are kept.
#[tokio::test]
async fn a_kill_loses_nothing_that_was_answered() {
    for persist in ["async", "sync"] {
        let place = Place::new("topic-kill");
        let start = || {
            let args = ["--native", &place.native, "--data-dir", &place.data, "--persist", persist];
            Server::isogrid(&args)
        };
        let mut first = start();
        let caller = client(&place.native).await;
        let news = caller.topic_with("news", &json!({"max_len": 50})).await.unwrap();
        let of_group = json!({"visible": "10m"});
        let group = news.group_with("g", From::New, &of_group).await.unwrap();
        let ids = publish(&news, 0..60).await;
        let held = group.pull(20, NOW).await.unwrap();
        for delivery in &held[..15] {
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
        let mut reader = news.subscribe(From::Position(ids[20])).await.unwrap();
        assert!(matches!(reader.next().await.unwrap(), Event::Message(m) if m.id == ids[20]));
        place.kill(&mut first);
        let _second = start();
        let counts = group.stats().await.unwrap();
        let of = |name: &str| counts[name].as_u64().unwrap();
        assert_eq!((of("ready"), of("in_flight")), (30, 5), "{persist}");
        assert_eq!(held[16].ack().await.unwrap(), Settled::Done, "a receipt counts still");
        let next = group.pull(64, NOW).await.unwrap();
        assert!(next.iter().map(|one| one.id).eq(ids[30..].iter().copied()), "{persist}");
        // One page had been fetched before; it goes on behind it.
        let mut got = Vec::new();
        let new = publish(&news, 60..61).await[0];
        while got.last() != Some(&new) {
            let Event::Message(message) = reader.next().await.unwrap() else { panic!("lost") };
            got.push(message.id);
        }
        assert!(got[..39].iter().eq(&ids[21..]), "{got:?}");
        let page = news.read(From::Position(ids[5]), 1, NOW).await.unwrap();
        assert_eq!((page.lost, page.messages[0].id), (6, ids[11]), "eleven are gone");
        assert!(new > ids[59]);
    }
}
