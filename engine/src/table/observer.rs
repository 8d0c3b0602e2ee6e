//! Who is told of a table's changes when readers can see them.

#[cfg(test)]
mod tests;

use std::fmt;

use crossbeam_epoch::Guard;

use super::epochs::Epochs;
use super::version::Version;
use super::{OwnedEntry, Shared};

/// Hears of every change of one table.
///
/// Called under the locks of the events' segments, right after readers can see the changes: a
/// change that is taken back is never told, and one that waits for its journal is told when it is
/// published. So it must be quick, and must not come back to the table. The events of one segment
/// come in the order of their numbers; what is published together comes in one call.
pub trait Observer: Send + Sync {
    /// The events, never none.
    fn tell(&self, events: &[Event<'_>]);
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A key has an entry that had none.
    Create,
    /// An entry has another value. A new deadline or mark alone is no event.
    Update,
    /// An entry was deleted.
    Remove,
    /// An entry's time was over.
    Expire,
    /// An entry went to make room.
    Evict,
    /// All entries of the segment are gone; also of writes that were prepared and are not
    /// published yet, which are never told then.
    Clear,
}

/// A change that readers can see.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventKind,
    /// The segment.
    pub segment: u32,
    /// The number of the event in its segment; they rise by one.
    pub seq: u64,
    /// Who wrote, as the batch or the transaction said; 0 = nobody in particular, or not a write.
    pub origin: u64,
    pub(super) new: Option<Version<'a>>,
    pub(super) old: Option<Version<'a>>,
    pub(super) epochs: &'a Epochs,
}

impl<'a> Event<'a> {
    /// The key; empty for [`EventKind::Clear`].
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        self.new.or(self.old).map_or(b"", Version::key)
    }

    /// The entry that there is now, with its value or without.
    #[must_use]
    pub fn entry(&self, value: bool) -> Option<OwnedEntry> {
        self.new.map(|version| self.owned(version, value))
    }

    /// The entry that there was, with its value or without.
    #[must_use]
    pub fn previous(&self, value: bool) -> Option<OwnedEntry> {
        self.old.map(|version| self.owned(version, value))
    }

    fn owned(&self, version: Version<'_>, value: bool) -> OwnedEntry {
        let copy = || version.shared().unwrap_or_else(|| version.value().into());
        OwnedEntry {
            value: if value { copy() } else { [].into() },
            flags: version.flags(),
            deadline: version.deadline(),
            max_idle: version.max_idle(),
            version: Some(version.version().unwrap_or(self.epochs.version(version.seq()))),
            marks: version.marks(),
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { kind, segment, seq, .. } = self;
        write!(f, "{kind:?} {} ({segment}:{seq})", self.key().escape_ascii())
    }
}

/// Events that are to be told together, and the guard that keeps what they point to.
#[derive(Default)]
pub(crate) struct Told<'a> {
    events: Vec<Event<'a>>,
    guard: Option<Guard>,
}

impl<'a> Told<'a> {
    /// Adds an event, before what it points to may be thrown away.
    pub fn push(&mut self, event: Event<'a>) {
        self.guard.get_or_insert_with(crossbeam_epoch::pin);
        self.events.push(event);
    }

    /// Tells all; called with the locks of their segments held.
    pub fn tell(&mut self, shared: &Shared) {
        if !self.events.is_empty() {
            shared.tell(&self.events);
            self.events.clear();
        }
    }
}
