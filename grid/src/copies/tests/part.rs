//! A transaction over two segments of real tables, whose primary goes while it is in doubt.

use super::*;
use crate::replica::OpId;
use crate::tx::{self, Decision, Hold, Intent, Open as Doubt, PATIENCE_MS, TxId, Vote};
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
        let decided = world.members[&3].decide(now.wall, 0, (tx(9), wish, vec![HOME]));
        assert_eq!(decided, Ok(stands));
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
