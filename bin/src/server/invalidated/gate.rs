//! Requests that can wait for themselves: they begin when this member may serve, and are answered when
//! what they say is true.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, Fresh, Invalidated};
use crate::server::node::Node;

/// How long a request waits, to begin and to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Nothing was done.
    #[error("this member may not serve the cache now, since it has no lease: nothing was done")]
    Away,
    /// It was written here.
    #[error("not all members are known to have heard of the write: nobody knows who serves it")]
    Unknown,
}

/// A request to an invalidated cache.
pub struct Gate {
    cluster: Arc<Cluster>,
    cache: Arc<Invalidated>,
    fresh: Fresh,
}

impl Gate {
    /// Waits until the cache may be served; `None` when it is no invalidated one.
    ///
    /// # Errors
    /// [`Closed::Away`].
    pub async fn open(node: &Node, cache: &str) -> Result<Option<Gate>, Closed> {
        let Some(cluster) = node.cluster.get() else { return Ok(None) };
        let Some(cache) = cluster.invalidated(cache) else { return Ok(None) };
        let serves = async {
            loop {
                match cluster.fresh() {
                    Some(fresh) => return fresh,
                    None => sleep(LOOK_AGAIN).await,
                }
            }
        };
        let fresh = timeout(PATIENCE, serves).await.map_err(|_| Closed::Away)?;
        Ok(Some(Gate { cluster: Arc::clone(cluster), cache, fresh }))
    }

    /// A write of this key, or of all, is about to be executed: what was loaded before is not stored
    /// any more.
    pub fn writes(&self, key: Option<&[u8]>) {
        match key {
            Some(key) => self.cache.fills.kill(key, || ()),
            None => self.cache.fills.kill_all(|| ()),
        }
    }

    /// Whether what was read is true.
    ///
    /// # Errors
    /// [`Closed::Away`].
    pub fn was_read(&self) -> Result<(), Closed> {
        if self.cluster.is_still(self.fresh) { Ok(()) } else { Err(Closed::Away) }
    }

    /// Waits until all others have heard of a write that was executed.
    ///
    /// # Errors
    /// [`Closed::Unknown`].
    pub async fn was_written(&self, key: Option<&[u8]>) -> Result<(), Closed> {
        let told = self.cluster.tell_written(self.fresh, &[self.cache.item(key)]);
        let ticket = told.ok_or(Closed::Unknown)?;
        let told = timeout(PATIENCE, poll_fn(|cx| self.cluster.poll_told(ticket, cx))).await;
        told.ok().and_then(Result::ok).ok_or(Closed::Unknown)
    }
}
