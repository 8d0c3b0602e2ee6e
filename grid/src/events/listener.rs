//! Listeners: a consumer of a cache's events that may be as slow as it likes.
//!
//! **What it is told.** All changes that readers can see, after they can: of each key the last one
//! that it has not been given, in the order of these last changes. What waits is bounded; beyond
//! it everything is dropped, the next notice is a [`Notice::Resync`], and it goes on from there.
//! Whoever does what it is told to an empty map, from the initial state on (or, after a resync,
//! from a scan that is begun after it), has what the cache has once nothing waits.
//!
//! Two events of one key of which the first waits become one:
//!
//! | the consumer knows | then | it is told |
//! |---|---|---|
//! | an entry | create, update | update |
//! | an entry | remove, expire, evict | the same |
//! | none (the first event was a create) | create, update | create |
//! | none | remove, expire, evict | the same: there was something |
//!
//! The entry is the last one, the previous one is that before the first event. Where the listener
//! does not want to hear of the kind that comes out, it is told the kind of the last event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use isogrid_engine::table::{EventKind, OwnedEntry};
use isogrid_engine::{Table, Timestamp};

use super::backlog::{Backlog, BacklogLimits, Item, Key, News, SegmentSeq, cleared};
use super::glob::Glob;
use super::hub::{Hub, Shot};
use super::metrics::count;
use super::scan::{Page, Scan};

/// Bytes of entries that one poll takes from the initial state.
const INITIAL_PAGE_BYTES: usize = 256 << 10;

/// A set of event kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// All kinds.
    pub const ALL: Kinds = Kinds(0x1f);

    /// The set of these bits: 1 create, 2 update, 4 remove, 8 expire, 16 evict; others are ignored.
    #[must_use]
    pub fn from_bits(bits: u8) -> Kinds {
        Kinds(bits & Kinds::ALL.0)
    }

    /// The set with these kinds.
    #[must_use]
    pub fn of(kinds: &[EventKind]) -> Kinds {
        Kinds(kinds.iter().fold(0, |set, kind| set | Kinds::bit(*kind)))
    }

    /// Whether a kind is in the set.
    #[must_use]
    pub fn has(self, kind: EventKind) -> bool {
        self.0 & Kinds::bit(kind) != 0
    }

    fn bit(kind: EventKind) -> u8 {
        match kind {
            EventKind::Create => 1,
            EventKind::Update => 2,
            EventKind::Remove => 4,
            EventKind::Expire => 8,
            EventKind::Evict => 16,
            EventKind::Clear => 0,
        }
    }
}

/// What a listener wants to hear.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Kinds of events; clears and resyncs are told to everybody.
    pub kinds: Kinds,
    /// Keys; `None` = all.
    pub glob: Option<Glob>,
    /// Whether entries come with their values; all else of them always comes.
    pub value: bool,
    /// Whether what an entry was before comes with it, with its value if `value` is set.
    pub previous: bool,
    /// Whether everything that there is comes first.
    pub initial: bool,
    /// Writes of this origin are not told, and what waits of their keys goes: the writer knows
    /// better. (They are as long as something older that would undo them is to be told: the initial
    /// state, a clear.) 0 = all are told.
    pub no_loop: u64,
    /// How much may wait.
    pub limits: BacklogLimits,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            kinds: Kinds::ALL,
            glob: None,
            value: true,
            previous: false,
            initial: false,
            no_loop: 0,
            limits: BacklogLimits::default(),
        }
    }
}

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An entry of the initial state.
    Entry {
        /// Its segment, and the last event that it is up to date with.
        at: SegmentSeq,
        /// Its key.
        key: Key,
        /// The entry.
        entry: OwnedEntry,
    },
    /// A key has changed.
    Event {
        /// What happened; never [`EventKind::Clear`].
        kind: EventKind,
        /// Its segment and the number of the (last) event.
        at: SegmentSeq,
        /// The key.
        key: Key,
        /// What there is now.
        entry: Option<OwnedEntry>,
        /// What there was, if it was asked for.
        previous: Option<OwnedEntry>,
    },
    /// These segments are empty, but for what comes after this.
    Clear(Vec<SegmentSeq>),
    /// Events were lost. What the consumer knows of these segments is out of date; a scan that
    /// begins now and the notices that follow make it whole again.
    Resync(Vec<SegmentSeq>),
}

/// News for a listener.
#[derive(Debug)]
pub(super) struct Update {
    kind: EventKind,
    /// Whether the consumer knew an entry before the first of the events that became this one.
    known: bool,
    entry: Option<OwnedEntry>,
    previous: Option<OwnedEntry>,
}

/// The half of a listener that the hub has.
pub(super) struct Ear {
    options: ListenOptions,
    /// Whether the initial state is still being given.
    initial: AtomicBool,
    backlog: Mutex<Backlog<Update>>,
}

impl Ear {
    pub fn new(options: ListenOptions, backlog: Backlog<Update>) -> Ear {
        let initial = AtomicBool::new(options.initial);
        Ear { options, initial, backlog: Mutex::new(backlog) }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog<Update>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was told together; whom to wake then.
    pub fn hear(&self, shots: &[Shot<'_, '_>], hub: &Hub) -> Option<Waker> {
        let mut backlog = self.lock();
        for shot in shots {
            self.hear_one(&mut backlog, shot, hub);
        }
        backlog.take_waker()
    }

    fn hear_one(&self, backlog: &mut Backlog<Update>, shot: &Shot<'_, '_>, hub: &Hub) {
        let (event, at, options) = (shot.event, shot.at(), &self.options);
        if event.kind == EventKind::Clear {
            return backlog.clear(at);
        }
        if backlog.is_lost() || options.glob.as_ref().is_some_and(|g| !g.matches(event.key())) {
            return;
        }
        if self.is_own(event.origin) && !backlog.clears(at.segment) {
            drop(backlog.take(at.segment, &shot.key()));
            return;
        }
        if !options.kinds.has(event.kind) {
            return;
        }
        let older = backlog.take(at.segment, &shot.key());
        if older.is_some() {
            count(&hub.metrics.events_coalesced);
        }
        let update = self.merge(older, shot);
        let extra = [&update.entry, &update.previous].into_iter().flatten();
        let extra = extra.map(|entry| size_of::<OwnedEntry>() + entry.value.len()).sum();
        backlog.push(at, shot.key(), update, extra);
    }

    /// Whether it need not be told of a write. As long as something older is to come that would
    /// undo the write (the initial state, a clear), it must.
    fn is_own(&self, origin: u64) -> bool {
        let own = self.options.no_loop != 0 && origin == self.options.no_loop;
        own && !self.initial.load(Ordering::Relaxed)
    }

    /// What is left of two events of one key.
    fn merge(&self, older: Option<News<Update>>, shot: &Shot<'_, '_>) -> Update {
        let (options, kind) = (&self.options, shot.event.kind);
        let entry = shot.entry(options.value);
        let Some(older) = older.map(|news| news.what) else {
            let previous = options.previous.then(|| shot.previous(options.value)).flatten();
            return Update { kind, known: kind != EventKind::Create, entry, previous };
        };
        let merged = match (kind, older.known) {
            (EventKind::Create | EventKind::Update, true) => EventKind::Update,
            (EventKind::Create | EventKind::Update, false) => EventKind::Create,
            (kind, _) => kind,
        };
        let kind = if options.kinds.has(merged) { merged } else { kind };
        Update { kind, known: older.known, entry, previous: older.previous }
    }
}

/// A listener; to drop it is to end it.
pub struct Listener {
    ear: Arc<Ear>,
    hub: Arc<Hub>,
    table: Arc<Table>,
    /// What of the initial state is left, and the events that it is up to date with.
    initial: Option<(Scan, Vec<u64>)>,
}

impl Listener {
    pub(super) fn new(hub: Arc<Hub>, table: Arc<Table>, ear: Arc<Ear>) -> Listener {
        Listener { ear, hub, table, initial: None }
    }

    pub(super) fn with_initial(mut self, scan: Scan, told: Vec<u64>) -> Listener {
        self.initial = Some((scan, told));
        self
    }

    /// Appends at most `credit` notices to `out`; how many. While the initial state is looked for
    /// it may give none though [`Listener::is_ready`].
    pub fn poll(&mut self, now: Timestamp, credit: usize, out: &mut Vec<Notice>) -> usize {
        let before = out.len();
        while out.len() - before < credit {
            // Told of a loss at once: the rest of the initial state would be out of date as well.
            if self.ear.lock().is_lost() {
                self.end_initial();
            }
            let left = credit - (out.len() - before);
            let came = match &mut self.initial {
                Some(_) => self.poll_initial(now, left, out),
                None => self.poll_backlog(left, out),
            };
            if !came {
                break;
            }
        }
        let count = out.len() - before;
        self.hub.metrics.events_sent.fetch_add(count as u64, Ordering::Relaxed);
        count
    }

    /// Takes a page of the initial state; whether there is a use in asking again.
    fn poll_initial(&mut self, now: Timestamp, credit: usize, out: &mut Vec<Notice>) -> bool {
        let Some((scan, told)) = &mut self.initial else { return false };
        let mut page = Page::default();
        scan.page(now, credit, INITIAL_PAGE_BYTES, &mut page);
        out.extend(page.entries.into_iter().map(|scanned| {
            let segment = scanned.segment;
            let seq = told.get(segment as usize).copied().unwrap_or(0);
            let (at, key, entry) = (SegmentSeq { segment, seq }, scanned.key, scanned.entry);
            Notice::Entry { at, key, entry }
        }));
        if page.ended {
            self.end_initial();
        }
        // One page a poll: it may have found nothing for all its work.
        page.ended
    }

    fn end_initial(&mut self) {
        self.ear.initial.store(false, Ordering::Relaxed);
        if let Some((scan, _)) = self.initial.take() {
            scan.close();
        }
    }

    /// Takes what waits; whether there is a use in asking again.
    fn poll_backlog(&mut self, credit: usize, out: &mut Vec<Notice>) -> bool {
        let mut backlog = self.ear.lock();
        if backlog.recover() {
            count(&self.hub.metrics.resyncs);
            out.push(Notice::Resync(self.hub.seqs(&self.table)));
            return true;
        }
        for _ in 0..credit {
            match backlog.pop() {
                Some(Item::Key(News { at, key, what, .. })) => {
                    let Update { kind, entry, previous, .. } = what;
                    out.push(Notice::Event { kind, at, key, entry, previous });
                }
                Some(Item::Clear(all)) => out.push(Notice::Clear(cleared(all))),
                None => return false,
            }
        }
        true
    }

    /// Whether [`Listener::poll`] has something to give; if not, `waker` is woken when it has.
    #[must_use]
    pub fn is_ready(&self, waker: &Waker) -> bool {
        let mut backlog = self.ear.lock();
        let ready = self.initial.is_some() || !backlog.is_empty();
        if !ready {
            backlog.set_waker(waker);
        }
        ready
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end_initial();
        self.hub.leave(|watchers| {
            watchers.ears.retain(|ear| !Arc::ptr_eq(ear, &self.ear));
        });
    }
}
