//! Clients at all nodes, which count, publish and consume, until nobody answers any more: what was
//! acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isogrid_tests::queues::{id_of, text};
use isogrid_wire::client::queue::{Message, Settled};
use isogrid_wire::client::{Client, Error};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Kept;

/// Clients of each kind.
const CLIENTS: usize = 3;
/// A request whose node is gone is given up.
const TIRED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
/// How many answers of each kind are enough.
const ENOUGH: usize = 60;

/// What is known of what was asked for.
#[derive(Default)]
pub struct Known {
    added: AtomicUsize,
    /// Additions that were asked for, answered or not.
    tried: AtomicUsize,
    published: Mutex<BTreeSet<u64>>,
    /// Messages that were acknowledged by a consumer, with an answer.
    done: Mutex<BTreeSet<u64>>,
    /// The same, with an answer or without.
    settled: Mutex<BTreeSet<u64>>,
}

/// The clients, at work.
pub struct Load {
    known: Arc<Known>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

async fn add(client: Client, known: &Known) -> Result<(), Error> {
    let counters = client.counters("default").await?;
    loop {
        known.tried.fetch_add(1, Ordering::SeqCst);
        counters.add("load", 1).await?;
        known.added.fetch_add(1, Ordering::SeqCst);
    }
}

async fn publish(client: Client, known: &Known) -> Result<(), Error> {
    let queue = client.queue("load").await?;
    loop {
        let id = id_of(queue.publish(&Message::new("x")).await?);
        known.published.lock().unwrap().insert(id);
    }
}

async fn consume(client: Client, known: &Known) -> Result<(), Error> {
    let queue = client.queue("load").await?;
    loop {
        for delivery in queue.pull(4, Duration::from_millis(100)).await? {
            assert_eq!(text(&delivery), "x");
            known.settled.lock().unwrap().insert(delivery.id);
            if delivery.ack().await? == Settled::Done {
                known.done.lock().unwrap().insert(delivery.id);
            }
        }
    }
}

impl Load {
    /// Begins it.
    pub async fn begin(kept: &Kept) -> Load {
        let (known, stop) = (Arc::new(Known::default()), watch::Sender::new(false));
        let counters = kept.client(0, PATIENCE).await.counters("default").await.unwrap();
        counters.set("load", 0).await.unwrap();
        let options = serde_json::json!({"visible": "5s"});
        kept.client(0, PATIENCE).await.queue_with("load", &options).await.unwrap();
        let mut clients = Vec::new();
        for kind in 0..3 {
            for node in 0..CLIENTS {
                let (client, known) = (kept.client(node, TIRED).await, Arc::clone(&known));
                let mut stop = stop.subscribe();
                clients.push(tokio::spawn(async move {
                    let work = async {
                        match kind {
                            0 => add(client, &known).await,
                            1 => publish(client, &known).await,
                            _ => consume(client, &known).await,
                        }
                    };
                    tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => {}
                        ended = work => println!("{kind} at {node}: {ended:?}"),
                    }
                }));
            }
        }
        Load { known, stop, clients }
    }

    /// Until enough was answered of everything.
    pub async fn is_under_way(&self) {
        let (known, begin) = (&self.known, Instant::now());
        let are_enough = |set: &Mutex<BTreeSet<u64>>| set.lock().unwrap().len() > ENOUGH;
        while known.added.load(Ordering::SeqCst) < ENOUGH
            || !are_enough(&known.published)
            || !are_enough(&known.done)
        {
            assert!(begin.elapsed() < PATIENCE, "the cluster answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells all to stop, and waits for them.
    pub async fn stop(self) -> Arc<Known> {
        self.stop.send_replace(true);
        self.end().await
    }

    /// Waits until nobody is answered any more.
    pub async fn end(self) -> Arc<Known> {
        for client in self.clients {
            client.await.unwrap();
        }
        self.known
    }
}

impl Known {
    /// What was acknowledged is there; what was done is not done again; what nobody knows of was done or
    /// not.
    pub async fn check(&self, kept: &Kept) {
        let client = kept.client(1, PATIENCE).await;
        let counted = client.counters("default").await.unwrap().get("load").await.unwrap().unwrap();
        let (added, tried) = (self.added.load(Ordering::SeqCst), self.tried.load(Ordering::SeqCst));
        let counted = usize::try_from(counted).unwrap();
        assert!((added..=tried).contains(&counted), "{counted} of {added} to {tried}");
        let queue = client.queue("load").await.unwrap();
        let (published, done) =
            (self.published.lock().unwrap().clone(), self.done.lock().unwrap().clone());
        let settled = self.settled.lock().unwrap().clone();
        let mut missing: BTreeSet<u64> = published.difference(&settled).copied().collect();
        println!(
            "{counted} counted, {added} to {tried}; {} published, {} done, {} left",
            published.len(),
            done.len(),
            missing.len()
        );
        let mut quiet = 0;
        // What was in flight comes when its time is over.
        while quiet < 1 || !missing.is_empty() {
            let got = queue.pull(20, Duration::from_secs(6)).await.unwrap();
            quiet = if got.is_empty() { quiet + 1 } else { 0 };
            assert!(quiet < 4, "{} were acknowledged and do not come", missing.len());
            for delivery in got {
                assert!(!done.contains(&delivery.id), "{} was done", delivery.id);
                assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
                missing.remove(&delivery.id);
            }
        }
    }
}
