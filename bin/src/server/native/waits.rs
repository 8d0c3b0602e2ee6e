//! How long requests wait for locks and permits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_wire::native::Call;
use isogrid_wire::native::lease::{Lock, SemAcquire};

use super::under_way::Later;
use crate::server::node::Node;

/// Waits that came to their end, whatever that was.
#[derive(Default)]
pub struct Waits {
    /// How many.
    pub count: AtomicU64,
    /// How long all of them took together, ms.
    pub ms: AtomicU64,
}

/// A wait that is under way; it ends when this is dropped.
struct Wait {
    node: Arc<Node>,
    since: u64,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Waits { count, ms } = &self.node.lock_waits;
        count.fetch_add(1, Ordering::Relaxed);
        ms.fetch_add(self.node.now().saturating_sub(self.since), Ordering::Relaxed);
    }
}

/// Counts how long a request waits, if it is one for a lock or for permits.
pub fn counted(node: &Arc<Node>, op: u16, later: Later) -> Later {
    if !matches!(op, Lock::CODE | SemAcquire::CODE) {
        return later;
    }
    let wait = Wait { node: Arc::clone(node), since: node.now() };
    Box::pin(async move {
        let _until_then = wait;
        later.await
    })
}
