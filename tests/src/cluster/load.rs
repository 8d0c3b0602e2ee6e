//! Clients that read and write all the time, and record it.
//!
//! Four kinds of keys, so that each check has what it needs:
//! - `r`: a few keys of values, all the time;
//! - `c`: a few counters;
//! - `s`: keys of values that live for some hundred operations, for the search;
//! - `u`: keys that are written once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isogrid_engine::env::split_mix;

use super::client::Client;
use crate::checker::{Ask, Operation, Told};

/// How long a client waits for an answer. Less than the server does, so both ends are seen.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a reader does. It stays with its node, and is to see all that the node would serve.
const READ_PATIENCE: Duration = Duration::from_millis(100);
/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(2);
const READ_PAUSE: Duration = Duration::from_millis(10);
const REGISTERS: u64 = 6;
const COUNTERS: u64 = 2;
/// Operations on a key of the search.
const SHORT: u64 = 150;
/// Values of different clients differ.
const VALUES: u64 = 1_000_000_000;

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    begin: Instant,
    clients: Vec<JoinHandle<Vec<Operation>>>,
    /// The counters' first values.
    counters: Vec<Operation>,
}

struct Worker {
    client: usize,
    /// It reads at one node, and nothing else.
    is_reader: bool,
    begin: Instant,
    prefix: String,
    rng: u64,
    connections: Vec<Client>,
    /// The node that is asked.
    node: usize,
    /// Operations on keys of the search, of all clients.
    short: Arc<AtomicU64>,
    /// What it has read of keys: what a conditional write may expect.
    read: BTreeMap<String, (u64, u64)>,
    written: u64,
    history: Vec<Operation>,
}

fn since(begin: Instant) -> u64 {
    begin.elapsed().as_nanos() as u64
}

impl Load {
    /// Starts clients, and a reader at each node. Keys begin with `prefix`: nobody may have used it before.
    pub fn start(nodes: &[SocketAddr], clients: usize, prefix: &str, seed: u64) -> Load {
        let (stop, short) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let begin = Instant::now();
        let worker = |client: usize, is_reader: bool| Worker {
            client,
            is_reader,
            begin,
            prefix: prefix.to_owned(),
            rng: seed.wrapping_mul(1_000).wrapping_add(client as u64),
            connections: nodes
                .iter()
                .map(|node| Client::new(*node, if is_reader { READ_PATIENCE } else { PATIENCE }))
                .collect(),
            node: client % nodes.len(),
            short: Arc::clone(&short),
            read: BTreeMap::new(),
            written: 0,
            history: Vec::new(),
        };
        let mut first = worker(0, false);
        for number in 0..COUNTERS {
            first.perform(format!("{prefix}c{number}"), Ask::Put(0), false);
        }
        let spawn = |client: usize| {
            // A reader's number is behind those of the clients, and its node's.
            let reads_at = client.checked_sub(clients);
            let (mut worker, stop) = (worker(client, reads_at.is_some()), Arc::clone(&stop));
            worker.node = reads_at.unwrap_or(worker.node);
            let pause = if worker.is_reader { READ_PAUSE } else { PAUSE };
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    worker.act();
                    std::thread::sleep(pause);
                }
                worker.history
            })
        };
        let clients = (0..clients + nodes.len()).map(spawn).collect();
        Load { stop, begin, clients, counters: first.history }
    }

    /// The time of its history, ns.
    pub fn now(&self) -> u64 {
        since(self.begin)
    }

    /// When its history begins.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// Stops the clients, and gives all that they were told.
    ///
    /// # Panics
    /// When a server has answered nonsense.
    pub fn stop(self) -> Vec<Operation> {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = self.counters;
        for client in self.clients {
            history.extend(client.join().expect("a client that was answered nonsense"));
        }
        history.sort_by_key(|operation| operation.called);
        history
    }
}

impl Worker {
    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.rng) % end
    }

    fn act(&mut self) {
        let prefix = self.prefix.clone();
        if self.is_reader {
            let number = self.below(REGISTERS);
            self.perform(format!("{prefix}r{number}"), Ask::Get, false);
            return;
        }
        let told = match self.below(20) {
            0..=9 => {
                let number = self.below(REGISTERS);
                self.act_on(format!("{prefix}r{number}"))
            }
            10..=12 => {
                let ask = if self.below(4) == 0 { Ask::Get } else { Ask::Increment };
                let number = self.below(COUNTERS);
                self.perform(format!("{prefix}c{number}"), ask, false)
            }
            13..=16 => {
                let number = self.short.fetch_add(1, Ordering::Relaxed) / SHORT;
                self.act_on(format!("{prefix}s{number}"))
            }
            _ => {
                let (client, value) = (self.client, self.value());
                self.perform(format!("{prefix}u{client}-{value}"), Ask::Put(value), false)
            }
        };
        let is_lost = matches!(told, Told::Failed | Told::Unknown);
        if self.below(if is_lost { 2 } else { 40 }) == 0 {
            self.node = self.below(self.connections.len() as u64) as usize;
        }
    }

    fn value(&mut self) -> u64 {
        self.written += 1;
        (self.client as u64 + 1) * VALUES + self.written
    }

    /// Something with a key of values.
    fn act_on(&mut self, key: String) -> Told {
        let ask = match (self.below(10), self.read.remove(&key)) {
            (0..=3, _) => Ask::Get,
            (4..=5, Some((expected, version))) => {
                Ask::Cas { expected, version, value: self.value() }
            }
            (6, _) => Ask::Delete,
            _ => Ask::Put(self.value()),
        };
        let meta = self.below(2) == 0;
        let told = self.perform(key.clone(), ask, meta);
        if let Told::Read(Some(read)) = told {
            self.read.insert(key, read);
        }
        told
    }

    fn perform(&mut self, key: String, ask: Ask, meta: bool) -> Told {
        let called = since(self.begin);
        let told = self.connections[self.node].perform(&key, ask, meta);
        let returned = since(self.begin);
        let (client, node) = (self.client, self.node);
        self.history.push(Operation { client, node, key, ask, told, called, returned });
        told
    }
}
