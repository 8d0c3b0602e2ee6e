//! Turns of a connection that has to log in, or whose user may do some things and not others: one
//! request at a time, each with a look at what is permitted.

use std::task::{Context, Poll, ready};

use isogrid_grid::Batch;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Decoder, Framing, Login, Refusal, Reply, Request, Text};

use super::connection::{Done, OUTPUT_LEN_MAX, Turn};
use super::session::{Session, decode_any};

/// What a client reads that may not do what it asked for.
pub const DENIED: Refusal = Refusal::Denied("permission denied");

impl Session {
    /// Waits until it is decided who the client is. Why the connection ends behind the answer, if
    /// it does; why it ends at once.
    #[cold]
    pub(super) fn poll_guard(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<Option<&'static str>, &'static str>> {
        let Some(guard) = &mut self.guard else { return Poll::Ready(Ok(None)) };
        if let Some(why) = guard.refresh() {
            return Poll::Ready(Err(why));
        }
        // A client that guesses gets its answer, and then the end.
        let failures = guard.failures();
        let why = ready!(guard.poll(cx, out));
        self.counts.auth_errors += guard.failures() - failures;
        Poll::Ready(Ok(why))
    }

    /// Decodes, checks and executes what is in `input`, a request at a time.
    #[inline(never)]
    pub(super) fn guarded(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) {
        let mut quota = self.node.config.limits.requests_per_turn;
        while quota > 0 && self.takes_more(out, done) {
            let rest = input.get(done.consumed..).unwrap_or_default();
            let (consumed, len) = (done.consumed, out.len());
            let is_known = self.guard.as_ref().is_some_and(|guard| guard.is_known());
            let whole = match rest.first() {
                None => break,
                Some(_) if is_known => self.guarded_request(batch, decoder, rest, out, done),
                Some(first) => {
                    let whole = if decoder.speaks_binary(*first) {
                        self.binary_newcomer(batch, decoder, rest, out, done)
                    } else {
                        self.text_newcomer(decoder, rest, out, done)
                    };
                    self.count(done, done.consumed - consumed, out.len().saturating_sub(len));
                    whole
                }
            };
            if !whole {
                break;
            }
            quota -= 1;
        }
        if quota == 0 && done.close.is_none() && done.consumed < input.len() {
            self.counts.conn_yields += 1;
            done.turn = Turn::Yield;
        }
    }

    fn takes_more(&self, out: &Output, done: &Done) -> bool {
        let room = !self.is_streaming() && out.len() < OUTPUT_LEN_MAX;
        done.close.is_none() && room && !self.must_wait()
    }

    fn count(&mut self, done: &mut Done, sent: usize, got: usize) {
        let waiting_for = if done.needed > 1 { done.needed } else { 0 };
        if let Some(guard) = &mut self.guard {
            done.close = done.close.or(guard.count(sent, got, waiting_for));
        }
    }

    /// Whether there was a whole request.
    fn guarded_request(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        rest: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) -> bool {
        let before = self.loading.is_some().then(|| (decoder.clone(), done.consumed));
        let Some((request, framing)) = decode_any(decoder, rest, done) else { return false };
        let hash = request.key().map(|key| self.cache.hash(key));
        let executed = self.execute(batch, &request, &framing, hash, out, done).is_ok();
        if let Some((before, consumed)) = before.filter(|_| !executed) {
            // It is decoded once more when what it needs is in memory.
            (*decoder, done.consumed, done.needed) = (before, consumed, 1);
        }
        executed
    }

    /// A binary client that has not logged in: a request that is no login is answered by its
    /// header alone, and is the last one.
    fn binary_newcomer(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        rest: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) -> bool {
        if let Some(framing) = Decoder::beyond_login(rest) {
            framing.encode(&Reply::Refused(Refusal::Denied("unauthenticated")), out);
            done.consumed += rest.len();
            done.close = Some(super::connection::LAST_ANSWER);
            return false;
        }
        self.guarded_request(batch, decoder, rest, out, done)
    }

    /// A text client that has not logged in.
    fn text_newcomer(
        &mut self,
        decoder: &mut Decoder,
        rest: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) -> bool {
        let framing = Framing::Text(Text::default());
        let (consumed, login) = decoder.login(rest);
        done.consumed += consumed;
        match login {
            Login::Incomplete { needed } => {
                done.needed = needed;
                return false;
            }
            Login::Close(why) => {
                done.close = Some(why);
                return false;
            }
            Login::Refused(why) => framing.encode(&Reply::Refused(Refusal::Denied(why)), out),
            Login::Token { user, password } => {
                self.counts.auth_cmds += 1;
                if let Some(guard) = &mut self.guard {
                    guard.check(user, password, &framing);
                }
            }
        }
        true
    }

    /// Whether `request` goes no further: it is a login, or not permitted.
    pub(super) fn stops(
        &mut self,
        request: &Request<'_>,
        framing: &Framing<'_>,
        out: &mut Output,
        done: &mut Done,
    ) -> bool {
        let Some(guard) = &mut self.guard else { return false };
        match request {
            Request::SaslList => framing.encode(&Reply::Line("PLAIN"), out),
            Request::SaslAuth { mechanism, data, step } => {
                self.counts.auth_cmds += 1;
                let failures = guard.failures();
                done.close = guard.sasl(mechanism, data, *step, framing, out).or(done.close);
                self.counts.auth_errors += guard.failures() - failures;
            }
            request if guard.permits(request) => return false,
            _ => framing.encode(&Reply::Refused(DENIED), out),
        }
        true
    }
}
