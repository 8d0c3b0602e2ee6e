//! Clients that read and write all the time. Four kinds of keys, so that each check has what it needs:
//! - `r`: a few keys of values, all the time;
//! - `c`: a few counters;
//! - `s`: keys of values that live for some hundred operations, for the search;
//! - `u`: keys that are written once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use isogrid_engine::env::split_mix;
use isogrid_wire::client::{Error, Routing};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ask::{Asker, options};
use crate::checker::verdict::Kind;
use crate::checker::{Ask, Operation, Told};
use crate::cli::bench::clock::Clock;

const CLIENTS: usize = 6;
const REGISTERS: u64 = 6;
const COUNTERS: u64 = 2;
/// Operations on a key of the search.
const SHORT: u64 = 150;
/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(2);
/// Values of different clients differ.
const VALUES: u64 = 1_000_000_000;

/// What a key is for.
pub fn kind_of(key: &str) -> Kind {
    match key.as_bytes().first() {
        Some(b'c') => Kind::Counter,
        Some(b's') => Kind::Searched,
        Some(b'u') => Kind::Once,
        _ => Kind::Values,
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<(Vec<Operation>, Routing)>,
}

struct Worker {
    number: u64,
    asker: Asker,
    rng: u64,
    /// Operations on keys of the search, of all clients.
    short: Arc<AtomicU64>,
    /// What it has read of keys: what a conditional write may expect.
    read: BTreeMap<String, (u64, u64)>,
    written: u64,
}

impl Load {
    /// Starts clients, each of which begins with another server.
    ///
    /// # Errors
    /// One cannot connect.
    pub async fn start(servers: &[String], seed: u64) -> Result<Load, Error> {
        let (stop, short) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clock = Arc::new(Clock::start());
        let mut workers = Vec::new();
        for number in 0..CLIENTS {
            let mut seeds = servers.to_vec();
            seeds.rotate_left(number % servers.len().max(1));
            let asker = Asker::connect(number, seeds, options()).await?.with_clock(&clock);
            let (number, short) = (number as u64, Arc::clone(&short));
            let rng = seed.wrapping_mul(1_000).wrapping_add(number);
            let read = BTreeMap::new();
            workers.push(Worker { number, asker, rng, short, read, written: 0 });
        }
        if let Some(first) = workers.first_mut() {
            for number in 0..COUNTERS {
                first.asker.perform(format!("c{number}"), Ask::Put(0)).await;
            }
        }
        let mut clients = JoinSet::new();
        for worker in workers {
            clients.spawn(worker.run(Arc::clone(&stop)));
        }
        Ok(Load { stop, clients })
    }

    /// Stops the clients, and gives all that they were told, and how their requests found their
    /// members.
    pub async fn stop(self) -> (Vec<Operation>, Routing) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut history, mut all) = (Vec::new(), Routing::default());
        for (operations, routing) in self.clients.join_all().await {
            history.extend(operations);
            all.direct += routing.direct;
            all.passed_on += routing.passed_on;
        }
        history.sort_by_key(|operation| operation.called);
        (history, all)
    }
}

impl Worker {
    async fn run(mut self, stop: Arc<AtomicBool>) -> (Vec<Operation>, Routing) {
        while !stop.load(Ordering::Relaxed) {
            self.act().await;
            sleep(PAUSE).await;
        }
        (self.asker.take(), self.asker.routing().await)
    }

    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.rng) % end
    }

    async fn act(&mut self) {
        match self.below(20) {
            0..=9 => {
                let number = self.below(REGISTERS);
                self.act_on(format!("r{number}")).await;
            }
            10..=12 => {
                let ask = if self.below(4) == 0 { Ask::Get } else { Ask::Increment };
                let number = self.below(COUNTERS);
                self.asker.perform(format!("c{number}"), ask).await;
            }
            13..=16 => {
                let number = self.short.fetch_add(1, Ordering::Relaxed) / SHORT;
                self.act_on(format!("s{number}")).await;
            }
            _ => {
                let value = self.value();
                self.asker.perform(format!("u{value}"), Ask::Put(value)).await;
            }
        }
    }

    fn value(&mut self) -> u64 {
        self.written += 1;
        (self.number + 1) * VALUES + self.written
    }

    /// Something with a key of values.
    async fn act_on(&mut self, key: String) {
        let ask = match (self.below(10), self.read.remove(&key)) {
            (0..=3, _) => Ask::Get,
            (4..=5, Some((expected, version))) => {
                Ask::Cas { expected, version, value: self.value() }
            }
            (6, _) => Ask::Delete,
            _ => Ask::Put(self.value()),
        };
        if let Told::Read(Some(read)) = self.asker.perform(key.clone(), ask).await {
            self.read.insert(key, read);
        }
    }
}
