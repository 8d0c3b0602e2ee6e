//! How long clients miss a node that is killed, or stopped as its operator does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::Client;
use super::nodes::Cluster;
use crate::checker::{Ask, Told};

/// Clients, and how often each of them writes.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(5);
/// How long they write before a node ends, and how long after that.
const BEFORE: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(5);

/// How a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Without a word.
    Kill,
    /// By SIGTERM: it hands over what it serves first.
    Stop,
}

/// What clients saw of nodes that ended.
#[derive(Debug, Default)]
pub struct Gaps {
    /// The longest times between two acknowledged writes, ms: one of each client and end, sorted.
    times: Vec<u64>,
    /// Writes of which clients were told that they were not done, or that nobody knows.
    pub failed: usize,
}

impl Gaps {
    /// That of so many percent of them is no longer.
    pub fn percent(&self, percent: usize) -> u64 {
        let at = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).copied().unwrap_or(0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.times.len()
    }
}

/// Ends one node after the other, so many times, each of which serves its part of the keys. Clients
/// write at the other nodes, to keys of all segments.
///
/// # Errors
/// When the cluster does not serve again.
pub fn failovers(
    cluster: &mut Cluster,
    end: End,
    times: usize,
    mut progress: impl FnMut(usize, &[(u64, usize)]),
) -> Result<Gaps, String> {
    let mut all = Gaps::default();
    for number in 0..times {
        let victim = number % cluster.len();
        let nodes = cluster.clients().iter().enumerate().filter(|(node, _)| *node != victim);
        let nodes: Vec<SocketAddr> = nodes.map(|(_, address)| *address).collect();
        let until = Instant::now() + BEFORE + WATCHED;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let node = nodes[client % nodes.len()];
                std::thread::spawn(move || watch(Client::new(node, WATCHED), client, until))
            })
            .collect();
        std::thread::sleep(BEFORE);
        match end {
            End::Kill => cluster.kill(victim),
            End::Stop => cluster.stop(victim)?,
        }
        let seen: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        progress(number, &seen);
        all.times.extend(seen.iter().map(|(gap, _)| gap));
        all.failed += seen.iter().map(|(_, failed)| failed).sum::<usize>();
        cluster.start(victim);
        cluster.settle()?;
    }
    all.times.sort_unstable();
    Ok(all)
}

/// Writes until then; the longest time without an acknowledged write, ms, and how many writes were
/// not acknowledged.
fn watch(mut client: Client, number: usize, until: Instant) -> (u64, usize) {
    let (mut last, mut longest, mut value) = (Instant::now(), Duration::ZERO, 0_u64);
    let mut failed = 0;
    while Instant::now() < until {
        value += 1;
        let key = format!("gap{number}-{}", value % 100);
        let told = client.perform(&key, Ask::Put(value), false);
        if matches!(told, Told::Done(_)) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        } else {
            failed += 1;
        }
        std::thread::sleep(PAUSE);
    }
    (longest.max(last.elapsed()).as_millis() as u64, failed)
}
