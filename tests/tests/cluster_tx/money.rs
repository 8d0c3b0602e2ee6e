//! Accounts, in one cache or in several by turns, and those who move money between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use isogrid_tests::harness::native::sub_request;
use isogrid_tests::harness::{Native, Server};
use serde_json::{Value, json};

use super::dev::Dev;

/// How long a client waits for an answer, ms.
const PATIENCE_MS: u64 = 3_000;

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It is done.
    Done,
    /// Others were first.
    Conflict,
    /// Surely not done.
    Failed,
    /// Nobody knows.
    Unknown,
    /// Something that nobody should be told; it is printed.
    Odd,
}

/// A connection to a node of the bank.
pub struct Bank {
    client: Native,
    caches: Vec<u64>,
}

fn key(account: usize) -> String {
    format!("account{account}")
}

impl Bank {
    /// At a node, in these caches.
    pub fn at(dev: &Dev, node: usize, caches: &[&str]) -> Bank {
        Bank::on(dev.native(node), caches)
    }

    fn on(mut client: Native, caches: &[&str]) -> Bank {
        let caches = caches.iter().map(|name| client.cache(name)).collect();
        Bank { client, caches }
    }

    /// Where an account is.
    fn cache(&self, account: usize) -> u64 {
        self.caches[account % self.caches.len()]
    }

    /// Opens all accounts in one transaction.
    pub fn open(&mut self, accounts: usize, opening: u64) {
        let put = |account| {
            let body = json!({"key": key(account), "value": opening.to_string(), "write": {}});
            sub_request("cache.PUT", self.cache(account), body)
        };
        let then: Vec<Value> = (0..accounts).map(put).collect();
        let body = json!({"compare": [], "then": then, "otherwise": []});
        let answer = self.client.call("tx.EXEC", 0, body);
        assert_eq!(answer[0], "OK", "{answer}");
    }

    /// What is on an account, and its version.
    fn read(&mut self, account: usize) -> Option<(u64, String)> {
        let body = json!({"key": key(account), "read": {"VALUE": true, "VERSION": true}});
        let fields = json!({"timeout_ms": PATIENCE_MS});
        let answer = self.client.call_with("cache.GET", self.cache(account), body, &fields);
        let entry = &answer[1]["entry"];
        let value = entry["VALUE"].as_str()?.parse().unwrap();
        Some((value, entry["VERSION"].as_str().unwrap().to_owned()))
    }

    /// Moves some money from an account to another one, as far as there is some.
    pub fn transfer(&mut self, from: usize, to: usize, timeout_ms: u64) -> Moved {
        let (Some(there), Some(here)) = (self.read(from), self.read(to)) else {
            return Moved::Failed;
        };
        let amount = there.0.min(7);
        let both = [(from, there.0 - amount, there.1), (to, here.0 + amount, here.1)];
        let read = |(account, _, version): &(usize, u64, String)| json!({"object": self.cache(*account), "key": key(*account), "version": version});
        let write = |(account, value, _): &(usize, u64, String)| {
            json!({"object": self.cache(*account), "key": key(*account), "op": "PUT",
                "value": value.to_string(), "write": {}})
        };
        let reads: Vec<Value> = both.iter().map(read).collect();
        let writes: Vec<Value> = both.iter().map(write).collect();
        let body = json!({"reads": reads, "writes": writes});
        let fields = json!({"timeout_ms": timeout_ms});
        let answer = self.client.call_with("tx.COMMIT_OCC", 0, body, &fields);
        match (answer[0].as_str().unwrap(), answer[1].as_str()) {
            ("OK", _) => Moved::Done,
            ("VERSION_MISMATCH", _) => Moved::Conflict,
            (_, Some("TX_CONFLICT" | "SEGMENT_UNAVAILABLE" | "OVERLOADED")) => Moved::Failed,
            (_, Some("OUTCOME_UNKNOWN" | "DEADLINE_EXCEEDED")) => Moved::Unknown,
            _ => {
                eprintln!("{answer}");
                Moved::Odd
            }
        }
    }

    /// The sum of all accounts, each read on its own: of a bank where nobody moves anything.
    pub fn sum(&mut self, accounts: usize) -> u64 {
        self.try_sum(accounts).expect("all are served")
    }

    /// The same, if all can be read.
    pub fn try_sum(&mut self, accounts: usize) -> Option<u64> {
        (0..accounts).map(|account| self.read(account).map(|(value, _)| value)).sum()
    }

    /// The sum of all accounts, read in one transaction.
    pub fn audit(&mut self, accounts: usize) -> u64 {
        self.try_audit(accounts).expect("all are served")
    }

    fn try_audit(&mut self, accounts: usize) -> Option<u64> {
        let get = |account| {
            let body = json!({"key": key(account), "read": {"VALUE": true}});
            sub_request("cache.GET", self.cache(account), body)
        };
        let then: Vec<Value> = (0..accounts).map(get).collect();
        let body = json!({"compare": [], "then": then, "otherwise": []});
        let fields = json!({"timeout_ms": PATIENCE_MS});
        let answer = self.client.call_with("tx.EXEC", 0, body, &fields);
        let replies = answer[1]["replies"].as_array()?;
        let value = |reply: &Value| {
            let said = isogrid_tests::harness::native::sub_answer("cache.GET", reply);
            said[1]["entry"]["VALUE"].as_str()?.parse::<u64>().ok()
        };
        replies.iter().map(value).sum()
    }
}

/// Clients that move money, each at a node, until they are stopped.
pub struct Movers {
    stops: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Moved>>>,
}

/// Starts some. Who loses its connection connects anew.
pub fn start_movers(dev: &Dev, count: usize, accounts: usize, caches: &[&str]) -> Movers {
    let stops = Arc::new(AtomicBool::new(false));
    let addresses: Vec<String> = (0..3).map(|node| dev.native_address(node)).collect();
    let caches: Vec<String> = caches.iter().map(|name| (*name).to_owned()).collect();
    let mover = |at: usize| {
        let (stops, addresses) = (Arc::clone(&stops), addresses.clone());
        let caches = caches.clone();
        std::thread::spawn(move || {
            let (mut told, mut step) = (Vec::new(), at);
            while !stops.load(Ordering::Relaxed) {
                let address = addresses[step % addresses.len()].clone();
                let stops = Arc::clone(&stops);
                // Its node may be killed at any step.
                let caches = caches.clone();
                let some = std::thread::spawn(move || {
                    let caches: Vec<&str> = caches.iter().map(String::as_str).collect();
                    let client = Native::begin(Server::connect_to(&address), &json!({}));
                    move_some(Bank::on(client, &caches), step, accounts, &stops)
                });
                told.extend(some.join().unwrap_or_default());
                step += 1;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            told
        })
    };
    let threads = (0..count).map(mover).collect();
    Movers { stops, threads }
}

fn move_some(mut bank: Bank, seed: usize, accounts: usize, stops: &AtomicBool) -> Vec<Moved> {
    let mut told = Vec::new();
    for step in 0..200 {
        if stops.load(Ordering::Relaxed) {
            break;
        }
        let from = (seed * 31 + step * 17) % accounts;
        // A few accounts are everybody's.
        let to = if step % 3 == 0 { (from + 1) % 4 } else { (from + 1 + step % 40) % accounts };
        if from != to {
            told.push(bank.transfer(from, to, PATIENCE_MS));
        }
    }
    told
}

impl Movers {
    /// Stops them: what they were told.
    pub fn stop(self) -> Vec<Moved> {
        self.stops.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}
