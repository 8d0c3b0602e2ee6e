//! What a listener at another node is told of the segments that this member serves. That node asks
//! again and again, and each question waits until there is something to tell.
//!
//! A member tells of a segment only while it serves it without a break. Whenever it begins to, or
//! does not know the listener, it tells a resync of the segment first; so whatever was changed where
//! the listener's node did not hear of it is read anew. A new listener may have what there is instead.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use isogrid_grid::catalog::Kind;
use isogrid_grid::id::Epoch;
use isogrid_wire::native::cache::{ALL_SEGMENTS, Event, EventKinds, Listen, ListenFlags};
use isogrid_wire::native::{Codec, Entry, Reader, Varint, decode_all};
use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::spread::{after, wide};
use crate::cluster::{Cluster, Done, Later, Shared};
use crate::server::native::listen::Listening;
use crate::server::native::session::Session;

/// The first byte of a question of a listener at another node.
pub const FOLLOW: u8 = 2;
/// How long a question waits for something to tell.
pub const HOLD: Duration = Duration::from_secs(1);
/// How often it looks whether other segments are served.
const LOOK: Duration = Duration::from_millis(100);
/// A listener that did not ask for so long is gone, ms.
const IDLE_MS: u64 = 10_000;
/// A listener's number: of its node's life, its own in that, and its tries.
pub type Id = [u8; 32];
type Way = (Arc<Cluster>, Arc<Shared>);

/// A listener at another node.
struct Following {
    listening: Listening,
    /// For each segment the time of serving it that the listener knows of.
    tenures: Vec<Option<u64>>,
    used: u64,
}

/// Listeners at other nodes.
#[derive(Default)]
pub struct Followings(BTreeMap<Id, Arc<Mutex<Following>>>);

/// The time of serving a segment that this member is in, if it has a lease.
fn tenure((_, shared): &Way, segment: u32) -> Option<(Epoch, u64)> {
    shared.copies()?.tenure(segment)
}

fn lock(following: &Mutex<Following>) -> MutexGuard<'_, Following> {
    following.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Followings {
    /// Lets those go that do not ask any more.
    pub fn expire(&mut self, now: u64) {
        self.0.retain(|_, following| lock(following).used + IDLE_MS > now);
    }
}

impl Session {
    /// Answers a question of a listener at another node.
    pub fn execute_follow(&mut self, shared: &Arc<Shared>, bytes: &[u8]) -> Option<Later> {
        self.now = self.node.now();
        self.followings.expire(self.now);
        let (way, following, items) = self.following(shared, bytes)?;
        lock(&following).used = self.now;
        let until = after(HOLD);
        Some(Box::pin(async move {
            loop {
                let page = lock(&following).page(&way, items);
                if page.count > 0 || after(Duration::ZERO) >= until {
                    return (Done::Executed, page.encode());
                }
                let ready = poll_fn(|cx| {
                    let is_ready = lock(&following).listening.is_ready(cx.waker());
                    if is_ready { Poll::Ready(()) } else { Poll::Pending }
                });
                // Later than that it may serve other segments.
                let _ = timeout_at(after(LOOK), ready).await;
                // What there is may be looked for in vain for long.
                yield_now().await;
            }
        }))
    }

    fn following(
        &mut self,
        shared: &Arc<Shared>,
        bytes: &[u8],
    ) -> Option<(Way, Arc<Mutex<Following>>, usize)> {
        let (id, body) = bytes.strip_prefix(&[FOLLOW])?.split_first_chunk::<32>()?;
        let (origin, body) = body.split_first_chunk()?;
        let listen = decode_all::<Listen<'_>>(Reader::new(body, &wide())).ok()?;
        let index = self.node.catalog.index();
        let object = index.by_name(Kind::Cache, &shared.name)?;
        let (way, cache) = (self.clustered(Some(object))?, object.cache.as_ref()?);
        let items = usize::try_from(listen.credit).ok()?;
        if let Some(following) = self.followings.0.get(id) {
            return Some((way, Arc::clone(following), items));
        }
        // Before it is told what there is: of what is served later a resync is told.
        let initial = listen.flags.has(ListenFlags::INITIAL_STATE);
        let tenure = |segment| Some(tenure(&way, segment)?.1).filter(|_| initial);
        let segments = u32::try_from(cache.table().segment_count()).unwrap_or(u32::MAX);
        let tenures = (0..segments).map(tenure).collect();
        let origin = u64::from_le_bytes(*origin);
        let listening = Listening::open(cache, object.id, &listen, origin, self.now).ok()?;
        let following = Arc::new(Mutex::new(Following { listening, tenures, used: self.now }));
        self.followings.0.insert(*id, Arc::clone(&following));
        Some((way, following, items))
    }
}

/// Events with the epochs of their segments.
#[derive(Default)]
struct Page {
    count: u64,
    bytes: Vec<u8>,
}

impl Page {
    fn push(&mut self, epoch: u32, event: &Event<'_>) {
        self.count += 1;
        epoch.encode(&mut self.bytes);
        event.encode(&mut self.bytes);
    }

    fn resync(&mut self, epoch: u32, segment: u16) {
        let (entry, event) = (Entry::default(), EventKinds::RESYNC);
        self.push(epoch, &Event { event, segment, seq: 0, entry, prev: None });
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 9);
        Varint(self.count).encode(&mut out);
        out.extend_from_slice(&self.bytes);
        out
    }
}

impl Following {
    /// What there is to tell.
    fn page(&mut self, way: &Way, items: usize) -> Page {
        let (mut page, now) = (Page::default(), way.0.now().wall);
        // What happened meanwhile is told when it has a lease again and nobody else has served.
        if !way.0.may_serve() {
            return page;
        }
        let mut epochs = Vec::with_capacity(self.tenures.len());
        for (segment, known) in (0..).zip(&mut self.tenures) {
            let tenure = tenure(way, u32::from(segment));
            if let Some((epoch, _)) = tenure.filter(|(_, tenure)| *known != Some(*tenure)) {
                page.resync(epoch.0, segment);
            }
            *known = tenure.map(|(_, tenure)| tenure);
            epochs.push(tenure.map(|(epoch, _)| epoch.0));
        }
        self.listening.collect(now, items);
        self.listening.each(now, |event| {
            let is_of_all = event.segment == ALL_SEGMENTS;
            let of = epochs.get(usize::from(event.segment)).copied().flatten();
            match of {
                Some(epoch) => page.push(epoch, event),
                None if is_of_all => {
                    let served = (0..).zip(&epochs).filter_map(|(at, epoch)| Some((at, (*epoch)?)));
                    served.for_each(|(segment, epoch)| page.resync(epoch, segment));
                }
                // Whoever serves the segment tells of it.
                None => {}
            }
        });
        page
    }
}

/// Events that a member told, with the epochs of their segments.
pub fn decode(bytes: &[u8]) -> Option<Vec<(u32, Event<'_>)>> {
    let mut reader = Reader::new(bytes, &wide());
    let count = Varint::decode(&mut reader).ok()?.0;
    let mut one = || Some((u32::decode(&mut reader).ok()?, Event::decode(&mut reader).ok()?));
    (0..count).map(|_| one()).collect()
}
