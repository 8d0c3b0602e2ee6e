//! Requests that are passed on. Those of one turn go to a member together, in one frame; each has
//! an answer of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use isogrid_grid::id::{GroupId, NodeId};

use super::frame::{Done, Frame, Items, Reply, put_item};

/// Requests of a frame, at the most.
const REQUESTS_MAX: u32 = 128;
/// Bytes of a frame beyond which it takes no more of them.
const FRAME_BYTES: usize = 1 << 20;

/// The answer to a request that was passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What became of it.
    pub done: Done,
    /// What the client reads.
    pub bytes: Bytes,
}

/// An answer that is to come. It may be asked for again after it has come.
#[derive(Debug)]
pub struct Asked {
    parcel: Arc<Parcel>,
    number: u32,
}

/// The answers to requests that went together.
#[derive(Debug, Default)]
struct Parcel(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    came: Vec<Option<Answer>>,
    /// Nothing more comes: this is what became of the others.
    others: Option<Done>,
    waiting: Vec<Waker>,
}

impl Future for Asked {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut answers = self.parcel.lock();
        let at = usize::try_from(self.number).unwrap_or(usize::MAX);
        if let Some(Some(answer)) = answers.came.get(at) {
            return Poll::Ready(answer.clone());
        }
        if let Some(done) = answers.others {
            return Poll::Ready(Answer { done, bytes: Bytes::new() });
        }
        if !answers.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            answers.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Parcel {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes answers that came; how many there are now.
    fn take(&self, replies: Items<'_>) -> usize {
        let all = Bytes::copy_from_slice(replies.bytes());
        let replies = Items::of(&all).filter_map(Reply::decode);
        let mut answers = self.lock();
        for reply in replies.filter(|reply| reply.number < REQUESTS_MAX) {
            let at = usize::try_from(reply.number).unwrap_or(usize::MAX);
            let len = answers.came.len().max(at + 1);
            answers.came.resize(len, None);
            if let Some(place) = answers.came.get_mut(at) {
                *place = Some(Answer { done: reply.done, bytes: all.slice_ref(reply.bytes) });
            }
        }
        let waiting = std::mem::take(&mut answers.waiting);
        let came = answers.came.iter().flatten().count();
        drop(answers);
        waiting.into_iter().for_each(Waker::wake);
        came
    }

    fn end(&self, others: Done) {
        let mut answers = self.lock();
        answers.others = Some(others);
        let waiting = std::mem::take(&mut answers.waiting);
        drop(answers);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Requests of a turn that are not sent yet, by who gets them. Each frame is to be sent at the end
/// of the turn, or nothing comes of its requests.
#[derive(Debug, Default)]
pub struct Outgoing(Vec<Bundle>);

/// Requests that go to a member together.
#[derive(Debug)]
pub(super) struct Bundle {
    to: NodeId,
    group: GroupId,
    /// Where the member is reached.
    pub(super) address: String,
    id: u64,
    count: u32,
    /// What is sent.
    pub(super) frame: Vec<u8>,
    parcel: Arc<Parcel>,
}

impl Outgoing {
    /// Where requests for a cache that this member has are put.
    fn of(&mut self, to: NodeId, group: GroupId, new: impl FnOnce() -> Bundle) -> usize {
        let same = |bundle: &Bundle| bundle.to == to && bundle.group == group;
        self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(new());
            self.0.len() - 1
        })
    }

    /// Those that are to be sent now.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Bundle> {
        self.0.drain(..)
    }
}

/// Requests under way.
#[derive(Debug, Default)]
pub struct Requests {
    next: AtomicU64,
    begun: AtomicU64,
    open: Mutex<BTreeMap<u64, Sent>>,
    /// Addresses that nothing has come from since a connection to them was lost.
    away: RwLock<BTreeSet<String>>,
}

/// Requests that were sent together.
#[derive(Debug)]
struct Sent {
    to: String,
    count: usize,
    parcel: Arc<Parcel>,
}

impl Requests {
    /// Puts a request to those that go to a member: what its answer comes to, and the frame that it
    /// is in if that takes no more and is to be sent now.
    pub(super) fn put(
        &self,
        outgoing: &mut Outgoing,
        (to, address): (NodeId, &str),
        (group, cache): (GroupId, &str),
        request: &[u8],
    ) -> (Asked, Option<Bundle>) {
        let at = outgoing.of(to, group, || {
            let (id, mut frame) = (self.next.fetch_add(1, Ordering::Relaxed), Vec::new());
            Frame::Requests { id, cache, requests: Items::default() }.encode(&mut frame);
            let (address, parcel) = (address.to_owned(), Arc::default());
            Bundle { to, group, address, id, count: 0, frame, parcel }
        });
        let bundle = &mut outgoing.0[at];
        put_item(request, &mut bundle.frame);
        let asked = Asked { parcel: Arc::clone(&bundle.parcel), number: bundle.count };
        bundle.count += 1;
        let is_full = bundle.count == REQUESTS_MAX || bundle.frame.len() >= FRAME_BYTES;
        (asked, is_full.then(|| outgoing.0.swap_remove(at)))
    }

    /// A request of no cache, which a member that is there answers. It may be sent to one that was
    /// lost as well; [`Requests::not_sent`] gives it up.
    pub(super) fn question(&self, to: NodeId, address: &str) -> (Asked, Bundle) {
        let mut outgoing = Outgoing::default();
        let (asked, _) = self.put(&mut outgoing, (to, address), (GroupId(0), ""), b"");
        let bundle = outgoing.0.remove(0);
        self.note(&bundle);
        (asked, bundle)
    }

    /// From now on an answer may come.
    fn note(&self, bundle: &Bundle) {
        let count = usize::try_from(bundle.count).unwrap_or(usize::MAX);
        let (to, parcel) = (bundle.address.clone(), Arc::clone(&bundle.parcel));
        self.lock().insert(bundle.id, Sent { to, count, parcel });
    }

    /// A frame is about to be sent; whether it may. If not, none of its requests is executed.
    pub(super) fn begin(&self, bundle: &Bundle) -> bool {
        self.note(bundle);
        self.begun.fetch_add(u64::from(bundle.count), Ordering::Relaxed);
        // Whoever loses the address from here on finds these requests among the open ones.
        let may = !self.is_away(&bundle.address);
        if !may {
            self.not_sent(bundle);
        }
        may
    }

    /// A frame was not sent after all.
    pub(super) fn not_sent(&self, bundle: &Bundle) {
        let open = self.lock().remove(&bundle.id);
        open.into_iter().for_each(|sent| sent.parcel.end(Done::Elsewhere));
    }

    /// How many there were.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Answers have come.
    pub(super) fn take(&self, id: u64, replies: Items<'_>) {
        let found = self.lock().get(&id).map(|sent| (Arc::clone(&sent.parcel), sent.count));
        let Some((parcel, count)) = found else { return };
        if parcel.take(replies) >= count {
            self.lock().remove(&id);
        }
    }

    /// Whether a request that went to this address now might wait for nobody.
    pub fn is_away(&self, address: &str) -> bool {
        self.away.read().unwrap_or_else(PoisonError::into_inner).contains(address)
    }

    /// Something came from this address.
    pub fn is_back(&self, address: &str) {
        if self.is_away(address) {
            self.away.write().unwrap_or_else(PoisonError::into_inner).remove(address);
        }
    }

    /// Nobody knows what becomes of those that went to this address.
    pub fn lost(&self, address: &str) {
        self.away.write().unwrap_or_else(PoisonError::into_inner).insert(address.to_owned());
        let mut open = self.lock();
        let gone: Vec<_> = open.extract_if(.., |_, sent| sent.to == address).collect();
        drop(open);
        gone.into_iter().for_each(|(_, sent)| sent.parcel.end(Done::Unknown));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Sent>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
