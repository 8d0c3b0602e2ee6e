//! Locks and semaphores.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::{Cache, Client, Error};
//! use isogrid_wire::client::lock::Taken;
//!
//! # async fn example(client: Client, report: Cache) -> Result<(), Error> {
//! let locks = client.locks("default").await?;
//! match locks.lock(b"nightly").wait(Duration::from_secs(5)).acquire().await? {
//!     Taken::Busy { holder } => println!("held by {holder}"),
//!     Taken::Held(guard) => {
//!         tokio::select! {
//!             () = guard.lost() => println!("somebody else may have it: stop"),
//!             done = async { report.put(b"total", b"17").fence(&guard).await } => drop(done?),
//!         }
//!         guard.release().await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Client;
use super::core::Fencing;
use super::error::{Cause, Error};
use super::handle::{decode, left, millis, parsed};
use super::lease::{Lease, forget_if_gone};
use super::object::{Make, Object};
use crate::native::catalog::ObjectKind;
use crate::native::lease::{
    self, LeaseInfo, LeaseInfoReply, LockInfo, LockInfoReply, LockMode, LockReply, SemAcquire,
    SemAcquireReply,
};
use crate::native::{ErrorCode, Key, Ms};

/// A space of locks and semaphores. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Locks {
    object: Arc<Object>,
}

/// A lock that is about to be taken.
#[derive(Debug)]
#[must_use = "nothing is taken before `acquire`"]
pub struct Take<'l> {
    locks: &'l Locks,
    key: &'l [u8],
    what: What,
    wait: Duration,
    ttl: Duration,
    info: String,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Lock(LockMode),
    /// How many, and of how many.
    Permits(u32, u32),
}

/// What came of asking for a lock or for permits.
#[derive(Debug)]
pub enum Taken {
    /// They are the caller's until the guard is dropped, or its lease is lost.
    Held(Guard),
    /// Others have them.
    Busy {
        /// What the holder of a lock said of itself, a JSON object; empty for a semaphore.
        holder: String,
    },
}

/// A lock or permits that this process holds.
///
/// Their lease is kept alive in the background. When it is lost all the same (the process was
/// stopped for too long, the network was cut, the server began anew) somebody else may have them:
/// [`Guard::lost`] ends then, and writes with [`super::cache::Write::fence`] are refused.
///
/// Dropping the guard gives them back, without waiting for it.
#[derive(Debug)]
pub struct Guard {
    lease: Lease,
    key: Vec<u8>,
    token: u64,
}

impl Client {
    /// The space of locks of this name; it is made if it is not there. A server that stands
    /// alone has one, `default`.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn locks(&self, name: &str) -> Result<Locks, Error> {
        let object = Object::new(self.handle.clone(), ObjectKind::Locks, name, Make::Plain);
        object.number(Instant::now() + self.handle.timeout).await?;
        Ok(Locks { object: Arc::new(object) })
    }
}

impl Locks {
    /// A lock, for one holder alone.
    pub fn lock<'l>(&'l self, key: &'l [u8]) -> Take<'l> {
        self.take(key, What::Lock(LockMode::Exclusive))
    }

    /// A lock, for any number of holders who all ask for it in this way.
    pub fn shared_lock<'l>(&'l self, key: &'l [u8]) -> Take<'l> {
        self.take(key, What::Lock(LockMode::Shared))
    }

    /// Permits of a semaphore that has `of` in all: as many as are asked for, or none. Everybody
    /// has to name the same `of` as long as any is taken.
    pub fn permits<'l>(&'l self, key: &'l [u8], permits: u32, of: u32) -> Take<'l> {
        self.take(key, What::Permits(permits, of))
    }

    /// What is known of a lock, a JSON object: `mode`, `fence`, `holders` (each with its `lease`) and
    /// how many are `waiting`; `None` if nobody holds it.
    ///
    /// # Errors
    ///
    /// No answer in time, or the server refused.
    pub async fn info(&self, key: &[u8]) -> Result<Option<Value>, Error> {
        let (handle, key) = (&self.object.handle, Key(key));
        let reply = self.object.call(|| handle.request(&LockInfo { key })).await?;
        match decode::<LockInfo<'_>>(&reply)? {
            LockInfoReply::Ok { lock } => parsed(&lock).map(Some),
            LockInfoReply::NotFound {} => Ok(None),
        }
    }

    /// What is known of the lease that a lock hangs on, a JSON object: `ttl_ms`, `left_ms`, `info`
    /// ([`Take::info`]) and `locks`; `None` if it has ended.
    ///
    /// # Errors
    ///
    /// As [`Locks::info`].
    pub async fn lease(&self, lease: u64) -> Result<Option<Value>, Error> {
        let handle = &self.object.handle;
        let reply = self.object.call(|| handle.request(&LeaseInfo { lease })).await?;
        match decode::<LeaseInfo>(&reply)? {
            LeaseInfoReply::Ok { lease } => parsed(&lease).map(Some),
            LeaseInfoReply::NotFound {} => Ok(None),
        }
    }

    fn take<'l>(&'l self, key: &'l [u8], what: What) -> Take<'l> {
        let (wait, ttl, info) = (Duration::ZERO, Duration::from_secs(10), "{}".to_owned());
        Take { locks: self, key, what, wait, ttl, info }
    }
}

impl Take<'_> {
    /// How long to wait for it. Default: not at all.
    pub fn wait(self, wait: Duration) -> Self {
        Take { wait, ..self }
    }

    /// So long after this process has died it is given to somebody else: 1 s to a day. Default:
    /// 10 s.
    pub fn ttl(self, ttl: Duration) -> Self {
        Take { ttl, ..self }
    }

    /// What those who wait are told of the holder: a JSON object.
    pub fn info(self, info: &str) -> Self {
        Take { info: info.to_owned(), ..self }
    }

    /// Takes it. A future that is dropped gives it back, if it was given already.
    ///
    /// # Errors
    ///
    /// No answer in time, or the server refused. Whatever the outcome, nothing stays taken.
    pub async fn acquire(self) -> Result<Taken, Error> {
        let deadline = Instant::now() + self.wait + self.locks.object.handle.timeout;
        loop {
            match self.attempt(deadline).await {
                // The server has begun anew, with no locks taken.
                Err(error) if begins_anew(&error) && !left(deadline).is_zero() => {}
                other => return other,
            }
        }
    }

    async fn attempt(&self, deadline: Instant) -> Result<Taken, Error> {
        let object = &self.locks.object;
        let lease = Lease::grant(object, self.ttl, &self.info, deadline).await?;
        let wait = Ms(millis(self.wait.min(left(deadline))));
        let key = Key(self.key);
        let mut request = lease.request(match self.what {
            What::Lock(mode) => object.handle.request(&lease::Lock { key, mode, wait }),
            What::Permits(permits, of) => {
                object.handle.request(&SemAcquire { key, permits, of, wait })
            }
        });
        request.timeout = Some(left(deadline));
        let reply = object.handle.call(request).await.inspect_err(|error| {
            forget_if_gone(object, lease.number, error);
        })?;
        let guard = |token| Guard { lease, key: self.key.to_vec(), token };
        Ok(match self.what {
            What::Lock(_) => match decode::<lease::Lock<'_>>(&reply)? {
                LockReply::Ok { fence } => Taken::Held(guard(fence)),
                LockReply::NotStored { holder } => Taken::Busy { holder: holder.0.to_owned() },
            },
            What::Permits(..) => match decode::<SemAcquire<'_>>(&reply)? {
                SemAcquireReply::Ok { .. } => Taken::Held(guard(0)),
                SemAcquireReply::NotStored { .. } => Taken::Busy { holder: String::new() },
            },
        })
    }
}

fn begins_anew(error: &Error) -> bool {
    let gone = [Some(ErrorCode::LeaseExpired), Some(ErrorCode::NoSuchObject)];
    error.cause == Cause::OtherLife || gone.contains(&error.code())
}

impl Taken {
    /// The guard, if it was taken.
    #[must_use]
    pub fn guard(self) -> Option<Guard> {
        match self {
            Taken::Held(guard) => Some(guard),
            Taken::Busy { .. } => None,
        }
    }
}

impl Guard {
    /// The fencing token: larger than that of every holder before. 0 for permits.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether somebody else may have it by now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Ends when somebody else may have it: for a `select!` with the work that it guards.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Gives it back, and waits for that.
    ///
    /// # Errors
    ///
    /// [`Cause::LeaseLost`]: it was lost before, and the work that it guarded may have been done
    /// by somebody else too. Others: it goes when its lease ends.
    pub async fn release(self) -> Result<(), Error> {
        self.lease.end().await
    }

    pub(super) fn fencing(&self) -> Fencing {
        let (key, token) = (self.key.clone(), self.token);
        Fencing { object: self.lease.number.1, key, token }
    }
}
