//! Requests for caches of the cluster: those of one key are executed where it is served, here or by
//! a member that they are passed on to, and answered when the copies have what the answer says
//! (DATA_PATH R13-R19, R23, R24).
//!
//! | file | what |
//! |---|---|
//! | `clustered.rs` | requests of one key |
//! | `spread.rs`, `here.rs` | those of several segments: cut into units, and units executed here |
//! | `many.rs`, `batch.rs`, `whole.rs`, `walk.rs` | those of many keys; BATCH; CLEAR, SIZE, PART_SEQ; SCAN |
//! | `tx.rs`, `scratch.rs`, `scratches.rs` | transactions, and what they see and do in one cache and in all |
//! | `phases.rs`, `answered.rs` | their two phases, and answers that are remembered |
//! | `counters.rs`, `locks.rs`, `queues/`, `sessions.rs` | counters; leases, locks and semaphores; queues; sessions of the cluster |
//! | `order.rs` | the order of what a connection asks |
//! | `tracked.rs`, `hear.rs`, `follow.rs` | LISTEN and TRACK, and what members tell each other for them |

mod answered;
pub mod batch;
mod counters;
pub mod follow;
pub mod hear;
mod here;
pub mod locks;
mod many;
pub mod order;
pub mod phases;
pub mod queues;
mod scratch;
mod scratches;
mod sessions;
pub mod spread;
mod tracked;
mod tx;
pub mod walk;
pub mod whole;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::catalog::{Kind, Object};
use isogrid_grid::copies::{Copies, Once, Ticket};
use isogrid_grid::id::NodeId;
use isogrid_grid::replica::OpId;
use isogrid_wire::native::cache::Request;
use isogrid_wire::native::{ErrorCode, ReadOptions, Request as Any, SubKind};
use tokio::time::timeout;

use self::order::{Does, Place, Turn};
pub use self::scratches::Partner;
pub use self::tx::Open;
use self::walk::Walk;
use super::edit;
use super::failure::Failure;
use super::live::Live;
use super::reply::{Given, Reply, To};
use super::request::{At, Flow};
use super::session::Session;
use super::under_way::Later;
use crate::cluster::{Answer, Asked, Cluster, Done, Outgoing, Route, Shared, named};

/// How often a request that nobody can execute looks whether somebody can.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often it is looked whether whoever was asked serves the key still.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(100);
/// The first byte of a request that is passed on; none of memcached's begins so.
pub const PASSED: u8 = 0;

/// A request on its way to who executes it.
struct OnItsWay {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    segment: u32,
    raw: Vec<u8>,
}

impl Session {
    /// The cache, if it is one of the cluster.
    pub fn clustered(&self, object: Option<&Arc<Object>>) -> Option<(Arc<Cluster>, Arc<Shared>)> {
        let cluster = self.node.cluster.get()?;
        let object = object.filter(|object| object.kind == Kind::Cache)?;
        Some((Arc::clone(cluster), Arc::clone(cluster.cache(&object.name)?)))
    }

    /// Executes a request for a cache of the cluster, or lets somebody else.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn clustered_cache(
        &mut self,
        way: (Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        if let Some(request) = self.register(at, request)? {
            let mut body = Vec::with_capacity(at.body.len());
            request.encode(&mut body);
            return self.clustered_cache(way, &At { body: &body, ..*at }, &request, reply);
        }
        if !self.is_passed
            && let Some(flow) = self.clustered_spread(&way, at, request)?
        {
            return Ok(flow);
        }
        let (cluster, shared) = way;
        let (key, writes) = self.key_of(request)?;
        if writes {
            self.check_wait(at)?;
        }
        let segment = segment_of(at, key)?;
        let id = if writes { self.name_of(at)? } else { None };
        let writer = self.writer();
        let way = |cluster: &Arc<Cluster>, shared: &Arc<Shared>| {
            let (cluster, shared) = (Arc::clone(cluster), Arc::clone(shared));
            // What may change something has a name, so that it can be passed on again (R35).
            let id = id.or_else(|| writes.then(|| cluster.name()));
            OnItsWay { cluster, shared, segment, raw: passed(id, writer, at.to, at.body) }
        };
        let does = if writes { Does::Writes } else { Does::Reads };
        let place = match self.order.turn(&shared, segment, does) {
            Turn::Now(place) => place,
            Turn::Later(turn) => {
                let way = way(&cluster, &shared);
                return self.later(at, Box::pin(async { way.go(turn.await, None).await }));
            }
        };
        if let Some((given, ticket)) =
            self.execute_here((&cluster, &shared), at, request, (segment, writes), id)?
        {
            self.counts.cluster_here += 1;
            let Some(ticket) = ticket else {
                reply.give(&given);
                return Ok(Flow::Said);
            };
            let may_come_again = id.is_some() || ticket.is_to_be_confirmed();
            let again = may_come_again.then(|| way(&cluster, &shared));
            return self.later(at, committed((cluster, shared), ticket, given, place, again));
        }
        let way = way(&cluster, &shared);
        let asked = way.ask(&mut self.unsent.outgoing);
        self.unsent.cluster.get_or_insert(cluster);
        self.later(at, Box::pin(way.go(place, asked)))
    }

    /// Executes a request that is about several segments; `None` when it is none.
    fn clustered_spread(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Flow>, Failure> {
        if let Some(cut) = whole::cut(request)? {
            return self.later(at, whole::go(way, cut, at.patience)).map(Some);
        }
        match request {
            Request::Scan(scan) => {
                let walk = Walk::open(way, at.id, scan)?;
                Ok(Flow::Live(Box::new(Live::Walk(Box::new(walk))), scan.credit))
            }
            Request::Listen(listen) => self.hear(way, at, listen),
            Request::Track(track) => self.track(way, at, track),
            _ => return self.clustered_many(way, at, request),
        }
        .map(Some)
    }

    /// Whether a request may be answered later. To be asked before it is executed: what is refused
    /// was not done.
    pub(super) fn check_wait(&self, at: &At<'_>) -> Result<(), Failure> {
        let may_wait = at.may_wait || at.to.stream == 0;
        may_wait.then_some(()).ok_or_else(one_by_one)
    }

    fn later(&self, at: &At<'_>, later: Later) -> Result<Flow, Failure> {
        self.check_wait(at).map(|()| Flow::Later(later))
    }

    /// The key of a request of one key, and whether it changes anything.
    fn key_of<'a>(&self, request: &Request<'a>) -> Result<(&'a [u8], bool), Failure> {
        if let Some((key, _)) = edit::of(request, self.limits.value_len_max)? {
            return Ok((key, true));
        }
        match request {
            Request::Get(get) => Ok((get.key.0, false)),
            Request::MapGet(get) => Ok((get.key.0, false)),
            _ => Err(one_by_one()),
        }
    }

    /// Executes a request here, if this member serves its key: the answer, and what it waits for.
    /// One that may come again is executed once.
    fn execute_here(
        &mut self,
        (cluster, shared): (&Arc<Cluster>, &Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
        (segment, writes): (u32, bool),
        id: Option<OpId>,
    ) -> Result<Option<(Given, Option<Ticket>)>, Failure> {
        let is_stale_ok = is_stale_ok(request);
        let may = || {
            cluster.serves(shared, segment)
                || (!writes && cluster.may_read(shared, segment))
                || (is_stale_ok && cluster.may_read_behind(shared, segment))
        };
        // What a transaction holds waits as if nobody served it, until it is known how that ends.
        let is_held = || match shared.copies().filter(|copies| copies.has_intents(segment)) {
            Some(copies) => {
                self.key_of(request).map(|(key, _)| copies.is_held(segment, key, writes))
            }
            None => Ok(false),
        };
        if !may() || is_held()? {
            return Ok(None);
        }
        let before = if is_stale_ok { None } else { shared.mark(segment) };
        let given = match id.zip(shared.copies()) {
            None => Some(self.answer_of(at, request)),
            Some((id, copies)) => {
                let now = cluster.now().wall;
                self.answer_once((copies, now, segment, id), at, request)
            }
        };
        // One may have come to hold it meanwhile, and then nothing was done.
        let is_refused = |given: &Given| {
            given.is_undone && Failure::of_given(given).code == ErrorCode::TxConflict
        };
        let Some(given) = given.filter(|given| !is_refused(given)) else { return Ok(None) };
        let ticket = shared.ticket(segment, before, !writes);
        // What was read is true if we may still answer, or when that is confirmed, a write once it is
        // committed.
        if ticket.is_none() && !may() {
            return Ok(None);
        }
        if writes || ticket.is_some_and(|ticket| ticket.is_to_be_confirmed()) {
            self.unsent.wrote(cluster, shared, segment);
        }
        Ok(Some((given, ticket)))
    }

    /// Executes a request.
    fn answer_of(&mut self, at: &At<'_>, request: &Request<'_>) -> Given {
        let mut all = Vec::new();
        let writer = self.writer();
        let own = std::mem::replace(&mut self.origin, writer);
        if let Err(failure) = self.cache(at, request, &mut Reply::kept(at.to, &mut all)) {
            all.push(Given::failure(&failure));
        }
        self.origin = own;
        all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)))
    }

    /// Executes a request unless it came before; `None`: it is being executed, or cannot be here.
    fn answer_once(
        &mut self,
        (copies, now, segment, id): (&Arc<Copies>, u64, u32, OpId),
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Option<Given> {
        once((copies, now, segment, id), || self.answer_of(at, request))
    }

    /// Whose changes its writes are, at all members: those of the client's process if it says which
    /// that is, over whatever connection, else of this connection.
    pub fn writer(&self) -> u64 {
        if self.is_passed {
            return self.origin;
        }
        match (self.instance, self.node.cluster.get()) {
            (Some(instance), _) => {
                let half = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
                let (low, high) = (instance.first_chunk(), instance.last_chunk());
                (low.map_or(0, half) ^ high.map_or(0, half)).max(1)
            }
            (None, Some(cluster)) => cluster.origin(self.origin),
            (None, None) => self.origin,
        }
    }

    /// Under what a request may come again, if its client says so.
    pub(super) fn name_of(&self, at: &At<'_>) -> Result<Option<OpId>, Failure> {
        let Some(number) = at.ext.idem else { return Ok(None) };
        let client = self.instance.ok_or_else(no_instance)?;
        Ok(Some(OpId { client, number }))
    }

    /// Whether the copies of a request's segment keep its answer for who asks again, or those of a
    /// transaction's home.
    pub fn is_kept_by_copies(&self, at: &At<'_>, request: &Any<'_>) -> bool {
        match request {
            Any::Cache(request) => {
                let is_shared = self.clustered(at.object).is_some();
                is_shared && matches!(self.key_of(request), Ok((_, true)))
            }
            Any::Tx(request) => self.is_kept_by_home(request),
            _ => false,
        }
    }
}

/// Whether a read may be answered by a copy that lags behind (R26).
fn is_stale_ok(request: &Request<'_>) -> bool {
    matches!(request, Request::Get(get) if get.read.has(ReadOptions::STALE_OK))
}

/// Executes what may come again unless it came before; `None`: it is being executed, or cannot be
/// here.
fn once(
    (copies, now, segment, id): (&Arc<Copies>, u64, u32, OpId),
    execute: impl FnOnce() -> Given,
) -> Option<Given> {
    let mut given = None;
    let once = copies.once(now, segment, id, || {
        let fresh = given.insert(execute());
        (!fresh.is_undone).then(|| pack(fresh))
    });
    match once {
        Once::Executed => given,
        Once::Before(bytes) => unpack(&bytes),
        Once::Forgotten => Some(Given::failure(&forgotten())),
        Once::UnderWay | Once::Refused => None,
    }
}

/// Answers when a write is committed. What may come again is asked for elsewhere when nobody here
/// knows whether it will be.
fn committed(
    (cluster, shared): (Arc<Cluster>, Arc<Shared>),
    ticket: Ticket,
    given: Given,
    place: Place,
    again: Option<OnItsWay>,
) -> Later {
    Box::pin(async move {
        let Some(copies) = shared.copies().cloned() else { return Given::failure(&unknown()) };
        let done = poll_fn(|cx| copies.poll(ticket, cx)).await;
        if done.is_ok() && cluster.may_serve() {
            return given;
        }
        match again {
            Some(way) => way.go(place, None).await,
            None => Given::failure(&unknown()),
        }
    })
}

impl OnItsWay {
    /// Passes the request on, if somebody is known who serves its key.
    fn ask(&self, outgoing: &mut Outgoing) -> Option<(NodeId, Asked)> {
        let to = self.who()?;
        Some((to, self.cluster.ask(outgoing, to, &self.shared, &self.raw)?))
    }

    fn who(&self) -> Option<NodeId> {
        let view = self.cluster.view();
        match view.route(self.shared.group, self.segment) {
            // Back to ourselves: when it was looked at we did not serve it.
            Route::Here => view.us(),
            Route::There(node) => Some(node),
            Route::Nowhere => None,
        }
    }

    /// Waits for an answer, as long as whoever asks does; what it asks next waits for its place.
    /// What changes nothing, or has a name, is asked again when nobody knows what became of it.
    async fn go(self, _place: Place, asked: Option<(NodeId, Asked)>) -> Given {
        let mut asked = asked.or_else(|| self.ask_now());
        loop {
            if let Some((of, asked)) = asked.take()
                && let Some(Answer { done: Done::Executed, bytes }) = self.answer(of, asked).await
            {
                return unpack(&bytes).unwrap_or_else(|| Given::failure(&unknown()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            asked = self.ask_now();
        }
    }

    /// The answer of a member; `None` when another one serves the key before it has come.
    async fn answer(&self, of: NodeId, mut asked: Asked) -> Option<Answer> {
        loop {
            if let Ok(answer) = timeout(LOOK_ELSEWHERE, &mut asked).await {
                return Some(answer);
            }
            if self.who().is_some_and(|to| to != of) {
                return None;
            }
        }
    }

    fn ask_now(&self) -> Option<(NodeId, Asked)> {
        let mut outgoing = Outgoing::default();
        let asked = self.ask(&mut outgoing);
        self.cluster.send_requests(&mut outgoing);
        asked
    }
}

pub(super) fn unknown() -> Failure {
    let why = "the member that took the write is gone: nobody knows what becomes of it";
    Failure::new(ErrorCode::OutcomeUnknown, why)
}

/// A request that was executed before, or never will be.
fn forgotten() -> Failure {
    let why = "the request with this `idem` is older than what is remembered of its client: it was \
               not executed now, and nobody knows whether it was before";
    Failure::new(ErrorCode::OutcomeUnknown, why)
}

/// A request that may come again has to be somebody's.
pub fn no_instance() -> Failure {
    Failure::invalid("`idem` needs `client.instance` in HELLO")
}

/// Nobody serves what it was for, as long as whoever asks waits: it was surely not done.
pub(super) fn nowhere() -> Failure {
    const WHY: &str =
        "nobody serves these keys now: nothing was done; `isogrid cluster status` says why";
    Failure::new(ErrorCode::SegmentUnavailable, WHY)
}

fn one_by_one() -> Failure {
    let why = "of what the cluster shares a batch takes counters, and what is no stream of distributed \
               and replicated caches: send this one on its own";
    Failure::new(ErrorCode::UnsupportedOp, why)
}

/// A request of a writer as it is passed on.
fn passed(id: Option<OpId>, writer: u64, to: To, body: &[u8]) -> Vec<u8> {
    let mut raw = vec![PASSED];
    raw.extend_from_slice(&writer.to_le_bytes());
    raw.extend_from_slice(&to.op.to_be_bytes());
    raw.extend_from_slice(body);
    match id {
        Some(id) => named(id, &raw),
        None => raw,
    }
}

/// An answer as it is passed back.
pub fn pack(given: &Given) -> Vec<u8> {
    let flags = [given.kind == SubKind::Err, given.is_ok, given.is_undone].map(u8::from);
    [&flags[..], &given.payload].concat()
}

fn unpack(bytes: &[u8]) -> Option<Given> {
    let ([is_err, is_ok, is_undone], payload) = bytes.split_first_chunk()?;
    Some(Given {
        kind: if *is_err == 1 { SubKind::Err } else { SubKind::Res },
        is_ok: *is_ok == 1,
        is_undone: *is_undone == 1,
        payload: payload.into(),
    })
}

/// What became of a request that another member passed on.
pub enum Outcome {
    /// This is the answer, once that is committed.
    Given(Given, Option<Ticket>),
    /// It was not executed.
    Elsewhere,
}

impl Session {
    /// Executes a request that another member passed on; its bytes as `passed` made them.
    pub fn execute_passed(&mut self, cache: &str, id: Option<OpId>, raw: &[u8]) -> Outcome {
        self.now = self.node.now();
        let index = self.node.catalog.index();
        let object = index.by_name(Kind::Cache, cache);
        let Some((writer, rest)) = raw.get(1..).and_then(<[u8]>::split_first_chunk) else {
            return Outcome::Elsewhere;
        };
        let Some((op, body)) = rest.split_first_chunk::<2>() else { return Outcome::Elsewhere };
        self.origin = u64::from_le_bytes(*writer);
        let op = u16::from_be_bytes(*op);
        let to = To { op, stream: 1, frame_max: self.frame_max, epoch: 0 };
        let (Some(at), Some(cluster)) = (At::passed(to, object, body), self.clustered(object))
        else {
            return Outcome::Elsewhere;
        };
        let reader = isogrid_wire::native::Reader::new(body, &self.limits);
        let Ok(Any::Cache(request)) = Any::decode(op, reader) else { return Outcome::Elsewhere };
        match self.execute_here_only(cluster, &at, &request, id) {
            Ok(Some((given, ticket))) => Outcome::Given(given, ticket),
            Ok(None) => Outcome::Elsewhere,
            Err(failure) => Outcome::Given(Given::failure(&failure), None),
        }
    }

    fn execute_here_only(
        &mut self,
        (cluster, shared): (Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
        id: Option<OpId>,
    ) -> Result<Option<(Given, Option<Ticket>)>, Failure> {
        let (key, writes) = self.key_of(request)?;
        let segment = segment_of(at, key)?;
        self.execute_here((&cluster, &shared), at, request, (segment, writes), id)
    }

    /// The segments that were written to, for who sends what came of it.
    pub fn take_touched(&mut self) -> Vec<u32> {
        self.unsent.cluster = None;
        self.unsent.touched.drain(..).map(|(_, segment)| segment).collect()
    }

    /// Sends what came of the turn to other members.
    pub fn send_clustered(&mut self) {
        if let Some(cluster) = self.unsent.cluster.take() {
            self.unsent.send(&cluster);
        }
    }
}

/// What is for other members and is sent at the end of the turn.
#[derive(Default)]
pub struct Unsent {
    cluster: Option<Arc<Cluster>>,
    touched: Vec<(Arc<Shared>, u32)>,
    outgoing: Outgoing,
}

impl Unsent {
    fn wrote(&mut self, cluster: &Arc<Cluster>, shared: &Arc<Shared>, segment: u32) {
        let is_same =
            |(other, at): &(Arc<Shared>, u32)| *at == segment && other.group == shared.group;
        if !self.touched.iter().any(is_same) {
            self.touched.push((Arc::clone(shared), segment));
        }
        self.cluster.get_or_insert_with(|| Arc::clone(cluster));
    }

    pub(in crate::server::native) fn send(&mut self, cluster: &Cluster) {
        self.touched.sort_by_key(|(shared, _)| shared.group);
        for written in self.touched.chunk_by(|(a, _), (b, _)| a.group == b.group) {
            let segments: Vec<u32> = written.iter().map(|(_, segment)| *segment).collect();
            written.first().into_iter().for_each(|(shared, _)| cluster.flush(shared, &segments));
        }
        self.touched.clear();
        cluster.send_requests(&mut self.outgoing);
    }
}

fn segment_of(at: &At<'_>, key: &[u8]) -> Result<u32, Failure> {
    let object = at.object(Kind::Cache)?;
    let cache = object.cache.as_ref().ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))?;
    Ok(cache.hash(key).segment())
}
