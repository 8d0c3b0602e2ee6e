//! A copy that serves: it sends what it decides to all others, and commits what all in sync have.

use super::{
    ANSWER_MS, Action, Base, FillId, NotTaken, OVERLAY_MAX, Op, Peer, Peers, RESEND_MS, Record,
    Replica, Role,
};
use crate::id::{Copy, NodeId};
use crate::membership::Monotonic;
use crate::metadata::Segment;
use crate::segment::Wish;

/// Operations that are sent again at a time.
const BATCH_MAX: usize = 128;

/// The other copies, as their primary sees them.
#[derive(Debug)]
pub(super) struct Followers {
    peers: Peers<Follower>,
    /// It takes writes: everything that was there at the takeover is committed.
    pub(super) is_active: bool,
    /// Where the log ended at the takeover.
    must: u64,
}

#[derive(Debug)]
struct Follower {
    copy: Copy,
    /// What it has, as it said in this epoch.
    acked: u64,
    /// What it knows to be committed.
    told: u64,
    /// When something was sent to it last.
    sent_at: Monotonic,
    /// Since when it owes an answer.
    owes_since: Option<Monotonic>,
    fill: Option<Fill>,
}

/// How far a copy is filled.
#[derive(Debug)]
struct Fill {
    id: FillId,
    after: u64,
    /// The last chunk that it took; 0: it knows that it is being filled.
    took: Option<u64>,
    /// Where the next chunk begins.
    next: Option<Vec<u8>>,
    /// The chunk that was sent and not taken yet, and where the one after it begins. It is kept,
    /// since the entries change meanwhile: read again it might end elsewhere.
    sent: Option<(Vec<u8>, Option<Vec<u8>>)>,
    is_done: bool,
    /// Its answers are waited for, as if it were in sync (R42). Never taken back: only the
    /// metadata say whether it was made so.
    counts: bool,
}

impl Followers {
    /// After a takeover, with a log that ends at `must`.
    pub(super) fn new(must: u64) -> Self {
        Followers { peers: Peers::new(), is_active: false, must }
    }

    /// A new epoch: what was answered in the one before does not count any more (R17).
    pub(super) fn enter(&mut self, committed: u64) {
        for follower in self.peers.values_mut() {
            follower.acked = follower.acked.min(committed);
            (follower.sent_at, follower.owes_since) = (0, None);
        }
    }

    /// Follows the metadata: who has a copy, and who is filled.
    pub(super) fn view(&mut self, view: &Segment, us: NodeId, committed: u64) {
        let is_listed = |follower: &Follower| {
            let since = |fill: &Fill| (follower.copy, fill.id.since);
            view.insync.contains(&follower.copy)
                || follower.fill.as_ref().map(since).is_some_and(|known| {
                    view.syncing.iter().any(|filling| (filling.copy, filling.since) == known)
                })
        };
        self.peers.retain(|_, follower| is_listed(follower));
        for copy in view.insync.iter().filter(|copy| copy.node != us) {
            let new = || Follower::new(*copy, committed, None);
            self.peers.entry(copy.node).or_insert_with(new).fill = None;
        }
        for filling in &view.syncing {
            let id = FillId { since: filling.since, begun: view.epoch };
            let new = || Follower::new(filling.copy, committed, Some(Fill::new(id, committed)));
            self.peers.entry(filling.copy.node).or_insert_with(new);
        }
    }

    fn insync(&self) -> usize {
        1 + self.peers.values().filter(|follower| follower.fill.is_none()).count()
    }

    /// Up to where all whose answers count have everything.
    fn acked_by_all(&self, last: u64) -> u64 {
        let counts = self.peers.values().filter(|follower| follower.counts());
        counts.map(|follower| follower.acked).min().unwrap_or(last)
    }
}

impl Follower {
    fn new(copy: Copy, acked: u64, fill: Option<Fill>) -> Self {
        Follower { copy, acked, told: 0, sent_at: 0, owes_since: None, fill }
    }

    fn counts(&self) -> bool {
        self.fill.as_ref().is_none_or(|fill| fill.counts)
    }

    /// Whether operations may be sent to it: it knows where they begin.
    fn is_ready(&self) -> bool {
        self.fill.as_ref().is_none_or(|fill| fill.took.is_some())
    }
}

impl Fill {
    fn new(id: FillId, after: u64) -> Self {
        Fill { id, after, took: None, next: None, sent: None, is_done: false, counts: false }
    }
}

impl Replica {
    /// Takes what the member has decided into the log: its number. It is committed when
    /// [`Action::Committed`] says so, and not before; when [`Action::Passive`] comes instead,
    /// nobody here knows whether it will be.
    ///
    /// # Errors
    /// [`NotTaken`]: it is surely not done.
    pub fn append(
        &mut self,
        now: Monotonic,
        record: Record,
        min_insync: u8,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) -> Result<u64, NotTaken> {
        let Role::Primary(followers) = &self.role else { return Err(NotTaken::Passive) };
        if !followers.is_active {
            return Err(NotTaken::Passive);
        }
        if followers.insync() < usize::from(min_insync) {
            return Err(NotTaken::TooFewCopies);
        }
        if self.last - self.committed >= OVERLAY_MAX as u64 {
            return Err(NotTaken::Busy);
        }
        let (prev, committed, epoch) = (self.last, self.committed, self.epoch);
        let op = Op { seq: prev + 1, epoch, record };
        self.push(op.clone());
        let Role::Primary(followers) = &mut self.role else { return Err(NotTaken::Passive) };
        for (node, follower) in followers.peers.iter_mut().filter(|(_, one)| one.is_ready()) {
            let ops = vec![op.clone()];
            out.push(Action::Send(*node, Peer::Repl { epoch, prev, ops, committed }));
            follower.told = committed;
            follower.sent_at = now;
            follower.owes_since.get_or_insert(now);
        }
        self.advance(base, out);
        Ok(prev + 1)
    }

    /// Commits what all have whose answers count, and serves once that is all there was.
    pub(super) fn advance(&mut self, base: &mut impl Base, out: &mut Vec<Action>) {
        let Role::Primary(followers) = &self.role else { return };
        let acked = followers.acked_by_all(self.last);
        self.commit(acked, base, out);
        let (committed, last) = (self.committed, self.last);
        let Role::Primary(followers) = &mut self.role else { return };
        if !followers.is_active && committed >= followers.must {
            followers.is_active = true;
            out.push(Action::Active(last + 1));
        }
    }

    pub(super) fn acked(
        &mut self,
        now: Monotonic,
        from: NodeId,
        last: u64,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let ours = self.last;
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&from).filter(|one| one.is_ready()) else {
            return;
        };
        if last > follower.acked {
            follower.acked = last.min(ours);
            follower.owes_since = (follower.acked < ours).then_some(now);
        } else if last == ours {
            follower.owes_since = None;
        }
        self.advance(base, out);
        self.expand(from, out);
    }

    /// A copy lacks what comes before what it got: it is sent again from there.
    pub(super) fn lacks(&mut self, now: Monotonic, from: NodeId, last: u64, out: &mut Vec<Action>) {
        let Role::Primary(followers) = &mut self.role else { return };
        if followers.peers.get(&from).is_some_and(Follower::is_ready) {
            self.send_tail(now, from, last, out);
        }
    }

    /// What time alone asks for: what got lost is sent again, who is silent is told of, copies
    /// are filled, and what is committed is said.
    pub(super) fn tend(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        self.advance(base, out);
        let Role::Primary(followers) = &self.role else { return };
        let nodes: Vec<NodeId> = followers.peers.keys().copied().collect();
        for node in nodes {
            self.tend_one(now, node, base, out);
        }
    }

    fn tend_one(
        &mut self,
        now: Monotonic,
        node: NodeId,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let (last, committed) = (self.last, self.committed);
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&node) else { return };
        let (acked, is_ready) = (follower.acked, follower.is_ready());
        let is_silent = follower.owes_since.is_some_and(|since| now >= since + ANSWER_MS);
        let (copy, since) = (follower.copy, follower.fill.as_ref().map(|fill| fill.id.since));
        if is_silent {
            let wish = since.map_or(Wish::Shrink(node), |since| Wish::Abandon(copy, since));
            self.ask(wish, out);
        }
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&node) else { return };
        if now < follower.sent_at + RESEND_MS && follower.sent_at != 0 {
            return;
        }
        if acked < last {
            follower.owes_since.get_or_insert(now);
        }
        if !is_ready || (acked >= last && follower.fill.as_ref().is_some_and(|fill| !fill.is_done))
        {
            self.fill(now, node, base, out);
        } else if acked < last || follower.told < committed {
            self.send_tail(now, node, acked, out);
        }
        self.expand(node, out);
    }

    /// Sends what follows `after`, or only what is committed when nothing does.
    fn send_tail(&mut self, now: Monotonic, node: NodeId, after: u64, out: &mut Vec<Action>) {
        let (epoch, committed) = (self.epoch, self.committed);
        // What a copy in sync lacks is always here. One that is filled too slowly begins anew.
        let Some(mut ops) = self.tail(after) else { return };
        ops.truncate(BATCH_MAX);
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&node) else { return };
        (follower.sent_at, follower.told) = (now, committed);
        out.push(Action::Send(node, Peer::Repl { epoch, prev: after, ops, committed }));
    }

    /// Sends the beginning of a filling, or its next chunk.
    fn fill(&mut self, now: Monotonic, node: NodeId, base: &impl Base, out: &mut Vec<Action>) {
        let epoch = self.epoch;
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&node) else { return };
        let Some(fill) = &mut follower.fill else { return };
        let (id, after) = (fill.id, fill.after);
        let message = match fill.took {
            None => Peer::Fill { epoch, fill: id, after },
            Some(_) if fill.is_done => return,
            Some(took) => {
                let next = fill.next.as_deref();
                let (bytes, _) = fill.sent.get_or_insert_with(|| base.chunk(next));
                Peer::Chunk { epoch, fill: id, number: took + 1, bytes: bytes.clone() }
            }
        };
        follower.sent_at = now;
        follower.owes_since.get_or_insert(now);
        out.push(Action::Send(node, message));
    }

    /// A copy has taken a chunk: the next one follows, or it is done.
    pub(super) fn took(
        &mut self,
        now: Monotonic,
        from: NodeId,
        id: FillId,
        number: u64,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&from) else { return };
        let Some(fill) = follower.fill.as_mut().filter(|fill| fill.id == id) else { return };
        let expected = fill.took.map_or(0, |took| took + 1);
        if number != expected || fill.is_done {
            return;
        }
        if let Some((_, next)) = fill.sent.take() {
            fill.is_done = next.is_none();
            fill.next = next;
        }
        fill.took = Some(number);
        follower.owes_since = None;
        self.fill(now, from, base, out);
        self.expand(from, out);
    }

    /// A copy that has all chunks counts from now on; when it has everything that is committed,
    /// it may become one in sync (R42).
    fn expand(&mut self, node: NodeId, out: &mut Vec<Action>) {
        let committed = self.committed;
        let Role::Primary(followers) = &mut self.role else { return };
        let Some(follower) = followers.peers.get_mut(&node) else { return };
        let Some(fill) = follower.fill.as_mut().filter(|fill| fill.is_done) else { return };
        fill.counts = true;
        let (copy, since) = (follower.copy, fill.id.since);
        if follower.acked >= committed {
            self.ask(Wish::Expand(copy, since), out);
        }
    }

    /// Begins to serve, with everything that the log has still to be committed.
    pub(super) fn serve(
        &mut self,
        now: Monotonic,
        view: &Segment,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let mut followers = Followers::new(self.last);
        followers.view(view, self.us, self.committed);
        self.role = Role::Primary(followers);
        self.tend(now, base, out);
    }
}
