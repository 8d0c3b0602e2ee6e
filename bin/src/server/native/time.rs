//! What is due by time alone: the end of a handshake, signs of life, idle transactions, and the end
//! of a node that stops.

use std::task::Context;
use std::time::Duration;

use isogrid_wire::Output;
use isogrid_wire::native::control::{GoAway, GoAwayReason, Ping, put_control};
use isogrid_wire::native::{ErrorCode, Header, Kind, List};

use super::KEEPALIVE_MS;
use super::failure::Failure;
use super::live::Lives;
use super::session::{Session, Stage};

impl Session {
    /// Sets the timer for the next silence.
    pub(super) fn rest(&mut self) {
        let silence = Duration::from_millis(KEEPALIVE_MS.into());
        self.timer.set(tokio::time::sleep(silence));
        self.silent_until = self.now + u64::from(KEEPALIVE_MS);
        self.is_timed = false;
    }

    /// What is due by time alone.
    #[inline]
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        // One task polls a connection from its beginning to its end, so the timer knows whom to wake
        // when it has been asked once.
        if !self.is_timed || self.timer.is_elapsed() {
            self.is_timed = true;
            self.poll_due(cx, out);
        }
    }

    fn poll_due(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Stage::Login = self.stage {
                self.rest();
                continue;
            }
            if !matches!(self.stage, Stage::Open) {
                let failure = Failure::of(ErrorCode::HandshakeTimeout);
                self.close = Some(failure.code.info().reason);
                let unserved = &self.node.connections.unserved.handshake_timeout;
                unserved.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if matches!(self.stage, Stage::Hello) {
                    let header = Header::control(Kind::Err, 0, 0);
                    failure.body(|body| put_control(header, body, out));
                }
                return;
            }
            let silent = self.now.saturating_sub(self.heard_at);
            if silent >= 3 * u64::from(KEEPALIVE_MS) {
                self.close = Some("dead: three silences in a row");
                return;
            }
            if silent >= u64::from(KEEPALIVE_MS) {
                let ping = Ping { opaque: self.now };
                put_control(Header::control(Kind::Ping, 0, 0), &ping, out);
            }
            self.rest();
        }
    }

    /// Rolls transactions back that have been idle for too long.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) {
        if self.transactions.is_empty() {
            self.idle = None;
            return;
        }
        self.expire_transactions();
        let due = self.transactions.next_deadline();
        self.idle = due.map(|due| {
            let left = Duration::from_millis(due.saturating_sub(self.now).max(1));
            Box::pin(tokio::time::sleep(left))
        });
        if self.idle.as_mut().is_some_and(|idle| idle.as_mut().poll(cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
    }

    /// Says that the node stops, and ends when nothing is under way any more.
    pub(super) fn go_away(&mut self, out: &mut Output) {
        if !self.node.is_stopping() {
            return;
        }
        if !matches!(self.stage, Stage::Open) {
            self.close = Some("the node stops");
            return;
        }
        if self.refuse_at.is_none() {
            let drain = self.node.config.node.drain_timeout / 2;
            let drain_ms = u32::try_from(drain.as_millis()).unwrap_or(u32::MAX);
            self.refuse_at = Some(self.now + u64::from(drain_ms));
            let message = "the node is being stopped";
            let reason = GoAwayReason::Drain as u16;
            let alternatives = List::of(&[]);
            let away = GoAway { reason, drain_ms, message, alternatives };
            put_control(Header::control(Kind::GoAway, 0, 0), &away, out);
        }
        if self.refuses() && self.under_way.len() == 0 {
            let failure = Failure::of(ErrorCode::GoingAway);
            self.lives.to().for_each(|to| to.fail(&failure, out));
            self.lives = Lives::default();
            self.streams.finish_all().for_each(drop);
            self.close = Some("the node stops");
        }
    }
}
