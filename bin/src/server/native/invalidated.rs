//! Requests for invalidated caches: executed here, if this member may serve, and a write is answered
//! when the others have heard of it (DATA_PATH R38-R40). `server/invalidated` says what is a write.

use std::future::poll_fn;
use std::sync::Arc;

use isogrid_grid::catalog::{Kind, Object};
use isogrid_grid::invalidation::{Item, Ticket};
use isogrid_wire::native::cache::{PutReply, Request};
use isogrid_wire::native::{ErrorCode, WriteOptions};

use super::edit;
use super::failure::Failure;
use super::reply::{Given, Reply};
use super::request::{At, Flow};
use super::session::Session;
use super::under_way::Later;
use crate::cluster::{Cluster, Fresh, Invalidated};

/// An invalidated cache, and those who have to hear of its writes.
type Way = (Arc<Cluster>, Arc<Invalidated>);

/// What a request is to the cache.
enum What<'a> {
    /// It reads this key, or several.
    Read(Option<&'a [u8]>),
    /// It stores what was loaded because the key was missed.
    Fill(&'a [u8]),
    /// It writes these.
    Keys(Vec<&'a [u8]>),
    /// It removes all entries.
    All,
}

impl Session {
    /// The cache, if it is an invalidated one.
    pub fn invalidated(&self, object: Option<&Arc<Object>>) -> Option<Way> {
        let cluster = self.node.cluster.get()?;
        let object = object.filter(|object| object.kind == Kind::Cache)?;
        Some((Arc::clone(cluster), cluster.invalidated(&object.name)?))
    }

    /// Executes a request for an invalidated cache.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn invalidated_cache(
        &mut self,
        (cluster, cache): Way,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let what = self.what(request)?;
        if matches!(what, What::Keys(_) | What::All) {
            self.check_wait(at)?;
        }
        let fresh = cluster.fresh().ok_or_else(away)?;
        let items = items(&cache, &what);
        let token = match what {
            What::Fill(key) => self.misses.take(&cache, key),
            What::Read(_) | What::Keys(_) | What::All => None,
        };
        let mut execute = || {
            let mut all = Vec::new();
            if let Err(failure) = self.cache(at, request, &mut Reply::kept(at.to, &mut all)) {
                all.push(Given::failure(&failure));
            }
            all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)))
        };
        let given = match (&what, token) {
            (What::Fill(key), Some(token)) => {
                let refused = PutReply::NotStored { version: 0, prev: None };
                let done = cache.fills.fill(key, token, execute);
                done.unwrap_or_else(|| Given::answer(&refused))
            }
            (What::Read(_) | What::Fill(_), _) => execute(),
            (What::Keys(keys), _) => {
                // A load that begins from here on brings what its writer has written before.
                keys.iter().for_each(|key| cache.fills.kill(key, || ()));
                execute()
            }
            (What::All, _) => cache.fills.kill_all(execute),
        };
        if !items.is_empty() {
            let ticket = cluster.tell_written(fresh, &items);
            return Ok(Flow::Later(told(cluster, ticket, given)));
        }
        self.answer_read(at, (&cluster, &cache, fresh), &what, &given, reply)
    }

    /// What was read is true if the cache may still be served. Who misses a key may load it.
    fn answer_read(
        &mut self,
        at: &At<'_>,
        (cluster, cache, fresh): (&Cluster, &Invalidated, Fresh),
        what: &What<'_>,
        given: &Given,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        if let What::Read(Some(key)) = what {
            let found = at.object(Kind::Cache)?.cache.as_ref();
            let batch = found.map(|cache| cache.batch(self.now));
            let hash = found.map(|cache| cache.hash(key));
            if let Some((batch, hash)) = batch.zip(hash)
                && batch.peek(hash, key).is_none()
            {
                self.misses.note(cache, key);
            }
        }
        if !cluster.is_still(fresh) {
            return Err(away());
        }
        reply.give(given);
        Ok(Flow::Said)
    }

    fn what<'a>(&self, request: &Request<'a>) -> Result<What<'a>, Failure> {
        let is_fill = |switches: u16| switches & WriteOptions::IF_ABSENT != 0;
        Ok(match request {
            Request::Get(get) => What::Read(Some(get.key.0)),
            Request::MapGet(get) => What::Read(Some(get.key.0)),
            // As `gat` of memcached: the time of what this member has.
            Request::GetTouch(touch) => What::Read(Some(touch.key.0)),
            Request::GetMany(_) | Request::Size(_) => What::Read(None),
            Request::Put(put) if is_fill(put.write.switches) => What::Fill(put.key.0),
            Request::PutMany(many) if is_fill(many.write.switches) => return Err(one_fill()),
            Request::PutMany(many) => {
                What::Keys(many.entries.iter().map(|one| one.key.0).collect())
            }
            Request::RemoveMany(many) => What::Keys(many.keys.iter().map(|key| key.0).collect()),
            Request::TouchMany(many) => What::Keys(many.keys.iter().map(|key| key.0).collect()),
            Request::Clear(clear) if clear.delay_ms != 0 => return Err(at_once()),
            Request::Clear(_) => What::All,
            _ => match edit::of(request, self.limits.value_len_max)? {
                Some((key, _)) => What::Keys(vec![key]),
                None => return Err(not_here()),
            },
        })
    }
}

fn items(cache: &Invalidated, what: &What<'_>) -> Vec<Item> {
    match what {
        What::Read(_) | What::Fill(_) => Vec::new(),
        What::Keys(keys) => keys.iter().map(|key| cache.item(Some(key))).collect(),
        What::All => vec![cache.item(None)],
    }
}

/// Answers when no other member serves what was written over.
fn told(cluster: Arc<Cluster>, ticket: Option<Ticket>, given: Given) -> Later {
    Box::pin(async move {
        let Some(ticket) = ticket else { return Given::failure(&unknown()) };
        match poll_fn(|cx| cluster.poll_told(ticket, cx)).await {
            Ok(()) => given,
            Err(_) => Given::failure(&unknown()),
        }
    })
}

fn unknown() -> Failure {
    let why = "not all members are known to have heard of the write: nobody knows who serves it";
    Failure::new(ErrorCode::OutcomeUnknown, why)
}

fn away() -> Failure {
    let why = "this member may not serve the cache now, since it has no lease: nothing was done";
    Failure::new(ErrorCode::SegmentUnavailable, why)
}

fn not_here() -> Failure {
    let why = "an invalidated cache has no SCAN, LISTEN, TRACK and PART_SEQ: what a member has of it \
               is its own";
    Failure::new(ErrorCode::UnsupportedOp, why)
}

fn one_fill() -> Failure {
    let why = "in an invalidated cache PUT_MANY cannot have IF_ABSENT: store what was loaded key by \
               key, with PUT";
    Failure::new(ErrorCode::UnsupportedOp, why)
}

fn at_once() -> Failure {
    Failure::new(ErrorCode::UnsupportedOp, "an invalidated cache is cleared at once only")
}
