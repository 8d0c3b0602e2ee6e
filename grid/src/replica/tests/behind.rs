//! Copies that are written behind (`persist = async`): nobody waits for their disks, but for those
//! that are filled; and what a disk lacks after a crash a copy gets, or gives up.

use super::*;
use crate::metadata::Persist;

impl World {
    fn behind() -> World {
        let mut world = World::new();
        for (replica, _) in world.copies.values_mut() {
            let new = Replica::new(replica.us, GroupId(0), SegmentId(0));
            *replica = new.kept(Persist::Async);
        }
        world.view(&segment(1, &[1, 2], &[]));
        world.deliver_all();
        world
    }

    /// The process ends, and what its disk did not have of its last `lost` changes.
    fn crash(&mut self, node: u64, lost: usize) {
        let kept = |(of, action): &(u64, Action)| match action {
            Action::Keep(_, kept) if *of == node => Some(kept.clone()),
            _ => None,
        };
        let told: Vec<Kept> = self.said.iter().filter_map(kept).collect();
        let mut replica = Replica::new(NodeId(node), GroupId(0), SegmentId(0));
        replica = replica.kept(Persist::Async);
        let mut map = Map::default();
        for kept in told.iter().take(told.len() - lost) {
            replica.restore(kept.clone(), &mut map).unwrap();
        }
        replica.restored(false, &mut map);
        self.copies.insert(node, (replica, map));
    }
}

/// A write is acknowledged when it is in the memory of all copies in sync.
#[test]
fn a_write_waits_for_no_disk() {
    let mut world = World::behind();
    assert_eq!(world.append(1, &[1, 1]), Ok(1));
    world.tick(4);
    assert_eq!((world.last(), world.committed()), ([1, 1, 0], [1, 1, 0]));
    assert!(world.copies.values().all(|(replica, _)| !replica.awaits_disk()));
}

/// A copy that is filled waits for its disk: until then that has what was there before, which is not
/// what others count on.
#[test]
fn a_copy_that_is_filled_waits_for_its_disk() {
    let mut world = World::behind();
    (1..=5).for_each(|key| assert_eq!(world.append(1, &[key, 1]), Ok(u64::from(key))));
    world.tick(4);
    world.view(&segment(1, &[1, 2], &[(3, 9)]));
    world.tick(10);
    assert!(world.copies[&3].0.awaits_disk());
    assert!(!world.wishes().contains(&(1, Wish::Expand(copy(3), 9))), "nothing is durable");
    for _ in 0..20 {
        let told = world.said.iter().rev().find_map(|(node, action)| match action {
            Action::Keep(count, _) if *node == 3 => Some(*count),
            _ => None,
        });
        let durable = Event::Durable(told.unwrap());
        world.on(3, |now, replica, map, out| replica.step(now, durable, map, out));
        world.tick(2);
    }
    assert!(world.wishes().contains(&(1, Wish::Expand(copy(3), 9))));
}

/// R30, R62: when the processes of all are over each disk has a front part of one log, and who takes
/// over takes up the longest.
#[test]
fn the_longest_disk_is_taken_up() {
    for lost in [[0, 2], [3, 1], [2, 2], [1, 4]] {
        let mut world = World::behind();
        (1..=4).for_each(|key| {
            assert_eq!(world.append(1, &[key, 1]), Ok(u64::from(key)));
            world.tick(1);
        });
        world.tick(4);
        assert_eq!(world.committed(), [4, 4, 0]);
        world.crash(1, lost[0]);
        world.crash(2, lost[1]);
        let left = world.last();
        world.view(&segment(3, &[1, 2], &[]));
        world.tick(10);
        let longest = left[0].max(left[1]);
        assert_eq!(world.last(), [longest, longest, 0], "{lost:?}");
        assert!(world.has_said(1, &Action::Active(longest + 1)), "{lost:?}");
        assert!(world.copies.get_mut(&1).unwrap().0.takes_up_torn());
        assert_eq!(world.entries(1), world.entries(2));
    }
}

/// R43: a primary that lost its end goes on without it, and a copy that has it still gives it up.
#[test]
fn a_copy_gives_up_what_its_primary_has_lost() {
    for goes_on in [false, true] {
        let mut world = World::behind();
        (1..=4).for_each(|key| {
            assert_eq!(world.append(1, &[key, 1]), Ok(u64::from(key)));
            world.tick(1);
        });
        world.view(&segment(2, &[1], &[]));
        world.crash(1, 2);
        let left = world.last()[0];
        assert!(left < 4, "{left}");
        world.view(&segment(4, &[1], &[]));
        if goes_on {
            (left..=4).for_each(|_| assert!(world.append(1, &[9, 9]).is_ok()));
            world.tick(4);
        }
        world.view(&segment(4, &[1], &[(2, 11)]));
        for _ in 0..20 {
            let told = world.said.iter().rev().find_map(|(node, action)| match action {
                Action::Keep(count, _) if *node == 2 => Some(*count),
                _ => None,
            });
            let durable = Event::Durable(told.unwrap());
            world.on(2, |now, replica, map, out| replica.step(now, durable, map, out));
            world.tick(2);
        }
        assert!(world.wishes().contains(&(1, Wish::Expand(copy(2), 11))), "{goes_on}");
        assert_eq!(world.entries(2), world.entries(1), "{goes_on}");
        assert_eq!(world.last()[1], world.last()[0]);
    }
}

/// Of two disks one may have so much more that it is not kept as operations any more: a copy that is
/// short gives the segment up to another one, and is filled like any that was away.
#[test]
fn a_disk_that_lacks_too_much_does_not_serve() {
    let many = 2_100_u64;
    for first in [1, 2] {
        let mut world = World::behind();
        for number in 0..many {
            assert_eq!(world.append(1, &[1, 1]), Ok(number + 1));
            world.deliver_all();
        }
        world.tick(4);
        assert_eq!(world.committed(), [many, many, 0]);
        let told =
            world.said.iter().filter(|(of, action)| *of == 2 && matches!(action, Action::Keep(..)));
        let all = told.count();
        world.crash(2, all - 1);
        world.crash(1, 0);
        let others = [first, 3 - first];
        world.view(&segment(3, &others, &[]));
        world.tick(30);
        let wishes = world.wishes();
        if first == 1 {
            assert!(wishes.contains(&(1, Wish::Shrink(NodeId(2)))), "{wishes:?}");
        } else {
            assert!(wishes.contains(&(2, Wish::GaveUp(NodeId(2)))), "{wishes:?}");
        }
    }
}
