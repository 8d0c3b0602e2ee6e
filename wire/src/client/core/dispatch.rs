//! Sends what waits, and stops what nobody waits for.

use super::call::{Around, Call, CallId, LinkId, Moment, State};
use super::route::WATCH;
use super::topology::Way;
use super::{Action, Core};
use crate::client::error::Cause;
use crate::native::control::{Credit, put_cancel, put_control};
use crate::native::{Header, Kind};

impl Core {
    /// Sends what waits, in the order in which it was asked, as far as there are streams.
    pub(super) fn dispatch(&mut self, now: Moment, out: &mut Vec<Action>) {
        while let (Some(main), Some(id)) = (self.ready, self.waiting.first().copied()) {
            let (links, way) = self.links_for(now, id, main, out);
            if !links.iter().any(|link| self.send_over(now, id, *link, way, out)) {
                return;
            }
        }
    }

    /// Sends a request, or ends it; `false` if the connection has no stream to spare.
    fn send_over(
        &mut self,
        now: Moment,
        id: CallId,
        on: LinkId,
        way: Way,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(life) = self.links.get(&on).map(|link| link.life) else { return false };
        let Some(call) = self.calls.get(&id) else { return false };
        let stale = call.request.life.is_some_and(|of| of != life);
        // This server knows nothing of the tag that it was sent with.
        let forgotten = call.doubt_is_of_one_server() && call.life != life;
        let is_elsewhere = call.request.over.is_some_and(|over| over != on);
        if forgotten || is_elsewhere {
            self.fail(id, Cause::Disconnected, out);
        } else if stale {
            self.fail(id, Cause::OtherLife, out);
        } else if !self.send(now, id, on, out) {
            return false;
        } else {
            self.count(way, on);
        }
        true
    }

    /// `false` if the connection has no stream to spare.
    fn send(&mut self, now: Moment, id: CallId, on: LinkId, out: &mut Vec<Action>) -> bool {
        let Some(link) = self.links.get_mut(&on) else { return false };
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let Some(stream) = link.streams.open(call.request.op, call.request.credit, Some(id)) else {
            return false;
        };
        if call.tag.is_none() && call.request.wants_tag() {
            call.tag = Some(self.next_tag);
            self.next_tag += 1;
        }
        call.first.get_or_insert(now);
        call.life = link.life;
        call.state = State::Sent(on, stream);
        self.waiting.remove(&id);
        let around = Around {
            stream,
            epoch: self.topology.epoch(),
            tag: call.tag,
            timeout_ms: time_for_server(call, now),
            fragment_len: link.fragment_len,
        };
        call.request.encode(&around, bytes_for(on, out));
        if call.request.streams() && id != WATCH {
            out.push(Action::Opened(id, on));
        }
        true
    }

    /// Lets the answer of a request that was sent go to nobody, and asks the server to stop.
    pub(super) fn abandon(&mut self, id: CallId, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let State::Sent(on, stream) = call.state else { return };
        call.doubt = true;
        let Some(link) = self.links.get_mut(&on) else { return };
        if let Some(kept) = link.streams.get_mut(stream) {
            *kept = None;
            put_cancel(stream, self.topology.epoch(), bytes_for(on, out));
        }
    }

    pub(super) fn credit(&mut self, id: CallId, items: u32, out: &mut Vec<Action>) {
        let Some(State::Sent(on, stream)) = self.calls.get(&id).map(|call| call.state) else {
            return;
        };
        let Some(link) = self.links.get_mut(&on) else { return };
        if link.streams.grant(stream, items) {
            let header = Header::control(Kind::Credit, stream, self.topology.epoch());
            put_control(header, &Credit { items }, bytes_for(on, out));
        }
    }
}

/// The server gets a little less time than there is, so that its word that the time was over,
/// which says that nothing was done, comes while somebody still listens.
fn time_for_server(call: &Call, now: Moment) -> u32 {
    let Some(deadline) = call.deadline else { return 0 };
    let left = deadline.saturating_sub(now).as_millis();
    let spare = (left / 10).min(50);
    u32::try_from((left - spare).max(1)).unwrap_or(u32::MAX)
}

/// Where to append what goes over a connection: all that one step sends goes in one piece.
pub(super) fn bytes_for(link: LinkId, out: &mut Vec<Action>) -> &mut Vec<u8> {
    let fresh = !matches!(out.last(), Some(Action::Send(last, _)) if *last == link);
    if fresh {
        out.push(Action::Send(link, Vec::new()));
    }
    match out.last_mut() {
        Some(Action::Send(_, bytes)) => bytes,
        _ => unreachable!("it was pushed above"),
    }
}
