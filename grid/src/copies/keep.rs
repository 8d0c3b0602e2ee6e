//! Copies that are there after a restart: what they tell to who keeps them, what they get back
//! from there, and what they are now, for who writes all of it down anew.

use std::sync::atomic::Ordering;

use isogrid_engine::table::Unrecorded;

use super::{Copies, Out};
use crate::id::{Epoch, GroupId, SegmentId};
use crate::membership::Now;
use crate::metadata::Persist;
use crate::replica::{Base, Event, Kept};

/// Keeps what copies have (R52).
pub trait Keeper: Send + Sync {
    /// Keeps a change of a copy, the so-manieth of it, behind all that came before. Called under
    /// the copy's locks: it must not wait. When it is durable, [`Copies::durable`] is told; when it
    /// can never be, nobody is, and nothing of it is acknowledged. Unless somebody `waits` for that
    /// it may take 100 ms.
    fn keep(&self, copy: (GroupId, SegmentId), change: (u64, &Kept), waits: bool);

    /// Why no more writes can be kept now, if so: they are refused before they are taken.
    fn refuses(&self) -> Option<Unrecorded>;
}

impl Copies {
    /// How they are kept is known only now, as the cluster has it: before the first
    /// [`Copies::view`], and behind what they got back, for which they were made as copies that are
    /// written behind. Those that are in memory alone are kept by nobody from here on.
    pub fn keep_as(&self, persist: Persist) {
        self.is_kept.store(persist.is_kept() && self.keeper.is_some(), Ordering::Release);
        self.fragments.iter().for_each(|fragment| fragment.lock().replica.keep_as(persist));
    }

    /// Whether somebody keeps them, or may have to.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Acquire)
    }

    /// Why no more writes can be kept now, if so.
    pub(super) fn refuses(&self) -> Option<Unrecorded> {
        self.keeper.as_ref().filter(|_| self.is_kept())?.refuses()
    }

    /// One change of what a copy was before a restart, in their order.
    ///
    /// # Errors
    /// [`NotACopy`]: it cannot have been one, or has no room here.
    pub fn restore(&self, now: Now, at: SegmentId, kept: Kept) -> Result<(), NotACopy> {
        let mut done = Err(NotACopy);
        self.locked(now, at, |replica, base| {
            done = replica.restore(kept, base).filter(|()| !base.beside.is_broken).ok_or(NotACopy);
        });
        done
    }

    /// All changes have come, the last ones too if the process before has `settled` them.
    pub fn restored(&self, now: Now, settled: bool) {
        for at in self.segments() {
            self.locked(now, at, |replica, base| replica.restored(settled, base));
        }
    }

    /// So many of the changes of a copy are durable.
    pub fn durable(&self, now: Now, at: SegmentId, count: u64, out: &mut Vec<Out>) {
        self.with(now, at, out, |replica, base, done| {
            replica.step(now.monotonic, Event::Durable(count), base, done);
        });
    }

    /// Whether a copy can be written down: what it lacks is not on its way to it, nor did it fail
    /// to do what came.
    #[must_use]
    pub fn is_whole(&self, now: Now, at: SegmentId) -> bool {
        let mut is_whole = true;
        self.locked(now, at, |replica, base| {
            let lacks = base.beside.gone.is_some() || base.beside.is_broken;
            is_whole = !replica.is_filling() && !lacks;
        });
        is_whole
    }

    /// Visits what a copy is now, as changes from nothing. With every change that was told since
    /// this began, done again behind them, they are what it is then.
    ///
    /// # Errors
    /// What `visit` said.
    pub fn write_down<E>(
        &self,
        now: Now,
        at: SegmentId,
        mut visit: impl FnMut(Kept) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut first, mut is_whole, mut chunk) = (None, false, (Vec::new(), None));
        self.locked(now, at, |replica, base| {
            first = (replica.last() > 0).then(|| replica.state());
            is_whole = replica.is_whole();
            chunk = base.chunk(None);
        });
        let Some(state) = first else { return Ok(()) };
        state.into_iter().try_for_each(&mut visit)?;
        loop {
            let (bytes, next) = std::mem::take(&mut chunk);
            visit(Kept::Chunk(bytes))?;
            let Some(next) = next else {
                return if is_whole { visit(Kept::Whole) } else { Ok(()) };
            };
            self.locked(now, at, |_, base| chunk = base.chunk(Some(&next)));
        }
    }

    /// Forgets what [`Copies::restore`] gave back.
    pub fn forget(&self, now: Now) {
        for at in self.segments() {
            let nothing = Kept::Begin { after: 0, of: Epoch(0), lost_before: 0 };
            self.locked(now, at, |replica, base| {
                let _ = replica.restore(nothing, base);
                replica.restored(true, base);
            });
        }
    }

    /// All segments.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> + use<> {
        (0..).map(SegmentId).take(self.fragments.len())
    }
}

/// What was kept is no copy that this process can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was kept is no copy of a segment, or has no room in its cache")]
pub struct NotACopy;
