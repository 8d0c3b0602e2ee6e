//! What a new primary knows, and what a minority does not do.

use std::time::{Duration, Instant};

use isogrid_tests::harness::send_signal;
use isogrid_wire::client::queue::{Message, Published, Settled};
use serde_json::json;

use super::{NOW, client, counts, id_of, nodes_of, one, text, three};

/// Delays, lifespans, times of deliveries, known ids and reasons are those of before, and no id is given
/// out twice.
#[tokio::test]
async fn a_new_primary_goes_on_where_the_old_one_was() {
    const DELAY: Duration = Duration::from_secs(8);
    let dev = three();
    let nodes = nodes_of(&dev, "kept");
    let of = client(&dev, nodes[1]).await;
    let options = json!({"visible": "9s", "attempts": 2, "backoff": "0s"});
    let kept = of.queue_with("kept", &options).await.unwrap();
    // A consumer that waits, and goes on waiting.
    let waits = client(&dev, nodes[2]).await.queue("other").await.unwrap();
    let first = id_of(kept.publish(&Message::new("dead")).await.unwrap());
    one(&kept).await.refuse("a").await.unwrap();
    one(&kept).await.refuse("b").await.unwrap();
    let known = Message::new("held").dedup("held");
    let held = id_of(kept.publish(&known).await.unwrap());
    let begin = Instant::now();
    let delivery = one(&kept).await;
    assert_eq!(delivery.id, held);
    kept.publish(&Message::new("late").delay(DELAY)).await.unwrap();
    kept.publish(&Message::new("short").delay(DELAY / 2).ttl(DELAY / 4)).await.unwrap();
    let done = id_of(kept.publish(&Message::new("done")).await.unwrap());
    let receipt = one(&kept).await;
    assert_eq!((receipt.id, receipt.ack().await.unwrap()), (done, Settled::Done));
    dev.kill(nodes[0]);
    assert_eq!(kept.publish(&known).await.unwrap(), Published::Duplicate(held));
    let new = id_of(kept.publish(&Message::new("new").priority(9)).await.unwrap());
    assert!(new > done + (1 << 39), "{new} is of another epoch than {done}");
    assert_eq!(receipt.ack().await.unwrap(), Settled::Done, "it is done once more");
    let dead = kept.browse(isogrid_wire::native::queue::MessageState::Dead).await.unwrap();
    let reasons: Vec<_> = dead[0].causes.iter().map(|(_, _, why)| &**why).collect();
    assert_eq!((dead.len(), dead[0].id, reasons), (1, first, vec!["a", "b"]));
    assert_eq!(text(&one(&kept).await), "new");
    // Both come when their time is over, and not before; what lived too short does not.
    let mut came = Vec::new();
    while came.len() < 2 {
        for delivery in kept.pull(1, Duration::from_secs(30)).await.unwrap() {
            came.push((text(&delivery).to_owned(), delivery.attempt, begin.elapsed()));
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
    }
    println!("{came:?}");
    let find = |name: &str| came.iter().find(|(body, ..)| body == name).unwrap();
    let ((_, attempt, late), (_, again, visible)) = (find("late"), find("held"));
    assert_eq!((*attempt, *again), (1, 2));
    // Clocks of members may be half a second apart (R90).
    assert!(*late >= DELAY - Duration::from_millis(500), "{late:?}");
    assert!(*visible >= Duration::from_millis(8_500), "{visible:?}");
    assert_eq!(delivery.ack().await.unwrap(), Settled::Done, "it is gone");
    waits.publish(&Message::new("x")).await.unwrap();
    assert_eq!(text(&one(&waits).await), "x");
}

/// Consumers at nodes that live go on when the primary is killed; what one on the killed node had comes
/// again when its time is over.
#[tokio::test]
async fn consumers_go_on_at_a_new_primary() {
    let dev = three();
    let nodes = nodes_of(&dev, "goes-on");
    let of = client(&dev, nodes[0]).await;
    let lost = of.queue_with("goes-on", &json!({"visible": "5s"})).await.unwrap();
    let lives = client(&dev, nodes[1]).await.queue("goes-on").await.unwrap();
    let mut on_it = lost.consume().credit(1).open().await.unwrap();
    lives.publish(&Message::new("taken")).await.unwrap();
    let taken = on_it.next().await.unwrap();
    let mut waits = lives.consume().credit(2).open().await.unwrap();
    counts(&lives, "waiting", 1).await;
    dev.kill(nodes[0]);
    let other = client(&dev, nodes[2]).await.queue("goes-on").await.unwrap();
    other.publish(&Message::new("sent")).await.unwrap();
    let sent = waits.next().await.unwrap();
    assert_eq!((text(&sent), sent.attempt), ("sent", 1));
    assert_eq!(sent.ack().await.unwrap(), Settled::Done);
    drop(sent);
    let again = waits.next().await.unwrap();
    assert_eq!((again.id, again.attempt), (taken.id, 2));
    assert_eq!(again.ack().await.unwrap(), Settled::Done);
}

/// Who cannot reach the others confirms nothing and hands out nothing, also while its own lease lives.
#[tokio::test]
async fn a_minority_refuses() {
    let dev = three();
    let nodes = nodes_of(&dev, "alone");
    let options =
        isogrid_wire::client::Options::default().timeout(Duration::from_millis(700)).routing(false);
    let address = dev.native_address(nodes[0]);
    let alone = isogrid_wire::client::Client::connect([address], options).await.unwrap();
    let alone = alone.queue("alone").await.unwrap();
    for n in 0..3 {
        alone.publish(&Message::new(n.to_string())).await.unwrap();
    }
    let held = alone.pull(1, NOW).await.unwrap().pop().unwrap();
    let others = [nodes[1], nodes[2]].map(|node| dev.pid(node));
    others.iter().for_each(|pid| send_signal(*pid, "STOP"));
    let (published, pulled, acked) = tokio::join!(
        async { alone.publish(&Message::new("no")).await },
        async { alone.pull(1, NOW).await },
        async { held.ack().await },
    );
    assert!(published.is_err(), "{published:?}");
    assert!(pulled.is_err(), "{pulled:?}");
    assert!(acked.is_err(), "{acked:?}");
    others.iter().for_each(|pid| send_signal(*pid, "CONT"));
    // It serves again, and nothing is lost.
    let whole = client(&dev, nodes[1]).await.queue("alone").await.unwrap();
    assert_eq!(held.ack().await.or(held.ack().await).unwrap(), Settled::Done);
    let mut bodies = Vec::new();
    while !bodies.contains(&"2".to_owned()) || !bodies.contains(&"1".to_owned()) {
        for delivery in whole.pull(9, Duration::from_secs(35)).await.unwrap() {
            bodies.push(text(&delivery).to_owned());
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
    }
    assert!(!bodies.contains(&"0".to_owned()), "it was done: {bodies:?}");
}
