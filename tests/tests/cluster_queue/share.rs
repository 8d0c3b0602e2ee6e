//! Consumers on several nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use isogrid_wire::client::Queue;
use isogrid_wire::client::queue::{Message, Settled};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{client, counts, nodes_of, queue, stat, text, three};

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Consumes until it is told to stop; the ids of what it acknowledged.
fn worker(queue: &Queue, stop: &watch::Sender<bool>) -> JoinHandle<Vec<u64>> {
    let (queue, mut stop) = (queue.clone(), stop.subscribe());
    tokio::spawn(async move {
        let (mut consumer, mut got) = (queue.consume().credit(4).open().await.unwrap(), Vec::new());
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return got,
                delivery = consumer.next() => {
                    let delivery = delivery.unwrap();
                    assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
                    got.push(delivery.id);
                }
            }
        }
    })
}

/// One after the other, each when all that wait for messages do so again.
async fn publish_slowly(queue: &Queue, count: usize, workers: u64) {
    for n in 0..count {
        counts(queue, "waiting", workers).await;
        queue.publish(&Message::new(n.to_string())).await.unwrap();
        while stat(queue, "ready").await + stat(queue, "in_flight").await > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Two consumers on two nodes get half each; when one is gone the other one gets all; one that comes
/// back gets its share.
#[tokio::test]
async fn consumers_on_two_nodes_share() {
    let dev = three();
    let [primary, second, third] = nodes_of(&dev, "shared");
    for nodes in [[primary, second], [second, third]] {
        let at = queue(&dev, primary, "shared").await;
        let (all, first) = (watch::Sender::new(false), watch::Sender::new(false));
        let even = worker(&queue(&dev, nodes[0], "shared").await, &first);
        let odd = worker(&queue(&dev, nodes[1], "shared").await, &all);
        publish_slowly(&at, 40, 2).await;
        first.send_replace(true);
        let even = even.await.unwrap();
        assert!((17..=23).contains(&even.len()), "{} of 40", even.len());
        publish_slowly(&at, 10, 1).await;
        let back = worker(&queue(&dev, nodes[0], "shared").await, &all);
        publish_slowly(&at, 40, 2).await;
        all.send_replace(true);
        let (odd, back) = (odd.await.unwrap(), back.await.unwrap());
        assert!((17..=23).contains(&back.len()), "{} of 40", back.len());
        let ids: BTreeSet<u64> = even.iter().chain(&odd).chain(&back).copied().collect();
        assert_eq!((ids.len(), even.len() + odd.len() + back.len()), (90, 90), "each came once");
    }
}

/// What a consumer has comes again at once when it goes, at whichever node it was, and it never has
/// more than its credit.
#[tokio::test]
async fn a_consumer_that_goes_leaves_what_it_has_to_others() {
    let dev = three();
    let nodes = nodes_of(&dev, "left");
    // Longer than anybody waits here.
    let at = client(&dev, nodes[0]).await;
    let at = at.queue_with("left", &json!({"visible": "1h"})).await.unwrap();
    for node in nodes {
        let many: Vec<_> = (0..10).map(|n| Message::new(n.to_string())).collect();
        at.publish_many(&many).await.unwrap();
        let gone = queue(&dev, node, "left").await;
        let mut consumer = gone.consume().credit(3).open().await.unwrap();
        assert_eq!(text(&consumer.next().await.unwrap()), "0");
        assert_eq!(stat(&at, "in_flight").await, 3, "as many as it has credit for");
        drop((consumer, gone));
        counts(&at, "in_flight", 0).await;
        let again = at.pull(10, super::NOW).await.unwrap();
        let attempts: Vec<_> = again.iter().map(|one| (text(one), one.attempt)).collect();
        assert_eq!(attempts[..4], [("0", 2), ("1", 2), ("2", 2), ("3", 1)], "at node {node}");
        for delivery in &again {
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
        // One that acknowledges by being sent has nothing to leave.
        at.publish_many(&many).await.unwrap();
        let mut auto = queue(&dev, node, "left").await.consume().auto().open().await.unwrap();
        for _ in 0..10 {
            auto.next().await.unwrap();
        }
        assert_eq!((stat(&at, "in_flight").await, stat(&at, "ready").await), (0, 0));
        drop(auto);
        counts(&at, "waiting", 0).await;
    }
}
