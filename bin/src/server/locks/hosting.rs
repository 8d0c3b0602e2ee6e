//! Leases, locks and semaphores of the cluster, while this member serves them. Requests of all
//! members are executed here, in one order; what an answer says is committed before it is said.
//!
//! A request that waits has a name, under which its member asks again and again: one that is not
//! asked for any more has nobody who waits for it, and what it was given meanwhile goes back. When
//! another member takes over nobody waits there yet, and who asks again waits there.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_engine::{Error, Unrecorded};
use isogrid_grid::copies::Ticket;
use isogrid_grid::structure::lock::{LockOp, LockReply, Outcome, Wake};
use isogrid_grid::structures::NotKept;
use isogrid_grid::structures::hosted::{Hosted, SEGMENT};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Answer, Back};
use crate::cluster::{Cluster, Shared};
use crate::server::node::Node;

/// How long a request waits that nobody asks for any more, ms.
const GRACE_MS: u64 = 5_000;

/// The cluster, and its structures.
pub type Way = (Arc<Cluster>, Arc<Shared>);
/// What becomes of a request that waits; the sender goes when another member takes over.
pub type Waits = watch::Receiver<Option<Told>>;
type Wakes = BTreeMap<u64, watch::Sender<Option<Told>>>;

/// What became of a request that waited, and what has to be committed before it is said.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// What.
    pub outcome: Outcome,
    /// It is committed, if there is none.
    pub ticket: Option<Ticket>,
}

/// Why nothing can be answered.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// This member does not serve locks now. Nothing was done.
    Elsewhere,
    /// What was done could not be prepared, not all of it.
    NotKept(NotKept),
    /// It ceased to serve meanwhile.
    Unknown,
}

/// The locks that this member serves, if it does.
#[derive(Default)]
pub struct Hosting {
    state: Mutex<State>,
    earlier: Notify,
}

#[derive(Default)]
struct State {
    /// For how long the segment has been served when they were loaded, in times that it began.
    hosted: Option<(u64, Hosted)>,
    /// No number below was not given out, in the epoch in which they were loaded last.
    next: u64,
    /// Requests that wait, by name.
    waiting: BTreeMap<u128, Waiter>,
    /// The same, by ticket.
    wakes: Wakes,
}

struct Waiter {
    ticket: u64,
    waits: Waits,
    asked_at: u64,
    back: Back,
}

/// What an operation works on.
struct Turn<'s> {
    cluster: &'s Cluster,
    shared: &'s Shared,
    hosted: &'s mut Hosted,
    waiting: &'s mut BTreeMap<u128, Waiter>,
    wakes: &'s mut Wakes,
    out: Vec<Wake>,
}

impl Hosting {
    /// Does an operation under a name; what it says is true once the ticket is committed.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn apply(
        &self,
        way: &Way,
        name: u128,
        op: LockOp<'_>,
    ) -> Result<(Answer<Waits>, Option<Ticket>), Trouble> {
        let done = self.with(way, |turn| turn.answer(name, op));
        if matches!(done, Ok((Answer::Later(_) | Answer::Now(LockReply::Lease { .. }), _))) {
            self.earlier.notify_one();
        }
        done
    }

    /// Nobody waits for a request any more: what it was given goes back.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn give_up(&self, way: &Way, name: u128, back: &Back) -> Result<Option<Ticket>, Trouble> {
        self.with(way, |turn| turn.give_up(name, back)).map(|((), ticket)| ticket)
    }

    /// What became of a request that waited is about to be said.
    pub fn heard(&self, name: u128) {
        self.state.lock().waiting.remove(&name);
    }

    /// For how long the lock is still held under this token, if nothing is done, ms; 0: it is not.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn held_for(
        &self,
        way: &Way,
        key: &[u8],
        token: u64,
    ) -> Result<(u64, Option<Ticket>), Trouble> {
        self.with(way, |turn| {
            let now = turn.cluster.now().monotonic;
            Ok(turn.hosted.locks().held_for(now, key, token))
        })
    }

    /// What is due by time, if this member serves locks: how long until more is, ms.
    pub fn tick(&self, node: &Node) -> Option<u64> {
        let cluster = node.cluster.get()?;
        let way = (Arc::clone(cluster), Arc::clone(cluster.structures()?));
        let done = self.with(&way, |turn| {
            turn.advance()?;
            let due = turn.hosted.next_deadline();
            Ok(due.map(|due| due.saturating_sub(turn.cluster.now().monotonic)))
        });
        done.ok()?.0
    }

    /// Waits until something is due earlier than before.
    pub async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// Does something with what this member serves, loading it first if it has just begun to.
    fn with<R>(
        &self,
        (cluster, shared): &Way,
        act: impl FnOnce(&mut Turn<'_>) -> Result<R, NotKept>,
    ) -> Result<(R, Option<Ticket>), Trouble> {
        let mut state = self.state.lock();
        let copies = shared.copies().filter(|_| cluster.serves(shared, SEGMENT));
        let served = copies.and_then(|copies| Some((copies, copies.tenure(SEGMENT)?)));
        let Some((copies, (epoch, tenure))) = served else {
            state.end();
            return Err(Trouble::Elsewhere);
        };
        let mut hosted = match state.hosted.take() {
            Some((of, hosted)) if of == tenure => hosted,
            _ => {
                state.end();
                // What is on its way to being committed is not in the entries yet.
                if copies.ticket(SEGMENT).is_some() {
                    return Err(Trouble::Elsewhere);
                }
                let now = cluster.now();
                Hosted::load(shared.table(), epoch, state.next, (now.monotonic, now.wall))
            }
        };
        let State { waiting, wakes, .. } = &mut *state;
        let mut turn =
            Turn { cluster, shared, hosted: &mut hosted, waiting, wakes, out: Vec::new() };
        let done = act(&mut turn);
        let out = turn.out;
        state.next = hosted.next_number();
        let ticket = copies.ticket(SEGMENT);
        let lasts = copies.tenure(SEGMENT).is_some_and(|(_, now)| now == tenure);
        if lasts && done.is_ok() {
            state.hosted = Some((tenure, hosted));
            state.tell(out, ticket);
        } else {
            state.end();
        }
        drop(state);
        cluster.flush(shared, &[SEGMENT]);
        match done {
            // It is given up right now: nothing was prepared.
            Err(NotKept { why: Error::Unrecorded(Unrecorded::Elsewhere), done: 0 }) => {
                Err(Trouble::Elsewhere)
            }
            Err(why) => Err(Trouble::NotKept(why)),
            Ok(_) if !lasts => Err(Trouble::Unknown),
            Ok(done) => Ok((done, ticket)),
        }
    }
}

impl State {
    /// This is served no more, or is not what is kept: who waits asks again.
    fn end(&mut self) {
        self.hosted = None;
        self.waiting.clear();
        self.wakes.clear();
    }

    fn tell(&mut self, out: Vec<Wake>, ticket: Option<Ticket>) {
        for Wake { ticket: of, outcome } in out {
            if let Some(waiter) = self.wakes.remove(&of) {
                waiter.send_replace(Some(Told { outcome, ticket }));
            }
        }
    }
}

impl Turn<'_> {
    fn apply(&mut self, name: u128, op: LockOp<'_>) -> Result<LockReply, NotKept> {
        let now = self.cluster.now();
        let times = (now.monotonic, now.wall);
        self.hosted.apply(self.shared.table(), times, (name, op), &mut self.out)
    }

    fn answer(&mut self, name: u128, op: LockOp<'_>) -> Result<Answer<Waits>, NotKept> {
        let asked_at = self.cluster.now().monotonic;
        let back = Back::of(&op);
        if let Some(waiter) = self.waiting.get_mut(&name).filter(|_| back.is_some()) {
            waiter.asked_at = asked_at;
            return Ok(Answer::Later(waiter.waits.clone()));
        }
        let reply = self.apply(name, op)?;
        let (LockReply::Waiting { ticket }, Some(back)) = (&reply, back) else {
            return Ok(Answer::Now(reply));
        };
        let (wake, waits) = watch::channel(None);
        self.wakes.insert(*ticket, wake);
        let waiter = Waiter { ticket: *ticket, waits: waits.clone(), asked_at, back };
        self.waiting.insert(name, waiter);
        Ok(Answer::Later(waits))
    }

    fn give_up(&mut self, name: u128, back: &Back) -> Result<(), NotKept> {
        if let Some(waiter) = self.waiting.remove(&name) {
            self.wakes.remove(&waiter.ticket);
            self.apply(0, LockOp::Cancel { ticket: waiter.ticket })?;
        }
        let Back { is_lock, key, lease, .. } = back;
        if let Some(token) = self.hosted.locks().granted_as(*is_lock, key, *lease, name) {
            self.apply(0, back.op(token))?;
        }
        Ok(())
    }

    /// Does what is due, and gives up what nobody asks for.
    fn advance(&mut self) -> Result<(), NotKept> {
        let now = self.cluster.now();
        self.hosted.advance(self.shared.table(), (now.monotonic, now.wall), &mut self.out)?;
        let is_left = |waiter: &Waiter| waiter.asked_at + GRACE_MS < now.monotonic;
        let left: Vec<(u128, Back)> = self
            .waiting
            .iter()
            .filter(|(_, waiter)| is_left(waiter))
            .map(|(name, waiter)| (*name, waiter.back.clone()))
            .collect();
        left.iter().try_for_each(|(name, back)| self.give_up(*name, back))
    }
}
