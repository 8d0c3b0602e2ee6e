//! Queues: each message goes to one consumer until it is acknowledged, and a kill loses nothing.

use std::time::Duration;

use isogrid_tests::harness::Server;
use isogrid_tests::queues::{counts, leaves, one, shares, stat, text};
use isogrid_wire::client::queue::{Message, Published, Settled};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::queue::{MessageState, Refusal};
use serde_json::json;

use super::{Place, client, server};

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_message_goes_its_way() {
    let (_server, address) = server();
    let client = client(&address).await;
    let options = json!({"attempts": 2, "backoff": "0s", "max_len": 9});
    let jobs = client.queue_with("jobs", &options).await.unwrap();
    let message = Message::new("resize").header("to", "100x100").dedup("7").group("g");
    let Published::Done(first) = jobs.publish(&message).await.unwrap() else { panic!("new") };
    assert_eq!(jobs.publish(&message).await.unwrap(), Published::Duplicate(first));
    let delivery = one(&jobs).await;
    assert_eq!((delivery.id, delivery.attempt, text(&delivery)), (first, 1, "resize"));
    assert_eq!(delivery.headers, [("to".to_owned(), "100x100".to_owned())]);
    assert!(jobs.pull(9, NOW).await.unwrap().is_empty(), "it is in flight");
    assert_eq!(delivery.extend(SOON).await.unwrap(), Settled::Done);
    assert_eq!(delivery.refuse("no disk").await.unwrap(), Settled::Done);
    let again = one(&jobs).await;
    assert_eq!((again.id, again.attempt), (first, 2));
    assert_eq!(delivery.ack().await.unwrap(), Settled::Stale, "another delivery has it");
    assert_eq!(again.refuse("still none").await.unwrap(), Settled::Done);
    // It is dead, and says why.
    let dead = jobs.browse(MessageState::Dead).await.unwrap();
    let reasons: Vec<_> = dead[0].causes.iter().map(|(at, _, why)| (*at, &**why)).collect();
    assert_eq!(reasons, [(1, "no disk"), (2, "still none")]);
    assert_eq!((dead[0].id, &*dead[0].body, dead.len()), (first, &b"resize"[..], 1));
    assert_eq!(jobs.redrive(0).await.unwrap(), 1);
    let back = one(&jobs).await;
    assert_eq!((back.id, back.attempt), (first, 1));
    assert_eq!(again.ack().await.unwrap(), Settled::Stale);
    assert_eq!(back.ack().await.unwrap(), Settled::Done);
    assert_eq!(back.ack().await.unwrap(), Settled::Done, "it is done once more");
    // Bounds refuse, and say so of each.
    let many: Vec<_> = (0..12).map(|n| Message::new(n.to_string())).collect();
    let published = jobs.publish_many(&many).await.unwrap();
    assert!(published[..9].iter().all(|one| matches!(one, Published::Done(_))), "{published:?}");
    assert_eq!(published[9..], [Published::Refused; 3]);
    let full = jobs.publish(&many[0]).await.unwrap_err();
    assert_eq!(full.code(), Some(ErrorCode::QuotaExceeded), "{full}");
    one(&jobs).await.nack(Refusal::Drop, NOW, "").await.unwrap();
    assert_eq!(stat(&jobs, "ready").await, 8);
    assert_eq!(jobs.purge(MessageState::Any).await.unwrap(), 8);
    let other = json!({"attempts": 3});
    let refused = client.queue_with("jobs", &other).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::ObjectExists), "{refused}");
    client.queue_that_is("none").await.unwrap_err();
}

#[tokio::test]
async fn who_waits_gets_the_message_when_it_comes_and_not_before_its_time() {
    let (_server, address) = server();
    let queue = client(&address).await.queue("late").await.unwrap();
    let waits = tokio::spawn({
        let queue = queue.clone();
        async move { one(&queue).await.id }
    });
    let other = client(&address).await.queue("late").await.unwrap();
    let message = Message::new("x").delay(Duration::from_millis(150));
    let Published::Done(id) = other.publish(&message).await.unwrap() else { panic!("new") };
    let shown = other.browse(MessageState::Delayed).await.unwrap();
    assert_eq!(shown.len(), 1, "it waits for its time");
    assert_eq!(waits.await.unwrap(), id);
    assert!(other.pull(1, Duration::from_millis(20)).await.unwrap().is_empty());
    // Who gives up waiting takes nothing with it, once the server knows.
    let gave_up = tokio::time::timeout(Duration::from_millis(50), queue.pull(1, SOON)).await;
    assert!(gave_up.is_err());
    counts(&other, "waiting", 0).await;
    other.publish(&Message::new("y")).await.unwrap();
    assert_eq!(text(&one(&other).await), "y");
}

#[tokio::test]
async fn consumers_share() {
    let (_server, address) = server();
    let of = async || client(&address).await.queue("shared").await.unwrap();
    shares(&of().await, [&of().await, &of().await], 2).await;
}

#[tokio::test]
async fn a_consumer_that_goes_leaves_what_it_has_to_others() {
    let (_server, address) = server();
    let of = async || client(&address).await.queue("left").await.unwrap();
    leaves(&of().await, of().await, of().await).await;
}

/// What was published with an answer is there after `kill -9`, what was acknowledged with one is not,
/// and a receipt counts still.
#[tokio::test]
async fn a_kill_loses_nothing_that_was_answered() {
    for persist in ["async", "sync"] {
        let place = Place::new("queue-kill");
        let start = || {
            let args = ["--native", &place.native, "--data-dir", &place.data, "--persist", persist];
            Server::isogrid(&args)
        };
        let mut first = start();
        let caller = client(&place.native).await;
        let queue = caller.queue_with("kept", &json!({"visible": "10m"})).await.unwrap();
        let many: Vec<_> =
            (0..30).map(|n| Message::new(n.to_string()).dedup(n.to_string())).collect();
        queue.publish_many(&many).await.unwrap();
        let held = queue.pull(10, NOW).await.unwrap();
        for delivery in &held[..5] {
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
        held[9].refuse("later").await.unwrap();
        place.kill(&mut first);
        let _second = start();
        assert_eq!(stat(&queue, "in_flight").await, 4, "{persist}: they are delivered still");
        for delivery in &held {
            let expected = if delivery.id == held[9].id { 1 } else { delivery.attempt };
            assert_eq!(delivery.attempt, expected);
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done, "{persist}");
        }
        let again = queue.publish_many(&many).await.unwrap();
        assert!(again.iter().all(|one| matches!(one, Published::Duplicate(_))), "{again:?}");
        let left = queue.pull(64, NOW).await.unwrap();
        let bodies: Vec<_> = left.iter().map(text).collect();
        let expected: Vec<_> = (10..30).map(|n: u32| n.to_string()).collect();
        assert_eq!(bodies, expected, "{persist}");
    }
}
