//! Copies that are kept: what they say before it is durable, and what they are after a restart.

use super::*;
use crate::metadata::Persist;

impl World {
    fn kept() -> World {
        let mut world = World::new();
        for (replica, _) in world.copies.values_mut() {
            replica.keeping = Some(Keeping::default());
        }
        world.view(&segment(1, &[1, 2], &[]));
        world.deliver_all();
        world
    }

    /// What a copy wanted to be kept until now.
    fn told(&self, of: u64) -> Vec<(u64, Kept)> {
        let kept = |(node, action): &(u64, Action)| match action {
            Action::Keep(count, kept) if *node == of => Some((*count, kept.clone())),
            _ => None,
        };
        self.said.iter().filter_map(kept).collect()
    }

    /// All of that is durable.
    fn sync(&mut self, node: u64) {
        let count = self.told(node).last().map_or(0, |(count, _)| *count);
        self.on(node, |now, replica, map, out| {
            replica.step(now, Event::Durable(count), map, out);
        });
    }

    /// The process ends, and the next one finds what the last `lost` changes were behind. Bytes are
    /// what is on a disk.
    fn restart(&mut self, node: u64, lost: usize) {
        let mut told = self.told(node);
        told.truncate(told.len() - lost);
        let mut replica = Replica::new(NodeId(node), GroupId(0), SegmentId(0)).kept(Persist::Sync);
        let mut map = Map::default();
        for (_, kept) in told {
            let mut bytes = Vec::new();
            kept.encode(&mut bytes);
            replica.restore(Kept::decode(&bytes).unwrap(), &mut map).unwrap();
        }
        replica.restored(false, &mut map);
        self.copies.insert(node, (replica, map));
    }
}

/// R17: a write is committed when it is durable everywhere, the primary's own disk included.
#[test]
fn a_write_waits_for_all_disks() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut world = World::kept();
        assert_eq!(world.append(1, &[1, 1]), Ok(1));
        world.tick(4);
        assert_eq!((world.last(), world.committed()), ([1, 1, 0], [0; 3]));
        world.sync(first);
        world.tick(4);
        assert_eq!(world.committed(), [0; 3], "{first} has it");
        world.sync(second);
        world.tick(4);
        assert_eq!(world.committed(), [1, 1, 0]);
    }
}

/// R20: what is committed is not kept at once. A copy that was back in the same epoch did not know it
/// any more, and its primary had said it already.
#[test]
fn a_copy_that_is_back_hears_what_is_committed() {
    let mut world = World::kept();
    world.append(1, &[1, 1]).unwrap();
    for _ in 0..4 {
        world.tick(4);
        (1..=2).for_each(|node| world.sync(node));
    }
    assert_eq!(world.committed(), [1, 1, 0]);
    world.restart(2, 0);
    assert_eq!(world.committed(), [1, 0, 0]);
    world.view(&segment(1, &[1, 2], &[]));
    world.tick(4);
    assert_eq!(world.committed(), [1, 1, 0]);
}

/// R30: what a new primary hears of a copy is there after that copy's restart. Else it would fetch
/// for ever what nobody has any more.
#[test]
fn a_new_primary_is_told_what_is_durable() {
    let mut world = World::kept();
    world.append(1, &[1, 1]).unwrap();
    world.deliver(&[2]);
    let next = segment(2, &[1, 2], &[]);
    world.restart(1, 1);
    world.view(&next);
    world.deliver_all();
    assert_eq!(world.last(), [0, 1, 0], "2 has not answered");
    world.sync(2);
    world.tick(4);
    assert_eq!(world.last(), [1, 1, 0]);
    assert!(!world.has_said(1, &Action::Active(2)), "what it fetched is not durable");
    world.sync(1);
    world.tick(4);
    assert!(world.has_said(1, &Action::Active(2)));
    assert_eq!((world.committed(), world.entries(1)), ([1, 1, 0], world.entries(2)));
}

/// R41: a copy that is filled says that it has a chunk when that is durable, and has all of it
/// after a restart.
#[test]
fn a_chunk_is_there_when_its_disk_has_it() {
    let mut world = World::kept();
    (1..=7).for_each(|key| assert_eq!(world.append(1, &[key, 1]), Ok(u64::from(key))));
    for _ in 0..4 {
        [1, 2].into_iter().for_each(|node| world.sync(node));
        world.tick(2);
    }
    world.view(&segment(1, &[1, 2], &[(3, 9)]));
    world.tick(10);
    assert_eq!(world.told(3).len(), 1, "it began, and waits: {:?}", world.told(3));
    for _ in 0..20 {
        world.sync(3);
        world.tick(2);
    }
    assert!(world.wishes().contains(&(1, Wish::Expand(copy(3), 9))));
    world.restart(3, 0);
    assert_eq!(world.entries(3), world.entries(1));
    assert_eq!(world.last(), [7; 3]);
}

/// What a copy says of itself for a checkpoint makes the same copy.
#[test]
fn a_copy_is_what_is_written_down_of_it() {
    let mut world = World::kept();
    (1..=3).for_each(|key| assert_eq!(world.append(1, &[key, 1]), Ok(u64::from(key))));
    for _ in 0..4 {
        [1, 2].into_iter().for_each(|node| world.sync(node));
        world.tick(2);
    }
    world.append(1, &[3]).unwrap();
    let (replica, map) = &world.copies[&1];
    let mut again =
        (Replica::new(NodeId(1), GroupId(0), SegmentId(0)).kept(Persist::Sync), Map::default());
    for kept in replica.state() {
        again.0.restore(kept, &mut again.1).unwrap();
    }
    let mut next = Some(None);
    while let Some(after) = next {
        let (bytes, behind) = map.chunk(after.as_deref());
        again.0.restore(Kept::Chunk(bytes), &mut again.1).unwrap();
        next = behind.map(Some);
    }
    again.0.restored(false, &mut again.1);
    assert_eq!((again.0.last(), again.0.committed(), again.1.entries.len()), (4, 3, 3));
    assert_eq!(again.0.overlay().collect::<Vec<_>>(), replica.overlay().collect::<Vec<_>>());
}
