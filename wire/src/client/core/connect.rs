//! Makes connections, gets them through the handshake, and gives them up.

use std::time::Duration;

use super::call::{CallId, Life, LinkId, Moment, State};
use super::dispatch::bytes_for;
use super::link::{Link, Stage};
use super::topology::short_epoch;
use super::{Action, Channel, Core, backoff};
use crate::client::error::Cause;
use crate::native::control::{Ping, put_control};
use crate::native::frame::Header;
use crate::native::handshake::{Hello, Welcome, to_payload};
use crate::native::preface::ClientPreface;
use crate::native::{ErrorCode, Kind, Limits};

/// Most addresses that are remembered, those of the caller included.
const ADDRESSES_MAX: usize = 64;

impl Core {
    /// When something about connections is due.
    pub(super) fn links_due(&self) -> impl Iterator<Item = Moment> + '_ {
        let connect = self.wants_link().then_some(self.connect_at);
        let silence = self.settings.keepalive;
        let due = move |link: &Link| match link.stage {
            Stage::Ready => (link.heard.max(link.pinged) + silence).min(link.heard + silence * 3),
            _ => link.give_up,
        };
        connect.into_iter().chain(self.links.values().map(due))
    }

    fn wants_link(&self) -> bool {
        let leaving = |id: LinkId| self.links.get(&id).is_none_or(|link| link.leaving);
        let pointless = self.rejected && self.waiting.is_empty();
        self.making.is_none() && self.ready.is_none_or(leaving) && !pointless
    }

    /// Gives up what is dead, asks for signs of life, and makes a connection if there is none.
    pub(super) fn links_at(&mut self, now: Moment, out: &mut Vec<Action>) {
        let silence = self.settings.keepalive;
        let dead = |link: &Link| match link.stage {
            Stage::Ready => now >= link.heard + silence * 3,
            _ => now >= link.give_up,
        };
        let gone: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| dead(link)).map(|(id, _)| *id).collect();
        for link in gone {
            self.drop_link(now, link, Cause::Disconnected, out);
        }
        for (id, link) in &mut self.links {
            if link.is_ready() && now >= link.heard.max(link.pinged) + silence {
                link.pinged = now;
                let header = Header::control(Kind::Ping, 0, self.topology.epoch());
                put_control(header, &Ping { opaque: 0 }, bytes_for(*id, out));
            }
        }
        if self.wants_link() && now >= self.connect_at {
            self.connect(now, out);
        }
    }

    fn connect(&mut self, now: Moment, out: &mut Vec<Action>) {
        let count = self.settings.addresses.len().max(1);
        let Some(address) = self.settings.addresses.get(self.next_address % count) else { return };
        let link = self.next_link;
        out.push(Action::Connect(link, address.clone()));
        self.next_link += 1;
        self.next_address = (self.next_address + 1) % count;
        self.links.insert(link, Link::new(now, now + self.settings.connect_timeout));
        self.making = Some(link);
    }

    pub(super) fn connected(
        &mut self,
        now: Moment,
        id: LinkId,
        channel: &Channel,
        out: &mut Vec<Action>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (auth, proving) = match self.settings.credentials.begin(channel) {
            Ok(begun) => begun,
            Err(cause) => return self.drop_link(now, id, cause, out),
        };
        link.stage = Stage::Preface;
        link.heard = now;
        link.proving = proving;
        let payload = to_payload(&Hello { auth, ..self.settings.hello.clone() });
        let bytes = bytes_for(id, out);
        bytes.extend_from_slice(&ClientPreface::OURS.encode());
        Header::control(Kind::Hello, 0, 0).encode(payload.len(), bytes);
        bytes.extend_from_slice(&payload);
    }

    pub(super) fn lost(&mut self, now: Moment, id: LinkId, cause: &Cause, out: &mut Vec<Action>) {
        if let Some(link) = self.links.remove(&id) {
            self.gone(now, id, link, cause, out);
        }
    }

    /// Closes a connection, whatever is under way on it.
    pub(super) fn drop_link(
        &mut self,
        now: Moment,
        id: LinkId,
        cause: Cause,
        out: &mut Vec<Action>,
    ) {
        if let Some(link) = self.links.remove(&id) {
            out.push(Action::Close(id));
            self.gone(now, id, link, &cause, out);
        }
    }

    fn gone(
        &mut self,
        now: Moment,
        id: LinkId,
        mut link: Link,
        cause: &Cause,
        out: &mut Vec<Action>,
    ) {
        for call in link.streams.end_all().flatten() {
            self.unanswered(now, call, cause, out);
        }
        self.unseated(now, id);
        self.promote(id, out);
        let was_main = self.making == Some(id) || self.ready == Some(id);
        if was_main {
            self.plan_connect(now, link.proven);
        }
        self.making.take_if(|making| *making == id);
        self.ready.take_if(|ready| *ready == id);
        let count = self.settings.addresses.len();
        let tried_all =
            usize::try_from(self.attempts).is_ok_and(|tried| tried.is_multiple_of(count));
        if was_main && !link.is_ready() && final_word(cause) && tried_all {
            self.rejected = true;
            self.fail_waiting(cause, out);
        }
    }

    /// The connection of a request that was sent is gone.
    fn unanswered(&mut self, now: Moment, id: CallId, cause: &Cause, out: &mut Vec<Action>) {
        let next_tag = self.next_tag;
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.doubt = true;
        if Self::may_repeat(call, now, next_tag) {
            self.wait(id);
        } else {
            self.fail(id, cause.clone(), out);
        }
    }

    /// What waits for a connection hears why there will be none.
    fn fail_waiting(&mut self, cause: &Cause, out: &mut Vec<Action>) {
        for id in std::mem::take(&mut self.waiting) {
            self.fail(id, cause.clone(), out);
        }
    }

    /// Each address is tried once before the pauses begin.
    fn plan_connect(&mut self, now: Moment, proven: bool) {
        self.attempts = if proven { 0 } else { self.attempts.saturating_add(1) };
        let count = u32::try_from(self.settings.addresses.len()).unwrap_or(u32::MAX).max(1);
        let round_is_over = self.attempts > 0 && self.attempts.is_multiple_of(count);
        let pause = if round_is_over {
            let (first, most) = self.settings.backoff;
            self.random.about(backoff::pause(first, most, self.attempts / count - 1))
        } else {
            Duration::ZERO
        };
        self.connect_at = now + pause;
    }

    /// The server lets this client in.
    ///
    /// # Errors
    ///
    /// Its address was that of another member.
    pub(super) fn welcome(
        &mut self,
        id: LinkId,
        welcome: &Welcome,
        out: &mut Vec<Action>,
    ) -> Result<(), Cause> {
        self.seated(id, welcome.server.member)?;
        self.rejected = false;
        for endpoint in welcome.endpoints.iter().filter(|_| self.settings.routing) {
            learn_address(&mut self.settings.addresses, endpoint);
        }
        let life = self.life(&welcome.server.life);
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.welcome(Limits::from(welcome.limits), life);
        link.member = welcome.server.member;
        self.topology.learn(short_epoch(&welcome.epoch), id);
        self.topology.unwatched = false;
        self.making.take_if(|making| *making == id);
        let serves = |id: LinkId| self.links.get(&id).is_some_and(Link::is_usable);
        if !self.ready.is_some_and(serves)
            && let Some(old) = self.ready.replace(id)
        {
            self.end_streams_of(old, out);
        }
        self.reseat();
        Ok(())
    }

    /// A server that does not name its life may have begun anew with each connection.
    fn life(&mut self, name: &str) -> Life {
        let known = self.lives.iter().find(|(known, _)| known == name && !name.is_empty());
        if let Some((_, life)) = known {
            return *life;
        }
        if self.lives.len() >= ADDRESSES_MAX {
            self.lives.remove(0);
        }
        let life = self.next_life;
        self.next_life += 1;
        self.lives.push((name.to_owned(), life));
        life
    }

    /// Another connection is to be made; this one serves until it is ready.
    pub(super) fn leave(&mut self, now: Moment, id: LinkId, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.leaving) else { return };
        link.leaving = true;
        self.unseated(now, id);
        self.promote(id, out);
        if self.ready == Some(id) {
            self.plan_connect(now, false);
        }
    }

    /// Streams of items would never end by themselves: who listens begins anew elsewhere.
    pub(super) fn end_streams_of(&mut self, old: LinkId, out: &mut Vec<Action>) {
        let here = |state| matches!(state, State::Sent(on, _) if on == old);
        let streams: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.request.streams() && here(call.state))
            .map(|(id, _)| *id)
            .collect();
        for id in streams {
            self.abandon(id, out);
            self.fail(id, Cause::Disconnected, out);
        }
    }

    /// Closes connections that were replaced once nobody waits for anything on them.
    pub(super) fn close_idle(&mut self, out: &mut Vec<Action>) {
        let (ready, making, calls) = (self.ready, self.making, &self.calls);
        let seats = &self.topology.seats;
        let seated = |id: LinkId| seats.iter().any(|s| [s.link, s.making].contains(&Some(id)));
        let awaited = |link: LinkId| {
            calls.values().any(|call| matches!(call.state, State::Sent(on, _) if on == link))
        };
        self.links.retain(|id, link| {
            let in_use = [ready, making].contains(&Some(*id)) || seated(*id);
            let idle = !in_use && (link.streams.is_empty() || !awaited(*id));
            if idle {
                out.push(Action::Close(*id));
            }
            !idle
        });
    }
}

/// Notes an address, if there is room for it.
pub(super) fn learn_address(known: &mut Vec<String>, address: &str) {
    if known.len() < ADDRESSES_MAX && !known.iter().any(|one| one == address) {
        known.push(address.to_owned());
    }
}

/// Whether another handshake would end the same way, so that nobody should wait for it: another
/// protocol or version, somebody who may not connect, or a server that cannot be trusted.
fn final_word(cause: &Cause) -> bool {
    match cause {
        Cause::Protocol(_) | Cause::Insecure(_) => true,
        Cause::Refused(refusal) => {
            refusal.known() == Some(ErrorCode::UnsupportedVersion)
                || (2_000..3_000).contains(&refusal.code)
        }
        _ => false,
    }
}
