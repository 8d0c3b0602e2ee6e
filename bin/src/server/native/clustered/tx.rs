//! Group 0x02 over caches of the cluster. A transaction reads from whoever serves its keys, is
//! executed here ([`Scratch`]), and is committed in two phases if all that it saw still holds
//! (`phases.rs`): every one of them is serializable, whatever its client asks for.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use isogrid_engine::Transaction;
use isogrid_grid::Cache;
use isogrid_grid::catalog::Object;
use isogrid_grid::tx::coordinator::Outcome;
use isogrid_wire::native::tx::{
    CommitOcc, CommitOccReply, CommitReply, Conflict, Exec, ExecReply, Request, TxState, WriteOp,
};
use isogrid_wire::native::{ErrorCode, Key, Limits, List, Reader, Request as Any, cache};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::order::{Does, Turn};
use super::phases::{Way, commit, read};
use super::scratch::{Kept, Scratch, version};
use super::spread::after;
use super::unknown;
use crate::server::native::batch::sub_replies;
use crate::server::native::failure::Failure;
use crate::server::native::reply::{Given, To};
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::tx::{Part, RETRY_MS, TRIES, Work, cache_of, decode_subs};
use crate::server::native::tx_local::{One, Versions, alone};

/// Whoever waits for the answer gives up so much later than we do.
const MARGIN: Duration = Duration::from_millis(20);
/// How long the versions of keys that are in conflict are waited for.
const LOOK: Duration = Duration::from_secs(1);

/// A transaction that is open, over a cache of the cluster.
#[derive(Clone)]
pub struct Open {
    object: u32,
    on: On,
    scratch: Kept,
}

impl Open {
    /// The name of the cache.
    pub fn name(&self) -> &str {
        &self.on.way.1.name
    }
}

/// A cache, and what is needed to work on it beside its connection.
#[derive(Clone)]
struct On {
    way: Way,
    cache: Arc<Cache>,
    limits: Limits,
    to: To,
    until: Instant,
}

impl On {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(after(Duration::ZERO))
    }

    fn now(&self) -> u64 {
        self.way.0.now().wall
    }

    fn work(&self) -> Work {
        Work { now: self.now(), len_max: self.limits.value_len_max }
    }
}

impl Session {
    fn on(&self, way: Way, at: &At<'_>, object: &Object) -> Result<On, Failure> {
        if way.1.answers_at_once() {
            let why = "writes of this cache are acknowledged before its copies have them (ack = async), \
                       and a failover may lose a part of a transaction: give it ack = sync";
            return Err(Failure::new(ErrorCode::UnsupportedOp, why));
        }
        let cache = Arc::clone(cache_of(object)?);
        let until = after(at.patience.saturating_sub(MARGIN));
        Ok(On { way, cache, limits: self.limits, to: at.to, until })
    }

    /// Executes EXEC or COMMIT_OCC over a cache of the cluster.
    ///
    /// # Errors
    /// It cannot be answered later.
    pub fn clustered_tx<'a>(
        &mut self,
        (way, object): (Way, &Object),
        at: &At<'_>,
        keys: impl Iterator<Item = Key<'a>>,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let on = self.on(way, at, object)?;
        // It must not overtake what was asked for before it.
        self.unsent.send(&on.way.0);
        let segments: BTreeSet<u32> = keys.map(|key| on.cache.hash(key.0).segment()).collect();
        let turns = segments.into_iter().map(|at| self.order.turn(&on.way.1, at, Does::Both));
        let (turns, body, number) = (turns.collect::<Vec<_>>(), at.body.to_vec(), object.id);
        Ok(Flow::Later(Box::pin(async move {
            let mut places = Vec::with_capacity(turns.len());
            for turn in turns {
                places.push(match turn {
                    Turn::Now(place) => place,
                    Turn::Later(turn) => turn.await,
                });
            }
            let done = execute(&on, number, &body).await;
            done.unwrap_or_else(|failure| Given::failure(&failure))
        })))
    }

    /// Executes a request that belongs to an open transaction.
    ///
    /// # Errors
    /// It cannot be answered later, or the transaction is over another cache.
    pub(in crate::server::native) fn join_clustered(
        &mut self,
        way: Way,
        at: &At<'_>,
        object: &Object,
        over: Option<Open>,
    ) -> Result<(Open, Flow), Failure> {
        self.check_wait(at)?;
        let on = self.on(way, at, object)?;
        let shared = match over {
            Some(shared) if shared.object != object.id => return Err(alone(shared.name())),
            Some(shared) => Open { on, ..shared },
            None => {
                let scratch = Arc::new(Mutex::new(Scratch::new(self.now)?));
                Open { object: object.id, on, scratch }
            }
        };
        let (turn, on, body) = (in_turn(&shared.scratch), shared.on.clone(), at.body.to_vec());
        let number = shared.object;
        let flow = Flow::Later(Box::pin(async move {
            let mut scratch = turn.await;
            let done = join(&on, number, &mut scratch, &body).await;
            done.unwrap_or_else(|failure| Given::failure(&failure))
        }));
        Ok((shared, flow))
    }

    /// Commits an open transaction.
    ///
    /// # Errors
    /// It cannot be answered later.
    pub(in crate::server::native) fn commit_clustered(
        &mut self,
        number: u64,
        at: &At<'_>,
        shared: Open,
    ) -> Result<Flow, Failure> {
        let (turn, node) = (in_turn(&shared.scratch), Arc::clone(&self.node));
        let until = after(at.patience.saturating_sub(MARGIN));
        let on = On { until, to: at.to, ..shared.on };
        Ok(Flow::Later(Box::pin(async move {
            let scratch = turn.await;
            let (state, given) = commit_open(&on, shared.object, &scratch).await;
            node.transactions.end(number, state);
            given
        })))
    }
}

/// The scratch of a transaction, for requests in the order in which they came.
fn in_turn(scratch: &Kept) -> Pin<Box<dyn Future<Output = OwnedMutexGuard<Scratch>> + Send>> {
    let mut turn = Box::pin(unconstrained(Arc::clone(scratch).lock_owned()));
    match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(guard) => Box::pin(std::future::ready(guard)),
        Poll::Pending => turn,
    }
}

async fn execute(on: &On, object: u32, body: &[u8]) -> Result<Given, Failure> {
    match Any::decode(on.to.op, Reader::new(body, &on.limits))? {
        Any::Tx(Request::Exec(exec)) => self::exec(on, object, &exec).await,
        Any::Tx(Request::CommitOcc(commit)) => commit_occ(on, object, &commit).await,
        _ => Err(Failure::of(ErrorCode::Internal)),
    }
}

/// Executes one of two lists of requests, again when others were first.
async fn exec(on: &On, object: u32, exec: &Exec<'_>) -> Result<Given, Failure> {
    let compared: Vec<&[u8]> = exec.compare.iter().map(|compare| compare.key.0).collect();
    let then = decode_subs(exec.then, &on.limits)?;
    let otherwise = decode_subs(exec.otherwise, &on.limits)?;
    let subs = then.iter().chain(&otherwise).filter_map(|sub| key_of(&sub.request));
    let keys: Vec<&[u8]> = compared.iter().copied().chain(subs).collect();
    for turn in 0..TRIES {
        let mut scratch = Scratch::new(on.now())?;
        scratch.learn(&on.way, &on.cache, keys.iter().copied(), on.left()).await?;
        let work = on.work();
        let (held, parts, done) = scratch.run(work.now, |tx| {
            let mut one = One(&on.cache, tx);
            let held = work.holds(&mut one, &exec.compare)?;
            let chosen = if held { &then } else { &otherwise };
            let (parts, done) = work.run_all(&mut one, chosen)?;
            Ok((held, parts, done))
        })?;
        if !done {
            return Ok(answer_exec(on, held, &parts, None));
        }
        // What only the other list is about was not looked at.
        let chosen = if held { &then } else { &otherwise };
        let chosen = chosen.iter().filter_map(|sub| key_of(&sub.request));
        let needed: BTreeSet<&[u8]> = compared.iter().copied().chain(chosen).collect();
        let others = keys.iter().filter(|key| !needed.contains(*key));
        others.for_each(|key| scratch.saw(key, None));
        if let Ended::Done(versions) = outcome(on, &scratch).await? {
            let versions = Versions::of(object, versions);
            return Ok(answer_exec(on, held, &parts, Some(versions)));
        }
        wait(turn).await;
    }
    Err(Failure::of(ErrorCode::TxConflict).after(RETRY_MS))
}

/// Commits what a client has kept to itself, again when others hold its keys.
async fn commit_occ(on: &On, object: u32, commit: &CommitOcc<'_>) -> Result<Given, Failure> {
    // What a put does is known without the entry.
    let looked_at = commit.writes.iter().filter(|write| write.op != WriteOp::Put);
    let looked_at: Vec<&[u8]> = looked_at.map(|write| write.key.0).collect();
    let mut last = Vec::new();
    for turn in 0..TRIES {
        let mut scratch = Scratch::new(on.now())?;
        scratch.learn(&on.way, &on.cache, looked_at.iter().copied(), on.left()).await?;
        let work = on.work();
        scratch.run(work.now, |tx| work.write_all(&mut One(&on.cache, tx), commit))?;
        commit.reads.iter().for_each(|read| scratch.saw(read.key.0, Some(read.version)));
        last = match outcome(on, &scratch).await? {
            Ended::Done(versions) => {
                let written = commit.writes.iter();
                let versions: Vec<u64> =
                    written.map(|write| version_of(&versions, write.key.0)).collect();
                return Ok(Given::answer(&CommitOccReply::Ok { versions: List::of(&versions) }));
            }
            Ended::Conflict(keys) => versions_now(on, keys).await,
        };
        let is_stale = |(key, now): &(Vec<u8>, u64)| {
            commit.reads.iter().any(|read| read.key.0 == key && read.version != *now)
        };
        if last.iter().any(is_stale) {
            last.retain(is_stale);
            break;
        }
        wait(turn).await;
    }
    let conflicts = conflicts(object, &last);
    Ok(Given::answer(&CommitOccReply::VersionMismatch { conflicts: List::of(&conflicts) }))
}

/// Others hold its keys, or were first: a little later they may have ended.
async fn wait(turn: usize) {
    let turn = u64::try_from(turn).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(u64::from(RETRY_MS) * (turn + 1))).await;
}

async fn join(on: &On, object: u32, scratch: &mut Scratch, body: &[u8]) -> Result<Given, Failure> {
    let Any::Cache(request) = Any::decode(on.to.op, Reader::new(body, &on.limits))? else {
        return Err(Failure::of(ErrorCode::Internal));
    };
    scratch.learn(&on.way, &on.cache, key_of(&request).into_iter(), on.left()).await?;
    let work = on.work();
    let run = |tx: &mut Transaction<'_>| work.run_one(&mut One(&on.cache, tx), object, &request);
    let part = scratch.run(work.now, run)?;
    Ok(part.answer(&Versions::default(), on.to, work.now))
}

async fn commit_open(on: &On, object: u32, scratch: &Scratch) -> (Option<TxState>, Given) {
    match outcome(on, scratch).await {
        Ok(Ended::Done(_)) => (Some(TxState::Committed), Given::answer(&CommitReply::Ok {})),
        Ok(Ended::Conflict(keys)) => {
            let all = conflicts_now(on, object, keys).await;
            (Some(TxState::Aborted), all)
        }
        Err(failure) => {
            let is_known = failure.code != ErrorCode::OutcomeUnknown;
            (is_known.then_some(TxState::Aborted), Given::failure(&failure))
        }
    }
}

async fn conflicts_now(on: &On, object: u32, keys: Vec<Vec<u8>>) -> Given {
    let versions = versions_now(on, keys).await;
    let conflicts = conflicts(object, &versions);
    Given::answer(&CommitReply::VersionMismatch { conflicts: List::of(&conflicts) })
}

/// How a commit ended.
enum Ended {
    /// It is in force; the versions of what was put.
    Done(Vec<(Vec<u8>, u64)>),
    /// Nothing of it is, because of these keys.
    Conflict(Vec<Vec<u8>>),
}

/// Commits what a scratch has.
async fn outcome(on: &On, scratch: &Scratch) -> Result<Ended, Failure> {
    let holds = scratch.holds(&on.cache)?;
    if holds.is_empty() {
        return Ok(Ended::Done(Vec::new()));
    }
    match commit(on.way.clone(), holds, on.left()).await {
        Outcome::Committed(versions) => {
            let of = |key: &[u8]| {
                let segment = on.cache.hash(key).segment();
                let mut all = versions.iter();
                all.find(|(at, _)| u32::from(at.0) == segment).map_or(0, |(_, version)| *version)
            };
            Ok(Ended::Done(scratch.versions(of)))
        }
        Outcome::Conflict(keys) => Ok(Ended::Conflict(keys)),
        Outcome::Failed => {
            let why = "a segment of the transaction is not served now, or has no room: nothing \
                       was done";
            Err(Failure::new(ErrorCode::SegmentUnavailable, why).after(RETRY_MS))
        }
        Outcome::Unknown => Err(unknown()),
    }
}

/// The versions that keys have now; 0 where there is none, or where it is being written.
async fn versions_now(on: &On, keys: Vec<Vec<u8>>) -> Vec<(Vec<u8>, u64)> {
    let keys: BTreeSet<(u32, Vec<u8>)> =
        keys.into_iter().map(|key| (on.cache.hash(&key).segment(), key)).collect();
    let said = read(&on.way, &keys, on.left().min(LOOK)).await;
    let version = |bytes: Option<Arc<[u8]>>| bytes.as_deref().map_or(0, version);
    keys.into_iter().zip(said).map(|((_, key), bytes)| (key, version(bytes))).collect()
}

fn conflicts(object: u32, versions: &[(Vec<u8>, u64)]) -> Vec<Conflict<'_>> {
    versions
        .iter()
        .map(|(key, version)| Conflict { object, key: Key(key), version: *version })
        .collect()
}

fn version_of(versions: &[(Vec<u8>, u64)], key: &[u8]) -> u64 {
    versions.iter().find(|(own, _)| own == key).map_or(0, |(_, version)| *version)
}

fn answer_exec(on: &On, held: bool, parts: &[Part<'_>], versions: Option<Versions>) -> Given {
    let (done, versions) = (versions.is_some(), versions.unwrap_or_default());
    let now = on.now();
    let replies: Vec<Given> = parts.iter().map(|part| part.answer(&versions, on.to, now)).collect();
    let replies = sub_replies(&replies);
    let replies = List::of(&replies);
    Given::answer(&if done {
        ExecReply::Ok { held, replies }
    } else {
        ExecReply::Partial { held, replies }
    })
}

/// The key of a request that may be in a transaction.
pub(in crate::server::native) fn key_of<'a>(request: &cache::Request<'a>) -> Option<&'a [u8]> {
    use cache::Request::{
        Append, Get, GetTouch, Incr, MapGet, MapUpdate, Prepend, Put, Remove, Touch,
    };
    Some(match request {
        Get(one) => one.key.0,
        Put(one) => one.key.0,
        Remove(one) => one.key.0,
        Touch(one) => one.key.0,
        GetTouch(one) => one.key.0,
        Incr(one) => one.key.0,
        Append(one) => one.key.0,
        Prepend(one) => one.key.0,
        MapGet(one) => one.key.0,
        MapUpdate(one) => one.key.0,
        _ => return None,
    })
}
