//! Large values of which little changes.

use super::*;
use crate::replica::OpId;

const LEN: usize = 60_000;

/// A value that has nothing twice, and one byte of its own.
fn value(own: u8) -> Vec<u8> {
    let mut random = Random(3);
    let mut value: Vec<u8> = (0..LEN).map(|_| random.next().to_le_bytes()[0]).collect();
    value[LEN / 2] = own;
    value
}

/// A member that serves and has one value on copies.
fn serving(insync: &[u64], syncing: &[u64]) -> World {
    let mut world = World::new(1);
    world.view(&[1, 2, 3], &segment(5, insync, syncing));
    world.settle();
    world.write(1, b"k", Some(&value(0))).unwrap();
    world.settle();
    world.patches = 0;
    world
}

/// Bytes of what waits to be delivered to a member.
fn bytes_to(world: &World, node: u64) -> usize {
    let theirs = world.net.iter().filter(|(_, to, ..)| *to == node);
    let len = |peer: &Peer| {
        let mut bytes = Vec::new();
        peer.encode(&mut bytes);
        bytes.len()
    };
    theirs.map(|(.., peer)| len(peer)).sum()
}

#[test]
fn a_byte_of_a_large_value_moves_few_bytes() {
    let mut world = serving(&[1, 2, 3], &[]);
    for own in 1..=9 {
        let before = bytes_to(&world, 2);
        world.write(1, b"k", Some(&value(own))).unwrap();
        let moved = bytes_to(&world, 2) - before;
        assert!((1..100).contains(&moved), "{moved}");
        // Also of what is not committed yet.
        if own % 3 == 0 {
            world.settle();
        }
    }
    for node in 1..=3 {
        assert_eq!(world.get(node, b"k"), world.get(1, b"k"));
        assert_eq!(world.get(node, b"k").unwrap().0, value(9));
    }
    assert_eq!(world.patches, 18);
}

#[test]
fn what_is_one_with_its_answer_moves_few_bytes() {
    let mut world = serving(&[1, 2], &[]);
    let copies = Arc::clone(&world.members[&1]);
    let (now, hash) = (world.now.wall, copies.table.hash(b"k"));
    let id = OpId { client: [9; 16], number: 1 };
    let once = copies.once(now, hash.segment(), id, || {
        let pinned = copies.table.pin();
        let mut entry = pinned.entry(hash, b"k", now).unwrap();
        entry.put(&NewEntry { value: [&value(7), b""], ..NewEntry::default() }).unwrap();
        Some(b"answer".to_vec())
    });
    assert_eq!(once, Once::Executed);
    world.on(1, |copies, now, out| copies.flush(now, hash.segment(), out));
    assert!((1..160).contains(&bytes_to(&world, 2)), "{}", bytes_to(&world, 2));
    world.settle();
    assert_eq!(world.patches, 1);
    assert_eq!(world.get(2, b"k").unwrap().0, value(7));
    world.view(&[1, 2], &segment(6, &[2], &[]));
    world.settle();
    let again = world.members[&2].once(now, hash.segment(), id, || panic!("it was executed"));
    assert_eq!(again, Once::Before(b"answer"[..].into()));
}

/// What stands beside the value of an entry is the same on all copies.
#[test]
fn an_entry_is_told_from_no_copy_of_it() {
    let mut world = serving(&[1, 2], &[]);
    let (hash, now) = (world.members[&1].table.hash(b"k"), world.now.wall);
    for (own, flags, deadline) in [(1, 5, None), (2, 7, Some(now + 90_000)), (3, 7, None)] {
        for max_idle in [None, Some(60_000)] {
            let table = Arc::clone(&world.members[&1].table);
            let pinned = table.pin();
            let entry = NewEntry { flags, deadline, max_idle, ..NewEntry::default() };
            let value = value(own);
            let mut place = pinned.entry(hash, b"k", now).unwrap();
            place.put(&NewEntry { value: [&value, b""], ..entry }).unwrap();
            drop(place);
            world.on(1, |copies, now, out| copies.flush(now, hash.segment(), out));
            world.settle();
            let there = |node: u64| {
                let copy = world.members[&node].table.copy(hash.segment() as usize, now).unwrap();
                copy.encode_entry(b"k").unwrap()
            };
            assert!(there(1) == there(2), "{own} {max_idle:?}");
        }
    }
    assert_eq!(world.patches, 6);
}

#[test]
fn what_has_little_in_common_is_sent_as_it_is() {
    let mut world = serving(&[1, 2], &[]);
    let other: Vec<u8> = value(0).iter().map(|byte| byte ^ 0x5a).collect();
    for value in [&other[..], b"short", &other] {
        world.write(1, b"k", Some(value)).unwrap();
        assert!(bytes_to(&world, 2) > value.len());
        world.settle();
    }
    assert_eq!((world.patches, world.get(2, b"k")), (0, world.get(1, b"k")));
}

/// A copy that is filled may have any entry, or none: it gets none as what differs from one.
#[test]
fn a_copy_that_is_filled_gets_whole_values() {
    let mut world = serving(&[1, 2], &[]);
    world.view(&[1, 2, 3], &segment(5, &[1, 2], &[3]));
    for own in 1..20 {
        world.write(1, b"k", Some(&value(own))).unwrap();
        let is_patched =
            |to: u64| move |(_, of, _, peer): &(_, _, _, Peer)| *of == to && peer.has_patches();
        assert!(world.net.iter().any(is_patched(2)) && !world.net.iter().any(is_patched(3)));
        while !world.net.is_empty() {
            world.deliver(0);
        }
        world.now.monotonic += 30;
        (1..=3).for_each(|node| world.on(node, |copies, now, out| copies.tick(now, out)));
    }
    world.settle();
    assert_eq!(world.get(3, b"k"), world.get(1, b"k"));
    world.view(&[1, 2, 3], &segment(6, &[1, 2, 3], &[]));
    world.settle();
    world.write(1, b"k", Some(&value(99))).unwrap();
    assert!(bytes_to(&world, 3) < 100, "in sync it has what all have");
    world.settle();
    assert_eq!(world.get(3, b"k"), world.get(1, b"k"));
}

/// It refuses what is made from another entry than it has, and is sent the value.
#[test]
fn a_copy_with_another_entry_gets_the_value() {
    let mut damaged = value(0);
    damaged[100] ^= 1;
    for there in [None, Some(damaged), Some(b"another one".to_vec())] {
        let mut world = serving(&[1, 2], &[]);
        let hash = world.members[&2].table.hash(b"k");
        {
            let at = hash.segment() as usize;
            let mut copy = world.members[&2].table.copy(at, world.now.wall).unwrap();
            let (seq, _) = copy.encode_entry(b"k").unwrap();
            let (key, epoch) = (&b"k"[..], 5);
            let entry = |value| NewEntry { value: [value, b""], ..NewEntry::default() };
            let change = match &there {
                None => Change::Remove { key, epoch, seq },
                Some(value) => Change::Put { key, entry: entry(value), epoch, seq },
            };
            let mut record = Vec::new();
            encode_change(&change, &mut record);
            copy.replay(&record).unwrap();
        }
        world.write(1, b"k", Some(&value(5))).unwrap();
        world.deliver(0);
        assert!(matches!(world.net[..], [(2, 1, _, Peer::Lacks { .. })]), "{:?}", world.net);
        world.settle();
        assert_eq!((world.patches, world.get(2, b"k")), (1, world.get(1, b"k")));
    }
}

/// What gets lost, or comes twice, costs no more: what is lacking behind a gap is sent whole.
#[test]
fn what_got_lost_is_sent_again() {
    let mut world = serving(&[1, 2], &[]);
    world.write(1, b"k", Some(&value(5))).unwrap();
    let again = world.net.clone();
    world.net.clear();
    world.now.monotonic += 200;
    world.on(1, Copies::tick);
    assert!((1..200).contains(&bytes_to(&world, 2)), "{}", bytes_to(&world, 2));
    world.net.extend(again);
    world.settle();
    assert_eq!((world.patches, world.get(2, b"k")), (2, world.get(1, b"k")));
    for own in 6..8 {
        world.write(1, b"k", Some(&value(own))).unwrap();
    }
    world.net.remove(0);
    world.deliver(0);
    world.deliver(0);
    assert!(bytes_to(&world, 2) > 2 * LEN, "{}", bytes_to(&world, 2));
    world.settle();
    assert_eq!((world.patches, world.get(2, b"k")), (3, world.get(1, b"k")));
}

/// Behind a clear there is no entry to make anything from.
#[test]
fn a_clear_ends_what_patches_are_made_from() {
    let mut world = serving(&[1, 2], &[]);
    let at = world.members[&1].table.hash(b"k").segment();
    world.members[&1].clear(world.now, at).unwrap();
    world.write(1, b"k", Some(&value(5))).unwrap();
    world.write(1, b"k", Some(&value(6))).unwrap();
    world.settle();
    assert_eq!(world.get(2, b"k").unwrap().0, value(6));
    assert_eq!(world.get(2, b"k"), world.get(1, b"k"));
}

#[test]
fn who_knows_no_patches_gets_none() {
    let mut world = serving(&[1, 2], &[]);
    world.write(1, b"k", Some(&value(5))).unwrap();
    let (.., peer) = &mut world.net[0];
    assert!(peer.has_patches());
    peer.make_whole();
    assert!(!peer.has_patches() && peer.payload_len() > LEN);
    world.settle();
    assert_eq!((world.patches, world.get(2, b"k").unwrap().0), (0, value(5)));
}
