//! Who is let in, and who may stay.

use isogrid_wire::Output;
use isogrid_wire::native::control::{GoAway, GoAwayReason, put_control};
use isogrid_wire::native::frame::MORE;
use isogrid_wire::native::handshake::{Auth, from_payload, to_payload};
use isogrid_wire::native::tx::TxState;
use isogrid_wire::native::{ErrorCode, Frame, Header, Kind, List};

use super::failure::Failure;
use super::handshake;
use super::login::{Begun, Refreshed};
use super::once::instance_of;
use super::session::{Session, Stage};

impl Session {
    pub(super) fn hello(&mut self, frame: &Frame<'_>, out: &mut Output) -> Result<(), Failure> {
        let greeting = handshake::hello(&self.node, frame, &self.limits)?;
        (self.instance, self.frame_max) = (greeting.instance, greeting.frame_max);
        if !self.node.security.is_required() {
            handshake::anonymous(greeting.auth.as_ref())?;
            self.admit_as(true, String::new(), out);
            return Ok(());
        }
        self.counts.auth_cmds += 1;
        self.is_hello = true;
        self.stage = Stage::Login;
        match self.login.begin(greeting.auth.as_ref())? {
            Begun::Checking => {}
            Begun::Challenge(data) => self.welcome(Auth::CONTINUE, data, out),
            Begun::Wrong => self.login_failed(out),
        }
        Ok(())
    }

    pub(super) fn welcome(&self, state: &str, data: String, out: &mut Output) {
        let auth = handshake::auth(state, &self.login, data);
        handshake::welcome(&self.node, &self.limits, &self.login, auth, out);
    }

    /// Opens the conversation: behind a `HELLO`, or behind an `AUTH`.
    pub(super) fn admit_as(&mut self, is_hello: bool, data: String, out: &mut Output) {
        if is_hello {
            self.welcome(Auth::OK, data, out);
        } else {
            let auth = handshake::auth(Auth::OK, &self.login, data);
            handshake::put(Kind::Auth, &to_payload(&auth), out);
        }
        let user = self.login.identity().map(|who| &*who.user);
        self.instance = self.instance.map(|instance| instance_of(user, instance));
        self.stage = Stage::Open;
        self.rest();
    }

    pub(super) fn login_failed(&mut self, out: &mut Output) {
        self.counts.auth_errors += 1;
        refuse(&Failure::of(ErrorCode::AuthFailed), out);
        self.close = self.login.fail();
    }

    /// Counts what goes to and fro before the login.
    pub(super) fn count_before_auth(
        &mut self,
        sent: usize,
        got: usize,
        waiting: usize,
        out: &mut Output,
    ) {
        if let Some(why) = self.login.count(sent, got, waiting).filter(|_| self.close.is_none()) {
            refuse(&Failure::new(ErrorCode::AuthRequired, why), out);
            self.close = Some(why);
        }
    }

    /// Looks whether the users have changed; why the connection ends, if it does.
    pub(super) fn refresh(&mut self, out: &mut Output) -> Option<&'static str> {
        match self.login.refresh() {
            Refreshed::Same => None,
            Refreshed::Changed => {
                self.change_rights(out);
                None
            }
            Refreshed::Revoked(why) => {
                let (reason, alternatives) = (GoAwayReason::AuthExpired as u16, List::of(&[]));
                let away = GoAway { reason, drain_ms: 0, message: why, alternatives };
                put_control(Header::control(Kind::GoAway, 0, 0), &away, out);
                Some(why)
            }
        }
    }

    /// Ends what was begun under rights that are no more: streams and waits that are not permitted
    /// now, and open transactions, whose writes nobody would ask about again.
    fn change_rights(&mut self, out: &mut Output) {
        let lives = self.lives.all().filter(|(_, live)| !self.may_go_on(live));
        let waits = self.under_way.waiting().filter(|(_, awaited)| !self.may_wait(awaited));
        let lives = lives.map(|(stream, _)| stream);
        let streams: Vec<u32> = lives.chain(waits.map(|(stream, _)| stream)).collect();
        for stream in streams {
            self.end_stream(stream, &Failure::of(ErrorCode::Forbidden), out);
        }
        self.roll_back_all();
    }

    pub(super) fn roll_back_all(&mut self) {
        for number in self.transactions.take_all() {
            self.node.transactions.end(number, Some(TxState::Aborted));
        }
    }

    pub(super) fn before_auth(&mut self, frame: &Frame<'_>, out: &mut Output) {
        let header = frame.header;
        match header.kind {
            _ if header.has(MORE) => self.broken(&Failure::of(ErrorCode::ProtocolError), out),
            Kind::Hello => {
                if let Err(failure) = self.hello(frame, out) {
                    self.broken(&failure, out);
                }
            }
            Kind::Auth if self.login.is_proving() => match from_payload::<Auth>(frame.payload) {
                Ok(auth) => {
                    self.is_hello = false;
                    self.login.prove(&auth.data);
                }
                Err(malformed) => self.broken(&malformed.into(), out),
            },
            Kind::Ping => self.ping(frame, out),
            Kind::Pong => {}
            Kind::Req if header.stream != 0 => {
                let to = self.to(&header);
                to.fail(&Failure::of(ErrorCode::AuthRequired), out);
            }
            _ => self.broken(&Failure::of(ErrorCode::ProtocolError), out),
        }
    }
}

/// Says an error of the connection.
pub(super) fn refuse(failure: &Failure, out: &mut Output) {
    let header = Header::control(Kind::Err, 0, 0);
    failure.body(|body| put_control(header, body, out));
}
