//! How long clients miss a node that is killed.

use std::time::{Duration, Instant};

use super::client::Client;
use super::nodes::Cluster;
use crate::checker::{Ask, Told};

/// Clients, and how often each of them writes.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(5);
/// For how long they write after a kill.
const WATCHED: Duration = Duration::from_secs(5);

/// The longest times between two acknowledged writes, ms: one of each client and kill, sorted.
#[derive(Debug, Default)]
pub struct Gaps(Vec<u64>);

impl Gaps {
    /// That of so many percent of them is no longer.
    pub fn percent(&self, percent: usize) -> u64 {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or(0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Kills one node after the other, so many times, each of which serves its part of the keys. Clients
/// write at the other nodes, to keys of all segments.
///
/// # Errors
/// When the cluster does not serve again.
pub fn failovers(
    cluster: &mut Cluster,
    kills: usize,
    mut progress: impl FnMut(usize, &[u64]),
) -> Result<Gaps, String> {
    let mut all = Gaps::default();
    for kill in 0..kills {
        let victim = kill % cluster.len();
        let nodes = cluster.clients().iter().enumerate().filter(|(node, _)| *node != victim);
        let nodes: Vec<_> = nodes.map(|(_, address)| *address).collect();
        let end = Instant::now() + Duration::from_secs(1) + WATCHED;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let node = nodes[client % nodes.len()];
                std::thread::spawn(move || longest_gap(Client::new(node, WATCHED), client, end))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        cluster.kill(victim);
        let gaps: Vec<u64> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        progress(kill, &gaps);
        all.0.extend(gaps);
        cluster.start(victim);
        cluster.settle()?;
    }
    all.0.sort_unstable();
    Ok(all)
}

/// Writes until `end`; the longest time without an acknowledged write, ms.
fn longest_gap(mut client: Client, number: usize, end: Instant) -> u64 {
    let (mut last, mut longest, mut value) = (Instant::now(), Duration::ZERO, 0_u64);
    while Instant::now() < end {
        value += 1;
        let key = format!("gap{number}-{}", value % 100);
        let told = client.perform(&key, Ask::Put(value), false);
        if matches!(told, Told::Done(_)) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        std::thread::sleep(PAUSE);
    }
    longest.max(last.elapsed()).as_millis() as u64
}
