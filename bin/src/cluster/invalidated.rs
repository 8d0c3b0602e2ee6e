//! The invalidated caches of this node, and what members tell each other for them (DATA_PATH R38-R40):
//! what `grid::invalidation` decides is carried out here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;
use isogrid_engine::{Table, Timestamp};
use isogrid_grid::control::{Control, Identity};
use isogrid_grid::id::{Boot, GroupId, NodeId};
use isogrid_grid::invalidation::{
    Action, Fills, Invalidation, Item, Peer, Silence, Ticket, Unknown,
};
use isogrid_grid::message::{Envelope, Message};

use super::driver::Input;
use super::shared::group_of;
use super::transport::Lane;
use super::{Cluster, ClusterError};

/// An invalidated cache of this node.
pub struct Invalidated {
    /// Its name.
    pub name: String,
    /// What the others know it by.
    pub group: GroupId,
    /// Which loads may still be stored.
    pub fills: Fills,
    table: Arc<Table>,
}

/// A moment in which the invalidated caches may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    session: u64,
    tenure: u64,
}

/// What there is to say of the invalidated caches of a node.
#[derive(Debug, Clone, Copy)]
pub struct InvalidationStats {
    /// Whether they are served, this member's lease left aside.
    pub serves: bool,
    /// Members that are told of what is written here.
    pub listeners: usize,
    /// Messages about writes that each of them was sent.
    pub sent: u64,
    /// How often all of them were cleared.
    pub clears: u64,
}

/// The node's part.
#[derive(Default)]
pub(super) struct Invalidations {
    caches: ArcSwap<Vec<Arc<Invalidated>>>,
    /// The session in which they are served; 0: they are not.
    session: AtomicU64,
    tenure: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` until the node is a member.
    core: Option<Invalidation>,
    waiting: Vec<(Ticket, Waker)>,
}

impl Invalidated {
    /// What tells others that something was written: this key, or all of them.
    #[must_use]
    pub fn item(&self, key: Option<&[u8]>) -> Item {
        Item { cache: self.group, key: key.map(Into::into) }
    }

    fn invalidate(&self, key: Option<&[u8]>, now: Timestamp) {
        let Some(key) = key else { return self.clear(now) };
        let remove = || {
            let pinned = self.table.pin();
            let entry = pinned.entry(self.table.hash(key), key, now);
            entry.is_none_or(|mut entry| entry.remove().is_ok())
        };
        if !self.fills.kill(key, remove) {
            tracing::error!(event = "not_invalidated", cache = self.name, "a removal was refused");
        }
    }

    fn clear(&self, now: Timestamp) {
        if self.fills.kill_all(|| self.table.clear(now)).is_err() {
            tracing::error!(event = "not_invalidated", cache = self.name, "a clear was refused");
        }
    }
}

impl Invalidations {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// The invalidated cache of this name.
    #[must_use]
    pub fn invalidated(&self, name: &str) -> Option<Arc<Invalidated>> {
        self.invalidations.caches.load().iter().find(|cache| cache.name == name).cloned()
    }

    /// Begins an invalidated cache, which is empty.
    ///
    /// # Errors
    /// Others would take it for another cache.
    pub fn add_invalidated(&self, name: &str, table: Arc<Table>) -> Result<(), ClusterError> {
        let (name, group) = (name.to_owned(), group_of(name));
        let caches = self.invalidations.caches.load();
        let shared = self.caches.iter().find(|other| other.group == group);
        let taken = caches.iter().find(|other| other.group == group && other.name != name);
        let other = shared.map(|other| &other.name).or(taken.map(|other| &other.name));
        if let Some(other) = other {
            return Err(ClusterError::SameGroup(other.clone(), name));
        }
        let cache = Arc::new(Invalidated { name, group, fills: Fills::default(), table });
        self.invalidations.caches.rcu(|caches| {
            let others = caches.iter().filter(|other| other.group != group).cloned();
            others.chain([Arc::clone(&cache)]).collect::<Vec<_>>()
        });
        Ok(())
    }

    /// Ends an invalidated cache.
    pub fn remove_invalidated(&self, name: &str) {
        self.invalidations.caches.rcu(|caches| {
            caches.iter().filter(|cache| cache.name != name).cloned().collect::<Vec<_>>()
        });
    }

    /// Whether invalidated caches may be served now. To be asked before anything is read or written;
    /// what was read is true if [`Cluster::is_still`] says so afterwards.
    #[must_use]
    pub fn fresh(&self) -> Option<Fresh> {
        let tenure = self.invalidations.tenure.load(Ordering::Acquire);
        let session = self.invalidations.session.load(Ordering::Acquire);
        (session != 0 && self.may_serve()).then_some(Fresh { session, tenure })
    }

    /// Whether they still may, without a break.
    #[must_use]
    pub fn is_still(&self, fresh: Fresh) -> bool {
        self.invalidations.session.load(Ordering::Acquire) == fresh.session && self.may_serve()
    }

    /// Tells all others that these were written to. The answer waits for [`Cluster::poll_told`].
    #[must_use]
    pub fn tell_written(&self, fresh: Fresh, items: &[Item]) -> Option<Ticket> {
        let now = self.now().monotonic;
        self.with_invalidation(|core, out| core.write(now, fresh.tenure, items, out))
    }

    /// Waits until no other member serves what was written over.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn poll_told(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<(), Unknown>> {
        let mut state = self.invalidations.lock();
        let Some(core) = &state.core else { return Poll::Ready(Err(Unknown)) };
        let Some(outcome) = core.outcome(ticket) else {
            let known =
                |(of, waker): &(Ticket, Waker)| *of == ticket && waker.will_wake(cx.waker());
            if !state.waiting.iter().any(known) {
                state.waiting.push((ticket, cx.waker().clone()));
            }
            return Poll::Pending;
        };
        Poll::Ready(outcome.and_then(|()| if self.may_serve() { Ok(()) } else { Err(Unknown) }))
    }

    /// What there is to say of them; `None` when there are none, or the node is no member.
    #[must_use]
    pub fn invalidation_stats(&self) -> Option<InvalidationStats> {
        if self.invalidations.caches.load().is_empty() {
            return None;
        }
        let state = self.invalidations.lock();
        let core = state.core.as_ref()?;
        let (serves, listeners) = (core.serves().is_some(), core.listeners());
        Some(InvalidationStats { serves, listeners, sent: core.sent(), clears: core.clears() })
    }

    /// Lets the core do something, and does what it asks for. Messages go out in the order of their
    /// numbers, so nobody else comes in between.
    fn with_invalidation<T>(
        &self,
        act: impl FnOnce(&mut Invalidation, &mut Vec<Action>) -> T,
    ) -> Option<T> {
        let mut state = self.invalidations.lock();
        let State { core, waiting } = &mut *state;
        let (core, mut out) = (core.as_mut()?, Vec::new());
        let done = act(core, &mut out);
        self.invalidations.tenure.store(core.tenure(), Ordering::Release);
        self.invalidations.session.store(core.serves().unwrap_or(0), Ordering::Release);
        out.into_iter().for_each(|action| self.invalidate(action));
        let ready = waiting.extract_if(.., |(ticket, _)| core.outcome(*ticket).is_some());
        let ready: Vec<Waker> = ready.map(|(_, waker)| waker).collect();
        drop(state);
        ready.into_iter().for_each(Waker::wake);
        Some(done)
    }

    fn invalidate(&self, action: Action) {
        let (now, caches) = (self.now().wall, self.invalidations.caches.load());
        match action {
            Action::Send(to, peer) => self.send_peer(to, peer),
            Action::Drop(items) => {
                for Item { cache, key } in items {
                    let found = caches.iter().find(|known| known.group == cache);
                    found.into_iter().for_each(|found| found.invalidate(key.as_deref(), now));
                }
            }
            Action::Clear => caches.iter().for_each(|cache| cache.clear(now)),
            Action::Ask(silence) => drop(self.inputs.send(Input::Silent(silence))),
        }
    }

    fn send_peer(&self, to: NodeId, peer: Peer) {
        let Some(Identity { cluster, node, boot, .. }) = self.identity.get().copied() else {
            return;
        };
        let view = self.view.load();
        if let Some(address) = view.address(to) {
            let message = Message::Invalidation(peer);
            let envelope = Envelope { cluster, from: node, boot, to, message };
            self.send_envelope(address, &envelope, Lane::Data);
        }
    }

    /// The node is this member from now on.
    pub(super) fn begin_invalidation(&self, identity: &Identity) {
        let core = Invalidation::new(identity.node, identity.boot);
        self.invalidations.lock().core = Some(core);
    }

    /// The metadata have changed.
    pub(super) fn view_invalidation(&self, control: &Control) {
        let members = control.metadata().members().iter();
        let registered = members.filter(|(_, member)| member.incarnation.is_some());
        self.with_invalidation(|core, _| core.view(registered.map(|(node, _)| *node)));
    }

    /// The lease begins after there was none. It counts only when this has returned.
    pub(super) fn lease_begins(&self) {
        let now = self.now().monotonic;
        self.with_invalidation(|core, out| core.begin(now, out));
    }

    /// The process is about to end, and serves no client any more.
    pub fn end_invalidation(&self) {
        self.with_invalidation(Invalidation::end);
    }

    /// Some time has passed.
    pub(super) fn tick_invalidation(&self) {
        let now = self.now().monotonic;
        self.with_invalidation(|core, out| core.tick(now, out));
    }

    /// The leader says that a lease was over.
    pub(super) fn lease_was_over(&self, silence: Silence) {
        self.with_invalidation(|core, _| core.over(silence));
    }

    /// A process of another member says this.
    pub(super) fn hear_invalidation(&self, from: (NodeId, Boot), peer: Peer) {
        let now = self.now().monotonic;
        self.with_invalidation(|core, out| core.receive(now, from, peer, out));
    }
}
