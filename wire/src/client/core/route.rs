//! Sends requests for keys to the members that serve them, over a connection to each, which is made
//! when the first request wants it. Where there is none a request goes over the one that there is,
//! and that member passes it on: the table makes requests quick, and is never needed.

use std::time::Duration;

use super::call::{By, Call, CallId, LinkId, Moment, Request, State};
use super::link::Link;
use super::topology::{FETCH_PAUSE, RETRY_PAUSE, Seat, Way};
use super::{Action, Core, Reply, backoff};
use crate::client::error::{Cause, Error, Refusal};
use crate::client::handle::decode;
use crate::native::catalog::{GetTopology, GetTopologyReply, NewTopology, WatchTopology};
use crate::native::schema::Repeat;
use crate::native::topology::TopologyTable;
use crate::native::{Call as _, Codec, List, Reader, Retry};

/// The client's own requests for the table, and for each new one; those of callers have other
/// numbers.
const FETCH: CallId = 0;
pub(super) const WATCH: CallId = CallId::MAX;
/// New tables that a member may tell ahead.
const WATCH_CREDIT: u32 = 4;
/// So long the answer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts to reach a member, at first and at the most. Nobody waits for them.
const SEAT_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How a client's requests found their members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Routing {
    /// Requests about keys of caches of the cluster that were sent to a member which executes them.
    pub direct: u64,
    /// Those that were sent to another one, which passes them on.
    pub passed_on: u64,
    /// The topology epoch of the table that requests go by, its low 32 bits; 0: there is none.
    pub epoch: u32,
    /// Members to which there is a connection.
    pub connected: usize,
}

impl Core {
    /// How requests found their members so far.
    pub fn routing(&self) -> Routing {
        let connected = self.links.values().filter(|link| link.is_ready()).count();
        Routing { epoch: self.topology.epoch(), connected, ..self.routed }
    }

    /// For each hash of a key the member that serves it, as far as keys of this object go to several.
    pub fn places(&self, object: u32, reads: bool, hashes: &[u64]) -> Option<Vec<Option<usize>>> {
        self.topology.places(object, reads, hashes)
    }

    /// The connections that a request may be sent over, the best one first, and where it ought to
    /// go.
    pub(super) fn links_for(
        &mut self,
        now: Moment,
        id: CallId,
        main: LinkId,
        out: &mut Vec<Action>,
    ) -> ([LinkId; 2], Way) {
        if id == FETCH {
            // Whoever spoke of another table has it.
            let is_usable = |id: &LinkId| self.links.get(id).is_some_and(Link::is_usable);
            let source = Some(self.topology.source).filter(is_usable);
            return ([source.unwrap_or(main), main], Way::Any);
        }
        let Some(call) = self.calls.get(&id) else { return ([main; 2], Way::Any) };
        if let Some(over) =
            call.request.over.filter(|id| self.links.get(id).is_some_and(Link::is_usable))
        {
            return ([over; 2], Way::Any);
        }
        let way = self.topology.way(&call.request);
        if call.doubt_is_of_one_server() {
            // Only the server that it was sent to knows what became of it.
            let knows = |link: &Link| link.is_usable() && link.life == call.life;
            let knowing = self.links.iter().find(|(_, link)| knows(link)).map(|(id, _)| *id);
            return ([knowing.unwrap_or(main); 2], way);
        }
        let direct = match way {
            Way::Seat(at) => self.link_to(now, at, out),
            Way::Any | Way::Every | Way::Nobody => None,
        };
        ([direct.unwrap_or(main), main], way)
    }

    /// The connection to a member, if there is one; it is made if it is time to.
    fn link_to(&mut self, now: Moment, at: usize, out: &mut Vec<Action>) -> Option<LinkId> {
        let seat = self.topology.seats.get_mut(at)?;
        if seat.link.is_some() || seat.making.is_some() || now < seat.connect_at {
            return seat.link;
        }
        let link = self.next_link;
        self.next_link += 1;
        out.push(Action::Connect(link, seat.endpoint.clone()));
        seat.making = Some(link);
        self.links.insert(link, Link::new(now, now + self.settings.connect_timeout));
        None
    }

    /// Counts a request that was sent over this connection.
    pub(super) fn count(&mut self, way: Way, over: LinkId) {
        let leads = |at: usize| self.topology.seats.get(at).is_some_and(|s| s.link == Some(over));
        match way {
            Way::Any => {}
            Way::Every => self.routed.direct += 1,
            Way::Seat(at) if leads(at) => self.routed.direct += 1,
            Way::Seat(_) | Way::Nobody => self.routed.passed_on += 1,
        }
    }

    /// A connection is ready that was made to a member. One that leads to another member is of no use:
    /// the address stands for several, or for one that has gone.
    pub(super) fn seated(&mut self, id: LinkId, member: Option<u64>) -> Result<(), Cause> {
        let making = |seat: &&mut Seat| seat.making == Some(id);
        let Some(seat) = self.topology.seats.iter_mut().find(making) else { return Ok(()) };
        if member != Some(seat.member) {
            return Err(Cause::Protocol("the address of a member leads to another one"));
        }
        seat.making = None;
        Ok(())
    }

    /// A connection to a member could not be made, or has ended: the next one is made after a pause.
    pub(super) fn unseated(&mut self, now: Moment, id: LinkId) {
        let (first, most) = SEAT_PAUSES;
        let Core { topology, random, .. } = self;
        for seat in &mut topology.seats {
            if ![seat.link, seat.making].contains(&Some(id)) {
                continue;
            }
            seat.connect_at = now + random.about(backoff::pause(first, most, seat.attempts));
            seat.attempts = seat.attempts.saturating_add(1);
            seat.link.take_if(|link| *link == id);
            seat.making.take_if(|link| *link == id);
        }
    }

    /// Each member has the connection that leads to it, whatever that was made for.
    pub(super) fn reseat(&mut self) {
        let Core { topology, links, ready, .. } = self;
        for seat in &mut topology.seats {
            let leads = |id: LinkId| {
                let link = links.get(&id);
                link.is_some_and(|link| link.is_usable() && link.member == Some(seat.member))
            };
            let all = ready.iter().chain(&seat.link).chain(links.keys());
            seat.link = all.copied().find(|id| leads(*id));
            if seat.link.is_some() {
                seat.attempts = 0;
            }
        }
    }

    /// A connection to a member takes the place of one that is lost or leaves, if there is one.
    pub(super) fn promote(&mut self, instead_of: LinkId, out: &mut Vec<Action>) {
        if self.ready != Some(instead_of) {
            return;
        }
        let mut others = self.topology.seats.iter().filter_map(|seat| seat.link);
        let Some(other) = others.find(|link| *link != instead_of) else { return };
        self.ready = Some(other);
        self.end_streams_of(instead_of, out);
    }

    /// When the table is to be fetched.
    pub(super) fn fetch_due(&self) -> Option<Moment> {
        let Core { topology, settings, .. } = self;
        let wants = settings.routing && topology.is_behind() && !topology.fetching;
        (wants && self.ready.is_some()).then_some(topology.fetch_at)
    }

    /// Asks for the table if another epoch was spoken of.
    pub(super) fn fetch(&mut self, now: Moment) {
        if self.fetch_due().is_none_or(|due| due > now) {
            return;
        }
        let mut body = Vec::new();
        GetTopology { known: self.topology.epoch() }.encode(&mut body);
        let request = Request {
            op: GetTopology::CODE,
            repeat: Repeat::Read,
            body,
            timeout: Some(FETCH_TIMEOUT),
            ..Request::nothing()
        };
        self.topology.fetching = true;
        self.topology.fetch_at = now + FETCH_PAUSE;
        self.begin(now, FETCH, request);
    }

    /// Asks the main member to tell of each new table: a client that asks for nothing would hear of
    /// none.
    pub(super) fn watch(&mut self, now: Moment) {
        let Core { topology, settings, .. } = self;
        let knows = topology.epoch() != 0 && !topology.is_behind();
        let wants = settings.routing && knows && !topology.watched && !topology.unwatched;
        if !wants || self.ready.is_none() {
            return;
        }
        let (known, credit) = (self.topology.epoch(), WATCH_CREDIT);
        let mut body = Vec::new();
        WatchTopology { known, credit }.encode(&mut body);
        let (op, repeat) = (WatchTopology::CODE, Repeat::Stream);
        self.topology.watched = true;
        self.begin(now, WATCH, Request { op, repeat, body, credit, ..Request::nothing() });
    }

    /// Takes tables that a member tells of by itself.
    pub(super) fn watched(&mut self, mut items: Reader<'_>, out: &mut Vec<Action>) {
        let Ok(tables) = List::<NewTopology<'_>>::decode(&mut items) else { return };
        for new in tables {
            if let Ok(table) = new.table.parse() {
                self.take_table(&table);
            }
        }
        self.ask_anew(out);
        self.credit(WATCH, u32::try_from(tables.len()).unwrap_or(u32::MAX), out);
    }

    fn take_table(&mut self, table: &TopologyTable) {
        self.topology.take(table);
        self.reseat();
    }

    /// Tells who asked how a request ended; the client's own are nobody's.
    pub(super) fn done(&mut self, id: CallId, result: Result<Reply, Error>, out: &mut Vec<Action>) {
        if id == WATCH {
            // It is asked for anew with the connection; a server that does not want to is not.
            let is_lost = |error: &Error| matches!(error.cause, Cause::Disconnected);
            self.topology.watched = false;
            self.topology.unwatched = !result.as_ref().is_err_and(is_lost);
            return;
        }
        if id != FETCH {
            return out.push(Action::Done(id, result));
        }
        self.topology.fetching = false;
        let Err(error) = result.and_then(|reply| self.fetched(&reply)) else {
            return self.ask_anew(out);
        };
        self.topology.fetch_at += RETRY_PAUSE;
        // A server of an earlier release, or one that tells this client nothing.
        let is_final = |refusal: &Refusal| refusal.retry == Retry::Never;
        self.topology.refused = matches!(&error.cause, Cause::Refused(why) if is_final(why));
    }

    /// Reads that were sent to a member which does not serve their keys any more, and what copies know
    /// by its tag, are asked of the one that does: the other may be gone without a word, and its
    /// connection stand for long.
    fn ask_anew(&mut self, out: &mut Vec<Action>) {
        let goes_elsewhere = |call: &Call| {
            let State::Sent(on, _) = call.state else { return false };
            let Way::Seat(at) = self.topology.way(&call.request) else { return false };
            let seat = self.topology.seats.get(at).and_then(|seat| seat.link);
            let is_harmless = call.request.repeat == Repeat::Read
                || call.tag.is_some() && call.request.is_kept_by_copies();
            is_harmless && seat.or(self.ready) != Some(on)
        };
        let moved = self.calls.iter().filter(|(_, call)| goes_elsewhere(call));
        let moved: Vec<CallId> = moved.map(|(id, _)| *id).collect();
        for id in moved {
            self.abandon(id, out);
            self.wait(id);
        }
    }

    fn fetched(&mut self, reply: &Reply) -> Result<(), Error> {
        match decode::<GetTopology>(reply)? {
            GetTopologyReply::Unchanged {} => self.topology.unchanged(),
            GetTopologyReply::Ok { table } => {
                let unreadable = |malformed| Error::failed(Cause::Malformed(malformed));
                let table: TopologyTable = table.parse().map_err(unreadable)?;
                self.take_table(&table);
            }
        }
        Ok(())
    }
}

impl Request {
    /// One about nothing, for what is said of each.
    pub fn nothing() -> Self {
        Request {
            op: 0,
            repeat: Repeat::Read,
            by: By::Nothing,
            over: None,
            tagged: false,
            object: 0,
            life: None,
            doubt: false,
            lease: None,
            fence: None,
            tx: None,
            body: Vec::new(),
            credit: 0,
            timeout: None,
        }
    }
}
