//! LISTEN: changes of a cache as they are asked for by credit.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use isogrid_engine::table::{EventKind, OwnedEntry};
use isogrid_grid::Cache;
use isogrid_grid::events::{Kinds, ListenOptions, Listener, Notice, SegmentSeq};
use isogrid_wire::native::cache::{Event, EventKinds, Listen, ListenFlags, ListenReply};
use isogrid_wire::native::{ErrorCode, Nothing, ReadOptions};

use super::entry::{View, key_alone};
use super::failure::Failure;
use super::live::{FRAME_BYTES, ITEMS_MAX, Step, Turn, segment, segments};
use super::reply::Given;
use super::scan::glob;

/// A listener.
pub struct Listening {
    listener: Listener,
    /// The cache's number.
    pub object: u32,
    segments: usize,
    parts: u16,
    /// Taken from the listener and not sent yet.
    told: VecDeque<Told>,
}

/// What is told in one item.
struct Told {
    event: u8,
    segment: u16,
    seq: u64,
    key: std::sync::Arc<[u8]>,
    entry: Option<OwnedEntry>,
    prev: Option<OwnedEntry>,
}

impl Listening {
    /// Begins to listen.
    ///
    /// # Errors
    /// The pattern cannot be used, or there are too many listeners.
    pub fn open(
        cache: &Cache,
        object: u32,
        listen: &Listen<'_>,
        origin: u64,
        now: u64,
    ) -> Result<Listening, Failure> {
        let options = ListenOptions {
            kinds: Kinds::from_bits(listen.events.switches),
            glob: listen.glob.map(glob).transpose()?,
            value: listen.read.has(ReadOptions::VALUE),
            previous: listen.flags.has(ListenFlags::RETURN_PREV),
            initial: listen.flags.has(ListenFlags::INITIAL_STATE),
            no_loop: if listen.flags.has(ListenFlags::NO_LOOP) { origin } else { 0 },
            ..ListenOptions::default()
        };
        let refused = |error: isogrid_grid::events::WatchError| {
            Failure::new(ErrorCode::QuotaExceeded, error.to_string())
        };
        let listener = cache.listen(options, now).map_err(refused)?;
        let parts = listen.read.switches | ReadOptions::KEY;
        let segments = cache.table().segment_count();
        Ok(Listening { listener, object, segments, parts, told: VecDeque::new() })
    }

    /// Sends what has happened.
    pub fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        if self.told.is_empty() && turn.credit > 0 {
            self.collect(turn.now, turn.credit.min(ITEMS_MAX));
        }
        let sent = self.send(turn);
        let idle = self.told.is_empty() && !self.is_ready(cx.waker());
        let dropped = idle && turn.node.catalog.object(self.object).is_none();
        let end = dropped.then(|| Given::answer(&ListenReply::Ended {}));
        Step { sent, more: !idle && turn.credit > sent, end }
    }

    /// Takes what has happened, for [`Listening::each`].
    pub fn collect(&mut self, now: u64, items: usize) {
        let mut notices = Vec::new();
        self.listener.poll(now, items, &mut notices);
        notices.into_iter().for_each(|notice| self.take(notice));
    }

    /// Tells what was taken.
    pub fn each(&mut self, now: u64, mut tell: impl FnMut(&Event<'_>)) {
        self.told.drain(..).for_each(|told| tell(&told.event(self.parts, now)));
    }

    /// Whether something has happened; if not, the waker is woken then.
    pub fn is_ready(&self, waker: &Waker) -> bool {
        self.listener.is_ready(waker)
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Entry { at, key, entry } => {
                let event = EventKinds::CREATE;
                self.told.push_back(told(event, at, key, Some(entry), None));
            }
            Notice::Event { kind, at, key, entry, previous } => {
                self.told.push_back(told(bit(kind), at, key, entry, previous));
            }
            Notice::Clear(all) | Notice::Resync(all) => {
                for (segment, seq) in segments(&all, self.segments) {
                    let (event, key) = (EventKinds::RESYNC, [].into());
                    self.told.push_back(Told { event, segment, seq, key, entry: None, prev: None });
                }
            }
        }
    }

    fn send(&mut self, turn: &mut Turn<'_>) -> usize {
        let (mut bytes, mut sent) = (0, 0);
        for told in self.told.iter().take(turn.credit.min(ITEMS_MAX)) {
            sent += 1;
            bytes += told.bytes();
            if bytes >= FRAME_BYTES {
                break;
            }
        }
        if sent == 0 {
            return 0;
        }
        let sending: Vec<Told> = self.told.drain(..sent).collect();
        let events: Vec<_> = sending.iter().map(|told| told.event(self.parts, turn.now)).collect();
        turn.to.items(&events, &Nothing {}, turn.out);
        sent
    }
}

fn told(
    event: u8,
    at: SegmentSeq,
    key: std::sync::Arc<[u8]>,
    entry: Option<OwnedEntry>,
    prev: Option<OwnedEntry>,
) -> Told {
    Told { event, segment: segment(at.segment), seq: at.seq, key, entry, prev }
}

fn bit(kind: EventKind) -> u8 {
    match kind {
        EventKind::Create => EventKinds::CREATE,
        EventKind::Update => EventKinds::UPDATE,
        EventKind::Remove => EventKinds::REMOVE,
        EventKind::Expire => EventKinds::EXPIRE,
        EventKind::Evict => EventKinds::EVICT,
        EventKind::Clear => EventKinds::RESYNC,
    }
}

impl Told {
    fn bytes(&self) -> usize {
        let values = [&self.entry, &self.prev].into_iter().flatten();
        self.key.len() + values.map(|entry| entry.value.len()).sum::<usize>()
    }

    fn event(&self, parts: u16, now: u64) -> Event<'_> {
        let entry = match &self.entry {
            Some(entry) => View::owned(entry).parts(parts, &self.key, now),
            None => key_alone(&self.key),
        };
        let prev = self.prev.as_ref();
        let prev = prev.map(|prev| View::owned(prev).parts(parts & !ReadOptions::KEY, &[], now));
        let (event, segment, seq) = (self.event, self.segment, self.seq);
        Event { event, segment, seq, entry, prev }
    }
}
