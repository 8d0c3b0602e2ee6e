//! From a frame to the operation: all that is asked of every request, in the order in which it is
//! asked, and where each group goes.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_wire::Output;
use isogrid_wire::native::frame::{COMPRESSED, NO_REPLY};
use isogrid_wire::native::schema::{Operation, Repeat};
use isogrid_wire::native::{ErrorCode, Frame, Request, RequestExt, RequestFrame, operation};

use super::clustered::no_instance;
use super::failure::Failure;
use super::live::Live;
use super::once::{Known, Once};
use super::reply::{Given, Reply, To};
use super::session::Session;
use super::tx_local::invalidated;
use super::under_way::{Awaited, Later};
use super::waits;

/// How long a request may wait that does not say so.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The same for administration.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a request has beside its body.
#[derive(Clone, Copy)]
pub struct At<'i> {
    /// Whom the answer goes to.
    pub to: To,
    /// Its object, if it names one that is there.
    pub object: Option<&'i Arc<Object>>,
    /// The number that it names.
    pub id: u32,
    /// Its extensions.
    pub ext: RequestExt<'i>,
    /// Its own fields, as bytes.
    pub body: &'i [u8],
    /// How much time is left.
    pub patience: Duration,
    /// The operation.
    pub operation: &'static Operation,
    /// Whether the client said how long it waits.
    pub is_hasty: bool,
    /// Whether it may be answered later.
    pub may_wait: bool,
}

/// How a request goes on.
pub enum Flow {
    /// It is answered.
    Said,
    /// It is answered later.
    Later(Later),
    /// The same, when it has got this; it says itself how long it waits.
    Waits(Later, Awaited),
    /// It has items, as many as this at first.
    Live(Box<Live>, u32),
    /// It has items, and its end comes from somewhere else.
    Both(Later, Box<Live>, u32),
    /// It is answered when all before it is.
    Fence,
    /// It was not executed, since something that it needs is not in memory yet.
    Stopped,
}

impl<'i> At<'i> {
    /// That of a request which another member passes on; `None` when there is no such operation.
    pub fn passed(to: To, object: Option<&'i Arc<Object>>, body: &'i [u8]) -> Option<Self> {
        Some(At {
            to,
            object,
            id: object.map_or(0, |object| object.id),
            ext: RequestExt::default(),
            body,
            patience: TIMEOUT,
            operation: operation(to.op)?,
            is_hasty: false,
            may_wait: true,
        })
    }

    /// The object, which must be of this kind.
    ///
    /// # Errors
    /// It is not there, or another one.
    pub fn object(&self, kind: Kind) -> Result<&'i Arc<Object>, Failure> {
        let object = self.object.ok_or_else(|| {
            let why = format!("there is no object {}", self.id);
            Failure::new(ErrorCode::NoSuchObject, why)
        })?;
        if object.kind == kind {
            return Ok(object);
        }
        let (name, is) = (&object.name, object.kind.name());
        let why =
            format!("object {} is the {is} {name:?}, not of the kind {}", self.id, kind.name());
        Err(Failure::new(ErrorCode::WrongType, why))
    }
}

impl Session {
    /// Takes a request. Whether it has to come again, when what it needs is in memory: then nothing
    /// was done.
    pub fn request(&mut self, index: &Index, frame: &Frame<'_>, out: &mut Output) -> bool {
        let header = frame.header;
        let silent = header.has(NO_REPLY);
        if header.has(COMPRESSED) || silent != (header.stream == 0) {
            self.broken(&Failure::of(ErrorCode::ProtocolError), out);
            return false;
        }
        let to = self.to(&header);
        let (mut reply, mut cannot_be_read) = (Reply::sent(to, out), false);
        let free = if silent { Ok(()) } else { self.streams.check(header.stream) };
        let flow = match free {
            Ok(()) => self.admit(index, frame, to, &mut reply),
            Err(code @ ErrorCode::TooManyStreams) => Err(Failure::of(code)),
            Err(code) => {
                self.broken(&Failure::of(code), out);
                return false;
            }
        };
        match flow {
            Ok((Flow::Said, _)) => {}
            Ok((Flow::Stopped, _)) => return true,
            Ok((flow, patience)) => {
                self.go_on(to, flow, patience);
                return false;
            }
            Err(failure) => {
                cannot_be_read = is_unreadable(&failure);
                reply.fail(&failure);
            }
        }
        if cannot_be_read || silent && reply.failed {
            self.count_malformed();
        }
        self.window.answered(to);
        false
    }

    /// Notes a request that is not answered now; its stream was free.
    fn go_on(&mut self, to: To, flow: Flow, patience: Option<Duration>) {
        let credit = match &flow {
            Flow::Live(_, credit) | Flow::Both(_, _, credit) => Some(*credit),
            _ => None,
        };
        if to.stream != 0 {
            let _ = self.streams.open(to.stream, credit);
        }
        match flow {
            Flow::Said | Flow::Stopped => {}
            Flow::Later(later) => self.under_way.begin(to, later, None, patience),
            Flow::Waits(later, awaited) => {
                self.under_way.begin(to, later, Some(awaited), patience);
            }
            Flow::Live(live, _) => self.lives.add(to, *live),
            Flow::Both(later, live, _) => {
                self.lives.add(to, *live);
                self.under_way.begin(to, later, None, patience);
            }
            Flow::Fence => self.under_way.fence(to),
        }
    }

    /// How much of its time a request has left.
    #[inline]
    pub fn patience(&self, op: u16, timeout_ms: u32) -> Duration {
        let whole = match (timeout_ms, op.to_be_bytes()) {
            (0, [0x0a, _]) => ADMIN_TIMEOUT,
            (0, _) => TIMEOUT,
            (ms, _) => Duration::from_millis(ms.into()),
        };
        whole.saturating_sub(Duration::from_millis(self.now.saturating_sub(self.read_at)))
    }

    /// Whether a request may be executed, and its execution if so.
    fn admit(
        &mut self,
        index: &Index,
        frame: &Frame<'_>,
        to: To,
        reply: &mut Reply<'_>,
    ) -> Result<(Flow, Option<Duration>), Failure> {
        if self.refuses() {
            return Err(Failure::of(ErrorCode::ShuttingDown));
        }
        let asked = RequestFrame::decode(frame, &self.limits)?;
        let unknown = || isogrid_wire::native::Refused::UnknownOp(to.op);
        let operation = operation(to.op).ok_or_else(unknown)?;
        let object = index.by_id(asked.object);
        if to.stream == 0 && operation.repeat == Repeat::Stream {
            return Err(Failure::invalid("a request for a stream cannot go unanswered"));
        }
        let patience = self.patience(to.op, asked.timeout_ms);
        if patience.is_zero() {
            return Err(Failure::of(ErrorCode::DeadlineExceeded));
        }
        let (id, is_hasty) = (asked.object, asked.timeout_ms != 0);
        let may_wait = to.stream != 0;
        let body = asked.body.rest();
        let at =
            At { to, object, id, ext: asked.ext, body, patience, operation, is_hasty, may_wait };
        let request = Request::decode(to.op, asked.body)?;
        self.permit(index, asked.object, &request)?;
        if let Some(fence) = &at.ext.fence {
            self.permit_fence(index, fence.object, fence.key.0, operation)?;
        }
        if self.lacks(index, asked.object, &request)? {
            return Ok((Flow::Stopped, None));
        }
        let seat = waits::seat(&self.node, self.login.identity(), &request)?;
        let idem = at.ext.idem.filter(|_| operation.repeat != Repeat::Read);
        let flow = match idem.filter(|_| !self.is_kept_by_copies(&at, &request)) {
            Some(number) => self.once(number, &at, &request, reply),
            None => self.fenced(&at, &request, reply),
        };
        let flow = match (flow, object) {
            (Err(failure), Some(object)) if failure.is_behind => {
                self.wait_for_room(object)?;
                return Ok((Flow::Stopped, None));
            }
            (Ok(Flow::Waits(later, awaited)), _) => {
                Flow::Waits(waits::counted(&self.node, to.op, seat, later), awaited)
            }
            (flow, _) => flow?,
        };
        let is_free = match &flow {
            // Who waits for a lock said so, unless the time for it all is shorter.
            Flow::Waits(..) => !is_hasty,
            // A stream has begun in time, which is all that is asked of it.
            Flow::Both(..) => true,
            _ => false,
        };
        Ok((flow, (!is_free).then_some(patience)))
    }

    /// Executes a request unless it came before; then it is answered as the first time.
    fn once(
        &mut self,
        number: u64,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let instance = self.instance.ok_or_else(no_instance)?;
        let once = match Once::begin(&self.node, instance, number)? {
            Known::New(once) => once,
            Known::Answered(given) => {
                reply.give(&given);
                return Ok(Flow::Said);
            }
        };
        let mut all = Vec::new();
        let flow = self.fenced(at, request, &mut Reply::kept(at.to, &mut all));
        match flow {
            Ok(Flow::Said) => {}
            Ok(Flow::Later(later)) => return Ok(Flow::Later(settled(once, later))),
            Ok(Flow::Waits(later, awaited)) => {
                return Ok(Flow::Waits(settled(once.waiting(), later), awaited));
            }
            Ok(Flow::Stopped) => {
                once.undone();
                return Ok(Flow::Stopped);
            }
            Ok(_) => {
                once.undone();
                return Err(unsupported("idem"));
            }
            Err(failure) if failure.is_behind => {
                once.undone();
                return Err(failure);
            }
            Err(failure) => all.push(Given::failure(&failure)),
        }
        let given = all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)));
        reply.give(&given);
        self.window.answered_once(once, given);
        Ok(Flow::Said)
    }

    /// Executes a request.
    ///
    /// # Errors
    /// Why it was not done; nothing was said.
    pub fn execute(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        if at.ext.lease.is_some() && !matches!(request, Request::Lease(_)) {
            return Err(unsupported("lease"));
        }
        match (at.ext.tx, request) {
            (None, _) => {}
            (Some(_), Request::Cache(_)) if self.invalidated(at.object).is_some() => {
                return Err(invalidated(at.object.map_or("", |object| &object.name)));
            }
            (Some(tx), Request::Cache(request)) => {
                return self.join(tx, at, request, reply);
            }
            (Some(_), _) => return Err(unsupported("tx")),
        }
        match request {
            Request::Conn(request) => self.conn(request, reply),
            Request::Cache(request) => match self.clustered(at.object) {
                Some(cluster) => self.clustered_cache(cluster, at, request, reply),
                None => match self.invalidated(at.object) {
                    Some(way) => self.invalidated_cache(way, at, request, reply),
                    None => self.cache(at, request, reply),
                },
            },
            Request::Tx(request) => self.tx(at, request, reply),
            Request::Counter(request) => self.counter(at, request, reply),
            Request::Lease(request) => self.lease(at, request, reply),
            Request::Queue(request) => self.queue(at, request, reply),
            Request::Session(request) => self.web_session(at, request, reply),
            Request::Catalog(request) => self.catalog(at, request, reply),
            Request::Admin(request) => self.admin(request),
            Request::Batch(request) => self.batch(at, request, reply),
        }
    }
}

/// Whether the request is not what its operation takes: then its client has a fault.
pub fn is_unreadable(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::FrameTooLarge | ErrorCode::BadEncoding)
}

/// An extension that the request cannot have.
pub fn unsupported(name: &str) -> Failure {
    let why = format!("this request cannot have the extension `{name}`");
    Failure::new(ErrorCode::UnsupportedExt, why)
}

/// Remembers the answer that comes later.
fn settled(once: Once, later: Later) -> Later {
    Box::pin(async move {
        let given = later.await;
        once.settle(&given);
        given
    })
}
