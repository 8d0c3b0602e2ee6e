//! An account of every message, while the primary of their queue is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isogrid_wire::client::queue::{Message, Published, Settled};
use isogrid_wire::client::{Client, Queue};
use serde_json::json;

use super::{NOW, client, counts, nodes_of, three};

const WORKERS: usize = 2;

/// What clients know.
#[derive(Default)]
struct Account {
    /// Moments, in the order of what is noted here.
    clock: AtomicU64,
    published: Mutex<BTreeMap<u64, String>>,
    /// The ids under which each body was delivered.
    delivered: Mutex<BTreeMap<String, BTreeSet<u64>>>,
    /// When it was known that a message is done.
    acked: Mutex<BTreeMap<u64, u64>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

impl Account {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// What was asked for at that moment has been delivered.
    fn delivers(&self, asked: u64, id: u64, body: &str) {
        let done = self.acked.lock().unwrap().get(&id).copied();
        assert!(done.is_none_or(|done| done > asked), "{body} was done, and came again");
        self.delivered.lock().unwrap().entry(body.to_owned()).or_default().insert(id);
    }
}

/// Publishes one message after the other.
async fn publish(queue: Queue, account: Arc<Account>, publisher: usize) {
    for n in 0.. {
        if !account.goes_on() {
            return;
        }
        let body = format!("{publisher}-{n}");
        match queue.publish(&Message::new(&*body)).await {
            Ok(Published::Done(id)) => {
                let before = account.published.lock().unwrap().insert(id, body);
                assert_eq!(before, None, "an id was given out twice");
            }
            Ok(other) => panic!("{other:?}"),
            // Nobody knows, or it was not done.
            Err(_) => {}
        }
    }
}

/// Takes messages and says that they are done, all but some that it lets go.
async fn pull(queue: Queue, account: Arc<Account>) {
    while account.goes_on() {
        let asked = account.now();
        let Ok(all) = queue.pull(4, Duration::from_millis(500)).await else { continue };
        for delivery in all {
            account.delivers(asked, delivery.id, std::str::from_utf8(&delivery.body).unwrap());
            if account.count.fetch_add(1, Ordering::SeqCst).is_multiple_of(10) {
                continue;
            }
            if let Ok(Settled::Done) = delivery.ack().await {
                let now = account.now();
                account.acked.lock().unwrap().entry(delivery.id).or_insert(now);
            }
        }
    }
}

/// The same of a consumer that messages are sent to. What it was sent before it asked is among what
/// it gets, so it only looks that nothing comes to it twice that it said was done.
async fn consume(queue: Queue, account: Arc<Account>) {
    let mut consumer = queue.consume().credit(8).open().await.unwrap();
    let mut own = BTreeSet::new();
    while account.goes_on() {
        let next = tokio::time::timeout(Duration::from_millis(500), consumer.next());
        let Ok(delivery) = next.await else { continue };
        let delivery = delivery.unwrap();
        let body = std::str::from_utf8(&delivery.body).unwrap();
        assert!(!own.contains(&delivery.id), "{body} was done, and came again");
        account.delivers(0, delivery.id, body);
        account.count.fetch_add(1, Ordering::SeqCst);
        if let Ok(Settled::Done) = delivery.ack().await {
            own.insert(delivery.id);
            let now = account.now();
            account.acked.lock().unwrap().entry(delivery.id).or_insert(now);
        }
    }
}

async fn opened(client: &Client) -> Queue {
    client.queue_with("account", &json!({"visible": "3s", "attempts": 1_000})).await.unwrap()
}

/// All that was published with an answer is delivered, what was said to be done with one is never
/// delivered again, no message is there twice, and receipts of before count.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_that_is_done_comes_again() {
    let dev = three();
    let nodes = nodes_of(&dev, "account");
    let (account, mut tasks) = (Arc::new(Account::default()), Vec::new());
    let first = opened(&client(&dev, nodes[1]).await).await;
    for n in 0..10 {
        first.publish(&Message::new(format!("held-{n}"))).await.unwrap();
    }
    let held = first.pull(10, NOW).await.unwrap();
    for delivery in &held {
        assert_eq!(delivery.extend(Duration::from_secs(600)).await.unwrap(), Settled::Done);
    }
    for worker in 0..2 * WORKERS {
        // At nodes that live on: what their clients are told is all there is to know.
        let node = nodes[1 + worker % 2];
        let queue = opened(&client(&dev, node).await).await;
        let of = || (queue.clone(), Arc::clone(&account));
        let ((a, b), (c, d), (e, f)) = (of(), of(), of());
        tasks.push(tokio::spawn(publish(a, b, worker)));
        tasks.push(tokio::spawn(pull(c, d)));
        tasks.push(tokio::spawn(consume(e, f)));
    }
    let done = |count: usize| {
        let account = Arc::clone(&account);
        async move {
            while account.acked.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            account.acked.lock().unwrap().len()
        }
    };
    let before = done(300).await;
    dev.kill(nodes[0]);
    let begin = std::time::Instant::now();
    // More than what was on its way.
    done(before + 300).await;
    println!("300 more were done {:?} after the kill", begin.elapsed());
    for delivery in &held {
        assert_eq!(delivery.ack().await.unwrap(), Settled::Done, "its receipt counts");
        let now = account.now();
        account.acked.lock().unwrap().insert(delivery.id, now);
    }
    account.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    // What nobody said was done comes again when its time is over.
    let rest = opened(&client(&dev, nodes[2]).await).await;
    loop {
        let asked = account.now();
        let all = rest.pull(64, Duration::from_secs(5)).await.unwrap();
        if all.is_empty() {
            break;
        }
        for delivery in all {
            account.delivers(asked, delivery.id, std::str::from_utf8(&delivery.body).unwrap());
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
    }
    counts(&rest, "in_flight", 0).await;
    let (published, delivered) =
        (account.published.lock().unwrap(), account.delivered.lock().unwrap());
    println!("{} published, {} delivered", published.len(), delivered.len());
    for (id, body) in published.iter() {
        let ids = delivered.get(body).unwrap_or_else(|| panic!("{body} was lost"));
        assert_eq!(ids.iter().collect::<Vec<_>>(), [id], "{body} is one message");
    }
    let twice: Vec<_> = delivered.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
