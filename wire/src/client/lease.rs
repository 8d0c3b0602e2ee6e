//! Leases, kept alive in the background.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::core::{Life, Request};
use super::error::{Cause, Error};
use super::handle::{decode, left, millis};
use super::object::Object;
use crate::native::lease::{
    Keepalive, KeepaliveReply, LeaseGrant, LeaseGrantReply, Revoke, RevokeReply,
};
use crate::native::schema::Repeat;
use crate::native::{ErrorCode, Json, List, Ms, Status};

/// A lease that is kept alive until it is dropped, or lost. What hangs on it goes with it.
#[derive(Debug)]
pub struct Lease {
    pub object: Arc<Object>,
    /// The life of the server and the number of the space: leases end with both.
    pub number: (Life, u32),
    pub id: u64,
    lost: watch::Receiver<bool>,
    keeper: AbortHandle,
    /// Given back or lost: there is nothing to end any more.
    over: bool,
}

impl Lease {
    /// Grants a lease that ends `ttl` after this client, or its connection, has died.
    pub async fn grant(
        object: &Arc<Object>,
        ttl: Duration,
        info: &str,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let number = object.number(deadline).await?;
        let grant = LeaseGrant { ttl: Ms(millis(ttl)), info: Json(info) };
        let mut request = object.handle.request(&grant);
        (request.life, request.object) = (Some(number.0), number.1);
        request.timeout = Some(left(deadline));
        let asked = Instant::now();
        let reply = match object.handle.call(request).await {
            Ok(reply) => reply,
            Err(error) => {
                forget_if_gone(object, number, &error);
                return Err(error);
            }
        };
        let LeaseGrantReply::Ok { lease } = decode::<LeaseGrant<'_>>(&reply)?;
        let (told, lost) = watch::channel(false);
        let keeping = keep(Arc::clone(object), number, lease, ttl, asked, told);
        let keeper = tokio::spawn(keeping).abort_handle();
        Ok(Lease { object: Arc::clone(object), number, id: lease, lost, keeper, over: false })
    }

    /// A request about the space, that belongs to this lease.
    pub fn request(&self, mut request: Request) -> Request {
        (request.life, request.object) = (Some(self.number.0), self.number.1);
        request.lease = Some(self.id);
        request
    }

    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Ends when the lease is lost.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // The keeper goes only with the lease.
        drop(lost.wait_for(|lost| *lost).await);
    }

    /// Ends the lease, and says whether it had lasted until then.
    pub async fn end(mut self) -> Result<(), Error> {
        let request = self.revocation();
        let reply = self.object.handle.call(request).await;
        let lost = Error::failed(Cause::LeaseLost);
        match reply {
            Ok(reply) => {
                self.over = true;
                match decode::<Revoke>(&reply)? {
                    RevokeReply::Ok {} => Ok(()),
                    RevokeReply::NotFound {} => Err(lost),
                }
            }
            Err(error) if error.cause == Cause::OtherLife => Err(lost),
            Err(error) => Err(error),
        }
    }

    fn revocation(&self) -> Request {
        let mut request = self.object.handle.request(&Revoke { lease: self.id });
        (request.life, request.object) = (Some(self.number.0), self.number.1);
        // Done twice it would say that the lease had ended before.
        request.repeat = Repeat::Dedup;
        request
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
        if !self.over && !self.is_lost() {
            self.object.handle.detach(self.revocation());
        }
    }
}

pub fn forget_if_gone(object: &Object, number: (Life, u32), error: &Error) {
    if error.cause == Cause::OtherLife || error.code() == Some(ErrorCode::NoSuchObject) {
        object.forget(number);
    }
}

/// Says again and again that the holder lives, until the lease is lost: when the server says so,
/// or when nobody can be sure of it any more. That is `ttl` after the last sign of life that was
/// answered had been *sent*: the server counts from a later moment.
async fn keep(
    object: Arc<Object>,
    number: (Life, u32),
    lease: u64,
    ttl: Duration,
    granted: Instant,
    told: watch::Sender<bool>,
) {
    let mut until = granted + ttl;
    loop {
        let next = (until - ttl * 2 / 3).max(Instant::now() + ttl / 10).min(until);
        sleep_until(next).await;
        let asked = Instant::now();
        if asked >= until {
            break;
        }
        let leases = [lease];
        let mut request = object.handle.request(&Keepalive { leases: List::of(&leases) });
        (request.life, request.object) = (Some(number.0), number.1);
        request.timeout = Some(left(until));
        match object.handle.call(request).await {
            Ok(reply) if lives(&reply) => until = asked + ttl,
            Ok(_) => break,
            Err(error) if error.cause == Cause::OtherLife => break,
            Err(_) => {}
        }
    }
    // Nobody may have asked for it.
    told.send_replace(true);
}

fn lives(reply: &super::core::Reply) -> bool {
    match decode::<Keepalive<'_>>(reply) {
        Ok(KeepaliveReply::Ok { leases } | KeepaliveReply::Partial { leases }) => {
            leases.iter().all(|lease| lease.status == Status::Ok)
        }
        Err(_) => false,
    }
}
