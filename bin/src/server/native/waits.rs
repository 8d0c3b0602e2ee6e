//! How long requests wait for locks and permits, and how many of one user wait for anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use isogrid_wire::native::lease::{Lock, Request as Lease, SemAcquire};
use isogrid_wire::native::queue::Request as Queue;
use isogrid_wire::native::{Call, ErrorCode, Request};
use parking_lot::Mutex;

use super::failure::Failure;
use super::under_way::Later;
use crate::security::Identity;
use crate::server::node::Node;

/// Requests that wait at once, whoever asked for them (SECURITY S4).
const WAITING_MAX: usize = 10_000;

/// Waits that came to their end, whatever that was, and who waits now.
#[derive(Default)]
pub struct Waits {
    /// How many for locks and permits have ended.
    pub count: AtomicU64,
    /// How long all of those took together, ms.
    pub ms: AtomicU64,
    /// Requests that have a seat.
    seated: AtomicUsize,
    /// The same, by user.
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

/// A place among the requests that wait, and among those of its user.
pub struct Seat {
    node: Arc<Node>,
    user: Option<Arc<str>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.node.waits.seated.fetch_sub(1, Ordering::Relaxed);
        let Some(user) = &self.user else { return };
        let mut by_user = self.node.waits.by_user.lock();
        if let Some(seats) = by_user.get_mut(user) {
            *seats -= 1;
            if *seats == 0 {
                by_user.remove(user);
            }
        }
    }
}

/// A seat for a request that may wait.
///
/// # Errors
/// As many requests wait as may, of all or of the user.
pub fn seat(
    node: &Arc<Node>,
    who: Option<&Identity>,
    request: &Request<'_>,
) -> Result<Option<Seat>, Failure> {
    if !may_wait(request) {
        return Ok(None);
    }
    let before = node.waits.seated.fetch_add(1, Ordering::Relaxed);
    let mut seat = Seat { node: Arc::clone(node), user: None };
    if before >= WAITING_MAX {
        return Err(full(WAITING_MAX, "requests of this node wait, as many as may"));
    }
    if let (Some(who), Some(max)) = (who, node.config.limits.waiting_per_user) {
        let mut by_user = node.waits.by_user.lock();
        let seats = by_user.entry(Arc::clone(&who.user)).or_default();
        if *seats >= max {
            // The seat gives itself back, and looks at nobody's: it has no user yet.
            return Err(full(
                max,
                "requests of this user wait, as many as may: limits.waiting_per_user",
            ));
        }
        *seats += 1;
        seat.user = Some(Arc::clone(&who.user));
    }
    Ok(Some(seat))
}

fn full(max: usize, what: &str) -> Failure {
    Failure::new(ErrorCode::QuotaExceeded, format!("{max} {what}")).with("limit", max.to_string())
}

fn may_wait(request: &Request<'_>) -> bool {
    match request {
        Request::Lease(Lease::Lock(lock)) => lock.wait.0 > 0,
        Request::Lease(Lease::SemAcquire(acquire)) => acquire.wait.0 > 0,
        Request::Queue(Queue::Pull(pull)) => pull.wait.0 > 0,
        Request::Queue(Queue::Read(read)) => read.wait.0 > 0,
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
