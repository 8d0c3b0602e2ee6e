//! Counting up, asked for again and again while primaries change: each time counts once.

use super::*;
use crate::replica::OpId;

/// Counters: few, so that both segments have some.
const KEYS: u64 = 4;
/// The keys of other writes are below this.
const FIRST: u64 = 100;

/// What was asked for, and what became of it.
#[derive(Default)]
pub(super) struct Counters {
    next: u64,
    /// The number of each request, its counter, and all answers that it got.
    asked: BTreeMap<u64, (u8, Vec<u64>)>,
    /// Answers that are not true yet.
    open: Vec<(u64, Ticket, u64, u64)>,
    /// Requests whose client knows the answer.
    known: BTreeSet<u64>,
}

impl World {
    /// Counts a key up under a number of one client: what became of that.
    pub(super) fn count(&mut self, node: u64, key: u8, number: u64) -> (Once, Option<u64>) {
        let copies = Arc::clone(&self.members[&node]);
        let (key, mut counted) = ([key], None);
        let hash = copies.table.hash(&key);
        let once = copies.once(self.now.wall, hash.segment(), id(number), || {
            let pinned = copies.table.pin();
            let mut entry = pinned.entry(hash, &key, self.now.wall).unwrap();
            let before = entry.get().map(|entry| entry.value().try_into().unwrap());
            let value = before.map_or(0, u64::from_le_bytes) + 1;
            let new = NewEntry { value: [&value.to_le_bytes(), b""], ..NewEntry::default() };
            entry.put(&new).ok()?;
            counted = Some(value);
            Some(value.to_le_bytes().to_vec())
        });
        self.on(node, |copies, now, out| copies.flush(now, hash.segment(), out));
        (once, counted)
    }

    fn counter(&self, node: u64, key: u8) -> u64 {
        let value = self.get(node, &[key]).map(|(value, _)| value.try_into().unwrap());
        value.map_or(0, u64::from_le_bytes)
    }
}

fn id(number: u64) -> OpId {
    OpId { client: [7; 16], number }
}

impl Run {
    /// Asks for something new, or again for what nobody has answered.
    pub(super) fn count(&mut self) {
        let asked = &mut self.counters.asked;
        let again = asked.keys().copied().find(|number| !self.counters.known.contains(number));
        let number = again.filter(|_| self.random.below(2) == 0).unwrap_or_else(|| {
            let key = u8::try_from(FIRST + self.random.below(KEYS)).unwrap();
            self.counters.next += 1;
            asked.insert(self.counters.next, (key, Vec::new()));
            self.counters.next
        });
        self.ask(number);
    }

    fn ask(&mut self, number: u64) {
        let (primary, key) = (self.insync[0], self.counters.asked[&number].0);
        let said = match self.world.count(primary, key, number) {
            (Once::Executed, counted) => counted.unwrap(),
            (Once::Before(answer), None) => u64::from_le_bytes((*answer).try_into().unwrap()),
            (Once::Refused, _) => return,
            other => panic!("seed {}: {number} of {key}: {other:?}", self.seed),
        };
        let copies = &self.world.members[&primary];
        let segment = copies.table.hash(&[key]).segment();
        match copies.ticket(segment) {
            Some(ticket) => self.counters.open.push((primary, ticket, number, said)),
            None => self.counters.told(number, said, self.seed),
        }
    }

    /// Everything is asked for until it is answered, and each time counted once.
    pub(super) fn count_all(&mut self) {
        for number in self.counters.asked.keys().copied().collect::<Vec<_>>() {
            self.ask(number);
            self.world.settle();
            self.counters.look(&self.world, self.seed);
        }
        let Run { counters, world, insync, seed, .. } = self;
        for key in (FIRST..FIRST + KEYS).map(|key| u8::try_from(key).unwrap()) {
            let asked = counters.asked.values().filter(|(other, _)| *other == key).count();
            let counted = world.counter(insync[0], key);
            assert_eq!(counted, asked as u64, "seed {seed}: counter {key}");
        }
        assert_eq!(counters.known.len(), counters.asked.len(), "seed {seed}");
    }
}

impl Counters {
    /// All counters are gone.
    pub(super) fn clear(&mut self) {
        *self = Counters { next: self.next, ..Counters::default() };
    }

    fn told(&mut self, number: u64, said: u64, seed: u64) {
        let (key, all) = self.asked.get_mut(&number).unwrap();
        all.push(said);
        assert!(all.iter().all(|one| *one == said), "seed {seed}: {number} of {key}: {all:?}");
        self.known.insert(number);
    }

    pub(super) fn look(&mut self, world: &World, seed: u64) {
        for (node, ticket, number, said) in std::mem::take(&mut self.open) {
            match world.poll(node, ticket) {
                Poll::Ready(Ok(())) => self.told(number, said, seed),
                Poll::Ready(Err(Unknown)) => {}
                Poll::Pending => self.open.push((node, ticket, number, said)),
            }
        }
    }
}

/// A world in which member 1 serves, and 2 has a copy.
fn world() -> World {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[]));
    world.settle();
    world
}

#[test]
fn what_comes_again_is_answered_as_before_wherever_it_comes() {
    let mut world = world();
    let executed = |value| (Once::Executed, Some(value));
    let before = |value: u64| (Once::Before(value.to_le_bytes().into()), None);
    assert_eq!(world.count(1, 100, 1), executed(1));
    assert_eq!(world.count(1, 100, 1), before(1), "nobody else has it yet");
    world.settle();
    assert_eq!(world.count(1, 100, 1), before(1));
    assert_eq!(world.count(1, 100, 2), executed(2));
    assert_eq!(world.count(2, 100, 2).0, Once::Refused, "it does not serve");
    world.settle();
    // Member 1 is gone; 3 is filled from 2, and takes over then.
    world.view(&[2, 3], &segment(6, &[2], &[3]));
    world.settle();
    world.view(&[2, 3], &segment(7, &[3, 2], &[]));
    world.settle();
    assert_eq!(world.count(3, 100, 1), before(1));
    assert_eq!(world.count(3, 100, 2), before(2));
    assert_eq!(world.count(3, 100, 3), executed(3));
}

#[test]
fn what_changes_nothing_is_remembered_too() {
    let mut world = world();
    let segment_of = |world: &World| world.members[&1].table.hash(b"k").segment();
    let at = segment_of(&world);
    let ask = |node: u64, world: &mut World| {
        let once = world.members[&node].once(world.now.wall, at, id(1), || Some(b"no".to_vec()));
        world.on(node, |copies, now, out| copies.flush(now, at, out));
        world.settle();
        once
    };
    assert_eq!(ask(1, &mut world), Once::Executed);
    world.view(&[2], &segment(6, &[2], &[]));
    world.settle();
    assert_eq!(ask(2, &mut world), Once::Before(b"no"[..].into()));
}

/// What is written down of a copy, and is one again after a restart.
#[test]
fn a_restart_forgets_no_answer() {
    let mut world = world();
    world.count(1, 100, 1);
    world.settle();
    // Nobody has this one yet.
    world.count(1, 100, 2);
    world.net.clear();
    let mut again = World::new(1);
    for at in world.members[&1].segments() {
        let mut kept = Vec::new();
        let write = |one| -> Result<(), ()> {
            kept.push(one);
            Ok(())
        };
        world.members[&1].write_down(world.now, at, write).unwrap();
        kept.into_iter().for_each(|one| again.members[&1].restore(again.now, at, one).unwrap());
    }
    again.members[&1].restored(again.now, true);
    again.view(&[1], &segment(6, &[1], &[]));
    again.settle();
    for number in [1_u64, 2] {
        let before = Once::Before(number.to_le_bytes().into());
        assert_eq!(again.count(1, 100, number), (before, None), "{number}");
    }
    assert_eq!(again.counter(1, 100), 2);
}

/// The copy ceases to serve between the change and its answer: nothing of it may be found anywhere.
#[test]
fn what_has_no_answer_yet_goes_nowhere() {
    let mut world = world();
    let copies = Arc::clone(&world.members[&1]);
    let (hash, now) = (copies.table.hash(b"k"), world.now.wall);
    let change = |copies: &Copies| {
        let pinned = copies.table.pin();
        let mut entry = pinned.entry(hash, b"k", now).unwrap();
        entry.put(&NewEntry { value: [b"v", b""], ..NewEntry::default() }).unwrap();
    };
    let once = copies.once(now, hash.segment(), id(1), || {
        change(&copies);
        // Another connection sends what it wrote behind it.
        change(&copies);
        world.on(1, |copies, now, out| copies.flush(now, hash.segment(), out));
        assert_eq!(world.net, [], "it has no answer yet");
        world.view(&[1, 2], &segment(6, &[2, 1], &[]));
        Some(b"done".to_vec())
    });
    assert_eq!(once, Once::Refused);
    world.settle();
    assert_eq!((world.get(1, b"k"), world.get(2, b"k")), (None, None));
    let fresh = world.members[&2].once(now, hash.segment(), id(1), || Some(Vec::new()));
    assert_eq!(fresh, Once::Executed);
}

/// Two changes of one request leave as one, whatever leaves when.
#[test]
fn changes_of_one_request_are_found_together_or_not_at_all() {
    let mut world = world();
    let copies = Arc::clone(&world.members[&1]);
    let (hash, now) = (copies.table.hash(b"k"), world.now.wall);
    let once = copies.once(now, hash.segment(), id(1), || {
        for value in [b"first", b"other"] {
            let pinned = copies.table.pin();
            let mut entry = pinned.entry(hash, b"k", now).unwrap();
            entry.put(&NewEntry { value: [value, b""], ..NewEntry::default() }).unwrap();
        }
        let again = copies.once(now, hash.segment(), id(1), || None);
        assert_eq!(again, Once::UnderWay);
        Some(vec![0; 20_000])
    });
    assert_eq!(once, Once::Executed);
    world.on(1, |copies, now, out| copies.flush(now, hash.segment(), out));
    let records: Vec<usize> = world
        .net
        .iter()
        .flat_map(|(.., peer)| match peer {
            Peer::Repl { ops, .. } => ops.iter().map(|op| op.record.len()).collect(),
            _ => Vec::new(),
        })
        .collect();
    assert!(matches!(&records[..], [2, len] if *len > 2 * 19), "{records:?}");
    world.settle();
    assert_eq!(world.get(2, b"k").map(|(value, _)| value), Some(b"other".to_vec()));
    // What was answered was too long to be kept; that it was answered is known.
    let again = world.members[&1].once(now, hash.segment(), id(1), || None);
    assert_eq!(again, Once::Forgotten);
}
