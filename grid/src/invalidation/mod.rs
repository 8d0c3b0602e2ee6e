//! Invalidated caches: each member has entries of its own, and a write is answered when no other
//! member serves an older one (DATA_PATH R38-R40, I17). As Infinispan's invalidation mode, with the
//! leases of memcache at Facebook.
//!
//! | file | concept |
//! |---|---|
//! | `mod.rs` | [`Invalidation`], the core: who is told what, who has confirmed, who begins anew |
//! | `fills.rs` | [`Fills`]: which loads from outside may still be stored (R39) |
//! | `message.rs` | what members say to each other, and its bytes |
//!
//! **Sessions.** A member that begins to serve (its lease begins after none) clears its cache, takes a
//! new session number and says [`Peer::Hello`] to all who are registered. It serves when each of them
//! has promised to tell it of its writes, or had no lease: then whoever may write knows it. Who says
//! `Hello` is told in turn. So of two members the one that was registered later makes sure that both
//! know each other: a grant counts only when the metadata name all who were registered before (R8).
//! The earlier one may hear of the later one by its `Hello` first, and asks it again in a new session.
//!
//! **Numbers.** What one sender says in a session is numbered from 1. A number that is missing, or that
//! a [`Peer::Check`] shows to be missing, means that a write was not heard of: everything is cleared,
//! in a new session. Nothing is sent twice, so a sender keeps no keys.
//!
//! **Silence.** Who does not answer holds writes up until its lease is over, which the leader sees to
//! and says ([`Silence`]). A member that had none clears its cache before it serves again.
//!
//! **Versions** do not travel: those of two members cannot be compared, and to drop the key is right
//! whichever write is the later one. Of two that write one key at once both may lose their entry.

mod fills;
mod message;

use std::collections::{BTreeMap, BTreeSet};

pub use self::fills::{Fills, Token};
pub use self::message::{Item, Peer, Silence};
use crate::id::{Boot, NodeId};
use crate::membership::Monotonic;
use crate::mutant::is_planted;

/// How often `Hello` is said to who has not answered, and who has not confirmed is asked, ms.
const AGAIN_MS: u64 = 100;
/// How long somebody may take before the leader hears of it (R21), ms.
const SILENT_MS: u64 = 500;

/// What the core asks for. It is to be done in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this.
    Send(NodeId, Peer),
    /// These must not be served any more.
    Drop(Vec<Item>),
    /// Nothing must be served any more.
    Clear,
    /// Ask the leader, who answers with [`Invalidation::over`].
    Ask(Silence),
}

/// A write that is to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    n: u64,
    tenure: u64,
}

/// It is not known whether all others have heard of a write: our lease has been over meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// Whom we wait for, and since when; when it was reminded last.
#[derive(Debug, Clone, Copy, Default)]
struct Wait {
    since: Monotonic,
    reminded: Monotonic,
}

/// Somebody who is told of our writes.
#[derive(Debug, Clone)]
struct Listener {
    session: u64,
    /// How much we had sent when its session began.
    base: u64,
    /// Up to which of our numbers it has confirmed all.
    confirmed: u64,
    wait: Wait,
}

/// The core: one for all invalidated caches of a member.
#[derive(Debug)]
pub struct Invalidation {
    us: NodeId,
    boot: Boot,
    /// How often we have begun to listen.
    sessions: u64,
    /// How often our lease has begun after none.
    tenure: u64,
    /// Who has not promised to tell us yet.
    awaited: BTreeMap<NodeId, Wait>,
    /// Had no lease in this tenure, and has said nothing since.
    gone: BTreeSet<NodeId>,
    /// Which process we hear, and the last number that we have of it.
    heard: BTreeMap<NodeId, (Boot, u64)>,
    listeners: BTreeMap<NodeId, Listener>,
    sent: u64,
    /// All who are registered but us.
    others: BTreeSet<NodeId>,
    clears: u64,
    has_ended: bool,
}

impl Invalidation {
    /// That of a process that serves nothing yet.
    #[must_use]
    pub fn new(us: NodeId, boot: Boot) -> Self {
        Invalidation {
            us,
            boot,
            sessions: 0,
            tenure: 0,
            awaited: BTreeMap::new(),
            gone: BTreeSet::new(),
            heard: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sent: 0,
            others: BTreeSet::new(),
            clears: 0,
            has_ended: false,
        }
    }

    /// These are registered now.
    pub fn view(&mut self, registered: impl Iterator<Item = NodeId>) {
        self.others = registered.filter(|node| *node != self.us).collect();
    }

    /// Our lease begins, after there was none. Must be told before anybody may act on that lease.
    pub fn begin(&mut self, now: Monotonic, out: &mut Vec<Action>) {
        self.tenure += 1;
        self.gone.clear();
        self.listen_anew(now, out);
    }

    /// Everything is cleared, and the others are asked to tell us of what they write from now on.
    fn listen_anew(&mut self, now: Monotonic, out: &mut Vec<Action>) {
        self.sessions += 1;
        self.clears += 1;
        self.heard.clear();
        if !is_planted("stale-after-lapse") {
            out.push(Action::Clear);
        }
        let (wait, known) = (Wait { since: now, reminded: now }, self.known());
        let awaited = known.difference(&self.gone);
        self.awaited = awaited.map(|node| (*node, wait)).collect();
        if is_planted("serve-unheard") {
            self.awaited.clear();
        }
        let session = self.session();
        known.iter().for_each(|to| out.push(Action::Send(*to, Peer::Hello { session })));
    }

    /// Who may write and believes that it tells us: all who are registered, and who has said `Hello`
    /// before our metadata name it.
    fn known(&self) -> BTreeSet<NodeId> {
        self.others.iter().chain(self.listeners.keys()).copied().collect()
    }

    /// Our session: no process of this member, and no other one, has had it. 0: none yet.
    fn session(&self) -> u64 {
        if self.sessions == 0 { 0 } else { self.boot.0 << 32 | self.sessions }
    }

    /// In which session the cache may be served as far as others are concerned: a lease has to hold as
    /// well. What was read is true if this is the same before and after.
    #[must_use]
    pub fn serves(&self) -> Option<u64> {
        let is_heard = self.sessions > 0 && self.awaited.is_empty();
        (is_heard && !self.has_ended).then(|| self.session())
    }

    /// How often our lease began after none, for [`Invalidation::write`].
    #[must_use]
    pub fn tenure(&self) -> u64 {
        self.tenure
    }

    /// These were written to, in this tenure: all who listen are told in one message each. `None`:
    /// nothing was, but what was told before is to be confirmed.
    pub fn write(
        &mut self,
        now: Monotonic,
        tenure: u64,
        items: &[Item],
        out: &mut Vec<Action>,
    ) -> Ticket {
        if !items.is_empty() {
            self.sent += 1;
            for (to, listener) in &mut self.listeners {
                if listener.confirmed + 1 == self.sent {
                    listener.wait = Wait { since: now, reminded: now };
                }
                let (session, n) = (listener.session, self.sent - listener.base);
                out.push(Action::Send(*to, Peer::Invalid { session, n, items: items.to_vec() }));
            }
        }
        Ticket { n: self.sent, tenure }
    }

    /// Whether all others have heard of a write, or have no lease; `None`: not yet. The answer may be
    /// given if our lease holds as well: then whoever serves was told.
    #[must_use]
    pub fn outcome(&self, ticket: Ticket) -> Option<Result<(), Unknown>> {
        let is_told = self.confirmed() >= ticket.n || is_planted("unconfirmed-write");
        if ticket.tenure == self.tenure { is_told.then_some(Ok(())) } else { Some(Err(Unknown)) }
    }

    /// Up to which number all listeners have confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        let confirmed = self.listeners.values().map(|listener| listener.confirmed);
        confirmed.min().unwrap_or(self.sent).min(self.sent)
    }

    /// Some time has passed.
    pub fn tick(&mut self, now: Monotonic, out: &mut Vec<Action>) {
        let (ours, sent) = (self.session(), self.sent);
        for (to, wait) in &mut self.awaited {
            let theirs = self.listeners.get(to).map_or(0, |listener| listener.session);
            let hello = Peer::Hello { session: ours };
            wait.remind(now, Silence { node: *to, ours, theirs }, hello, out);
        }
        for (to, listener) in &mut self.listeners {
            let Listener { session, base, confirmed, wait } = listener;
            if *confirmed < sent {
                let check = Peer::Check { session: *session, n: sent - *base };
                wait.remind(now, Silence { node: *to, ours, theirs: *session }, check, out);
            }
        }
    }

    /// The process is about to end: it serves nothing any more, and nobody needs to wait for it.
    pub fn end(&mut self, out: &mut Vec<Action>) {
        self.has_ended = true;
        let bye = Peer::Bye { session: self.session() };
        self.known().iter().for_each(|to| out.push(Action::Send(*to, bye.clone())));
    }

    /// That member's lease was over after we asked: it serves nothing of before. What it has said
    /// since then is newer.
    pub fn over(&mut self, silence: Silence) {
        let Silence { node, ours, theirs } = silence;
        let known = self.listeners.get(&node).map_or(0, |listener| listener.session);
        if ours == self.session() && theirs == known {
            self.listeners.remove(&node);
            self.awaited.remove(&node);
            self.gone.insert(node);
        }
    }

    /// A process of another member says this.
    pub fn receive(
        &mut self,
        now: Monotonic,
        (from, boot): (NodeId, Boot),
        peer: Peer,
        out: &mut Vec<Action>,
    ) {
        match peer {
            Peer::Hello { session } => {
                self.listens(now, from, session);
                let ours = Some(self.session()).filter(|ours| *ours > 0);
                out.push(Action::Send(from, Peer::Welcome { session, ours }));
            }
            Peer::Welcome { session, ours } if session == self.session() => {
                self.awaited.remove(&from);
                ours.into_iter().for_each(|ours| self.listens(now, from, ours));
            }
            Peer::Invalid { session, n, items } if session == self.session() => {
                let last = self.last_of(from, boot);
                if n == last + 1 || (n > last && is_planted("over-a-gap")) {
                    self.heard.insert(from, (boot, n));
                    out.push(Action::Drop(items));
                }
                self.check((from, boot), n, now, out);
            }
            Peer::Check { session, n } if session == self.session() => {
                self.check((from, boot), n, now, out);
            }
            Peer::Confirm { to, session, n } if to == self.boot => {
                let listener = self.listeners.get_mut(&from);
                if let Some(listener) = listener.filter(|listener| listener.session == session) {
                    listener.confirmed = listener.confirmed.max(listener.base + n);
                    listener.wait = Wait { since: now, reminded: now };
                }
            }
            Peer::Bye { session } => {
                if self.listeners.get(&from).is_some_and(|known| known.session == session) {
                    self.listeners.remove(&from);
                    self.awaited.remove(&from);
                    self.gone.insert(from);
                }
            }
            // Of a session or a process that is over.
            Peer::Welcome { .. }
            | Peer::Invalid { .. }
            | Peer::Check { .. }
            | Peer::Confirm { .. } => {}
        }
    }

    /// A member listens to us in this session, with nothing that it could lack. An older session than
    /// the one we know is what somebody said before.
    fn listens(&mut self, now: Monotonic, from: NodeId, session: u64) {
        self.gone.remove(&from);
        if self.listeners.get(&from).is_none_or(|known| known.session < session) {
            let wait = Wait { since: now, reminded: now };
            let (base, confirmed) = (self.sent, self.sent);
            self.listeners.insert(from, Listener { session, base, confirmed, wait });
        }
    }

    /// The last number that we have of a process in our session.
    fn last_of(&self, from: NodeId, boot: Boot) -> u64 {
        self.heard.get(&from).filter(|(of, _)| *of == boot).map_or(0, |(_, n)| *n)
    }

    /// A process has sent so many: they are confirmed, unless one is missing.
    fn check(
        &mut self,
        (from, boot): (NodeId, Boot),
        n: u64,
        now: Monotonic,
        out: &mut Vec<Action>,
    ) {
        let last = self.last_of(from, boot);
        if n > last {
            return self.listen_anew(now, out);
        }
        let confirm = Peer::Confirm { to: boot, session: self.session(), n: last };
        out.push(Action::Send(from, confirm));
    }

    /// How often everything was cleared.
    #[must_use]
    pub fn clears(&self) -> u64 {
        self.clears
    }

    /// How many messages about writes were sent to each listener.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many others are told of our writes.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }
}

impl Wait {
    /// Reminds who is waited for, and lets the leader know when that has not helped.
    fn remind(&mut self, now: Monotonic, silence: Silence, again: Peer, out: &mut Vec<Action>) {
        if now < self.reminded + AGAIN_MS {
            return;
        }
        self.reminded = now;
        out.push(Action::Send(silence.node, again));
        if now >= self.since + SILENT_MS {
            out.push(Action::Ask(silence));
        }
    }
}

#[cfg(test)]
mod tests;
