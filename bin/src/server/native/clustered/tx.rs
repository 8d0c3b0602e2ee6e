//! Group 0x02 over caches of the cluster. A transaction reads from whoever serves its keys, is
//! executed here ([`Scratches`]), and is committed in two phases if all that it saw still holds
//! (`phases.rs`): every one of them is serializable, whatever its client asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use isogrid_grid::catalog::Object;
use isogrid_grid::replica::OpId;
use isogrid_grid::tx::Part;
use isogrid_grid::tx::coordinator::Outcome;
use isogrid_wire::native::tx::{
    CommitOcc, CommitOccReply, CommitReply, Conflict, Exec, ExecReply, Request, TxState, WriteOp,
};
use isogrid_wire::native::{ErrorCode, Key, Limits, List, Reader, Request as Any, cache};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::answered::{Named, Said, before};
use super::order::{Does, Turn};
use super::phases::{Way, commit, commit_once, opened, read};
use super::scratch::version;
use super::scratches::{Kept, Partner, Scratches};
use super::spread::after;
use super::{pack, unknown};
use crate::cluster::Cluster;
use crate::server::native::batch::sub_replies;
use crate::server::native::failure::Failure;
use crate::server::native::reply::{Given, To};
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::tx::{Part as Done, RETRY_MS, Sub, TRIES, Work, decode_subs};
use crate::server::native::tx_local::{Versions, check_caches};

/// Whoever waits for the answer gives up so much later than we do.
const MARGIN: Duration = Duration::from_millis(20);
/// How long the versions of keys that are in conflict are waited for.
const LOOK: Duration = Duration::from_secs(1);

/// A transaction that is open, over caches of the cluster.
#[derive(Clone)]
pub struct Open {
    on: On,
    scratches: Kept,
}

impl Open {
    /// The name of its first cache.
    pub fn name(&self) -> &str {
        self.on.caches.first().map_or("", |partner| &partner.shared.name)
    }
}

/// Caches, and what is needed to work on them beside their connection.
#[derive(Clone)]
struct On {
    cluster: Arc<Cluster>,
    caches: Vec<Partner>,
    limits: Limits,
    to: To,
    until: Instant,
    /// What the request is that may come again.
    named: Option<Named>,
}

impl On {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(after(Duration::ZERO))
    }

    fn now(&self) -> u64 {
        self.cluster.now().wall
    }

    fn work(&self) -> Work {
        Work { now: self.now(), len_max: self.limits.value_len_max }
    }
}

impl Session {
    fn on(&self, (cluster, caches): (Arc<Cluster>, Vec<Partner>), at: &At<'_>) -> On {
        let until = after(at.patience.saturating_sub(MARGIN));
        On { cluster, caches, limits: self.limits, to: at.to, until, named: None }
    }

    /// Executes EXEC or COMMIT_OCC over caches of the cluster.
    ///
    /// # Errors
    /// It cannot be answered later.
    pub fn clustered_tx<'a>(
        &mut self,
        over: (Arc<Cluster>, Vec<Partner>),
        at: &At<'_>,
        keys: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let on = self.on(over, at);
        let on = On { named: self.named(at, &on.caches)?, ..on };
        // It must not overtake what was asked for before it.
        self.unsent.send(&on.cluster);
        let place = |(object, key)| {
            let cache = on.caches.iter().position(|partner| partner.object == object)?;
            Some((cache, on.caches.get(cache)?.segment(key)))
        };
        let places: BTreeSet<(usize, u32)> = keys.filter_map(place).collect();
        let mut turns = Vec::with_capacity(places.len());
        for (cache, segment) in places {
            let partner = on.caches.get(cache);
            turns.extend(partner.map(|one| self.order.turn(&one.shared, segment, Does::Both)));
        }
        let body = at.body.to_vec();
        Ok(Flow::Later(Box::pin(async move {
            let mut places = Vec::with_capacity(turns.len());
            for turn in turns {
                places.push(match turn {
                    Turn::Now(place) => place,
                    Turn::Later(turn) => turn.await,
                });
            }
            let done = execute(&on, &body).await;
            done.unwrap_or_else(|failure| Given::failure(&failure))
        })))
    }

    /// Executes a request that belongs to an open transaction.
    ///
    /// # Errors
    /// It cannot be answered later, or its cache cannot join.
    pub(in crate::server::native) fn join_clustered(
        &mut self,
        (cluster, shared): Way,
        at: &At<'_>,
        object: &Object,
        over: Option<Open>,
    ) -> Result<(Open, Flow), Failure> {
        self.check_wait(at)?;
        let partner = Partner::new(shared, object)?;
        let (mut caches, scratches) = match over {
            Some(over) => (over.on.caches, over.scratches),
            None => (Vec::new(), Arc::new(Mutex::new(Scratches::new(Arc::clone(&cluster))))),
        };
        if caches.iter().all(|known: &Partner| known.object != partner.object) {
            caches.push(partner.clone());
            check_caches(caches.len())?;
        }
        let open = Open { on: self.on((cluster, caches), at), scratches };
        let (turn, on, body) = (in_turn(&open.scratches), open.on.clone(), at.body.to_vec());
        let flow = Flow::Later(Box::pin(async move {
            let mut scratches = turn.await;
            let done = join(&on, &partner, &mut scratches, &body).await;
            done.unwrap_or_else(|failure| Given::failure(&failure))
        }));
        Ok((open, flow))
    }

    /// Commits an open transaction.
    ///
    /// # Errors
    /// It cannot be answered later.
    pub(in crate::server::native) fn commit_clustered(
        &mut self,
        number: u64,
        at: &At<'_>,
        open: Open,
    ) -> Result<Flow, Failure> {
        let (turn, node) = (in_turn(&open.scratches), Arc::clone(&self.node));
        let until = after(at.patience.saturating_sub(MARGIN));
        let on = On { until, to: at.to, ..open.on };
        Ok(Flow::Later(Box::pin(async move {
            // How it ended is to be known also when its connection goes meanwhile.
            let ended = tokio::spawn(async move {
                let scratches = turn.await;
                let (state, given) = commit_open(&on, opened(number), &scratches).await;
                node.transactions.end(number, state);
                given
            });
            ended.await.unwrap_or_else(|_| Given::failure(&unknown()))
        })))
    }
}

/// The scratches of a transaction, for requests in the order in which they came.
fn in_turn(scratches: &Kept) -> Pin<Box<dyn Future<Output = OwnedMutexGuard<Scratches>> + Send>> {
    let mut turn = Box::pin(unconstrained(Arc::clone(scratches).lock_owned()));
    match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(guard) => Box::pin(std::future::ready(guard)),
        Poll::Pending => turn,
    }
}

async fn execute(on: &On, body: &[u8]) -> Result<Given, Failure> {
    let said = match Any::decode(on.to.op, Reader::new(body, &on.limits))? {
        Any::Tx(Request::Exec(exec)) => self::exec(on, &exec).await?,
        Any::Tx(Request::CommitOcc(commit)) => commit_occ(on, &commit).await?,
        _ => return Err(Failure::of(ErrorCode::Internal)),
    };
    said.remembered(&on.cluster, on.named, on.left()).await
}

/// Executes one of two lists of requests, again when others were first.
async fn exec(on: &On, exec: &Exec<'_>) -> Result<Said, Failure> {
    let compared = exec.compare.iter().map(|compare| (compare.object, compare.key.0));
    let compared: Vec<(u32, &[u8])> = compared.collect();
    let then = decode_subs(exec.then, &on.limits)?;
    let otherwise = decode_subs(exec.otherwise, &on.limits)?;
    let subs = then.iter().chain(&otherwise).filter_map(Sub::place);
    let keys: Vec<(u32, &[u8])> = compared.iter().copied().chain(subs).collect();
    for turn in 0..TRIES {
        let mut scratches = Scratches::over(&on.cluster, &on.caches, on.now())?;
        scratches.learn(keys.iter().copied(), on.left()).await?;
        let work = on.work();
        let (held, parts, done) = scratches.run(work.now, |running| {
            let held = work.holds(running, &exec.compare)?;
            let chosen = if held { &then } else { &otherwise };
            let (parts, done) = work.run_all(running, chosen)?;
            Ok((held, parts, done))
        })?;
        if !done {
            return Ok(Said::Refused(answer_exec(on, held, &parts, None)));
        }
        // What only the other list is about was not looked at.
        let chosen = if held { &then } else { &otherwise };
        let chosen = chosen.iter().filter_map(Sub::place);
        let needed: BTreeSet<(u32, &[u8])> = compared.iter().copied().chain(chosen).collect();
        let others = keys.iter().filter(|place| !needed.contains(*place));
        others.for_each(|(object, key)| scratches.saw(*object, key, None));
        let answer = |versions| answer_exec(on, held, &parts, Some(versions));
        if let Ended::Done(said) = outcome(on, on.cluster.name(), &scratches, answer).await? {
            return Ok(said);
        }
        wait(turn).await;
    }
    Err(Failure::of(ErrorCode::TxConflict).after(RETRY_MS))
}

/// Commits what a client has kept to itself, again when others hold its keys.
async fn commit_occ(on: &On, commit: &CommitOcc<'_>) -> Result<Said, Failure> {
    // What a put does is known without the entry.
    let looked_at = commit.writes.iter().filter(|write| write.op != WriteOp::Put);
    let looked_at: Vec<(u32, &[u8])> = looked_at.map(|write| (write.object, write.key.0)).collect();
    let mut last = Vec::new();
    for turn in 0..TRIES {
        let mut scratches = Scratches::over(&on.cluster, &on.caches, on.now())?;
        scratches.learn(looked_at.iter().copied(), on.left()).await?;
        let work = on.work();
        scratches.run(work.now, |running| work.write_all(running, commit))?;
        let reads = commit.reads.iter();
        reads.for_each(|read| scratches.saw(read.object, read.key.0, Some(read.version)));
        let answer = |versions: Versions| {
            let written = commit.writes.iter();
            let versions: Vec<u64> =
                written.map(|write| versions.get(write.object, write.key.0)).collect();
            Given::answer(&CommitOccReply::Ok { versions: List::of(&versions) })
        };
        last = match outcome(on, on.cluster.name(), &scratches, answer).await? {
            Ended::Done(said) => return Ok(said),
            Ended::Conflict(keys) => versions_now(on, keys).await,
        };
        let is_stale = |(object, key, now): &Now| {
            let mut reads = commit.reads.iter().filter(|read| read.object == *object);
            reads.any(|read| read.key.0 == key && read.version != *now)
        };
        if last.iter().any(is_stale) {
            last.retain(is_stale);
            break;
        }
        wait(turn).await;
    }
    let conflicts = conflicts(&last);
    let refused = CommitOccReply::VersionMismatch { conflicts: List::of(&conflicts) };
    Ok(Said::Refused(Given::answer(&refused)))
}

/// Others hold its keys, or were first: a little later they may have ended.
async fn wait(turn: usize) {
    let turn = u64::try_from(turn).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(u64::from(RETRY_MS) * (turn + 1))).await;
}

async fn join(
    on: &On,
    partner: &Partner,
    scratches: &mut Scratches,
    body: &[u8],
) -> Result<Given, Failure> {
    let Any::Cache(request) = Any::decode(on.to.op, Reader::new(body, &on.limits))? else {
        return Err(Failure::of(ErrorCode::Internal));
    };
    let sub = Sub { object: partner.object, request };
    scratches.join(partner, on.now())?;
    scratches.learn(sub.place().into_iter(), on.left()).await?;
    let work = on.work();
    let part =
        scratches.run(work.now, |running| work.run_one(running, sub.object, &sub.request))?;
    Ok(part.answer(&Versions::default(), on.to, work.now))
}

async fn commit_open(on: &On, name: OpId, scratches: &Scratches) -> (Option<TxState>, Given) {
    let answer = |_| Given::answer(&CommitReply::Ok {});
    match outcome(on, name, scratches, answer).await {
        Ok(Ended::Done(said)) => (Some(TxState::Committed), said.given()),
        Ok(Ended::Conflict(keys)) => {
            let now = versions_now(on, keys).await;
            let conflicts = conflicts(&now);
            let said = CommitReply::VersionMismatch { conflicts: List::of(&conflicts) };
            (Some(TxState::Aborted), Given::answer(&said))
        }
        Err(failure) => {
            let is_known = failure.code != ErrorCode::OutcomeUnknown;
            (is_known.then_some(TxState::Aborted), Given::failure(&failure))
        }
    }
}

/// How a commit ended.
enum Ended {
    /// It is in force, or it was before, and this is the answer.
    Done(Said),
    /// Nothing of it is, because of these keys.
    Conflict(Vec<(Part, Vec<u8>)>),
}

/// Commits what scratches have. `answer` says what is answered if it is in force, of the versions of
/// what was put.
async fn outcome(
    on: &On,
    name: OpId,
    scratches: &Scratches,
    answer: impl Fn(Versions) -> Given,
) -> Result<Ended, Failure> {
    let (holds, cluster) = (scratches.holds()?, Arc::clone(&on.cluster));
    if holds.is_empty() {
        return Ok(Ended::Done(Said::Refused(answer(Versions::default()))));
    }
    let answer = |versions: &BTreeMap<Part, u64>| answer(scratches.versions(versions));
    let mut given = None;
    let outcome = match on.named {
        Some(named) => {
            let packed = |versions: &_| pack(given.insert(answer(versions)));
            commit_once(cluster, (name, named), holds, on.left(), packed).await
        }
        None => commit(cluster, name, holds, on.left()).await,
    };
    match outcome {
        Outcome::Committed(versions) => {
            Ok(Ended::Done(Said::Recorded(given.unwrap_or_else(|| answer(&versions)))))
        }
        Outcome::Before(answer) => Ok(Ended::Done(Said::Recorded(before(answer)))),
        Outcome::Conflict(keys) => Ok(Ended::Conflict(keys)),
        Outcome::Failed => {
            let why = "a segment of the transaction is not served now, or has no room: nothing \
                       was done";
            Err(Failure::new(ErrorCode::SegmentUnavailable, why).after(RETRY_MS))
        }
        Outcome::Unknown => Err(unknown()),
    }
}

/// A cache, a key of it, and the version that it has now; 0 where there is none, or where it is
/// being written.
type Now = (u32, Vec<u8>, u64);

async fn versions_now(on: &On, keys: Vec<(Part, Vec<u8>)>) -> Vec<Now> {
    let keys: BTreeSet<(Part, Vec<u8>)> = keys.into_iter().collect();
    let said = read(&on.cluster, keys.iter(), on.left().min(LOOK)).await;
    let object = |(group, _): Part| {
        on.caches.iter().find(|partner| partner.shared.group == group).map_or(0, |one| one.object)
    };
    let version = |bytes: Option<Arc<[u8]>>| bytes.as_deref().map_or(0, version);
    let both = keys.into_iter().zip(said);
    both.map(|((part, key), bytes)| (object(part), key, version(bytes))).collect()
}

fn conflicts(now: &[Now]) -> Vec<Conflict<'_>> {
    let all = now.iter().map(|(object, key, version)| (*object, Key(key), *version));
    all.map(|(object, key, version)| Conflict { object, key, version }).collect()
}

fn answer_exec(on: &On, held: bool, parts: &[Done<'_>], versions: Option<Versions>) -> Given {
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

impl<'a> Sub<'a> {
    /// The same, if it may write.
    pub fn written(&self) -> Option<(u32, &'a [u8])> {
        let reads = matches!(self.request, cache::Request::Get(_) | cache::Request::MapGet(_));
        if reads { None } else { self.place() }
    }

    /// Its cache and its key.
    pub fn place(&self) -> Option<(u32, &'a [u8])> {
        key_of(&self.request).map(|key| (self.object, key))
    }
}

/// The key of a request that may be in a transaction.
fn key_of<'a>(request: &cache::Request<'a>) -> Option<&'a [u8]> {
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
