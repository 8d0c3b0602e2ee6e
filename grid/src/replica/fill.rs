//! How far a copy is filled, as its primary sees it (R41-R43).

use super::follower::Source;
use super::{ANSWER_MS, Base, Begin, FillId, Peer, RESEND_MS};
use crate::id::Epoch;
use crate::membership::Monotonic;
use crate::mutant::is_planted;

#[derive(Debug)]
pub(super) struct Fill {
    pub(super) id: FillId,
    /// What follows this comes as operations. The filling begins when it is committed: it is all
    /// that may have been sent for an earlier filling of this copy, so an answer to that which
    /// comes late tells of nothing that this filling lacks.
    after: u64,
    /// How it begins, once the copy has said what it has.
    begin: Option<Begin>,
    /// Up to where there may be something in its chunks.
    upto: u64,
    /// Bytes that were sent for it.
    pub(super) bytes: u64,
    /// It was said once that it has been filled.
    pub(super) is_told: bool,
    /// The last chunk that it took; 0: it knows that it is being filled.
    took: Option<u64>,
    /// Where the next chunk begins.
    next: Option<Vec<u8>>,
    /// The chunk that was sent and not taken yet, and where the one after it begins. It is kept,
    /// since the entries change meanwhile: read again it might end elsewhere.
    sent: Option<(Vec<u8>, Option<Vec<u8>>)>,
    sent_at: Option<Monotonic>,
    owes_since: Option<Monotonic>,
    is_done: bool,
    /// Its answers are waited for, as if it were in sync (R42). Never taken back: only the
    /// metadata say whether it was made so.
    pub(super) counts: bool,
}

impl Fill {
    pub(super) fn new(id: FillId, after: u64) -> Self {
        Fill {
            id,
            after,
            begin: None,
            upto: 0,
            bytes: 0,
            is_told: false,
            took: None,
            next: None,
            sent: None,
            sent_at: None,
            owes_since: None,
            is_done: false,
            counts: false,
        }
    }

    /// Whether the copy knows where operations begin.
    pub(super) fn has_begun(&self) -> bool {
        self.took.is_some()
    }

    /// Whether it has taken all chunks.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether it keeps what it has, and up to where that is.
    pub(super) fn kept(&self) -> Option<u64> {
        self.begin.filter(|begin| begin.keeps).map(|begin| begin.after)
    }

    /// Whether everything in its chunks is in a log that has everything up to `acked`: they may have
    /// shown what is not committed (R37).
    pub(super) fn is_covered(&self, acked: u64) -> bool {
        acked >= self.upto || is_planted("filled-ahead")
    }

    /// The copy says which operation its log ends with: whether it is asked for that. One whose log
    /// is the front of this one keeps it, if what follows is kept here (R43). One that has nothing
    /// gets the entries: they are fewer than what made them.
    pub(super) fn holds(
        &mut self,
        id: FillId,
        end: (Epoch, u64),
        from: &Source<'_, impl Base>,
    ) -> bool {
        if id != self.id || self.begin.is_some() {
            return false;
        }
        let same = from.log.same(end);
        let is_front = from.log.begins_with(end)
            || (is_planted("delta-diverged") && (1..=from.log.last()).contains(&end.1));
        let keeps = is_front && from.log.batch(end.1).is_some();
        let (after, of) = if keeps { (end.1, end.0) } else { (self.after, Epoch(0)) };
        self.begin = Some(Begin { after, of, same, keeps });
        (self.sent_at, self.owes_since) = (None, None);
        true
    }

    pub(super) fn is_silent(&self, now: Monotonic) -> bool {
        self.owes_since.is_some_and(|since| now >= since + ANSWER_MS)
    }

    /// A new epoch: what is owed is sent again.
    pub(super) fn enter(&mut self) {
        (self.sent_at, self.owes_since) = (None, None);
    }

    /// The beginning, or the next chunk; the one that was sent last when it may have got lost.
    pub(super) fn send(&mut self, from: &Source<'_, impl Base>) -> Option<Peer> {
        let is_waiting = self.sent_at.is_some_and(|at| from.now < at + RESEND_MS);
        let waits = |begin: Begin| !begin.keeps && from.log.committed() < self.after;
        if is_waiting || self.is_done || self.begin.is_some_and(waits) {
            return None;
        }
        self.sent_at = Some(from.now);
        self.owes_since.get_or_insert(from.now);
        let (epoch, fill) = (from.epoch, self.id);
        let Some(mut begin) = self.begin else { return Some(Peer::Probe { epoch, fill }) };
        let Some(took) = self.took else {
            if !begin.keeps {
                begin.of = from.log.epoch_of(begin.after);
            }
            return Some(Peer::Fill { epoch, fill, begin });
        };
        if is_planted("chunk-again") {
            self.sent = None;
        }
        let next = self.next.as_deref();
        let (bytes, _) = self.sent.get_or_insert_with(|| from.base.chunk(next));
        self.upto = self.upto.max(from.shown);
        self.bytes += bytes.len() as u64;
        Some(Peer::Chunk { epoch, fill, number: took + 1, bytes: bytes.clone() })
    }

    /// The copy has taken a chunk: whether it is the one that we wait for.
    pub(super) fn took(&mut self, id: FillId, number: u64) -> bool {
        let expected = self.took.map_or(0, |took| took + 1);
        if id != self.id || number != expected || self.is_done {
            return false;
        }
        if let Some((_, next)) = self.sent.take() {
            self.is_done = next.is_none();
            self.next = next;
        }
        self.is_done |= self.kept().is_some();
        self.took = Some(number);
        (self.sent_at, self.owes_since) = (None, None);
        true
    }
}
