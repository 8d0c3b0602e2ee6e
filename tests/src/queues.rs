//! What tests ask of a queue through the Rust client.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for a real server on the real clock"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use isogrid_wire::client::Queue;
use isogrid_wire::client::queue::{Delivery, Message, Published, Settled};
use isogrid_wire::native::queue::Refusal;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a message.
#[must_use]
pub fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.body).unwrap()
}

/// The next message.
pub async fn one(queue: &Queue) -> Delivery {
    queue.pull(1, Duration::from_secs(10)).await.unwrap().pop().expect("a message")
}

/// The id of a message that is published and was not before.
#[must_use]
pub fn id_of(published: Published) -> u64 {
    let Published::Done(id) = published else { panic!("{published:?}") };
    id
}

/// What a queue counts by this name.
pub async fn stat(queue: &Queue, name: &str) -> u64 {
    queue.stats().await.unwrap()[name].as_u64().unwrap()
}

/// Until something that is counted is so many.
pub async fn counts(queue: &Queue, name: &str, count: u64) {
    let is_so = async {
        while stat(queue, name).await != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, is_so).await;
    assert!(waited.is_ok(), "waited {PATIENCE:?} until {name} is {count}");
}

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

/// Two consumers get half each; when one is gone the other one gets all; one that comes back gets
/// its share. A half may be wrong by `off` of 20.
pub async fn shares(queue: &Queue, consumers: [&Queue; 2], off: usize) {
    let (all, first) = (watch::Sender::new(false), watch::Sender::new(false));
    let (even, odd) = (worker(consumers[0], &first), worker(consumers[1], &all));
    publish_slowly(queue, 40, 2).await;
    first.send_replace(true);
    let even = even.await.unwrap();
    publish_slowly(queue, 10, 1).await;
    let back = worker(consumers[0], &all);
    publish_slowly(queue, 40, 2).await;
    all.send_replace(true);
    let (odd, back) = (odd.await.unwrap(), back.await.unwrap());
    for half in [&even, &back] {
        assert!(half.len().abs_diff(20) <= off, "{} of 40", half.len());
    }
    let ids: BTreeSet<u64> = even.iter().chain(&odd).chain(&back).copied().collect();
    assert_eq!((ids.len(), even.len() + odd.len() + back.len()), (90, 90), "each came once");
}

/// What a consumer has comes again at once when it goes, and it never has more than its credit; one
/// that acknowledges by being sent has nothing to leave. The other queue's connection ends with it.
pub async fn leaves(queue: &Queue, gone: Queue, auto: Queue) {
    let many: Vec<_> = (0..10).map(|n| Message::new(n.to_string())).collect();
    queue.publish_many(&many).await.unwrap();
    let mut consumer = gone.consume().credit(3).open().await.unwrap();
    let held = [consumer.next().await.unwrap(), consumer.next().await.unwrap()];
    assert_eq!(held.each_ref().map(text), ["0", "1"]);
    assert_eq!(stat(queue, "in_flight").await, 3, "as many as it has credit for");
    drop((consumer, gone, held));
    counts(queue, "in_flight", 0).await;
    let again = queue.pull(10, Duration::ZERO).await.unwrap();
    let attempts: Vec<_> = again.iter().map(|one| (text(one), one.attempt)).collect();
    assert_eq!(attempts[..4], [("0", 2), ("1", 2), ("2", 2), ("3", 1)]);
    for delivery in &again {
        delivery.nack(Refusal::Requeue, Duration::from_millis(1), "").await.unwrap();
    }
    let mut auto = auto.consume().credit(2).auto().open().await.unwrap();
    for _ in 0..10 {
        auto.next().await.unwrap();
    }
    assert_eq!((stat(queue, "in_flight").await, stat(queue, "ready").await), (0, 0));
    drop(auto);
    counts(queue, "waiting", 0).await;
}
