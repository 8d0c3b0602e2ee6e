//! Three members with real tables, and the messages between their copies, delivered as a test wants.

mod once;
mod part;
mod patch;

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use isogrid_engine::{NewEntry, TableConfig};

use self::once::Counters;
use super::*;
use crate::bytes::whole;
use crate::id::{Data, Incarnation};
use crate::metadata::{Filling, Owners, Persist};
use crate::random::Random;
use crate::segment::Wish;

const SEGMENTS: u16 = 2;
const GROUP: GroupId = GroupId(7);
const SETTINGS: GroupSettings = GroupSettings {
    owners: Owners::Count(2),
    persist: Persist::None,
    local_reads: false,
    min_insync: 1,
    acks: Acks::Sync,
};

struct World {
    members: BTreeMap<u64, Arc<Copies>>,
    net: Vec<(u64, u64, SegmentId, Peer)>,
    asked: BTreeSet<Request>,
    now: Now,
    /// Messages with patches that were delivered.
    patches: usize,
}

/// A message as whoever it is sent to reads it.
fn sent(peer: &Peer) -> Peer {
    let mut bytes = Vec::new();
    peer.encode(&mut bytes);
    whole(&bytes, Peer::decode).unwrap()
}

fn copy(node: u64) -> Copy {
    Copy { node: NodeId(node), data: Data::Memory(Incarnation(node)) }
}

/// A segment, served by the first of those in sync.
fn segment(epoch: u32, insync: &[u64], syncing: &[u64]) -> Segment {
    Segment {
        epoch: Epoch(epoch),
        primary: insync.first().map(|node| NodeId(*node)),
        insync: insync.iter().map(|node| copy(*node)).collect(),
        syncing: syncing.iter().map(|node| Filling { copy: copy(*node), since: 9 }).collect(),
        target: Vec::new(),
        clock_floor: 0,
        lost_before: 0,
        forced_before: 0,
        stale: Vec::new(),
    }
}

impl World {
    fn new(seed: u64) -> World {
        let member = |node| {
            let config = TableConfig {
                segments: Some(u32::from(SEGMENTS)),
                max_bytes: 256 << 10,
                seed: seed + node,
                ..TableConfig::default()
            };
            let table = Arc::new(Table::new(&config, 0).unwrap());
            (node, Copies::new(NodeId(node), GROUP, &SETTINGS, table, None))
        };
        let members = (1..=3).map(member).collect();
        let now = Now { monotonic: 1_000, wall: 1_000_000 };
        World { members, net: Vec::new(), asked: BTreeSet::new(), now, patches: 0 }
    }

    fn on(&mut self, node: u64, act: impl FnOnce(&Copies, Now, &mut Vec<Out>)) {
        let mut out = Vec::new();
        act(&self.members[&node], self.now, &mut out);
        for one in out {
            match one {
                Out::Send(to, _, at, peer) => self.net.push((node, to.0, at, peer)),
                Out::Wake(waker) => waker.wake(),
                Out::Discarded(..) => panic!("nothing is answered before it is committed"),
                Out::Resolve(..) => {}
                Out::Ask(request) => {
                    self.asked.insert(request);
                }
            }
        }
    }

    /// All members, or those that still hear, learn of a segment.
    fn view(&mut self, nodes: &[u64], view: &Segment) {
        for node in nodes {
            let serves = (view.primary == Some(NodeId(*node))).then_some(view.epoch);
            let reads = view.is_insync(NodeId(*node)).then_some(view.epoch);
            for at in (0..SEGMENTS).map(SegmentId) {
                self.on(*node, |copies, now, out| {
                    copies.view(now, at, view, Some(copy(*node)), (serves, reads), out);
                });
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        let (from, to, segment, peer) = self.net.remove(at);
        let peer = sent(&peer);
        self.patches += usize::from(peer.has_patches());
        self.on(to, |copies, now, out| copies.receive(now, NodeId(from), segment, peer, out));
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            while !self.net.is_empty() {
                self.deliver(0);
            }
            self.now.monotonic += 60;
            self.now.wall += 60;
            (1..=3).for_each(|node| self.on(node, |copies, now, out| copies.tick(now, out)));
        }
        while !self.net.is_empty() {
            self.deliver(0);
        }
    }

    fn get(&self, node: u64, key: &[u8]) -> Option<(Vec<u8>, u64)> {
        let table = &self.members[&node].table;
        let pinned = table.pin();
        let entry = pinned.get(table.hash(key), key, self.now.wall)?;
        Some((entry.value().to_vec(), entry.version()))
    }

    fn write(
        &mut self,
        node: u64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Ticket>, isogrid_engine::Error> {
        let copies = Arc::clone(&self.members[&node]);
        let hash = copies.table.hash(key);
        let pinned = copies.table.pin();
        let mut entry = pinned.entry(hash, key, self.now.wall).unwrap();
        match value {
            Some(value) => {
                entry.put(&NewEntry { value: [value, b""], ..NewEntry::default() })?;
            }
            None => {
                entry.remove()?;
            }
        }
        drop(entry);
        let ticket = copies.ticket(hash.segment());
        self.on(node, |copies, now, out| copies.flush(now, hash.segment(), out));
        Ok(ticket)
    }

    fn poll(&self, node: u64, ticket: Ticket) -> Poll<Result<(), Unknown>> {
        self.members[&node].poll(ticket, &mut Context::from_waker(Waker::noop()))
    }

    /// What readers of a member's copy see of all keys: the step that wrote it, what stands for all
    /// of the value, and its version.
    fn entries(&self, node: u64) -> BTreeMap<u8, (Vec<u8>, u32, u64)> {
        let entry = |key: u8| {
            let (value, version) = self.get(node, &[key])?;
            Some((key, (value[..4].to_vec(), crc32c::crc32c(&value), version)))
        };
        (0..60).filter_map(entry).collect()
    }
}

#[test]
fn a_write_is_seen_when_all_copies_have_it() {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[]));
    world.settle();
    let ticket = world.write(1, b"k", Some(b"v")).unwrap().unwrap();
    assert_eq!((world.get(1, b"k"), world.poll(1, ticket)), (None, Poll::Pending));
    assert!(!world.members[&1].may_read(ticket.segment));
    world.settle();
    assert_eq!(world.poll(1, ticket), Poll::Ready(Ok(())));
    let seen = world.get(1, b"k");
    assert_eq!(
        seen.as_ref().map(|(value, version)| (&value[..], version >> 40)),
        Some((&b"v"[..], 5))
    );
    assert_eq!((world.get(2, b"k"), world.get(3, b"k")), (seen, None));
    assert_eq!(world.members[&1].serves(ticket.segment), Some(Epoch(5)));
    assert!(
        world.members[&2].may_read(ticket.segment) && !world.members[&3].may_read(ticket.segment)
    );
    // A member that does not serve the key takes no write of it.
    let refused = world.write(2, b"k", Some(b"w")).unwrap_err();
    assert_eq!(refused, isogrid_engine::Error::Unrecorded(Unrecorded::Elsewhere));
}

/// A writer of a stopped node that looked when the node had handed over was told that nobody knew.
#[test]
fn what_was_committed_is_said_though_another_one_serves_by_now() {
    let mut world = World::new(1);
    world.view(&[1, 2], &segment(5, &[1, 2], &[]));
    world.settle();
    let done = world.write(1, b"k", Some(b"v")).unwrap().unwrap();
    world.settle();
    let open = world.write(1, b"k", Some(b"w")).unwrap().unwrap();
    world.view(&[1, 2], &segment(6, &[2, 1], &[]));
    world.settle();
    assert_eq!(world.poll(1, done), Poll::Ready(Ok(())));
    assert_eq!(world.poll(1, open), Poll::Ready(Err(Unknown)));
}

#[test]
fn a_lost_primary_leaves_what_was_acknowledged() {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[]));
    world.settle();
    world.write(1, b"k", Some(b"acknowledged")).unwrap();
    world.settle();
    let known = world.get(1, b"k").unwrap();
    let open = world.write(1, b"k", Some(b"not")).unwrap().unwrap();
    world.net.clear();
    world.view(&[2, 3], &segment(6, &[2], &[3]));
    world.settle();
    assert_eq!(world.get(2, b"k"), Some(known.clone()));
    world.write(2, b"k", Some(b"new")).unwrap();
    world.settle();
    let new = world.get(2, b"k").unwrap();
    assert!(new.1 > known.1 && new.1 >> 40 == 6, "{new:?} {known:?}");
    // The old one hears of it: what waited is unknown, and nobody sees it.
    world.view(&[1], &segment(6, &[2], &[3]));
    assert_eq!(world.poll(1, open), Poll::Ready(Err(Unknown)));
    assert_eq!(world.get(1, b"k"), Some(known));
    assert_eq!(world.get(3, b"k"), Some(new));
}

/// A record that means nothing (from a version that is not ours, say) must not be passed over: the
/// copy would lack a write and count as one that has it.
#[test]
fn a_copy_that_cannot_do_what_comes_says_nothing_more() {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[]));
    world.settle();
    let at = SegmentId(0);
    let record = crate::replica::Op::whole(1, Epoch(5), b"?"[..].into());
    let repl = Peer::Repl { epoch: Epoch(5), prev: 0, ops: vec![record], committed: 1 };
    world.on(2, |copies, now, out| copies.receive(now, NodeId(1), at, repl, out));
    assert_eq!(world.net, []);
    assert!(!world.members[&2].may_read(0));
    // Filled anew it is one again.
    world.view(&[1, 2], &segment(6, &[1], &[2]));
    world.settle();
    world.view(&[1, 2], &segment(7, &[1, 2], &[]));
    world.settle();
    assert!(world.members[&2].may_read(0));
}

#[test]
fn a_closed_segment_takes_nothing_and_settles() {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[]));
    world.settle();
    let ticket = world.write(1, b"k", Some(b"v")).unwrap().unwrap();
    let at = SegmentId(u16::try_from(ticket.segment).unwrap());
    world.members[&1].close(at);
    assert!(!world.members[&1].is_settled(at));
    assert!(world.write(1, b"k", Some(b"w")).is_err());
    world.settle();
    assert!(world.members[&1].is_settled(at));
    assert_eq!(world.poll(1, ticket), Poll::Ready(Ok(())));
}

/// Bytes that are mostly those of any other step, and somewhere its own.
fn filler(step: u32, len: usize) -> Vec<u8> {
    let own = usize::try_from(step % 8).unwrap() * 256;
    let byte = |at: usize| if (own..own + 64).contains(&at) { step.to_le_bytes()[0] } else { 7 };
    (0..len).map(byte).collect()
}

/// Writes, deletions and clears while messages come late or not at all, primaries change and
/// copies are filled: what was acknowledged is there, and in the end all copies are the same.
struct Run {
    seed: u64,
    random: Random,
    world: World,
    epoch: u32,
    /// The members whose copies are in sync, the primary first.
    insync: Vec<u64>,
    filling: Option<u64>,
    acknowledged: BTreeMap<u8, Option<Vec<u8>>>,
    open: Vec<(Ticket, u8, Option<Vec<u8>>)>,
    counters: Counters,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut run = Run {
            seed,
            random: Random(seed),
            world: World::new(seed),
            epoch: 5,
            insync: vec![1, 2, 3],
            filling: None,
            acknowledged: BTreeMap::new(),
            open: Vec::new(),
            counters: Counters::default(),
        };
        run.view(&[1, 2, 3]);
        run.world.settle();
        run
    }

    fn view(&mut self, nodes: &[u64]) {
        let filling: Vec<u64> = self.filling.into_iter().collect();
        self.world.view(nodes, &segment(self.epoch, &self.insync, &filling));
    }

    fn step(&mut self, step: u32) {
        match self.random.below(100) {
            0..=39 => self.write(step),
            40..=84 if !self.world.net.is_empty() => {
                let at = usize::try_from(self.random.below(self.world.net.len() as u64)).unwrap();
                if self.random.below(10) == 0 {
                    self.world.net.remove(at);
                } else {
                    self.world.deliver(at);
                }
            }
            85..=94 => {
                self.world.now.monotonic += 40;
                self.world.now.wall += 40;
                (1..=3).for_each(|node| {
                    self.world.on(node, |copies, now, out| copies.tick(now, out));
                });
            }
            95 if self.open.is_empty() => self.clear(),
            96 if self.filling.is_none() => self.lose_primary(),
            97 if self.filling.is_none() => self.change_primary(),
            98 | 99 => self.count(),
            _ => {}
        }
        self.expand();
        self.look(step);
        self.counters.look(&self.world, self.seed);
    }

    fn write(&mut self, step: u32) {
        let key = u8::try_from(self.random.below(60)).unwrap();
        let value = (self.random.below(4) > 0).then(|| {
            let len = usize::try_from(self.random.below(3_000)).unwrap();
            [&step.to_le_bytes()[..], &filler(step, len)].concat()
        });
        if self.open.iter().any(|(_, other, _)| *other == key) {
            return;
        }
        if let Ok(Some(ticket)) = self.world.write(self.insync[0], &[key], value.as_deref()) {
            self.open.push((ticket, key, value));
            self.acknowledged.remove(&key);
        }
    }

    fn clear(&mut self) {
        let primary = self.insync[0];
        for at in 0..u32::from(SEGMENTS) {
            self.world.members[&primary].clear(self.world.now, at).unwrap_or(());
            self.world.on(primary, |copies, now, out| copies.flush(now, at, out));
        }
        self.world.settle();
        self.acknowledged.clear();
        self.counters.clear();
    }

    /// The primary goes; one of the others is next, and the old one is filled anew.
    fn lose_primary(&mut self) {
        let gone = self.insync.remove(0);
        let next = usize::try_from(self.random.below(2)).unwrap();
        self.insync.swap(0, next);
        self.world.net.retain(|(from, to, ..)| *from != gone && *to != gone);
        self.epoch += 1;
        self.view(&self.insync.clone());
        self.world.settle();
        self.view(&[gone]);
        self.end_open(gone);
        self.filling = Some(gone);
        self.view(&[1, 2, 3]);
    }

    /// Another copy in sync takes over, and the primary follows it from now on.
    fn change_primary(&mut self) {
        let before = self.insync[0];
        self.insync.rotate_left(1);
        self.epoch += 1;
        self.view(&[1, 2, 3]);
        self.end_open(before);
        self.world.settle();
    }

    fn end_open(&mut self, primary: u64) {
        for (ticket, ..) in self.open.drain(..) {
            let is_told = self.world.poll(primary, ticket).is_ready();
            assert!(is_told, "seed {}: waits for ever", self.seed);
        }
    }

    /// A copy that was filled is in sync. All segments have one view here, so all copies of the
    /// member have to be filled.
    fn expand(&mut self) {
        let is_filled = |request: &&Request| {
            matches!(request.wish, Wish::Expand(copy, _) if Some(copy.node.0) == self.filling)
                && request.epoch == Epoch(self.epoch)
        };
        if self.world.asked.iter().filter(is_filled).count() >= usize::from(SEGMENTS)
            && let Some(filled) = self.filling.take()
        {
            self.insync.push(filled);
            self.epoch += 1;
            self.view(&[1, 2, 3]);
            self.world.asked.clear();
        }
    }

    /// What is answered is there.
    fn look(&mut self, step: u32) {
        let Run { world, insync, acknowledged, open, seed, .. } = self;
        open.retain(|(ticket, key, value)| match world.poll(insync[0], *ticket) {
            Poll::Ready(Ok(())) => {
                acknowledged.insert(*key, value.clone());
                false
            }
            Poll::Ready(Err(Unknown)) => false,
            Poll::Pending => true,
        });
        // A primary that is not active yet may not have committed it.
        let is_active = world.members[&insync[0]].serves(0).is_some();
        for (key, value) in acknowledged.iter().filter(|_| is_active) {
            let seen = world.get(insync[0], &[*key]).map(|(value, _)| value);
            assert_eq!(seen.as_ref(), value.as_ref(), "seed {seed}, step {step}, key {key}");
        }
    }

    fn compare(&mut self) {
        self.world.settle();
        self.expand();
        self.world.settle();
        self.count_all();
        for node in self.insync.clone() {
            let (ours, theirs) = (self.world.entries(self.insync[0]), self.world.entries(node));
            let differs: Vec<_> = (0..60).filter(|key| ours.get(key) != theirs.get(key)).collect();
            let shown = differs.first().map(|key| (ours.get(key), theirs.get(key)));
            let Run { seed, insync, .. } = self;
            assert!(
                differs.is_empty(),
                "seed {seed}: {node} of {insync:?}: {differs:?}: {shown:?}"
            );
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    (0..600).for_each(|step| run.step(step));
    run.compare();
}

#[test]
fn copies_stay_the_same() {
    (0..60).for_each(run);
}

/// R25: what was read waits for the other copies, what was refused as well, and what was written for
/// nothing more; none of it is true any more once another one serves.
#[test]
fn what_was_found_waits_until_it_is_confirmed() {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[]));
    world.settle();
    let copies = Arc::clone(&world.members[&1]);
    let at = copies.table.hash(b"k").segment();
    let flush = |world: &mut World| world.on(1, |copies, now, out| copies.flush(now, at, out));
    for (reads, moves) in [(true, false), (false, false), (true, true)] {
        let mark = copies.mark(at).unwrap();
        let ticket = copies.confirm(at, mark, reads).unwrap();
        assert!(ticket.is_to_be_confirmed() && !ticket.writes());
        flush(&mut world);
        assert_eq!(world.poll(1, ticket), Poll::Pending);
        if moves {
            world.view(&[2], &segment(6, &[2], &[]));
        }
        world.settle();
        let is_confirmed = Poll::Ready(Ok(()));
        assert_eq!(world.poll(1, ticket) == is_confirmed, !moves);
        if moves {
            world.view(&[1], &segment(6, &[2], &[]));
            assert_eq!(world.poll(1, ticket), Poll::Ready(Err(Unknown)));
        }
    }
    world.view(&[1, 2, 3], &segment(7, &[1, 2], &[]));
    world.settle();
    // That all copies have what was written meanwhile says the same.
    let mark = copies.mark(at).unwrap();
    world.write(1, b"k", Some(b"v")).unwrap();
    let refused = copies.confirm(at, mark, false).unwrap();
    assert!(refused.writes() && !refused.is_to_be_confirmed());
    // What was written before does not.
    let late = copies.confirm(at, copies.mark(at).unwrap(), false).unwrap();
    assert!(late.writes() && late.is_to_be_confirmed());
    flush(&mut world);
    world.settle();
    assert_eq!([refused, late].map(|one| world.poll(1, one)), [Poll::Ready(Ok(())); 2]);
    // A copy without others has nobody to ask.
    world.view(&[1, 2, 3], &segment(8, &[1], &[]));
    assert_eq!(copies.confirm(at, copies.mark(at).unwrap(), true), None);
}
