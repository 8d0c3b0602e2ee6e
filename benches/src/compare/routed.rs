//! Sets through the Rust client, which knows who serves a key and asks there. As many tasks as
//! requests are to be under way, each with the next one when it has the answer to the one before.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use isogrid_wire::client::{Cache, Client, Options};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::Result;
use super::clock::now;
use super::protocol::key;
use super::traffic::{Request, Traffic};
use super::values::Values;

/// Clients of a cluster, each with a connection to every node.
pub struct Routed {
    runtime: Runtime,
    caches: Vec<Cache>,
    values: Arc<Values>,
}

impl Routed {
    /// So many clients of the nodes at these addresses.
    pub fn connect(addresses: &[SocketAddr], clients: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let open = |_| {
            runtime.block_on(async {
                let seeds = addresses.iter().map(SocketAddr::to_string);
                let client = Client::connect(seeds, Options::default()).await?;
                Ok(client.cache("default").must_exist().open().await?)
            })
        };
        let caches = (0..clients).map(open).collect::<Result<_>>()?;
        Ok(Self { runtime, caches, values: Arc::new(Values::new()) })
    }

    /// Sets until `traffic` ends or `time` is over, `tasks` at a time: how many there were, and how
    /// long it took.
    pub fn run(
        &self,
        traffic: Traffic,
        tasks: usize,
        time: Option<Duration>,
    ) -> Result<(u64, Duration)> {
        let (started, traffic) = (now(), Arc::new(Mutex::new(traffic)));
        let until = time.map(|time| started + time);
        let next = move || {
            let is_over = until.is_some_and(|until| now() >= until);
            let mut traffic = traffic.lock().unwrap_or_else(PoisonError::into_inner);
            if is_over { None } else { traffic.next() }
        };
        let sets = self.runtime.block_on(async {
            let mut all = JoinSet::new();
            for cache in self.caches.iter().cycle().take(tasks) {
                all.spawn(sets(cache.clone(), next.clone(), Arc::clone(&self.values)));
            }
            let mut sum = 0;
            while let Some(ended) = all.join_next().await {
                sum += ended??;
            }
            Ok::<u64, Box<dyn std::error::Error + Send + Sync>>(sum)
        });
        let sets = sets.map_err(|error| format!("a set through the client: {error}"))?;
        Ok((sets, now() - started))
    }
}

/// One set after the other.
async fn sets(
    cache: Cache,
    next: impl Fn() -> Option<Request>,
    values: Arc<Values>,
) -> std::result::Result<u64, isogrid_wire::client::Error> {
    let mut sets = 0;
    while let Some(Request::Set { id, size }) = next() {
        cache.put(&key(id), values.of(size)).await?;
        sets += 1;
    }
    Ok(sets)
}
