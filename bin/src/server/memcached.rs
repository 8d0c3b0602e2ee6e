//! A conversation in one of memcached's protocols, as a connection has it.

use std::task::{Context, Poll, ready};

use isogrid_wire::Output;
use isogrid_wire::memcached::Decoder;

use super::connection::{Conversation, Done};
use super::counters::Counts;
use super::keeper::Keeper;
use super::loading::Loading;
use super::session::Session;

/// Writes whose outcome nobody knows were under way.
const UNKEPT: &str = "the log failed; it is unknown whether the last writes are kept";

/// A conversation in one of memcached's protocols.
pub struct Memcached {
    session: Session,
    decoder: Decoder,
}

impl Memcached {
    /// The conversation of a new connection.
    pub fn new(session: Session, decoder: Decoder) -> Self {
        Memcached { session, decoder }
    }
}

impl Conversation for Memcached {
    #[inline]
    fn begin(&mut self) {
        self.session.now = self.session.node.now();
    }

    #[inline]
    fn end(&mut self) {
        self.session.counters.take(&mut self.session.counts);
    }

    #[inline]
    fn now(&self) -> u64 {
        self.session.now
    }

    #[inline]
    fn counts(&mut self) -> &mut Counts {
        &mut self.session.counts
    }

    #[inline]
    fn turn(&mut self, input: &[u8], out: &mut Output) -> Done {
        self.session.turn(&mut self.decoder, input, out)
    }

    #[inline]
    fn is_streaming(&self) -> bool {
        self.session.is_streaming()
    }

    /// Nothing more will come of a node that stops.
    fn ends_in_silence(&self) -> bool {
        self.session.node.is_stopping()
    }

    #[inline]
    fn keeps(&self) -> bool {
        let session = &self.session;
        session.keeper.is_some() || session.clustered.is_some() || session.invalidated.is_some()
    }

    #[inline]
    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<(), &'static str>> {
        if let Some(clustered) = self.session.clustered.as_mut().filter(|all| all.has_parts()) {
            return clustered.poll(cx, out).map(Ok);
        }
        if let Some(turns) = self.session.invalidated.as_mut().filter(|turns| turns.has_parts()) {
            return turns.poll(cx, out).map(Ok);
        }
        let Some(keeper) = self.session.keeper.as_mut().filter(|keeper| keeper.waits()) else {
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(ready!(keeper.poll_kept(cx)).map_err(|_| {
            // Nobody knows what became of the writes, so no answer is the only true one.
            out.clear();
            UNKEPT
        }))
    }

    #[inline]
    fn poll_login(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<Option<&'static str>, &'static str>> {
        match &self.session.guard {
            Some(_) => self.session.poll_guard(cx, out),
            None => Poll::Ready(Ok(None)),
        }
    }

    /// What waits of a turn waits together, and is one.
    #[inline]
    fn in_flight(&self) -> usize {
        let session = &self.session;
        let waits = session.keeper.as_ref().is_some_and(Keeper::waits)
            || session.loading.as_ref().is_some_and(Loading::waits)
            || session.clustered.as_ref().is_some_and(|all| all.has_parts())
            || session.invalidated.as_ref().is_some_and(|turns| turns.has_parts());
        usize::from(waits)
    }

    #[inline]
    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.session.loading {
            Some(loading) if loading.waits() => loading.poll(cx),
            _ => Poll::Ready(()),
        }
    }
}
