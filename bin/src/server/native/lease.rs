//! Group 0x04: leases, locks and semaphores. Who has to wait is answered later.

use std::sync::Arc;

use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::lease::TTL_MS;
use isogrid_grid::structure::lock::{LockInfo, LockOp, LockReply as Said, Outcome};
use isogrid_wire::native::lease::{
    KeepaliveReply, LeaseGrant, LeaseGrantReply, LeaseInfoReply, LeaseLeft, LockInfoReply,
    LockMode, LockReply, Request, RevokeReply, SemAcquireReply, SemReleaseReply, UnlockReply,
};
use isogrid_wire::native::{ErrorCode, Json, List, Ms, Status};
use serde_json::{Value, json};

use super::failure::Failure;
use super::reply::{Given, Reply, To};
use super::request::{At, Flow};
use super::session::Session;
use super::under_way::Awaited;
use crate::server::locks::{Answer, Pending};
use crate::server::node::Node;

/// Shortest lease that the protocol grants, ms.
const TTL_MIN_MS: u64 = 1_000;
/// When numbers are short they come back soon, ms.
const RETRY_MS: u32 = 50;
/// The permits of a lock that is held alone.
const EXCLUSIVE: u32 = u32::MAX;

/// Where leases, locks and semaphores are: the node's own, or those of its cluster.
pub trait Place {
    /// What comes of a request that waits.
    type Pending;

    /// Does an operation.
    ///
    /// # Errors
    /// It was not done.
    fn ask(&self, op: LockOp<'_>) -> Result<Answer<Self::Pending>, Failure>;

    /// Does one that does not wait.
    ///
    /// # Errors
    /// It was not done.
    fn ask_now(&self, op: LockOp<'_>) -> Result<Said, Failure> {
        match self.ask(op)? {
            Answer::Now(said) => Ok(said),
            Answer::Later(_) => Ok(Said::Held { holder: None }),
        }
    }
}

impl Place for Arc<Node> {
    type Pending = Pending;

    fn ask(&self, op: LockOp<'_>) -> Result<Answer<Pending>, Failure> {
        Ok(self.waiting.apply(self, op))
    }
}

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn lease(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        at.object(Kind::Locks)?;
        if let Request::Keepalive(keep) = request {
            self.check_keys(keep.leases.len())?;
        }
        if let Some(way) = self.structures_of_cluster() {
            return self.clustered_lease(way, at, request);
        }
        let Some((pending, wanted)) = answer(&self.node, at.ext.lease, request, u64::MAX, reply)?
        else {
            return Ok(Flow::Said);
        };
        if !at.may_wait {
            return Err(cannot_wait());
        }
        let later = later(Arc::clone(&self.node), at.to, pending, wanted);
        Ok(Flow::Waits(Box::pin(later), Awaited { object: at.id, key: key_of(request) }))
    }
}

/// What requests are refused with that would have to wait and cannot.
pub fn cannot_wait() -> Failure {
    Failure::invalid("a request within another one cannot wait")
}

/// The lock or semaphore that a request is about.
pub fn key_of(request: &Request<'_>) -> Vec<u8> {
    match request {
        Request::Lock(lock) => lock.key.0.to_vec(),
        Request::SemAcquire(acquire) => acquire.key.0.to_vec(),
        _ => Vec::new(),
    }
}

/// Answers a request, unless it waits, which it does no longer than `wait_max`, ms: then what comes
/// of it is still to be said.
///
/// # Errors
/// Why it was not done.
pub fn answer<P: Place>(
    place: &P,
    lease: Option<u64>,
    request: &Request<'_>,
    wait_max: u64,
    reply: &mut Reply<'_>,
) -> Result<Option<(P::Pending, Wanted)>, Failure> {
    let lease = || lease.ok_or_else(|| Failure::invalid("the extension `lease` is missing"));
    let (op, wanted) = match *request {
        Request::Lock(lock) => {
            let (shared, wait) = (lock.mode == LockMode::Shared, lock.wait.0.min(wait_max));
            (LockOp::Lock { key: lock.key.0, lease: lease()?, shared, wait }, Wanted::Lock)
        }
        Request::SemAcquire(acquire) => {
            let (key, permits, of) = (acquire.key.0, acquire.permits, acquire.of);
            let wait = acquire.wait.0.min(wait_max);
            let op = LockOp::Acquire { key, lease: lease()?, permits, of, wait };
            (op, Wanted::Permits { key: key.to_vec(), of })
        }
        _ => return answer_now(place, lease, request, reply).map(|()| None),
    };
    match place.ask(op)? {
        Answer::Now(Said::Granted { token }) => wanted.granted(place, token, reply),
        Answer::Now(Said::Held { holder }) => wanted.held(place, holder, reply),
        Answer::Now(other) => return Err(unexpected(&other)),
        Answer::Later(pending) => return Ok(Some((pending, wanted))),
    }
    Ok(None)
}

/// Answers a request that never waits.
fn answer_now<P: Place>(
    place: &P,
    lease: impl Fn() -> Result<u64, Failure>,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Failure> {
    match *request {
        Request::LeaseGrant(grant) => grant_lease(place, &grant, reply)?,
        Request::Keepalive(keep) => {
            let leases: Vec<u64> = keep.leases.iter().collect();
            keep_alive(place, &leases, reply)?;
        }
        Request::Revoke(revoke) => match place.ask_now(LockOp::Revoke { lease: revoke.lease })? {
            Said::Done => reply.say(&RevokeReply::Ok {}),
            Said::LeaseGone => reply.say(&RevokeReply::NotFound {}),
            other => return Err(unexpected(&other)),
        },
        Request::LeaseInfo(info) => match lease_document(place, info.lease)? {
            Some(text) => reply.say(&LeaseInfoReply::Ok { lease: Json(&text) }),
            None => reply.say(&LeaseInfoReply::NotFound {}),
        },
        Request::Unlock(unlock) => {
            let op = LockOp::Unlock { key: unlock.key.0, token: unlock.fence };
            match place.ask_now(op)? {
                Said::Done => reply.say(&UnlockReply::Ok {}),
                Said::NotHolder { holder: None } => reply.say(&UnlockReply::NotFound {}),
                other => return Err(unexpected(&other)),
            }
        }
        Request::LockInfo(info) => {
            let answer = place.ask_now(LockOp::LockInfo { key: info.key.0 })?;
            match lock_document(&answer) {
                Some(text) => reply.say(&LockInfoReply::Ok { lock: Json(&text) }),
                None => reply.say(&LockInfoReply::NotFound {}),
            }
        }
        Request::SemRelease(release) => {
            let (key, permits) = (release.key.0, release.permits);
            let before = place.ask_now(LockOp::SemaphoreInfo { key })?;
            match place.ask_now(LockOp::Release { key, lease: lease()?, permits })? {
                Said::Done => {}
                other => return Err(unexpected(&other)),
            }
            let left = left(place, key, capacity(&before));
            reply.say(&SemReleaseReply::Ok { left });
        }
        Request::Lock(_) | Request::SemAcquire(_) => return Err(Failure::of(ErrorCode::Internal)),
    }
    Ok(())
}

fn grant_lease<P: Place>(
    place: &P,
    grant: &LeaseGrant<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Failure> {
    if !(TTL_MIN_MS..=*TTL_MS.end()).contains(&grant.ttl.0) {
        return Err(Failure::invalid("`ttl` is 1000 to 86400000 ms"));
    }
    let op = LockOp::GrantLease { ttl: grant.ttl.0, about: grant.info.0.as_bytes() };
    match place.ask_now(op)? {
        Said::Lease { id, .. } => reply.say(&LeaseGrantReply::Ok { lease: id }),
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

fn keep_alive<P: Place>(place: &P, leases: &[u64], reply: &mut Reply<'_>) -> Result<(), Failure> {
    let alive = match place.ask_now(LockOp::KeepAlive { leases })? {
        Said::Alive(alive) => alive,
        other => return Err(unexpected(&other)),
    };
    let one = |left: Option<u64>| {
        let status = if left.is_some() { Status::Ok } else { Status::NotFound };
        LeaseLeft { status, left: Ms(left.unwrap_or(0)) }
    };
    let all = alive.iter().all(Option::is_some);
    let alive: Vec<_> = alive.into_iter().map(one).collect();
    let leases = List::of(&alive);
    reply.say(&if all {
        KeepaliveReply::Ok { leases }
    } else {
        KeepaliveReply::Partial { leases }
    });
    Ok(())
}

/// What somebody asked for who may have to wait.
pub enum Wanted {
    /// A lock.
    Lock,
    /// Permits of a semaphore.
    Permits {
        /// The semaphore.
        key: Vec<u8>,
        /// How many it has in all.
        of: u32,
    },
}

impl Wanted {
    /// Says what came of it.
    pub fn finish<P: Place>(&self, place: &P, outcome: Outcome, reply: &mut Reply<'_>) {
        match outcome {
            Outcome::Granted { token } => self.granted(place, token, reply),
            Outcome::TimedOut { holder } => self.held(place, holder, reply),
            Outcome::LeaseGone => reply.fail(&Failure::of(ErrorCode::LeaseExpired)),
        }
    }

    fn granted<P: Place>(&self, place: &P, token: u64, reply: &mut Reply<'_>) {
        match self {
            Wanted::Lock => reply.say(&LockReply::Ok { fence: token }),
            Wanted::Permits { key, of } => {
                reply.say(&SemAcquireReply::Ok { left: left(place, key, *of) });
            }
        }
    }

    fn held<P: Place>(&self, place: &P, holder: Option<u64>, reply: &mut Reply<'_>) {
        match self {
            Wanted::Lock => {
                let about = holder.and_then(|lease| about(place, lease));
                let about = about.unwrap_or_else(|| Json::EMPTY.0.to_owned());
                reply.say(&LockReply::NotStored { holder: Json(&about) });
            }
            Wanted::Permits { key, of } => {
                reply.say(&SemAcquireReply::NotStored { left: left(place, key, *of) });
            }
        }
    }
}

async fn later(node: Arc<Node>, to: To, pending: Pending, wanted: Wanted) -> Given {
    let mut all = Vec::new();
    wanted.finish(&node, pending.await, &mut Reply::kept(to, &mut all));
    all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)))
}

/// The answers that are failures here.
fn unexpected(said: &Said) -> Failure {
    match said {
        Said::LeaseGone => Failure::of(ErrorCode::LeaseExpired),
        Said::NotHolder { .. } => Failure::of(ErrorCode::NotHolder),
        Said::WouldDeadlock => {
            Failure::invalid("the lease holds the lock shared; it would wait for itself")
        }
        Said::Capacity { have } => {
            let why = format!("the semaphore has {have} permits in all");
            Failure::invalid(why).with("of", have.to_string())
        }
        Said::Full { what, limit } => {
            let why = format!("{what}: at most {limit}");
            Failure::new(ErrorCode::QuotaExceeded, why).with("limit", limit.to_string())
        }
        Said::Invalid(why) => Failure::invalid(*why),
        Said::Later => {
            let why = "the next numbers are not durable yet";
            Failure::new(ErrorCode::Overloaded, why).after(RETRY_MS)
        }
        Said::Lease { .. }
        | Said::Alive(_)
        | Said::LeaseInfo(_)
        | Said::LockInfo(_)
        | Said::Granted { .. }
        | Said::Waiting { .. }
        | Said::Held { .. }
        | Said::Done
        | Said::NotWaiting => Failure::of(ErrorCode::Internal),
    }
}

fn capacity(said: &Said) -> u32 {
    match said {
        Said::LockInfo(Some(info)) => info.capacity,
        _ => 0,
    }
}

/// How many permits of `of` are left.
fn left<P: Place>(place: &P, key: &[u8], of: u32) -> u32 {
    match place.ask_now(LockOp::SemaphoreInfo { key }) {
        Ok(Said::LockInfo(Some(info))) => {
            let taken = info.holders.iter().map(|holder| holder.permits);
            taken.fold(info.capacity, u32::saturating_sub)
        }
        _ => of,
    }
}

fn about<P: Place>(place: &P, lease: u64) -> Option<String> {
    match place.ask_now(LockOp::LeaseInfo { lease }) {
        Ok(Said::LeaseInfo(info)) => String::from_utf8(info.about).ok(),
        _ => None,
    }
}

fn lease_document<P: Place>(place: &P, lease: u64) -> Result<Option<String>, Failure> {
    match place.ask_now(LockOp::LeaseInfo { lease })? {
        Said::LeaseInfo(info) => {
            let about: Value = serde_json::from_slice(&info.about).unwrap_or(Value::Null);
            let (ttl, left, locks) = (info.ttl, info.left, info.attached);
            let lease = json!({ "ttl_ms": ttl, "left_ms": left, "info": about, "locks": locks });
            Ok(Some(lease.to_string()))
        }
        _ => Ok(None),
    }
}

fn lock_document(said: &Said) -> Option<String> {
    let Said::LockInfo(Some(LockInfo { holders, waiting, .. })) = said else { return None };
    let exclusive = holders.iter().any(|holder| holder.permits == EXCLUSIVE);
    let mode = if exclusive { LockMode::Exclusive } else { LockMode::Shared };
    let fence = holders.iter().map(|holder| holder.token).max().unwrap_or(0);
    let leases: Vec<_> =
        holders.iter().map(|holder| json!({ "lease": holder.lease.to_string() })).collect();
    let fence = fence.to_string();
    let lock =
        json!({ "mode": mode.word(), "fence": fence, "holders": leases, "waiting": waiting });
    Some(lock.to_string())
}
