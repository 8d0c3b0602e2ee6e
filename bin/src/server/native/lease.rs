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
use super::reply::{Given, Reply};
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
        let lease =
            || at.ext.lease.ok_or_else(|| Failure::invalid("the extension `lease` is missing"));
        match *request {
            Request::LeaseGrant(grant) => self.grant_lease(&grant, reply)?,
            Request::Keepalive(keep) => {
                self.check_keys(keep.leases.len())?;
                let leases: Vec<u64> = keep.leases.iter().collect();
                self.keep_alive(&leases, reply)?;
            }
            Request::Revoke(revoke) => match self.ask(LockOp::Revoke { lease: revoke.lease }) {
                Ok(_) => reply.say(&RevokeReply::Ok {}),
                Err(gone) if gone.code == ErrorCode::LeaseExpired => {
                    reply.say(&RevokeReply::NotFound {});
                }
                Err(failure) => return Err(failure),
            },
            Request::LeaseInfo(info) => match lease_document(&self.node, info.lease) {
                Some(text) => reply.say(&LeaseInfoReply::Ok { lease: Json(&text) }),
                None => reply.say(&LeaseInfoReply::NotFound {}),
            },
            Request::Lock(lock) => {
                let shared = lock.mode == LockMode::Shared;
                let (key, wait) = (lock.key.0, lock.wait.0);
                let op = LockOp::Lock { key, lease: lease()?, shared, wait };
                return self.wait_for(at, key, op, Wanted::Lock, reply);
            }
            Request::Unlock(unlock) => {
                let op = LockOp::Unlock { key: unlock.key.0, token: unlock.fence };
                match self.node.structures_lock(op) {
                    Said::Done => reply.say(&UnlockReply::Ok {}),
                    Said::NotHolder { holder: None } => reply.say(&UnlockReply::NotFound {}),
                    other => return Err(unexpected(&other)),
                }
            }
            Request::LockInfo(info) => {
                let answer = self.ask(LockOp::LockInfo { key: info.key.0 })?;
                match lock_document(&answer) {
                    Some(text) => reply.say(&LockInfoReply::Ok { lock: Json(&text) }),
                    None => reply.say(&LockInfoReply::NotFound {}),
                }
            }
            Request::SemAcquire(acquire) => {
                let (key, permits, of) = (acquire.key.0, acquire.permits, acquire.of);
                let (lease, wait) = (lease()?, acquire.wait.0);
                let op = LockOp::Acquire { key, lease, permits, of, wait };
                let wanted = Wanted::Permits { key: key.to_vec(), of };
                return self.wait_for(at, key, op, wanted, reply);
            }
            Request::SemRelease(release) => {
                let (key, permits) = (release.key.0, release.permits);
                let before = self.ask(LockOp::SemaphoreInfo { key })?;
                self.ask(LockOp::Release { key, lease: lease()?, permits })?;
                let capacity = capacity(&before);
                reply.say(&SemReleaseReply::Ok { left: left(&self.node, key, capacity) });
            }
        }
        Ok(Flow::Said)
    }

    fn grant_lease(&self, grant: &LeaseGrant<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        if !(TTL_MIN_MS..=*TTL_MS.end()).contains(&grant.ttl.0) {
            return Err(Failure::invalid("`ttl` is 1000 to 86400000 ms"));
        }
        let op = LockOp::GrantLease { ttl: grant.ttl.0, about: grant.info.0.as_bytes() };
        match self.ask(op)? {
            Said::Lease { id, .. } => reply.say(&LeaseGrantReply::Ok { lease: id }),
            other => return Err(unexpected(&other)),
        }
        Ok(())
    }

    fn ask(&self, op: LockOp<'_>) -> Result<Said, Failure> {
        match self.node.structures_lock(op) {
            said @ (Said::Lease { .. }
            | Said::Alive(_)
            | Said::LeaseInfo(_)
            | Said::LockInfo(_)
            | Said::Granted { .. }
            | Said::Held { .. }
            | Said::Done) => Ok(said),
            other => Err(unexpected(&other)),
        }
    }

    fn keep_alive(&self, leases: &[u64], reply: &mut Reply<'_>) -> Result<(), Failure> {
        let alive = match self.ask(LockOp::KeepAlive { leases })? {
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

    /// Takes a lock or permits, now or later.
    fn wait_for(
        &mut self,
        at: &At<'_>,
        key: &[u8],
        op: LockOp<'_>,
        wanted: Wanted,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        match self.node.waiting.apply(&self.node, op) {
            Answer::Now(Said::Granted { token }) => wanted.granted(&self.node, token, reply),
            Answer::Now(Said::Held { holder }) => wanted.held(&self.node, holder, reply),
            Answer::Now(other) => return Err(unexpected(&other)),
            Answer::Later(pending) if at.may_wait => {
                let awaited = Awaited { object: at.id, key: key.to_vec() };
                let later = later(Arc::clone(&self.node), at.to, pending, wanted);
                return Ok(Flow::Waits(Box::pin(later), awaited));
            }
            Answer::Later(_) => {
                return Err(Failure::invalid("a request within another one cannot wait"));
            }
        }
        Ok(Flow::Said)
    }
}

/// What somebody asked for who may have to wait.
enum Wanted {
    Lock,
    Permits { key: Vec<u8>, of: u32 },
}

impl Wanted {
    fn granted(&self, node: &Arc<Node>, token: u64, reply: &mut Reply<'_>) {
        match self {
            Wanted::Lock => reply.say(&LockReply::Ok { fence: token }),
            Wanted::Permits { key, of } => {
                reply.say(&SemAcquireReply::Ok { left: left(node, key, *of) });
            }
        }
    }

    fn held(&self, node: &Arc<Node>, holder: Option<u64>, reply: &mut Reply<'_>) {
        match self {
            Wanted::Lock => {
                let about = holder.and_then(|lease| about(node, lease));
                let about = about.unwrap_or_else(|| Json::EMPTY.0.to_owned());
                reply.say(&LockReply::NotStored { holder: Json(&about) });
            }
            Wanted::Permits { key, of } => {
                reply.say(&SemAcquireReply::NotStored { left: left(node, key, *of) });
            }
        }
    }
}

async fn later(node: Arc<Node>, to: super::reply::To, pending: Pending, wanted: Wanted) -> Given {
    let mut all = Vec::new();
    let mut reply = Reply::kept(to, &mut all);
    match pending.await {
        Outcome::Granted { token } => wanted.granted(&node, token, &mut reply),
        Outcome::TimedOut { holder } => wanted.held(&node, holder, &mut reply),
        Outcome::LeaseGone => reply.fail(&Failure::of(ErrorCode::LeaseExpired)),
    }
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
fn left(node: &Arc<Node>, key: &[u8], of: u32) -> u32 {
    match node.structures_lock(LockOp::SemaphoreInfo { key }) {
        Said::LockInfo(Some(info)) => {
            let taken = info.holders.iter().map(|holder| holder.permits);
            taken.fold(info.capacity, u32::saturating_sub)
        }
        _ => of,
    }
}

fn about(node: &Arc<Node>, lease: u64) -> Option<String> {
    match node.structures_lock(LockOp::LeaseInfo { lease }) {
        Said::LeaseInfo(info) => String::from_utf8(info.about).ok(),
        _ => None,
    }
}

fn lease_document(node: &Arc<Node>, lease: u64) -> Option<String> {
    match node.structures_lock(LockOp::LeaseInfo { lease }) {
        Said::LeaseInfo(info) => {
            let about: Value = serde_json::from_slice(&info.about).unwrap_or(Value::Null);
            let (ttl, left, locks) = (info.ttl, info.left, info.attached);
            let lease = json!({ "ttl_ms": ttl, "left_ms": left, "info": about, "locks": locks });
            Some(lease.to_string())
        }
        _ => None,
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
