//! Takes what servers send.

use std::time::Duration;

use super::call::{CallId, LinkId, Moment};
use super::connect::learn_address;
use super::dispatch::bytes_for;
use super::link::Stage;
use super::route::WATCH;
use super::{Action, Core, Reply, backoff};
use crate::client::error::{Cause, Refusal};
use crate::native::control::{GoAway, Ping, put_control};
use crate::native::frame::{COMPRESSED, Frame, Header};
use crate::native::handshake::from_payload;
use crate::native::preface::{PREFACE_LEN, ServerPreface};
use crate::native::{
    Assembled, ErrorCode, Kind, Reader, Received, Retry, decode_all, decode_error, reply_ext,
};

/// A request goes to another member at most so often.
const HOPS_MAX: u32 = 3;
/// So often a request is sent again to a server that does not know what became of it.
const DOUBTS_MAX: u32 = 3;

/// A connection that cannot go on.
type Broken = Cause;

impl Core {
    pub(super) fn received(
        &mut self,
        now: Moment,
        id: LinkId,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.heard = now;
        let mut held = std::mem::take(&mut link.input);
        let whole = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        match self.frames(now, id, whole, out) {
            Ok(used) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.input = whole.get(used..).unwrap_or_default().to_vec();
                }
            }
            Err(cause) => self.drop_link(now, id, cause, out),
        }
    }

    /// Takes all that is whole; how many bytes that was.
    fn frames(
        &mut self,
        now: Moment,
        id: LinkId,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<usize, Broken> {
        let mut used = self.preface(id, bytes)?;
        while let Some(link) = self.links.get_mut(&id) {
            if link.stage == Stage::Preface {
                break;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(frame) = Frame::decode(rest, &link.limits).map_err(|_| BAD_FRAME)? else {
                break;
            };
            used += frame.encoded_len();
            self.topology.learn(frame.header.epoch, id);
            match link.fragments.push(frame) {
                Assembled::Frame(frame) => self.frame(now, id, &frame, out)?,
                Assembled::Message(header, payload) => {
                    self.frame(now, id, &Frame { header, payload: &payload }, out)?;
                }
                Assembled::Incomplete => {}
                Assembled::Refused(..) | Assembled::Broken(_) => return Err(BAD_FRAME),
            }
        }
        Ok(used)
    }

    fn preface(&mut self, id: LinkId, bytes: &[u8]) -> Result<usize, Broken> {
        let waiting = |link: &&mut super::Link| link.stage == Stage::Preface;
        let Some(link) = self.links.get_mut(&id).filter(waiting) else { return Ok(0) };
        let strange = |_| Cause::Protocol("the server does not speak GNP");
        match ServerPreface::decode(bytes).map_err(strange)? {
            None => Ok(0),
            Some(preface) if preface.chosen != 1 => {
                Err(Cause::Protocol("the server speaks no version that this client speaks"))
            }
            Some(_) => {
                link.stage = Stage::Hello;
                Ok(PREFACE_LEN)
            }
        }
    }

    fn frame(
        &mut self,
        now: Moment,
        id: LinkId,
        frame: &Frame<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), Broken> {
        let stage = self.links.get(&id).map(|link| link.stage);
        let header = &frame.header;
        if header.has(COMPRESSED) {
            return Err(BAD_FRAME);
        }
        match header.kind {
            Kind::Ping => {
                let ping: Ping = self.control(id, frame)?;
                let header = Header::control(Kind::Pong, 0, self.topology.epoch());
                put_control(header, &ping, bytes_for(id, out));
            }
            Kind::Pong => {}
            Kind::GoAway => self.go_away(now, id, frame, out)?,
            Kind::Err if header.stream == 0 => return Err(self.refused_link(id, frame)),
            Kind::Welcome if stage == Some(Stage::Hello) => {
                let welcome = from_payload(frame.payload).map_err(Cause::Malformed)?;
                self.welcomed(id, welcome, out)?;
            }
            Kind::Auth if stage == Some(Stage::Login) => {
                let auth = from_payload(frame.payload).map_err(Cause::Malformed)?;
                self.proven(id, &auth, out)?;
            }
            Kind::Res | Kind::Err | Kind::Item if stage == Some(Stage::Ready) => {
                self.answer(now, id, frame, out)?;
            }
            _ => return Err(BAD_FRAME),
        }
        Ok(())
    }

    fn control<'a, T: crate::native::Codec<'a>>(
        &self,
        id: LinkId,
        frame: &Frame<'a>,
    ) -> Result<T, Broken> {
        let link = self.links.get(&id).ok_or(BAD_FRAME)?;
        decode_all(Reader::new(frame.payload, &link.limits)).map_err(Cause::Malformed)
    }

    fn go_away(
        &mut self,
        now: Moment,
        id: LinkId,
        frame: &Frame<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), Broken> {
        let away: GoAway<'_> = self.control(id, frame)?;
        for alternative in away.alternatives {
            learn_address(&mut self.settings.addresses, alternative);
        }
        self.leave(now, id, out);
        Ok(())
    }

    fn refused_link(&self, id: LinkId, frame: &Frame<'_>) -> Broken {
        let decoded = self.links.get(&id).map(|link| decode_error(frame, &link.limits));
        match decoded {
            Some(Ok((_, body))) => Cause::Refused(Refusal::of(&body)),
            _ => BAD_FRAME,
        }
    }

    /// Takes a `RES`, an `ERR` or an `ITEM`.
    fn answer(
        &mut self,
        now: Moment,
        id: LinkId,
        frame: &Frame<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), Broken> {
        let link = self.links.get_mut(&id).ok_or(BAD_FRAME)?;
        let (_, body) = reply_ext(frame, &link.limits).map_err(Cause::Malformed)?;
        let items = if frame.header.kind == Kind::Item { count(body)? } else { 0 };
        let life = link.life;
        match link.streams.receive(&frame.header, items).map_err(|_| BAD_FRAME)? {
            Received::Items(kept) => {
                if let Some(call) = *kept {
                    self.items(call, body, out);
                }
            }
            Received::Ended(None) => {}
            Received::Ended(Some(call)) if frame.header.kind == Kind::Res => {
                link.proven = true;
                self.attempts = 0;
                self.remove(call);
                let payload = body.rest().to_vec();
                self.done(call, Ok(Reply { payload, life, link: id }), out);
            }
            Received::Ended(Some(call)) => {
                let limits = link.limits;
                match decode_error(frame, &limits) {
                    Ok((_, body)) => self.refused(now, id, call, Refusal::of(&body), out),
                    Err(malformed) => {
                        self.doubt(call);
                        self.fail(call, Cause::Malformed(malformed), out);
                    }
                }
            }
        }
        Ok(())
    }

    fn items(&mut self, id: CallId, body: Reader<'_>, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.begun = true;
        if id == WATCH {
            return self.watched(body, out);
        }
        out.push(Action::Items(id, body.rest().to_vec()));
    }

    fn doubt(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.doubt = true;
        }
    }

    /// What to do about an `ERR` is on the wire, so that codes of later releases are treated
    /// rightly too.
    fn refused(
        &mut self,
        now: Moment,
        link: LinkId,
        id: CallId,
        refusal: Refusal,
        out: &mut Vec<Action>,
    ) {
        let next_tag = self.next_tag;
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.doubt |= refusal.retry == Retry::Unknown;
        call.hops += u32::from(refusal.retry == Retry::Other);
        let again = match refusal.retry {
            _ if call.begun => false,
            Retry::Never => false,
            Retry::Same => refusal.known() != Some(ErrorCode::TxConflict),
            Retry::Other => call.hops <= HOPS_MAX || passes(&refusal),
            Retry::Unknown => call.refused < DOUBTS_MAX && Self::may_repeat(call, now, next_tag),
        };
        if !again {
            return self.fail(id, Cause::Refused(refusal), out);
        }
        let (first, most) = self.settings.backoff;
        let pause = self.random.about(backoff::pause(first, most, call.refused));
        let asked = Duration::from_millis(refusal.retry_after_ms.into());
        call.refused += 1;
        if passes(&refusal) {
            self.leave(now, link, out);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.refusal = Some(refusal);
        }
        self.rest(id, now + pause.max(asked), out);
    }
}

/// Whether the member as a whole does not serve: another one may, and so may this one later.
fn passes(refusal: &Refusal) -> bool {
    use ErrorCode::{GoingAway, NoQuorum, NotReady, ShuttingDown};
    matches!(refusal.known(), Some(GoingAway | NoQuorum | NotReady | ShuttingDown))
}

/// How many items an `ITEM` has.
fn count(body: Reader<'_>) -> Result<usize, Broken> {
    let mut body = body;
    let count = body.varint().map_err(Cause::Malformed)?;
    usize::try_from(count).map_err(|_| BAD_FRAME)
}

const BAD_FRAME: Cause = Cause::Protocol("the server broke the rules of the protocol");
