//! Lines of several keys, each of which may be somebody else's, and what is for all members.

use isogrid_grid::Batch;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Framing, Get, Keys, Refusal, Reply, Request};

use super::part::{Deferred, Part, Target};
use super::{Flow, NOWHERE, Route, Session, Single};
use crate::server::connection::Done;

/// How a classic text answer to a `get` ends.
pub const END: &[u8] = b"END\r\n";

impl Session {
    /// A `get` of several keys: one of each, and one end for all.
    pub(super) fn line(
        &mut self,
        batch: &Batch<'_>,
        (get, framing, raw): (&Get<'_>, &Framing<'_>, &[u8]),
        out: &mut Output,
        done: &mut Done,
    ) -> Flow {
        let is_written = |key: &[u8]| {
            let segment = self.cache.hash(key).segment();
            self.clustered.as_ref().is_some_and(|clustered| clustered.is_written(segment))
        };
        if get.keys.iter().any(is_written) {
            return Flow::Later;
        }
        // The words ahead of the keys: `get`, or `gat` and its time.
        let words = if get.touch.is_some() { 2 } else { 1 };
        let ahead: Vec<&[u8]> = raw
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
            .take(words)
            .collect();
        for key in get.keys.iter() {
            let one = [&ahead.join(&b' ')[..], key].join(&b' ');
            let raw = [&one[..], b"\r\n"].concat();
            let request = Request::Get(Get { keys: Keys::One(key.into()), ..get.clone() });
            let (hash, reads) = (self.cache.hash(key), get.touch.is_none());
            let single =
                Single { request: &request, framing, hash, raw: &raw, reads, is_part: true };
            self.single(batch, &single, out, done);
        }
        out.put(END);
        self.answered(END.len());
        Flow::Next
    }

    /// Removes every entry of the cache, wherever it is.
    pub(super) fn flush_everywhere(
        &mut self,
        is_delayed: bool,
        framing: &Framing<'_>,
        out: &mut Output,
    ) {
        self.counts.cmd_flush += 1;
        let said = out.len();
        if let Err(why) = self.flush_parts(is_delayed, framing) {
            framing.encode(&Reply::Refused(why), out);
        } else {
            framing.encode(&Reply::Ok, out);
        }
        self.answered(out.len() - said);
    }

    fn flush_parts(&mut self, is_delayed: bool, framing: &Framing<'_>) -> Result<(), Refusal> {
        if !self.may_flush() {
            return Err(Refusal::Client("flush_all not allowed"));
        }
        if is_delayed {
            return Err(Refusal::Server("a cache of the cluster is flushed at once only"));
        }
        let count = u32::try_from(self.cache.table().segment_count()).unwrap_or(0);
        let Some(clustered) = &mut self.clustered else { return Ok(()) };
        let routes: Vec<Route> = (0..count).map(|at| clustered.route(at)).collect();
        if routes.contains(&Route::Nowhere) && !clustered.passed {
            return Err(NOWHERE);
        }
        let now = clustered.cluster.now();
        for at in (0..count).filter(|at| routes.get(*at as usize) == Some(&Route::Here)) {
            let Some(copies) = clustered.shared.copies() else { continue };
            if copies.clear(now, at).is_err() {
                return Err(NOWHERE);
            }
            clustered.touched.push(at);
            clustered.parts.push(Part::here(0, copies.ticket(at), framing));
        }
        if !clustered.passed {
            let others: Vec<_> = clustered.cluster.view().others().collect();
            for node in others {
                let (target, raw) = (Target::Member(node), b"flush_all\r\n");
                clustered.defer(Deferred::new(target, raw, true, false, Some(framing)));
            }
        }
        Ok(())
    }

    /// A value over the limit takes the old one with it, so that nobody reads what the client
    /// meant to replace.
    pub(super) fn drop_everywhere(&mut self, key: &[u8], framing: &Framing<'_>, out: &mut Output) {
        self.counts.store_too_large += 1;
        let segment = self.cache.hash(key).segment();
        if let Some(clustered) = &mut self.clustered
            && !clustered.passed
        {
            let raw = [b"delete ", key, b" noreply\r\n"].concat();
            let deferred = Deferred::new(Target::Segment(segment), &raw, true, false, None);
            let name = clustered.cluster.name();
            clustered.defer(deferred.named(name));
        }
        let said = out.len();
        framing.encode(&Reply::TooLarge, out);
        self.answered(out.len() - said);
    }
}
