//! What a cache holds beside its table, and how it gets into a snapshot file: between the pages of
//! the table, and behind them.

use std::io;

use super::record::{Idle, Record};
use crate::env::Timestamp;
use crate::table::{Entry, SEQ_BITS, Saved, Snapshot, Table, Watermark};

/// Where entries of a cache are that its table does not have. All of it is called by the one who
/// writes the file, in this order: [`begin`](Aside::begin), for each page of the table
/// [`pick`](Aside::pick) and [`gathered`](Aside::gathered), then [`rest`](Aside::rest) until there is
/// no more, and [`end`](Aside::end).
pub(crate) trait Aside {
    /// The moment that the file is of; `marks` is what it sees of each segment. The locks of all
    /// segments are held.
    fn begin(&self, marks: &[Watermark]);

    /// A page of a segment was read, under its lock: drops entries that come, or came, another way.
    /// Everything below the place `upto` has been read then.
    fn pick(&self, _segment: usize, _page: &mut Vec<Entry<'_>>, _upto: u64) {}

    /// Whether [`Aside::rest`] gives all entries, those of the table too: its pages are not read.
    fn has_all(&self) -> bool {
        false
    }

    /// Gives what has gathered meanwhile.
    fn gathered(&self, _visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<()> {
        Ok(())
    }

    /// Gives some of what is nowhere else; whether there may be more.
    fn rest(&self, visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<bool>;

    /// All of the cache is written: nothing gathers any more.
    fn end(&self) {}

    /// About how many entries [`Aside::rest`] will give.
    fn len(&self) -> u64;
}

/// A cache that is to be written.
#[derive(Clone, Copy)]
pub(crate) struct Cache<'c> {
    pub name: &'c str,
    pub table: &'c Table,
    /// None: the table has all.
    pub aside: Option<&'c dyn Aside>,
}

impl<'c> Cache<'c> {
    /// The moment that the file has the cache of is now.
    pub(super) fn open(&self, now: Timestamp) -> Snapshot<'c> {
        let begin = |marks: &[_]| self.aside.into_iter().for_each(|aside| aside.begin(marks));
        self.table.snapshot_with(now, begin).0
    }
}

impl<'a> Record<'a> {
    /// An entry that is not in the table, at the time that the file is begun. Nobody has read it
    /// since it left memory.
    pub(super) fn of_saved(saved: &Saved<'a>, table: &Table, created: Timestamp) -> Record<'a> {
        let Saved { key, entry, epoch, seq, accessed } = *saved;
        let age = u32::try_from(created.saturating_sub(accessed)).unwrap_or(u32::MAX);
        let order = u64::from(epoch) << SEQ_BITS | seq;
        // A number of another epoch means nothing in a section of this one.
        let own = epoch == table.epoch();
        let chosen_version = entry.version.or((!own).then_some(order));
        Record {
            key,
            value: entry.value[0],
            flags: entry.flags,
            deadline: entry.deadline,
            idle: entry.max_idle.map(|max| Idle { max, age }),
            chosen_version,
            marks: entry.marks,
            hot: false,
            segment: u16::try_from(table.hash(key).segment()).unwrap_or(u16::MAX),
            seq: if own { seq } else { 0 },
        }
    }
}
