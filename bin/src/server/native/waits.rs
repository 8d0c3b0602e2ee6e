//! How long requests wait for locks and permits, and how many of one user wait for anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_wire::native::lease::{Lock, Request as Lease, SemAcquire};
use isogrid_wire::native::queue::Request as Queue;
use isogrid_wire::native::{Call, ErrorCode, Request};
use parking_lot::Mutex;

use super::failure::Failure;
use super::under_way::Later;
use crate::security::Identity;
use crate::server::node::Node;

/// Waits that came to their end, whatever that was, and who waits now.
#[derive(Default)]
pub struct Waits {
    /// How many for locks and permits have ended.
    pub count: AtomicU64,
    /// How long all of those took together, ms.
    pub ms: AtomicU64,
    /// Requests that have a seat, by user.
    by_user: Mutex<BTreeMap<Arc<str>, usize>>,
}

/// A wait that is under way; it ends when this is dropped.
struct Wait {
    node: Arc<Node>,
    since: u64,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Waits { count, ms, .. } = &self.node.waits;
        count.fetch_add(1, Ordering::Relaxed);
        ms.fetch_add(self.node.now().saturating_sub(self.since), Ordering::Relaxed);
    }
}

/// A place among the requests of a user that wait.
pub struct Seat {
    node: Arc<Node>,
    user: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_user = self.node.waits.by_user.lock();
        if let Some(seats) = by_user.get_mut(&self.user) {
            *seats -= 1;
            if *seats == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

/// A seat for a request that may wait, if somebody has logged in to ask for it (SECURITY S4): what
/// nobody in particular asks for is bounded for the node alone.
///
/// # Errors
/// As many requests of the user wait as may.
pub fn seat(
    node: &Arc<Node>,
    who: Option<&Identity>,
    request: &Request<'_>,
) -> Result<Option<Seat>, Failure> {
    let Some(who) = who.filter(|_| may_wait(request)) else { return Ok(None) };
    let Some(max) = node.config.limits.waiting_per_user else { return Ok(None) };
    let mut by_user = node.waits.by_user.lock();
    let seats = by_user.entry(Arc::clone(&who.user)).or_default();
    if *seats >= max {
        let why =
            format!("{max} requests of this user wait, as many as may: limits.waiting_per_user");
        return Err(Failure::new(ErrorCode::QuotaExceeded, why).with("limit", max.to_string()));
    }
    *seats += 1;
    Ok(Some(Seat { node: Arc::clone(node), user: Arc::clone(&who.user) }))
}

fn may_wait(request: &Request<'_>) -> bool {
    match request {
        Request::Lease(Lease::Lock(lock)) => lock.wait.0 > 0,
        Request::Lease(Lease::SemAcquire(acquire)) => acquire.wait.0 > 0,
        Request::Queue(Queue::Pull(pull)) => pull.wait.0 > 0,
        _ => false,
    }
}

/// Keeps the seat for as long as the request waits, and counts how long that is, if it is one for a
/// lock or for permits.
pub fn counted(node: &Arc<Node>, op: u16, seat: Option<Seat>, later: Later) -> Later {
    let is_counted = matches!(op, Lock::CODE | SemAcquire::CODE);
    let wait = is_counted.then(|| Wait { node: Arc::clone(node), since: node.now() });
    Box::pin(async move {
        let _until_then = (seat, wait);
        later.await
    })
}
