//! Leases, locks and semaphores of the cluster: a request is executed by the member that serves them
//! all (`server/locks/hosting.rs`), which one that waits is asked for again and again. What changes
//! nothing when it comes again, or has a name, is asked again when its member is lost; of all else
//! its client is told that nobody knows (R36).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::copies::Ticket;
use isogrid_grid::id::NodeId;
use isogrid_grid::structure::lock::LockOp;
use isogrid_grid::structures::hosted::SEGMENT;
use isogrid_wire::native::lease::Request;
use isogrid_wire::native::schema::Repeat;
use isogrid_wire::native::{ErrorCode, Reader, Request as Any, SubKind};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::spread::{after, wide};
use super::{LOOK_AGAIN, nowhere, pack, unknown, unpack};
use crate::cluster::{Done, Later, Route};
use crate::security::random;
use crate::server::locks::{Answer, Back, Told, Trouble, Waits, Way};
use crate::server::native::failure::Failure;
use crate::server::native::lease::{Place, Wanted, answer, cannot_wait, key_of};
use crate::server::native::reply::{Given, Reply, To};
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::under_way::Awaited;
use crate::server::node::Node;

/// The first byte of a request for locks that is passed on.
pub const LOCKS: u8 = 4;
/// How long a request waits at the member that serves locks before it is asked for again.
const HOLD: Duration = Duration::from_secs(1);
/// How often it is looked whether whoever was asked serves locks still.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(100);
/// How long a request that need not wait is tried while nobody serves locks.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// To execute a request.
    Request = 0,
    /// Nobody waits for the request any more.
    GiveUp = 1,
    /// To say for how long the lock of the body, behind the token in eight bytes, is held under it.
    Fence = 2,
}

/// What is asked of the member that serves locks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Errand {
    what: What,
    /// The name of the request.
    name: u128,
    lease: Option<u64>,
    op: u16,
    body: Vec<u8>,
}

impl Errand {
    /// As it is passed on; it waits no longer than this, ms.
    fn encode(&self, wait_max: u64) -> Vec<u8> {
        let mut out = vec![LOCKS, self.what as u8, self.lease.is_some().into()];
        out.extend_from_slice(&self.name.to_le_bytes());
        out.extend_from_slice(&self.lease.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&wait_max.to_le_bytes());
        out.extend_from_slice(&self.op.to_le_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    fn decode(bytes: &[u8]) -> Option<(Errand, u64)> {
        let ([what, has_lease], rest) = bytes.strip_prefix(&[LOCKS])?.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let (lease, rest) = rest.split_first_chunk()?;
        let (wait_max, rest) = rest.split_first_chunk()?;
        let (op, body) = rest.split_first_chunk()?;
        let errand = Errand {
            what: *[What::Request, What::GiveUp, What::Fence].get(usize::from(*what))?,
            name: u128::from_le_bytes(*name),
            lease: (*has_lease == 1).then_some(u64::from_le_bytes(*lease)),
            op: u16::from_le_bytes(*op),
            body: body.to_vec(),
        };
        Some((errand, u64::from_le_bytes(*wait_max)))
    }
}

/// The locks of the cluster, at the member that serves them, for one request.
struct Here {
    node: Arc<Node>,
    way: Way,
    name: u128,
    /// What the answer waits for.
    ticket: Mutex<Option<Ticket>>,
}

impl Place for Here {
    type Pending = Waits;

    fn ask(&self, op: LockOp<'_>) -> Result<Answer<Waits>, Failure> {
        let (answer, ticket) = self.node.hosting.apply(&self.way, self.name, op)?;
        self.waits_for(ticket);
        Ok(answer)
    }
}

impl Here {
    /// The answer waits for this; the last one comes behind all before it.
    fn waits_for(&self, ticket: Option<Ticket>) {
        let mut last = self.ticket.lock();
        *last = ticket.or(*last);
    }

    /// Whether what was done is committed, and may be said (R18, R23).
    async fn is_true(&self) -> bool {
        let (cluster, shared) = &self.way;
        let ticket = *self.ticket.lock();
        let Some((copies, ticket)) = shared.copies().zip(ticket) else {
            return cluster.serves(shared, SEGMENT);
        };
        poll_fn(|cx| copies.poll(ticket, cx)).await.is_ok() && cluster.serves(shared, SEGMENT)
    }

    /// What came of a request that waits: `None` when another member has to be asked, nothing when it
    /// waits still.
    async fn heard(&self, mut waits: Waits, wanted: &Wanted, to: To) -> Option<Option<Given>> {
        let told = match timeout(HOLD, waits.wait_for(Option::is_some)).await {
            Err(_) => return Some(None),
            Ok(told) => *told.ok()?,
        };
        let Told { outcome, ticket } = told?;
        self.waits_for(ticket);
        let mut all = Vec::new();
        wanted.finish(self, outcome, &mut Reply::kept(to, &mut all));
        self.node.hosting.heard(self.name);
        Some(all.pop())
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Elsewhere => nowhere(),
            Trouble::NotKept(why) => why.into(),
            Trouble::Unknown => unknown(),
        }
    }
}

/// Executes what a member asks for; `None` when this one does not serve locks.
pub fn execute(node: &Arc<Node>, way: &Way, bytes: &[u8]) -> Option<Later> {
    let (errand, wait_max) = Errand::decode(bytes)?;
    let name = errand.name;
    let here = Here { node: Arc::clone(node), way: way.clone(), name, ticket: Mutex::default() };
    let to = To { op: errand.op, stream: 1, frame_max: usize::MAX, epoch: 0 };
    let mut all = Vec::new();
    let waits = match here.execute(&errand, wait_max, &mut Reply::kept(to, &mut all)) {
        Ok(waits) => waits,
        Err(failure) if failure.code == ErrorCode::SegmentUnavailable => return None,
        Err(failure) if failure.code == ErrorCode::OutcomeUnknown => {
            return Some(Box::pin(std::future::ready((Done::Unknown, Vec::new()))));
        }
        Err(failure) => {
            all.push(Given::failure(&failure));
            None
        }
    };
    let given = all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)));
    Some(Box::pin(async move {
        let given = match waits {
            None => Some(given),
            Some((waits, wanted)) => match here.heard(waits, &wanted, to).await {
                Some(heard) => heard,
                None => return (Done::Elsewhere, Vec::new()),
            },
        };
        match given {
            None => (Done::Executed, Vec::new()),
            Some(given) if here.is_true().await => (Done::Executed, pack(&given)),
            Some(_) => (Done::Unknown, Vec::new()),
        }
    }))
}

impl Here {
    fn execute(
        &self,
        errand: &Errand,
        wait_max: u64,
        reply: &mut Reply<'_>,
    ) -> Result<Option<(Waits, Wanted)>, Failure> {
        let Errand { what, lease, op, ref body, .. } = *errand;
        if what == What::Fence {
            let (token, key) = body.split_first_chunk().ok_or_else(unknown)?;
            let token = u64::from_le_bytes(*token);
            let (left, ticket) = self.node.hosting.held_for(&self.way, key, token)?;
            self.waits_for(ticket);
            reply.give(&held_for(left));
            return Ok(None);
        }
        let Any::Lease(request) = Any::decode(op, Reader::new(body, &wide()))? else {
            return Err(Failure::of(ErrorCode::UnsupportedOp));
        };
        if what == What::Request {
            return answer(self, lease, &request, wait_max, reply);
        }
        self.gives_up(&request, lease.unwrap_or(0))?;
        reply.give(&held_for(0));
        Ok(None)
    }

    fn gives_up(&self, request: &Request<'_>, lease: u64) -> Result<(), Failure> {
        let back = match request {
            Request::Lock(lock) => {
                Back::of(&LockOp::Lock { key: lock.key.0, lease, shared: false, wait: 0 })
            }
            Request::SemAcquire(acquire) => {
                let (key, permits, of) = (acquire.key.0, acquire.permits, acquire.of);
                Back::of(&LockOp::Acquire { key, lease, permits, of, wait: 0 })
            }
            _ => None,
        };
        if let Some(back) = back {
            self.waits_for(self.node.hosting.give_up(&self.way, self.name, &back)?);
        }
        Ok(())
    }
}

/// The answer to [`What::Fence`].
fn held_for(left: u64) -> Given {
    let payload = left.to_le_bytes().to_vec().into();
    Given { kind: SubKind::Res, is_ok: true, is_undone: false, payload }
}

/// Asks until when a lock is held under a token, on the clock of the cluster; `None`: it is not. A
/// lease that is kept alive only lasts longer, and one lasts longer still when another member takes
/// over; but whoever has the lock can give it back.
///
/// # Errors
/// Nobody can say.
pub async fn held_until(
    node: Arc<Node>,
    way: Way,
    (key, token): (Vec<u8>, u64),
) -> Result<Option<u64>, Failure> {
    let asked_at = way.0.now().monotonic;
    let body = [&token.to_le_bytes()[..], &key].concat();
    let errand = Errand { what: What::Fence, name: 0, lease: None, op: 0, body };
    let until = after(Duration::ZERO);
    let asked = OnItsWay { node, way, errand, until, may_repeat: true, goes_back: false };
    let under = asked.ask();
    let given = asked.go(under).await;
    let left = given.payload.first_chunk().filter(|_| given.kind == SubKind::Res);
    let left =
        left.map(|left| u64::from_le_bytes(*left)).ok_or_else(|| Failure::of_given(&given))?;
    // Clocks drift by 1 % at the most.
    Ok((left > 0).then(|| asked_at + left - left / 50))
}

/// A request of this node's client, until it is answered.
struct OnItsWay {
    node: Arc<Node>,
    way: Way,
    errand: Errand,
    /// Until when it waits.
    until: Instant,
    /// It may be asked again whatever became of it.
    may_repeat: bool,
    /// What it is given goes back when nobody hears of it.
    goes_back: bool,
}

/// Who was asked, and what comes of it.
type Under = (Option<NodeId>, Later);

impl Session {
    /// Has a request for leases, locks or semaphores executed where those of the cluster are.
    ///
    /// # Errors
    /// It cannot wait.
    pub fn clustered_lease(
        &mut self,
        way: Way,
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let (takes, wait) = match request {
            Request::Lock(lock) => (true, lock.wait.0),
            Request::SemAcquire(acquire) => (true, acquire.wait.0),
            _ => (false, 0),
        };
        if wait > 0 && !at.may_wait {
            return Err(cannot_wait());
        }
        let (op, body) = (at.to.op, at.body.to_vec());
        let name = u128::from_le_bytes(random::bytes());
        let errand = Errand { what: What::Request, name, lease: at.ext.lease, op, body };
        let repeats = at.operation.repeat == Repeat::Read;
        let may_repeat = takes || repeats || matches!(request, Request::Keepalive(_));
        let until = after(Duration::from_millis(wait));
        let node = Arc::clone(&self.node);
        let asked = OnItsWay { node, way, errand, until, may_repeat, goes_back: takes };
        // It goes out now, so that it does not overtake what was asked before it.
        let under = asked.ask();
        let later = Box::pin(asked.go(under));
        if wait > 0 {
            return Ok(Flow::Waits(later, Awaited { object: at.id, key: key_of(request) }));
        }
        Ok(Flow::Later(later))
    }
}

impl OnItsWay {
    fn who(&self) -> Option<NodeId> {
        let (cluster, shared) = &self.way;
        let view = cluster.view();
        match view.route(shared.group, SEGMENT) {
            Route::Here => view.us(),
            Route::There(node) => Some(node),
            Route::Nowhere => None,
        }
    }

    /// Has it executed by the member that serves locks; `None` when nobody is known who does.
    fn ask(&self) -> Option<Under> {
        let left = self.until.saturating_duration_since(after(Duration::ZERO)).as_millis();
        let raw = self.errand.encode(u64::try_from(left).unwrap_or(u64::MAX));
        let (cluster, shared) = &self.way;
        let who = self.who()?;
        if cluster.view().us() == Some(who) {
            return Some((Some(who), execute(&self.node, &self.way, &raw)?));
        }
        let asked = cluster.pass_on(who, shared, &raw)?;
        let later = async move {
            let answer = asked.await;
            (answer.done, answer.bytes.to_vec())
        };
        Some((Some(who), Box::pin(later)))
    }

    /// Asks until it is answered.
    async fn go(mut self, mut under: Option<Under>) -> Given {
        loop {
            let (done, bytes) = match under.take() {
                None => (Done::Elsewhere, Vec::new()),
                Some(under) => self.answer(under).await,
            };
            match done {
                // It waits still.
                Done::Executed if bytes.is_empty() => {}
                Done::Executed => {
                    self.goes_back = false;
                    return unpack(&bytes).unwrap_or_else(|| Given::failure(&unknown()));
                }
                Done::Unknown if !self.may_repeat => return Given::failure(&unknown()),
                // Who waited as long as it wanted to gives up, and what it got goes back.
                _ if self.is_late() => return Given::failure(&self.too_late()),
                Done::Elsewhere | Done::Unknown => tokio::time::sleep(LOOK_AGAIN).await,
            }
            under = self.ask();
        }
    }

    fn is_late(&self) -> bool {
        after(Duration::ZERO) > self.until + PATIENCE
    }

    fn too_late(&self) -> Failure {
        if self.goes_back { Failure::of(ErrorCode::DeadlineExceeded) } else { nowhere() }
    }

    /// The answer of who was asked; nobody knows when another member serves locks before it has come.
    async fn answer(&self, (who, mut later): Under) -> (Done, Vec<u8>) {
        loop {
            if let Ok(answer) = timeout(LOOK_ELSEWHERE, &mut later).await {
                return answer;
            }
            if self.may_repeat && (self.who() != who || self.is_late()) {
                return (Done::Unknown, Vec::new());
            }
        }
    }
}

impl Drop for OnItsWay {
    /// What it was given meanwhile goes back.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !std::mem::take(&mut self.goes_back) {
            return;
        }
        let (node, way) = (Arc::clone(&self.node), self.way.clone());
        let errand = Errand { what: What::GiveUp, ..self.errand.clone() };
        let until = after(Duration::ZERO);
        let back = OnItsWay { node, way, errand, until, may_repeat: true, goes_back: false };
        let under = back.ask();
        runtime.spawn(back.go(under));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_come_as_they_went() {
        for what in [What::Request, What::GiveUp, What::Fence] {
            for (lease, body) in
                [(None, vec![]), (Some(0), vec![7; 300]), (Some(u64::MAX), vec![1])]
            {
                let errand = Errand { what, name: 9 << 100, lease, op: 0x0406, body };
                let bytes = errand.encode(1_000);
                assert_eq!(Errand::decode(&bytes), Some((errand, 1_000)));
                assert_eq!(Errand::decode(&bytes[..36]), None, "it is cut");
            }
        }
        assert_eq!(Errand::decode(&[LOCKS, 3, 0]), None);
    }
}
