//! LISTEN and TRACK on a cache of the cluster: each member tells of the segments that it serves
//! (`follow.rs`), and all of that goes to one stream. It begins with a resync, once all members were
//! asked, or with what each of them has: from there on nothing is missed that no other resync tells of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use isogrid_grid::id::NodeId;
use isogrid_wire::native::cache::{
    ALL_SEGMENTS, Event, EventKinds, Listen, ListenFlags, ListenReply,
};
use isogrid_wire::native::{Codec, Entry, ErrorCode, Nothing, Reader, decode_all};
use tokio::time::{Sleep, sleep, timeout_at};

use super::follow::{FOLLOW, HOLD, Id, decode};
use super::spread::{after, wide};
use crate::cluster::{Cluster, Done, Route, SEGMENTS, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::live::{FRAME_BYTES, ITEMS_MAX, Step, Turn};
use crate::server::native::reply::Given;
use crate::server::native::scan::glob;

/// How long an answer may take beyond what the member waits for something to tell.
const GRACE: Duration = Duration::from_secs(2);
/// How long a member that could not be asked is let alone, and how often it is looked which there
/// are.
const PAUSE: Duration = Duration::from_millis(100);

/// A member that serves segments and was not heard of for so long ends the stream, ms.
const SILENCE_MS: u64 = 10_000;

type Way = (Arc<Cluster>, Arc<Shared>);
type Fetch = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// A listener.
pub struct Hearing {
    way: Way,
    /// The cache's number.
    pub object: u32,
    /// What members are asked, behind the listener's number.
    body: Vec<u8>,
    /// What those are asked instead that are there at the beginning, if they are to tell first what
    /// there is. Whoever is asked later tells a resync, and the rest of it is read.
    first: Option<Vec<u8>>,
    /// Whether it begins with a resync of all.
    resyncs_first: bool,
    /// Number of the last listener that a member was asked as, in its last four bytes.
    id: Id,
    members: BTreeMap<NodeId, Member>,
    /// The newest epoch of each segment that was heard of: who served it before has nothing to say.
    epochs: Vec<u32>,
    /// Events that were not sent yet, encoded.
    told: VecDeque<Vec<u8>>,
    /// Segments that are to be read anew.
    resync: BTreeSet<u16>,
    look: Pin<Box<Sleep>>,
}

/// A member that is asked.
struct Member {
    id: Id,
    fetch: Fetch,
    /// It has answered, or could not.
    was_asked: bool,
    /// When it was heard of last, on the clock of the cluster, ms.
    heard_at: u64,
}

impl Hearing {
    /// Begins to listen, for a client whose writes are of this origin.
    ///
    /// # Errors
    /// The pattern cannot be used.
    pub fn open(
        way: &Way,
        (object, life): (u32, u128),
        listen: &Listen<'_>,
        origin: u64,
    ) -> Result<Hearing, Failure> {
        listen.glob.map(glob).transpose()?;
        let credit = u32::try_from(ITEMS_MAX).unwrap_or(u32::MAX);
        let body = |switches| {
            let flags = ListenFlags { switches };
            let mut body = origin.to_le_bytes().to_vec();
            Listen { credit, flags, ..*listen }.encode(&mut body);
            body
        };
        let (switches, initial) = (listen.flags.switches, ListenFlags::INITIAL_STATE);
        let first = listen.flags.has(initial).then(|| body(switches));
        // No other listener has it: streams of a connection may have their numbers again.
        let mut id = [0; 32];
        let name = life.to_le_bytes().into_iter().chain(way.0.name().number.to_le_bytes());
        id.iter_mut().zip(name).for_each(|(place, byte)| *place = byte);
        Ok(Hearing {
            way: way.clone(),
            object,
            body: body(switches & !initial),
            resyncs_first: first.is_none(),
            first,
            id,
            members: BTreeMap::new(),
            epochs: vec![0; SEGMENTS as usize],
            told: VecDeque::new(),
            resync: BTreeSet::new(),
            look: Box::pin(sleep(PAUSE)),
        })
    }

    /// Sends what has happened.
    pub fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        let begun = match self.gather(cx) {
            Ok(begun) => begun,
            Err(failure) => {
                return Step { end: Some(Given::failure(&failure)), ..Step::default() };
            }
        };
        let sent = if begun { self.send(turn) } else { 0 };
        let dropped = turn.node.catalog.object(self.object).is_none();
        let end = dropped.then(|| Given::answer(&ListenReply::Ended {}));
        let waits = self.told.is_empty() && self.resync.is_empty();
        Step { sent, more: begun && !waits && turn.credit > sent, end }
    }

    /// Takes what members tell; whether [`Hearing::take_next`] may be told.
    ///
    /// # Errors
    /// One that serves segments cannot be heard.
    pub fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        self.look_around(cx);
        let members: Vec<NodeId> = self.members.keys().copied().collect();
        for node in members {
            self.hear(node, cx);
        }
        self.deaf()?;
        Ok(!self.resyncs_first || self.members.values().all(|member| member.was_asked))
    }

    /// The next event, encoded: those of entries, then what is to be read anew: that may come later,
    /// but never sooner.
    pub fn take_next(&mut self) -> Option<Vec<u8>> {
        self.told.pop_front().or_else(|| self.next_resync())
    }

    /// Asks new members, and forgets those that have left.
    fn look_around(&mut self, cx: &mut Context<'_>) {
        while self.look.as_mut().poll(cx).is_ready() {
            self.look = Box::pin(sleep(PAUSE));
        }
        let view = self.way.0.view();
        let now = self.way.0.now().monotonic;
        let there: BTreeSet<NodeId> = view.others().chain(view.us()).collect();
        self.members.retain(|node, _| there.contains(node));
        let first = self.first.take_if(|_| !there.is_empty());
        for node in there {
            if !self.members.contains_key(&node) {
                let id = self.next_id();
                let fetch = self.ask(node, &id, (Duration::ZERO, first.as_ref()));
                self.members.insert(node, Member { id, fetch, was_asked: false, heard_at: now });
            }
        }
    }

    /// Takes what a member has told, unless too much waits already, and asks it again.
    fn hear(&mut self, node: NodeId, cx: &mut Context<'_>) {
        loop {
            let is_full = self.told.len() >= ITEMS_MAX;
            let Some(member) = self.members.get_mut(&node) else { return };
            if is_full && member.was_asked {
                // It is not asked again before there is room: its silence is ours.
                member.heard_at = self.way.0.now().monotonic;
                return;
            }
            let Poll::Ready(answer) = member.fetch.as_mut().poll(cx) else { return };
            let (id, heard_at) = (member.id, member.heard_at);
            let is_heard = answer.is_some_and(|bytes| self.take(&bytes).is_some());
            // What it had for us is lost if it did not come: to a new listener it tells a resync.
            let (id, heard_at, pause) = if is_heard {
                (id, self.way.0.now().monotonic, Duration::ZERO)
            } else {
                (self.next_id(), heard_at, PAUSE)
            };
            let fetch = self.ask(node, &id, (pause, None));
            self.members.insert(node, Member { id, fetch, was_asked: true, heard_at });
        }
    }

    /// A member that serves segments and cannot be heard: what it does not tell must not pass for
    /// nothing that happens.
    fn deaf(&self) -> Result<(), Failure> {
        let (cluster, shared) = &self.way;
        let (now, view) = (cluster.now().monotonic, cluster.view());
        let is_silent = |member: &Member| member.heard_at + SILENCE_MS < now;
        let is_served = |node: NodeId| {
            let route = if view.us() == Some(node) { Route::Here } else { Route::There(node) };
            (0..SEGMENTS).any(|segment| view.route(shared.group, segment) == route)
        };
        let silent = self.members.iter().filter(|(_, member)| is_silent(member));
        let Some((node, _)) = silent.into_iter().find(|(node, _)| is_served(**node)) else {
            return Ok(());
        };
        let why = format!("the member {} cannot be heard: listen at another node", node.0);
        Err(Failure::new(ErrorCode::SegmentUnavailable, why))
    }

    fn next_id(&mut self) -> Id {
        if let Some(tries) = self.id.last_chunk_mut::<4>() {
            *tries = u32::from_le_bytes(*tries).wrapping_add(1).to_le_bytes();
        }
        self.id
    }

    fn ask(&self, node: NodeId, id: &Id, (pause, first): (Duration, Option<&Vec<u8>>)) -> Fetch {
        let (cluster, shared) = self.way.clone();
        let raw = [&[FOLLOW][..], id, first.unwrap_or(&self.body)].concat();
        Box::pin(async move {
            sleep(pause).await;
            let asked = cluster.pass_on(node, &shared, &raw)?;
            let answer = timeout_at(after(HOLD + GRACE), asked).await.ok()?;
            (answer.done == Done::Executed).then_some(answer.bytes)
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Option<()> {
        for (epoch, event) in decode(bytes)? {
            let newest = self.epochs.get_mut(usize::from(event.segment))?;
            if epoch < *newest {
                continue;
            }
            *newest = epoch;
            if event.event == EventKinds::RESYNC {
                self.resync.insert(event.segment);
            } else {
                let mut bytes = Vec::with_capacity(event.encoded_len());
                event.encode(&mut bytes);
                self.told.push_back(bytes);
            }
        }
        Some(())
    }

    fn send(&mut self, turn: &mut Turn<'_>) -> usize {
        let (mut bytes, mut sending) = (0, Vec::new());
        let items = turn.credit.min(ITEMS_MAX);
        while sending.len() < items && bytes < FRAME_BYTES {
            let Some(event) = self.take_next() else { break };
            bytes += event.len();
            sending.push(event);
        }
        let events: Vec<_> = sending.iter().filter_map(|bytes| event(bytes)).collect();
        if !events.is_empty() {
            turn.to.items(&events, &Nothing {}, turn.out);
        }
        events.len()
    }

    fn next_resync(&mut self) -> Option<Vec<u8>> {
        let is_of_all = self.resync.len() == SEGMENTS as usize;
        let segment = if is_of_all {
            self.resync.clear();
            ALL_SEGMENTS
        } else {
            self.resync.pop_first()?
        };
        let (event, entry) = (EventKinds::RESYNC, Entry::default());
        let mut bytes = Vec::new();
        Event { event, segment, seq: 0, entry, prev: None }.encode(&mut bytes);
        Some(bytes)
    }
}

/// An event that [`Hearing::take_next`] gave.
pub fn event(bytes: &[u8]) -> Option<Event<'_>> {
    decode_all(Reader::new(bytes, &wide())).ok()
}
