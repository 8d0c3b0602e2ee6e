//! The queues of one process: the copies of their group, which are entries of a table of the engine,
//! and the state machines of the segments that it serves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use isogrid_engine::eviction::PolicyKind;
use isogrid_engine::{Cursor, Error, Table, TableConfig, Timestamp, Unrecorded};
use isogrid_grid::copies::{self, Copies, Keeper, Once, Ticket};
use isogrid_grid::id::{Epoch, GroupId, NodeId, SegmentId};
use isogrid_grid::membership::Now;
use isogrid_grid::metadata::{Acks, Group, GroupSettings, Owners, Persist};
use isogrid_grid::replica::{Kept, Peer};
use isogrid_grid::segment::Request;
use isogrid_grid::structure::queue::{NewMessage, Puller, QueueOp, QueueReply};
use isogrid_grid::structures::NotKept;
use isogrid_grid::structures::queues::names::Options;
use isogrid_grid::structures::queues::{Given, Hosted, Queues, Told};

use super::disk::Changes;
use super::groups::QUEUES;
use super::job::{Asked, Handed, Job, New, Said, Stamp, name_of, options_of};
use super::server::{Moment, Out};
use super::world::SEGMENTS;

/// Bytes of a table: more than a run fills.
const BYTES_MAX: u64 = 16 << 20;
/// How long a segment that is given up waits for its writes to be committed, ms.
const DRAIN_MS: u64 = 100;

/// The queues of a process.
pub struct Hosting {
    table: Arc<Table>,
    copies: Arc<Copies>,
    shelf: Arc<Shelf>,
    /// How the copies are kept, once that is known.
    persist: Option<Persist>,
    segments: Vec<Hosted<Slot>>,
    /// What is said once it is committed.
    promised: Vec<Promised>,
    /// Segments that are given up, and until when their writes may take.
    leaving: Vec<(Request, u64)>,
    turn: u64,
}

/// What copies want to be on the disk.
#[derive(Default)]
struct Shelf(Mutex<Vec<Out>>);

impl Shelf {
    fn with<R>(&self, act: impl FnOnce(&mut Vec<Out>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Keeper for Shelf {
    fn keep(&self, place: (GroupId, SegmentId), (count, kept): (u64, &Kept), waits: bool) {
        self.with(|all| all.push(Out::Keep(place, count, kept.clone(), waits)));
    }

    fn refuses(&self) -> Option<Unrecorded> {
        None
    }
}

/// The queues of a segment, and who waits with which ticket.
struct Slot {
    queues: Queues,
    pulls: BTreeMap<(String, u64), u64>,
}

struct Promised {
    number: u64,
    said: Said,
    stamp: Stamp,
    segment: u32,
    /// What has to be committed.
    ticket: Option<Ticket>,
    /// In which time of serving it was done, in which it must be said.
    tenure: Option<u64>,
}

impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosting").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl Slot {
    fn new(queues: Queues) -> Slot {
        Slot { queues, pulls: BTreeMap::new() }
    }
}

fn handed(given: Given) -> Handed {
    let Given { delivery, payload } = given;
    let body = payload.try_into().map_or(0, u64::from_le_bytes);
    Handed { receipt: delivery.receipt, attempt: delivery.attempt, body }
}

impl Hosting {
    /// The copies that were on a disk, if any, and what there is to write down of them. How they are kept
    /// is known when the group is.
    ///
    /// # Panics
    /// When what was kept is no copy.
    #[must_use]
    pub fn restore(us: NodeId, kept: Changes) -> (Hosting, Changes) {
        let (hosting, now) = (Hosting::new(us), Now::default());
        for ((_, at), change) in kept {
            hosting.copies.restore(now, at, change).expect("what was kept is a copy");
        }
        hosting.copies.restored(now, false);
        let mut state = Vec::new();
        for at in hosting.copies.segments() {
            let write = |kept| -> Result<(), Infallible> {
                state.push(((QUEUES, at), kept));
                Ok(())
            };
            let Ok(()) = hosting.copies.write_down(now, at, write);
        }
        (hosting, state)
    }

    fn new(us: NodeId) -> Hosting {
        let config = TableConfig {
            segments: Some(SEGMENTS.into()),
            max_bytes: BYTES_MAX,
            eviction: PolicyKind::None,
            seed: us.0,
            ..TableConfig::default()
        };
        let table = Arc::new(Table::new(&config, 0).expect("a table"));
        let settings = GroupSettings {
            owners: Owners::Count(1),
            persist: Persist::Async,
            local_reads: false,
            min_insync: 1,
            acks: Acks::Sync,
        };
        let shelf = Arc::new(Shelf::default());
        let keeper = Some(Arc::clone(&shelf) as Arc<dyn Keeper>);
        let copies = Copies::new(us, QUEUES, &settings, Arc::clone(&table), keeper);
        let segments = (0..SEGMENTS).map(|_| Hosted::default()).collect();
        let (promised, leaving) = (Vec::new(), Vec::new());
        Hosting { table, copies, shelf, persist: None, segments, promised, leaving, turn: 0 }
    }

    /// So many changes of a segment's copy are durable.
    pub fn durable(
        &mut self,
        at: Moment<'_>,
        (segment, count): (SegmentId, u64),
        out: &mut Vec<Out>,
    ) {
        let mut done = Vec::new();
        self.copies.durable(at.now, segment, count, &mut done);
        self.carry_out(at, done, out);
    }

    /// The metadata have changed.
    pub fn view(&mut self, at: Moment<'_>, group: &Group, out: &mut Vec<Out>) {
        let (us, metadata) = (at.control.identity().node, at.control.metadata());
        let persist = group.settings.persist;
        if self.persist.replace(persist).is_none() {
            self.copies.keep_as(persist);
        }
        let ours = at.control.incarnation().and_then(|_| metadata.copy_of(us, persist));
        if persist.is_kept() && ours.is_none() {
            // The process before may have known more than is known here before its end is.
            return;
        }
        let mut done = Vec::new();
        for (segment, view) in (0..).map(SegmentId).zip(&group.segments) {
            let drains = self
                .leaving
                .iter()
                .any(|(request, _)| (request.segment, request.epoch) == (segment, view.epoch));
            let allowed = at.control.serves(Default::default(), QUEUES, segment);
            let allowed = (allowed.or(drains.then_some(view.epoch)), None);
            self.copies.view(at.now, segment, view, ours, allowed, &mut done);
        }
        self.carry_out(at, done, out);
    }

    /// Some time has passed.
    pub fn tick(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let mut done = Vec::new();
        self.copies.tick(at.now, &mut done);
        self.carry_out(at, done, out);
        for segment in 0..u32::from(SEGMENTS) {
            self.advance(at, segment);
        }
        self.flush(at, out);
    }

    /// A message of another member's copy.
    pub fn receive(
        &mut self,
        at: Moment<'_>,
        (from, segment): (NodeId, SegmentId),
        peer: Peer,
        out: &mut Vec<Out>,
    ) {
        let mut done = Vec::new();
        self.copies.receive(at.now, from, segment, peer, &mut done);
        self.carry_out(at, done, out);
    }

    /// The leader wants a role back: nothing is written any more, and what was gets a moment.
    pub fn give_up(&mut self, at: Moment<'_>, request: Request, out: &mut Vec<Out>) {
        self.copies.close(request.segment);
        self.leaving.push((request, at.now.monotonic + DRAIN_MS));
        self.finish_giving_up(at, out);
    }

    /// Sends what was written, and says what is committed.
    pub fn flush(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let mut done = Vec::new();
        for segment in 0..u32::from(SEGMENTS) {
            if self.copies.ticket(segment).is_some() {
                self.copies.flush(at.now, segment, &mut done);
            }
        }
        self.carry_out(at, done, out);
    }

    fn carry_out(&mut self, at: Moment<'_>, done: Vec<copies::Out>, out: &mut Vec<Out>) {
        for one in done {
            match one {
                copies::Out::Send(to, group, segment, peer) => {
                    out.push(Out::Send(to, group, segment, peer));
                }
                copies::Out::Ask(request) => out.push(Out::Ask(request)),
                // Whoever waits is asked below.
                copies::Out::Wake(_) | copies::Out::Resolve(..) => {}
                copies::Out::Discarded(..) => panic!("nothing is answered before it is committed"),
            }
        }
        self.finish_giving_up(at, out);
        self.keep_promises(at, out);
        self.shelf.with(|all| out.append(all));
    }

    fn finish_giving_up(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let copies = &self.copies;
        self.leaving.retain(|(request, until)| {
            if !copies.is_settled(request.segment) && at.now.monotonic < *until {
                return true;
            }
            copies.allow(request.segment, None, None);
            out.push(Out::Ask(*request));
            false
        });
    }

    /// In which epoch and for how long the process has served a segment, if it does.
    fn tenure(&self, at: Moment<'_>, segment: u32) -> Option<(Epoch, u64)> {
        let holds = at.control.lease().holds(at.now.monotonic);
        self.copies.tenure(segment).filter(|_| holds)
    }

    /// Whether the process serves a segment, its lease left aside.
    #[must_use]
    pub fn is_active(&self, segment: SegmentId) -> bool {
        self.copies.serves(segment.0.into()).is_some()
    }

    /// What a segment has, as whoever takes it over finds it; `None`: something is under way there.
    #[must_use]
    pub fn found(&self, segment: SegmentId, at: Moment<'_>) -> Option<Queues> {
        let segment = segment.0.into();
        let is_settled = self.copies.ticket(segment).is_none();
        is_settled.then(|| Queues::load(&self.table, segment, 0, at.now.wall))
    }

    /// The entries of a segment.
    #[must_use]
    pub fn entries(&self, segment: SegmentId, now: Timestamp) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let (segment, mut all) = (usize::from(segment.0), BTreeMap::new());
        let mut cursor = Some(Cursor::at(segment, 0));
        while let Some(from) = cursor.filter(|at| at.segment() == segment) {
            cursor = self.table.scan_step(None, from, now, |entry| {
                all.insert(entry.key().to_vec(), entry.value().to_vec());
                true
            });
        }
        all
    }

    /// What is in a message.
    #[must_use]
    pub fn body(&self, queues: &Queues, name: &str, id: u64, at: Moment<'_>) -> u64 {
        let payload = queues.payload(&self.table, at.now.wall, name, id).unwrap_or_default();
        payload.try_into().map_or(0, u64::from_le_bytes)
    }

    /// Does something with the queues of a segment, tells those whom that wakes, and says what it was.
    fn with(
        &mut self,
        at: Moment<'_>,
        segment: u32,
        act: impl FnOnce(&mut Slot, &Table, &mut Vec<Told>) -> Result<Said, NotKept>,
    ) -> Option<(Said, Stamp)> {
        let serving = self.tenure(at, segment);
        let hosted = self.segments.get_mut(segment as usize)?;
        let Some((epoch, tenure)) = serving else {
            hosted.forget();
            return None;
        };
        let place = (&*self.copies, &*self.table, segment);
        let mut slot = hosted.take((epoch, tenure), place, at.now.wall, Slot::new)?;
        self.turn += 1;
        let stamp = Stamp { epoch: epoch.0, turn: self.turn };
        let mut told = Vec::new();
        let done = act(&mut slot, &self.table, &mut told);
        if done.is_ok() {
            for Told { queue, ticket, given } in told {
                let Some(number) = slot.pulls.remove(&(queue, ticket)) else { continue };
                let said = Said::Given(given.into_iter().map(handed).collect());
                let ticket = self.copies.ticket(segment);
                let tenure = Some(tenure);
                self.promised.push(Promised { number, said, stamp, segment, ticket, tenure });
            }
        }
        let next = slot.queues.next_id();
        hosted.put(next, tenure, done.is_ok().then_some(slot));
        match done {
            Ok(said) => Some((said, stamp)),
            Err(NotKept { why: Error::Unrecorded(Unrecorded::Elsewhere), done: 0 }) => None,
            Err(NotKept { done: 0, .. }) => Some((Said::Failed, stamp)),
            Err(_) => Some((Said::Unknown, stamp)),
        }
    }

    /// Does what is due by time.
    fn advance(&mut self, at: Moment<'_>, segment: u32) {
        let Some((_, tenure)) = self.tenure(at, segment) else { return };
        let hosted = self.segments.get(segment as usize).and_then(Hosted::get);
        let due = hosted
            .filter(|(of, _)| *of == tenure)
            .map_or(Some(0), |(_, slot)| slot.queues.next_deadline());
        if due.is_some_and(|due| due <= at.now.wall) {
            self.with(at, segment, |slot, table, told| {
                slot.queues.advance(table, at.now.wall, told).map(|()| Said::Done)
            });
        }
    }

    /// A request of a client.
    pub fn ask(&mut self, at: Moment<'_>, segment: SegmentId, asked: Asked, out: &mut Vec<Out>) {
        let (number, segment) = (asked.number, u32::from(segment.0));
        let Some((_, tenure)) = self.tenure(at, segment) else {
            return out.push(Out::Job(number, Said::Failed, Stamp::default()));
        };
        let done = match asked.id {
            None => self.execute(at, segment, asked),
            Some(id) => {
                let (copies, mut fresh) = (Arc::clone(&self.copies), None);
                let once = copies.once(at.now.wall, segment, id, || {
                    fresh = self.execute(at, segment, asked);
                    let (said, stamp) = fresh.as_ref().filter(|(said, _)| !said.is_undone())?;
                    Some(said.encode(*stamp))
                });
                match once {
                    Once::Executed => fresh,
                    Once::Before(bytes) => Some(Said::decode(&bytes)),
                    Once::Forgotten => Some((Said::Unknown, Stamp::default())),
                    Once::UnderWay | Once::Refused => {
                        // What was executed and is nowhere is not what is in memory.
                        let hosted = self.segments.get_mut(segment as usize);
                        hosted.into_iter().for_each(Hosted::forget);
                        None
                    }
                }
            }
        };
        let (said, stamp) = done.unwrap_or((Said::Failed, Stamp::default()));
        if !matches!(said, Said::Given(ref all) if all.is_empty()) || !waits(asked.job) {
            let ticket = self.copies.ticket(segment);
            let tenure = matches!(said, Said::Given(_)).then_some(tenure);
            self.promised.push(Promised { number, said, stamp, segment, ticket, tenure });
        }
        self.keep_promises(at, out);
        self.shelf.with(|all| out.append(all));
    }

    fn execute(&mut self, at: Moment<'_>, segment: u32, asked: Asked) -> Option<(Said, Stamp)> {
        self.with(at, segment, |slot, table, told| {
            let (name, now) = (name_of(asked.queue), at.now.wall);
            match asked.job {
                Job::Make => {
                    let options = Options::Queue(options_of(asked.queue));
                    let made = slot.queues.create(table, now, &name, options);
                    Ok(made.map_or(Said::Failed, |_| Said::Done))
                }
                Job::Publish(new) => publish(slot, (table, now), (&name, new), told),
                job => {
                    let done = slot.queues.apply(table, now, (&name, op_of(job)), told);
                    let Some(done) = done.transpose()? else { return Ok(Said::Absent) };
                    if let QueueReply::Waiting { ticket } = done.reply {
                        slot.pulls.insert((name, ticket), asked.number);
                    }
                    Ok(said_of(done.reply, done.given))
                }
            }
        })
    }

    fn keep_promises(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let holds = at.control.lease().holds(at.now.monotonic);
        let (copies, mut cx) = (&self.copies, Context::from_waker(Waker::noop()));
        self.promised.retain_mut(|one| {
            let committed = one.ticket.map_or(Poll::Ready(Ok(())), |t| copies.poll(t, &mut cx));
            let Poll::Ready(committed) = committed else { return true };
            let now = copies.tenure(one.segment).filter(|_| holds).map(|(_, now)| now);
            let lasts = one.ticket.is_none() && one.tenure.is_none()
                || now.is_some() && (one.tenure.is_none() || one.tenure == now);
            let said = std::mem::replace(&mut one.said, Said::Unknown);
            let is_nothing = matches!(&said, Said::Given(all) if all.is_empty());
            let is_true = is_nothing || committed.is_ok() && lasts;
            let said = if is_true { said } else { Said::Unknown };
            out.push(Out::Job(one.number, said, one.stamp));
            false
        });
    }
}

fn waits(job: Job) -> bool {
    matches!(job, Job::Pull(_, _, wait) if wait > 0)
}

fn publish(
    slot: &mut Slot,
    (table, now): (&Table, u64),
    (name, new): (&str, New),
    told: &mut Vec<Told>,
) -> Result<Said, NotKept> {
    let (body, group) = (new.body.to_le_bytes(), [new.group]);
    let message = NewMessage {
        dedup: new.dedup.then_some(&body[..]),
        group: (new.group > 0).then_some(&group[..]),
        delay: new.delay,
        ttl: 0,
        priority: new.priority,
        len: 8,
    };
    let Some(published) = slot.queues.publish(table, now, (name, &message, &body)) else {
        return Ok(Said::Absent);
    };
    let kept = usize::from(matches!(published, Ok(QueueReply::Published { .. })));
    slot.queues.deal(table, now, (name, kept), told).transpose()?;
    Ok(published.map_or(Said::Failed, |reply| said_of(reply, Vec::new())))
}

fn op_of(job: Job) -> QueueOp<'static> {
    match job {
        Job::Pull(consumer, most, wait) => {
            let puller = Puller { consumer, most, visible: 0, auto: false, place: 0 };
            QueueOp::Pull { puller, wait }
        }
        Job::Ack(receipt) => QueueOp::Ack(receipt),
        Job::Nack(receipt, refusal) => QueueOp::Nack { receipt, refusal, reason: "" },
        Job::Extend(receipt, visible) => QueueOp::Extend { receipt, visible },
        Job::Leave(consumer) => QueueOp::Leave { consumer },
        Job::Redrive(most) => QueueOp::Redrive { most },
        Job::Make | Job::Publish(_) => QueueOp::Stats,
    }
}

fn said_of(reply: QueueReply, given: Vec<Given>) -> Said {
    match reply {
        QueueReply::Published { id } => Said::Published(id),
        QueueReply::Duplicate { id } => Said::Duplicate(id),
        QueueReply::Full { .. } => Said::Full,
        QueueReply::Deliveries(_) => Said::Given(given.into_iter().map(handed).collect()),
        QueueReply::Waiting { .. } => Said::Given(Vec::new()),
        QueueReply::Gone => Said::Gone,
        QueueReply::Stale => Said::Stale,
        QueueReply::Unknown => Said::NoReceipt,
        _ => Said::Done,
    }
}
