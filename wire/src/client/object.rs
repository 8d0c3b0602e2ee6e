//! Named things and their numbers. A number is asked for once in a life of the server, and again
//! when the server has begun anew or says that it knows no such number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::core::{Life, Reply, Request};
use super::error::{Cause, Error};
use super::handle::{Handle, decode, left};
use crate::native::catalog::{Create, CreateMode, CreateReply, ObjectKind, Resolve, ResolveReply};
use crate::native::schema::Repeat;
use crate::native::topology::is_of_cluster;
use crate::native::{ErrorCode, Json};

/// What to do about an object that is not there.
#[derive(Debug)]
pub enum Make {
    /// Fail.
    Never,
    /// Make it with default options.
    Plain,
    /// Make it with these options, a JSON object; they are compared if it is there.
    With(String),
}

/// A named object.
#[derive(Debug)]
pub struct Object {
    pub handle: Handle,
    pub kind: ObjectKind,
    pub name: String,
    make: Make,
    /// Life and number in one word; 0: not known.
    known: AtomicU64,
}

impl Object {
    pub fn new(handle: Handle, kind: ObjectKind, name: &str, make: Make) -> Self {
        Object { handle, kind, name: name.to_owned(), make, known: AtomicU64::new(0) }
    }

    /// The number, and the life that it is of.
    pub async fn number(&self, deadline: Instant) -> Result<(Life, u32), Error> {
        match self.known.load(Ordering::Acquire) {
            0 => self.ask(deadline).await,
            known => Ok(apart(known)),
        }
    }

    async fn ask(&self, deadline: Instant) -> Result<(Life, u32), Error> {
        let (kind, name) = (self.kind, self.name.as_str());
        let (life, id) = match &self.make {
            Make::With(options) => {
                let (mode, options) = (CreateMode::OpenOrCreate, Json(options));
                let create = Create { kind, name, mode, options };
                let reply = self.within(deadline, self.handle.request(&create)).await?;
                let CreateReply::Ok { id, .. } = decode::<Create<'_>>(&reply)?;
                (reply.life, id)
            }
            Make::Never | Make::Plain => {
                let create = matches!(self.make, Make::Plain);
                let resolve = Resolve { kind, name, create };
                let reply = self.within(deadline, self.handle.request(&resolve)).await?;
                match decode::<Resolve<'_>>(&reply)? {
                    ResolveReply::Ok { id, .. } => (reply.life, id),
                    ResolveReply::NotFound {} => {
                        return Err(Error::failed(Cause::NoSuchObject(self.name.clone())));
                    }
                }
            }
        };
        self.known.store(u64::from(life) << 32 | u64::from(id), Ordering::Release);
        Ok((life, id))
    }

    async fn within(&self, deadline: Instant, mut request: Request) -> Result<Reply, Error> {
        request.timeout = Some(left(deadline));
        self.handle.call(request).await
    }

    /// What was known turned out to be wrong.
    pub fn forget(&self, (life, id): (Life, u32)) {
        let known = u64::from(life) << 32 | u64::from(id);
        // Somebody else may have learned better in between.
        let _ = self.known.compare_exchange(known, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The items in parts, each of those whose keys one member serves; `None` when all are one part.
    pub async fn parts<I: Copy>(
        &self,
        items: &[I],
        reads: bool,
        hash: impl Fn(I) -> u64,
    ) -> Result<Option<Vec<Vec<usize>>>, Error> {
        let (_, number) = self.number(Instant::now() + self.handle.timeout).await?;
        if items.len() < 2 || !is_of_cluster(number) {
            return Ok(None);
        }
        let hashes = items.iter().map(|item| hash(*item)).collect();
        let Some(places) = self.handle.places(number, reads, hashes).await else { return Ok(None) };
        let mut parts: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (at, place) in places.into_iter().enumerate() {
            parts.entry(place).or_default().push(at);
        }
        Ok((parts.len() > 1).then(|| parts.into_values().collect()))
    }

    /// Asks about this object, within the client's timeout. The request is made anew for each
    /// attempt.
    pub async fn call(&self, request: impl Fn() -> Request) -> Result<Reply, Error> {
        self.call_within(self.handle.timeout, request).await
    }

    /// As [`Object::call`], within another time.
    pub async fn call_within(
        &self,
        timeout: Duration,
        request: impl Fn() -> Request,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + timeout;
        let mut doubt = false;
        let mut resolved_anew = false;
        loop {
            let number = self.number(deadline).await.map_err(|error| doubtful(error, doubt))?;
            let mut request = request();
            let dedup = request.repeat == Repeat::Dedup || request.tagged && !request.reads();
            (request.life, request.object) = (life_of(number), number.1);
            (request.doubt, request.timeout) = (doubt, Some(left(deadline)));
            let result = self.handle.call(request).await;
            let Err(error) = &result else { return result };
            let anew = match (&error.cause, error.code()) {
                // What was tagged may have been done in the life before, which nobody remembers.
                (Cause::OtherLife, _) => !(error.is_unknown() && dedup),
                (_, Some(ErrorCode::NoSuchObject)) => !std::mem::replace(&mut resolved_anew, true),
                _ => false,
            };
            if !anew {
                return result;
            }
            doubt |= error.is_unknown();
            self.forget(number);
        }
    }
}

/// The life that a number is of; `None` where it stands for the same in all.
pub fn life_of((life, number): (Life, u32)) -> Option<Life> {
    (!is_of_cluster(number)).then_some(life)
}

fn apart(known: u64) -> (Life, u32) {
    let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
    (low(known >> 32), low(known))
}

/// An error of a request within another one, which may have been executed before.
fn doubtful(error: Error, doubt: bool) -> Error {
    if doubt { Error::unknown(error.cause) } else { Error::failed(error.cause) }
}
