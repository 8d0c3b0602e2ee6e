//! Requests that are passed on. Those of one turn go to a member together, in one frame; each has
//! an answer of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use isogrid_grid::id::{GroupId, NodeId};

use super::frame::{Done, Frame, Items, Reply, put_item};
use crate::security::random;

/// Requests of a frame, at the most.
const REQUESTS_MAX: u32 = 128;
/// Frames under way with which it is first looked whether somebody waits for them.
const SWEPT_MIN: usize = 1_024;
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
    /// Takes out those that go to a member about a cache.
    fn remove(&mut self, to: NodeId, group: GroupId) -> Option<Bundle> {
        let at = self.0.iter().position(|one| one.to == to && one.group == group)?;
        Some(self.0.swap_remove(at))
    }

    /// Those that are to be sent now.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Bundle> {
        self.0.drain(..)
    }
}

/// Requests under way.
#[derive(Debug)]
pub struct Requests {
    /// The number of the next frame. The first one is drawn: an answer to a process that is over may
    /// come to the next one, which must not have asked anything under that number.
    next: AtomicU64,
    begun: AtomicU64,
    open: Mutex<Open>,
    /// Addresses that nothing has come from since a connection to them was lost.
    away: RwLock<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Open {
    sent: BTreeMap<u64, Sent>,
    /// With so many, those go that nobody waits for any more: their answers were lost.
    swept_at: usize,
}

/// Requests that were sent together.
#[derive(Debug)]
struct Sent {
    to: String,
    count: usize,
    parcel: Weak<Parcel>,
}

impl Open {
    fn insert(&mut self, id: u64, sent: Sent) {
        if self.sent.len() >= self.swept_at {
            self.sent.retain(|_, sent| sent.parcel.strong_count() > 0);
            self.swept_at = SWEPT_MIN.max(2 * self.sent.len());
        }
        self.sent.insert(id, sent);
    }
}

impl Requests {
    /// None yet.
    #[must_use]
    pub fn new() -> Requests {
        Requests {
            next: u64::from_le_bytes(random::bytes()).into(),
            begun: AtomicU64::default(),
            open: Mutex::default(),
            away: RwLock::default(),
        }
    }

    /// Puts a request to those that go to a member: what its answer comes to, and the frame that it
    /// is in if that takes no more and is to be sent now.
    pub(super) fn put(
        &self,
        outgoing: &mut Outgoing,
        (to, address): (NodeId, &str),
        (group, cache): (GroupId, &str),
        request: &[u8],
    ) -> (Asked, Option<Bundle>) {
        let mut bundle = outgoing.remove(to, group).unwrap_or_else(|| {
            let (id, mut frame) = (self.next.fetch_add(1, Ordering::Relaxed), Vec::new());
            Frame::Requests { id, cache, requests: Items::default() }.encode(&mut frame);
            let (address, parcel) = (address.to_owned(), Arc::default());
            Bundle { to, group, address, id, count: 0, frame, parcel }
        });
        put_item(request, &mut bundle.frame);
        let asked = Asked { parcel: Arc::clone(&bundle.parcel), number: bundle.count };
        bundle.count += 1;
        if bundle.count == REQUESTS_MAX || bundle.frame.len() >= FRAME_BYTES {
            return (asked, Some(bundle));
        }
        outgoing.0.push(bundle);
        (asked, None)
    }

    /// A request of no cache, which a member that is there answers. It may be sent to one that was
    /// lost as well; [`Requests::not_sent`] gives it up.
    pub(super) fn question(
        &self,
        to: (NodeId, &str),
        question: &str,
        about: &[u8],
    ) -> (Asked, Bundle) {
        let mut outgoing = Outgoing::default();
        let (asked, _) = self.put(&mut outgoing, to, (GroupId(0), question), about);
        let bundle = outgoing.0.remove(0);
        self.note(&bundle);
        (asked, bundle)
    }

    /// From now on an answer may come.
    fn note(&self, bundle: &Bundle) {
        let count = usize::try_from(bundle.count).unwrap_or(usize::MAX);
        let (to, parcel) = (bundle.address.clone(), Arc::downgrade(&bundle.parcel));
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
        if self.lock().sent.remove(&bundle.id).is_some() {
            bundle.parcel.end(Done::Elsewhere);
        }
    }

    /// How many there were.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Answers have come.
    pub(super) fn take(&self, id: u64, replies: Items<'_>) {
        let found = self.lock().sent.get(&id).map(|sent| (sent.parcel.upgrade(), sent.count));
        let Some((parcel, count)) = found else { return };
        if parcel.is_none_or(|parcel| parcel.take(replies) >= count) {
            self.lock().sent.remove(&id);
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
        let gone: Vec<_> = open.sent.extract_if(.., |_, sent| sent.to == address).collect();
        drop(open);
        let parcels = gone.into_iter().filter_map(|(_, sent)| sent.parcel.upgrade());
        parcels.for_each(|parcel| parcel.end(Done::Unknown));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn put(requests: &Requests, outgoing: &mut Outgoing, to: u64) -> (Asked, Option<Bundle>) {
        let cache = (GroupId(1), "default");
        requests.put(outgoing, (NodeId(to), "10.0.0.1:1"), cache, b"get a\r\n")
    }

    fn look(asked: &mut Asked) -> Poll<Answer> {
        Pin::new(asked).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn replies(of: &[(u32, Done)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        of.iter().for_each(|&(number, done)| Reply { number, done, bytes: b"x" }.put(&mut bytes));
        bytes
    }

    #[test]
    fn requests_of_a_turn_go_together_and_each_has_its_own_answer() {
        let (requests, mut outgoing) = (Requests::new(), Outgoing::default());
        let mut asked: Vec<_> =
            [1, 2, 1, 1].map(|to| put(&requests, &mut outgoing, to).0).into_iter().collect();
        let bundles: Vec<Bundle> = outgoing.take().collect();
        assert_eq!(bundles.len(), 2, "one for each member");
        assert!(bundles.iter().all(|bundle| requests.begin(bundle)));
        let first = bundles.iter().find(|bundle| bundle.count == 3).unwrap();
        requests.take(first.id, Items::of(&replies(&[(2, Done::Elsewhere), (0, Done::Executed)])));
        let done = |answer: Poll<Answer>| match answer {
            Poll::Ready(answer) => Some(answer.done),
            Poll::Pending => None,
        };
        let seen: Vec<_> = asked.iter_mut().map(|asked| done(look(asked))).collect();
        assert_eq!(seen, [Some(Done::Executed), None, None, Some(Done::Elsewhere)]);
        requests.lost("10.0.0.1:1");
        let seen: Vec<_> = asked.iter_mut().map(|asked| done(look(asked))).collect();
        let unknown = Some(Done::Unknown);
        assert_eq!(seen, [Some(Done::Executed), unknown, unknown, Some(Done::Elsewhere)]);
    }

    /// What was asked by a process that is over may be answered to the next one, however late. Both
    /// counted from 0 once, and a client was told what became of another's request.
    #[test]
    fn processes_ask_under_numbers_of_their_own() {
        let first = || {
            let mut outgoing = Outgoing::default();
            drop(put(&Requests::new(), &mut outgoing, 1));
            outgoing.take().next().unwrap().id
        };
        assert!(first().abs_diff(first()) > 1 << 32);
    }

    #[test]
    fn a_frame_that_is_full_is_sent_at_once() {
        let (requests, mut outgoing) = (Requests::new(), Outgoing::default());
        let full = (0..REQUESTS_MAX).filter_map(|_| put(&requests, &mut outgoing, 1).1).count();
        assert_eq!((full, outgoing.take().count()), (1, 0));
    }

    #[test]
    fn what_is_not_sent_is_not_done() {
        let (requests, mut outgoing) = (Requests::new(), Outgoing::default());
        requests.lost("10.0.0.1:1");
        let (mut asked, _) = put(&requests, &mut outgoing, 1);
        let bundle = outgoing.take().next().unwrap();
        assert!(!requests.begin(&bundle), "nothing came from there since it was lost");
        assert!(matches!(look(&mut asked), Poll::Ready(answer) if answer.done == Done::Elsewhere));
        requests.is_back("10.0.0.1:1");
        assert!(requests.begin(&bundle));
    }

    /// Answers that are lost leave their requests open, and whoever waited has gone.
    #[test]
    fn requests_that_nobody_waits_for_take_no_memory() {
        let requests = Requests::new();
        for _ in 0..10 * SWEPT_MIN {
            let mut outgoing = Outgoing::default();
            drop(put(&requests, &mut outgoing, 1));
            outgoing.take().for_each(|bundle| assert!(requests.begin(&bundle)));
        }
        assert!(requests.lock().sent.len() <= SWEPT_MIN);
    }
}
