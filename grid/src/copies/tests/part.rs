//! A transaction over two segments of real tables, whose primary goes while it is in doubt.

use super::*;
use crate::replica::answers::WINDOW_MS;
use crate::replica::{Answered, OpId};
use crate::tx::{self, Decision, Hold, Intent, Open as Doubt, PATIENCE_MS, Ruling, TxId, Vote};
use isogrid_engine::Error;
use isogrid_engine::table::{Unrecorded, encode_change};

const HOME: tx::Part = (GROUP, SegmentId(0));

fn tx(number: u64) -> TxId {
    TxId { begun: 1_000_000, name: OpId { client: [2; 16], number } }
}

fn put(key: &[u8], seen: Option<u64>, value: &[u8]) -> Hold {
    let entry = NewEntry { value: [value, b""], ..NewEntry::default() };
    let mut write = Vec::new();
    encode_change(&Change::Put { key, entry, epoch: 0, seq: 0 }, &mut write);
    Hold { key: key.to_vec(), seen, write: Some(write) }
}

fn intent(holds: Vec<Hold>) -> Intent {
    Intent { home: HOME, version: 0, holds }
}

impl World {
    fn segment_of(&self, key: &[u8]) -> u32 {
        self.members[&1].table.hash(key).segment()
    }

    fn hold(&mut self, node: u64, number: u64, holds: Vec<Hold>, alone: bool) -> Vote {
        let segment = self.segment_of(&holds[0].key);
        let vote = self.members[&node].prepare(self.now, segment, tx(number), intent(holds), alone);
        self.on(node, |copies, now, out| copies.flush(now, segment, out));
        vote.unwrap()
    }

    fn overwrite(&mut self, node: u64, key: &[u8], value: &[u8]) -> Result<u64, Error> {
        let table = Arc::clone(&self.members[&node].table);
        let (pinned, hash) = (table.pin(), table.hash(key));
        let new = NewEntry { value: [value, b""], ..NewEntry::default() };
        let done = pinned.entry(hash, key, self.now.wall).unwrap().put(&new);
        self.on(node, |copies, now, out| copies.flush(now, hash.segment(), out));
        done
    }
}

/// A key of each segment.
fn keys(world: &World) -> [Vec<u8>; 2] {
    [0, 1].map(|segment| {
        let all = (0..=255_u8).map(|byte| vec![byte]);
        all.into_iter().find(|key| world.segment_of(key) == segment).unwrap()
    })
}

#[test]
fn who_takes_over_holds_what_was_held() {
    let mut world = World::new(1);
    world.view(&[1, 2], &segment(1, &[1, 2], &[]));
    world.settle();
    let [a, b] = keys(&world);
    let before = world.overwrite(1, &a, b"before").unwrap();
    world.settle();
    let refused = Err(Error::Unrecorded(Unrecorded::Held));

    let stale = world.hold(1, 8, vec![put(&a, Some(before - 1), b"stale")], false);
    assert_eq!(stale, Vote::Conflict(vec![a.clone()]));
    let vote = world.hold(1, 9, vec![put(&a, Some(before), b"after")], false);
    let Vote::Prepared(version) = vote else { panic!("{vote:?}") };
    assert!(version > before);
    assert_eq!(world.overwrite(1, &a, b"between"), refused, "also before it is committed");
    world.settle();

    // The coordinator and the primary die; 3 is filled by 2, and takes over from it.
    world.view(&[2, 3], &segment(2, &[2], &[3]));
    world.settle();
    world.view(&[2, 3], &segment(3, &[3, 2], &[]));
    world.settle();
    let at = world.segment_of(&a);
    assert_eq!(world.overwrite(3, &a, b"between"), refused);
    assert!(world.members[&3].is_held(at, &a, false), "it may be committed and acknowledged");
    assert_eq!(world.get(3, &a).unwrap().0, b"before");

    // It asks the home; nothing is recorded there, and from then on ABORT is, unless it was asked
    // for the other one before.
    let mut doubts = Vec::new();
    for _ in 0..2 {
        world.now.monotonic += PATIENCE_MS;
        let mut out = Vec::new();
        world.members[&3].tick(world.now, &mut out);
        doubts.extend(out.into_iter().filter_map(|one| match one {
            Out::Resolve(_, at, open) => Some((at, open)),
            _ => None,
        }));
    }
    let doubt = (SegmentId(u16::try_from(at).unwrap()), Doubt::Ask(tx(9), HOME));
    assert!(doubts.contains(&doubt), "{doubts:?}");
    let now = world.now;
    for (wish, stands) in
        [(Decision::Commit, Decision::Commit), (Decision::Abort, Decision::Commit)]
    {
        let decided = world.members[&3].decide(now.wall, 0, (tx(9), wish, vec![HOME]), None);
        assert_eq!(decided, Ok(Ruling::Decided(stands)));
    }
    assert_eq!(world.members[&3].settle(now, at, tx(9), Decision::Commit), Ok(()));
    world.settle();
    world.on(3, |copies, now, out| {
        let _ = (copies.flush(now, 0, out), copies.flush(now, 1, out));
    });
    world.settle();
    for node in [2, 3] {
        assert_eq!(world.get(node, &a), Some((b"after".to_vec(), version)), "on {node}");
        assert!(!world.members[&node].is_held(at, &a, true));
    }
    assert!(world.overwrite(3, &a, b"later").unwrap() > version);
    assert_eq!(world.overwrite(3, &b, b"free").map(|_| ()), Ok(()));
}

#[test]
fn one_segment_commits_in_one_step() {
    let mut world = World::new(2);
    world.view(&[1, 2], &segment(1, &[1, 2], &[]));
    world.settle();
    let [a, _] = keys(&world);
    let at = world.segment_of(&a);
    let other = (0..=255_u8).map(|byte| vec![byte, 1]).find(|key| world.segment_of(key) == at);
    let holds = vec![put(&a, Some(0), b"one"), put(&other.clone().unwrap(), Some(0), b"two")];
    let vote = world.hold(1, 1, holds.clone(), true);
    let Vote::Prepared(version) = vote else { panic!("{vote:?}") };
    assert_eq!(world.get(1, &a), None, "the copies do not have it yet");
    world.settle();
    for node in [1, 2] {
        assert_eq!(world.get(node, &a), Some((b"one".to_vec(), version)));
        assert_eq!(world.get(node, &other.clone().unwrap()), Some((b"two".to_vec(), version)));
        assert!(!world.members[&node].is_held(at, &a, true));
    }
    assert_eq!(world.hold(1, 1, holds, true), Vote::Prepared(version), "the same answer again");
    assert_eq!(world.members[&1].doubts(at), 0);
}

/// What a transaction was answered by is at home's copies with its decision, in sync, filled or
/// restarted: whoever serves home says the first answer, to whichever transaction is made of the
/// request next.
#[test]
fn the_first_answer_is_known_to_who_takes_over() {
    let mut world = World::new(1);
    world.view(&[1, 2], &segment(1, &[1, 2], &[]));
    world.settle();
    let decide = |world: &mut World, node: u64, number, said: &[u8]| {
        let answered = Answered::new(OpId { client: [7; 16], number: 5 }, 0, said);
        let wanted = (tx(number), Decision::Commit, vec![HOME]);
        let ruling = world.members[&node].decide(world.now.wall, 0, wanted, Some(answered));
        world.on(node, |copies, now, out| copies.flush(now, 0, out));
        ruling.unwrap()
    };
    let first = Ruling::Before(Some((&b"first"[..]).into()));
    let commit = Ruling::Decided(Decision::Commit);
    assert_eq!(decide(&mut world, 1, 1, b"first"), commit);
    assert_eq!(decide(&mut world, 1, 2, b"second"), first, "also before it is committed");
    assert_eq!(decide(&mut world, 1, 1, b"first"), commit, "the same transaction, once more");
    world.settle();
    assert_eq!(decide(&mut world, 1, 2, b"second"), first);

    // 1 dies; 3 is filled by 2, and takes over from it.
    world.view(&[2, 3], &segment(2, &[2], &[3]));
    world.settle();
    world.view(&[2, 3], &segment(3, &[3, 2], &[]));
    world.settle();
    assert_eq!(decide(&mut world, 3, 3, b"third"), first);
    assert_eq!(decide(&mut world, 3, 1, b"first"), commit);
    world.now.wall += WINDOW_MS + 1;
    assert_eq!(decide(&mut world, 3, 4, b"fourth"), Ruling::Before(None), "it may have been done");
}

/// What was not committed is no answer: whoever asks again has it done.
#[test]
fn an_answer_that_is_lost_was_none() {
    let mut world = World::new(1);
    world.view(&[1, 2], &segment(1, &[1, 2], &[]));
    world.settle();
    let answered = || Some(Answered::new(OpId { client: [7; 16], number: 5 }, 0, b"so"));
    let wanted = |number| (tx(number), Decision::Commit, vec![HOME]);
    let commit = Ok(Ruling::Decided(Decision::Commit));
    let now = world.now.wall;
    // It never reaches the other copy.
    assert_eq!(world.members[&1].decide(now, 0, wanted(1), answered()), commit);
    world.view(&[2], &segment(2, &[2], &[]));
    world.settle();
    assert_eq!(world.members[&2].decide(now, 0, wanted(2), answered()), commit);
    // One that is refused answers nothing: it may be tried again.
    let late = now + 60_000;
    let other = Some(Answered::new(OpId { client: [7; 16], number: 6 }, 0, b"so"));
    let refused = world.members[&2].decide(late, 0, wanted(3), other.clone());
    assert_eq!(refused, Ok(Ruling::Decided(Decision::Abort)), "it is too old");
    let again = (TxId { begun: late, ..tx(4) }, Decision::Commit, vec![HOME]);
    assert_eq!(world.members[&2].decide(late, 0, again, other), commit);
}
