//! Several owners on one server, and what they are promised together.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{History, drive, now_ms, observe, watch};
use crate::harness::Server;

/// Keys of an owner.
const KEYS: usize = 48;

/// What must be there after a crash.
#[derive(Debug, Clone, Copy)]
pub enum Promise {
    /// Everything that was acknowledged, and everything that was read.
    All,
    /// What was acknowledged by then.
    By(Instant),
}

/// What was there after a crash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verdict {
    /// Operations that were sent.
    pub sent: usize,
    /// Operations that were answered.
    pub acked: usize,
    /// Operations that were answered and are gone.
    pub lost: usize,
    /// The first answer to one of those.
    pub lost_from: Option<Instant>,
}

impl Verdict {
    /// How long before `end` the oldest operation that is gone was answered.
    pub fn age(&self, end: Instant) -> Duration {
        self.lost_from.map_or(Duration::ZERO, |from| end.saturating_duration_since(from))
    }
}

/// The owners. The last one has a cache of its own, behind a second address.
pub struct Fleet {
    owners: Vec<History>,
    seen: Vec<AtomicU64>,
}

impl Fleet {
    /// Owners that draw from `seed`.
    pub fn new(seed: u64, owners: usize) -> Fleet {
        let owner = |n: usize| {
            let seed = seed ^ (n as u64 + 1) << 48;
            History::new(&format!("owner{n}"), seed, KEYS, n + 1 == owners)
        };
        let owners: Vec<_> = (0..owners).map(owner).collect();
        let seen = owners.iter().map(|_| AtomicU64::new(0)).collect();
        Fleet { owners, seen }
    }

    fn address(&self, server: &Server, owner: usize) -> SocketAddr {
        let cache = usize::from(owner + 1 == self.owners.len());
        server.addresses()[cache].parse().unwrap()
    }

    /// Writes and reads until `end`, which stops or kills the server, has come back and the
    /// connections have seen it.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn run<T>(&mut self, server: &Server, end: impl FnOnce() -> T) -> T {
        let (ended, wrong) = self.load(server, end);
        assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        ended
    }

    /// The same on a server that comes to refuse writes: an owner goes on until its first refusal,
    /// or until its connection is closed. What a refused operation would have done did not happen.
    ///
    /// # Panics
    /// When another answer is wrong.
    pub fn run_until_broken<T>(&mut self, server: &Server, end: impl FnOnce() -> T) -> T {
        let (ended, wrong) = self.load(server, end);
        let refused = |wrong: &String| wrong.contains("answered SERVER_ERROR storage failed");
        assert!(wrong.iter().all(refused), "{}", wrong.unwrap_or_default());
        self.owners.iter_mut().for_each(|owner| owner.wrong = None);
        ended
    }

    fn load<T>(&mut self, server: &Server, end: impl FnOnce() -> T) -> (T, Option<String>) {
        let addresses: Vec<_> =
            (0..self.owners.len()).map(|owner| self.address(server, owner)).collect();
        let (stop, seen) = (AtomicBool::new(false), &self.seen);
        let first = &self.owners[0];
        let keys: Vec<_> = (0..first.keys()).map(|key| first.key(key)).collect();
        let (ended, reader) = std::thread::scope(|scope| {
            for (owner, address) in self.owners.iter_mut().zip(&addresses) {
                scope.spawn(|| drive(owner, *address, &stop));
            }
            let reader = scope.spawn(|| watch(&keys, addresses[0], &seen[0], &stop));
            let ended = end();
            stop.store(true, Ordering::Relaxed);
            (ended, reader.join().unwrap())
        });
        let wrong = self.owners.iter().find_map(|owner| owner.wrong.clone()).or(reader);
        (ended, wrong)
    }

    /// Compares what a server holds with what was promised, and goes on from there.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&mut self, server: &Server, promise: Promise) -> Result<Verdict, String> {
        let mut verdict = Verdict::default();
        for n in 0..self.owners.len() {
            let address = self.address(server, n);
            let found = observe(&mut crate::harness::Client::tcp(address), &self.owners[n]);
            let owner = &mut self.owners[n];
            let floor = match promise {
                Promise::All => {
                    owner.acked().max(owner.reaches(self.seen[n].load(Ordering::Relaxed)))
                }
                Promise::By(time) => owner.acked_by(time),
            };
            let prefix = owner.prefix(floor, &found, now_ms())?;
            verdict.sent += owner.sent();
            verdict.acked += owner.acked();
            if prefix < owner.acked() {
                verdict.lost += owner.acked() - prefix;
                verdict.lost_from =
                    verdict.lost_from.min(owner.acked_at(prefix)).or(owner.acked_at(prefix));
            }
            owner.settle(prefix, &found);
        }
        Ok(verdict)
    }
}
