//! What a copy does at the word of the one that it follows, and what it says to those that follow.

use super::super::entry::draft;
use super::super::observer::Told;
use super::super::restore::Saved;
use super::{Change, Draft, Error, Found, KeyHash, Locked, Ordering, Version, Visible, version_at};

impl<'t> Locked<'t> {
    /// Tells those that keep copies that an entry goes; whether it may.
    pub(super) fn record_drop(&self, version: Version<'_>) -> bool {
        let Some(journal) = self.journal().filter(|journal| journal.has_copies()) else {
            return true;
        };
        let (key, seq) = (version.key(), version.seq());
        journal.record(&Change::Remove { key, epoch: self.epoch_of(seq), seq }).is_ok()
    }

    /// From here on nothing is recorded.
    pub fn replay_unrecorded(&mut self) {
        self.replays = true;
    }

    /// Stores what was stored under this number elsewhere. Readers see the old one or the new
    /// one, and never none.
    pub fn replay_put(
        &mut self,
        hash: KeyHash,
        draft: Draft<'_>,
        epoch: u32,
        seq: u64,
    ) -> Result<(), Error> {
        let found = self.find(hash, draft.key);
        if seq > self.w.seq {
            self.segment.epochs.begin(u64::from(epoch), seq);
            self.w.seq = seq - 1;
            return self.put(hash, found, draft, Visible::Now).map(|_| ());
        }
        if found.is_some_and(|(_, old)| old.seq() == seq && !old.is_tombstone()) {
            // Also one that has expired here: what it gets is a later deadline.
            return self.replay_rewrite(hash, found, draft, seq);
        }
        self.replay_behind(hash, found, draft, seq)
    }

    /// Stores what comes behind a chunk that was read after it: of other keys, so of this one only
    /// an entry of a higher number, or a clear, says that it is over.
    fn replay_behind(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        draft: Draft<'_>,
        seq: u64,
    ) -> Result<(), Error> {
        let is_over = found.is_some_and(|(_, there)| there.seq() > seq);
        if is_over || self.was_cleared(seq) {
            return Ok(());
        }
        self.put_in_place(hash, found, draft, (seq, seq))
    }

    /// Stores an entry in the place of what is there with a number below this one.
    fn put_in_place(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        draft: Draft<'_>,
        (seq, below): (u64, u64),
    ) -> Result<(), Error> {
        self.remove_again(found, below);
        let now = self.now;
        self.put_back(hash, draft, seq, now)
    }

    fn replay_rewrite(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        draft: Draft<'_>,
        seq: u64,
    ) -> Result<(), Error> {
        if found.is_some_and(|(_, old)| self.is_alive(old)) {
            return self.rewrite(hash, found, draft);
        }
        self.put_in_place(hash, found, draft, (seq, seq + 1))
    }

    /// Removes what was removed under this number elsewhere, or dropped with it.
    pub fn replay_remove(&mut self, hash: KeyHash, key: &[u8], epoch: u32, seq: u64) {
        self.segment.epochs.begin(u64::from(epoch), seq);
        self.raise_seq(seq);
        let found = self.find(hash, key);
        self.remove_again(found, seq + 1);
    }

    /// An entry of another copy, with the number that it has there.
    pub fn take_in(&mut self, hash: KeyHash, saved: &Saved<'_>) -> Result<(), Error> {
        let found = self.find(hash, saved.key);
        let is_newer = found.is_some_and(|(_, there)| there.seq() >= saved.seq);
        if is_newer || self.was_cleared(saved.seq) || saved.is_expired(self.now) {
            return Ok(());
        }
        self.remove_again(found, saved.seq);
        let own = self.own_version(saved.seq) == saved.order();
        let version = saved.entry.version.or((!own).then_some(saved.order()));
        let draft = Draft { version, ..draft(saved.key, &saved.entry) };
        self.put_back(hash, draft, saved.seq, saved.accessed)
    }

    /// Hides everything up to a number.
    pub fn clear_upto(&mut self, seq: u64) {
        self.raise_seq(seq);
        if seq > self.segment.cleared.load(Ordering::Relaxed) {
            self.segment.cleared.store(seq, Ordering::Release);
            self.w.sweep = Some(0);
            self.note_due();
            self.tell_cleared();
        }
    }

    /// The number of a change that is no entry's.
    pub fn take_number(&mut self) -> u64 {
        self.w.seq += 1;
        self.w.seq
    }

    /// Takes back everything that is prepared, its numbers too: if it is committed after all, it
    /// comes again under them.
    pub fn abort_all(&mut self) {
        if let Some(first) = self.w.pending.front().map(|pending| pending.seq) {
            self.abort(first);
        }
        self.w.seq = self.segment.committed.load(Ordering::Relaxed);
    }

    /// Publishes what waits for records up to this one, and tells of it.
    pub fn publish_and_tell(&mut self, record: u64) {
        let mut told = Told::default();
        self.publish_upto(record, &mut told);
        told.tell(self.shared);
    }

    /// Visits the newest published version of some entries from `from` on; where to go on.
    pub fn scan_published(&self, from: u64, mut visit: impl FnMut(Version<'t>)) -> Option<u64> {
        let committed = self.segment.committed.load(Ordering::Relaxed);
        self.scan(from, |newest| {
            let mut version = Some(newest);
            while let Some(hidden) = version.filter(|v| v.seq() > committed || v.is_withdrawn()) {
                version = hidden.older().and_then(|older| version_at(older.to_bits()));
            }
            version.filter(|version| self.is_alive(*version)).into_iter().for_each(&mut visit);
        })
    }

    /// Removes everything, and forgets every number: what comes is of another line of them.
    pub fn empty(&mut self) {
        self.abort_all();
        self.remove_all();
        self.w.linked.clear();
        (self.w.sweep, self.w.seq) = (None, 0);
        self.segment.cleared.store(0, Ordering::Release);
        self.segment.committed.store(0, Ordering::Release);
        self.segment.epochs.forget(self.shared.epoch);
        self.tell_cleared();
    }

    /// It follows another copy, or does not any more.
    pub fn set_follows(&mut self, follows: bool) {
        self.segment.follows.store(follows, Ordering::Relaxed);
        self.note_due();
    }

    /// What is written next is of this epoch, if it is a later one.
    pub fn begin_epoch(&mut self, epoch: u32) {
        self.segment.epochs.begin(u64::from(epoch), self.w.seq + 1);
    }

    /// All epochs, each as the version of its first number.
    pub fn epochs(&self) -> Vec<u64> {
        self.segment.epochs.all()
    }

    /// Another copy's epochs: those of the numbers that come from there.
    pub fn learn_epochs(&self, epochs: &[u64]) {
        self.segment.epochs.learn(epochs);
    }
}
