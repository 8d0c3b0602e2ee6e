//! Writes that are answered before the copies have them (R37), and copies that keep what they have
//! (R43).

use super::*;

impl World {
    /// As [`World::serving`], but writes are answered at once, as far as this many bytes go.
    fn at_once(max: usize) -> World {
        let mut world = World::new();
        for (replica, _) in world.copies.values_mut() {
            let new = Replica::new(replica.us, GroupId(0), SegmentId(0));
            *replica = new.at_once(Budget::new(max));
        }
        world.begins(&[1, 2])
    }

    fn shown(&self, node: u64) -> u64 {
        self.copies[&node].0.shown()
    }
}

#[test]
fn what_is_answered_at_once_is_bounded_in_time() {
    let mut world = World::at_once(1 << 20);
    world.append(1, &[4, 4]).unwrap();
    assert!(world.has_said(1, &Action::Shown(4)));
    assert_eq!((world.shown(1), world.committed()[0], world.entries(1).len()), (4, 3, 4));
    world.now += TAIL_MS - 1;
    world.append(1, &[5, 4]).unwrap();
    assert_eq!(world.shown(1), 5);
    world.now += 1;
    world.append(1, &[6, 4]).unwrap();
    assert_eq!(world.shown(1), 5, "the oldest that no copy has is a second old");
    world.deliver_all();
    assert_eq!((world.shown(1), world.committed()[0]), (6, 6));
    assert!(!world.said.iter().any(|(_, action)| matches!(action, Action::Discarded(_))));
}

#[test]
fn what_is_answered_at_once_is_bounded_in_bytes() {
    // Of two bytes each, and what an operation counts beside.
    let mut world = World::at_once(2 * 34);
    (4..=7).for_each(|key| assert_eq!(world.append(1, &[key, 4]), Ok(u64::from(key))));
    assert_eq!(world.shown(1), 5);
    world.deliver_all();
    assert_eq!((world.shown(1), world.committed()[0]), (7, 7));
    (8..=11).for_each(|key| assert_eq!(world.append(1, &[key, 4]), Ok(u64::from(key))));
    assert_eq!(world.shown(1), 9, "what is on all copies counts no more");
}

/// What the member had answered alone is lost, and told once, when it is filled by who took over.
#[test]
fn who_comes_back_tells_what_is_lost() {
    // The last one is beyond the bound, and is not answered.
    let mut world = World::at_once(3 * 34);
    (4..=7).for_each(|key| assert_eq!(world.append(1, &[key, 4]), Ok(u64::from(key))));
    assert_eq!((world.shown(1), world.last()[0]), (6, 7));
    // 2 has one of the three.
    let first = world.net.iter().position(|(_, to, _)| *to == 2).unwrap();
    world.net.truncate(first + 1);
    world.deliver(&[2]);
    world.net.clear();
    world.view(&segment(2, &[2], &[]));
    world.append(2, &[7, 7]).unwrap();
    world.view(&segment(2, &[2], &[(1, 9)]));
    world.tick(20);
    let lost: Vec<_> =
        world.said.iter().filter(|(_, action)| matches!(action, Action::Discarded(_))).collect();
    let op = |seq: u64, key: u8| Op::whole(seq, Epoch(1), [key, 4].as_slice().into());
    assert_eq!(lost, [&(1, Action::Discarded(vec![op(5, 5), op(6, 6)]))]);
    assert!(world.wishes().contains(&(2, Wish::Expand(copy(1), 9))));
    assert_eq!((world.entries(1), world.last()[0]), (world.entries(2), 5));
}

/// A copy that was away keeps what it has if that is the front of the log, and gets the rest; one
/// with an end that was lost, and one that was away for too much, begin with nothing.
#[test]
fn a_copy_that_was_away_keeps_what_it_has() {
    for (own, missed, kept) in [(0, 5, true), (1, 5, false), (0, 5_000, false)] {
        let mut world = World::serving(&[1, 2, 3]);
        (0..own).for_each(|_| assert!(world.append(1, &[9, 9]).is_ok()));
        world.net.clear();
        world.view(&Segment { target: vec![NodeId(1)], ..segment(2, &[2, 3], &[]) });
        world.tick(4);
        for write in 0..missed {
            world.append(2, &[u8::try_from(write % 8).unwrap(), 7]).unwrap();
            world.deliver_all();
        }
        world.view(&segment(2, &[2, 3], &[(1, 9)]));
        world.tick(40);
        let filled = world.said.iter().find_map(|(_, action)| match action {
            Action::Filled(filled) => Some(filled.kept),
            _ => None,
        });
        assert_eq!(filled, Some(kept), "{own} of its own, {missed} missed");
        assert!(world.wishes().contains(&(2, Wish::Expand(copy(1), 9))));
        assert_eq!(world.entries(1), world.entries(2));
    }
}

/// A copy has in its entries what was answered at once and is not in its log yet: it is none in sync
/// before it has both.
#[test]
fn a_copy_is_filled_when_its_log_has_what_its_entries_have() {
    let mut world = World::at_once(1 << 20);
    world.view(&segment(1, &[1, 2], &[(3, 9)]));
    [3, 1].iter().for_each(|node| world.deliver(&[*node]));
    world.append(1, &[4, 4]).unwrap();
    let is_lost = |to: u64, peer: &Peer| match peer {
        Peer::Repl { ops, .. } => to == 2 || !ops.is_empty(),
        _ => to == 2,
    };
    for _ in 0..20 {
        world.tick_once();
        world.net.retain(|(_, to, peer)| !is_lost(*to, peer));
        world.deliver(&[1, 3]);
    }
    assert_eq!((world.entries(3).len(), world.last()[2]), (4, 3), "it has what its log lacks");
    assert!(!world.wishes().contains(&(1, Wish::Expand(copy(3), 9))));
    world.tick(20);
    assert!(world.wishes().contains(&(1, Wish::Expand(copy(3), 9))));
    assert_eq!(world.entries(3), world.entries(1));
}
