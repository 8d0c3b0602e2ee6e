//! Reads that trust no clock (R25): nobody here ever asks what time it is.

use super::*;

const NONE: Vec<u64> = Vec::new();

impl World {
    /// Something is read at a copy, and the round begins that it needs: which one.
    fn read(&mut self, node: u64) -> Option<u64> {
        self.on(node, |now, replica, map, out| {
            let round = replica.confirm();
            replica.flush(now, map, out);
            round
        })
    }

    /// Which rounds a copy has said to be over.
    fn rounds(&self, node: u64) -> Vec<u64> {
        let round = |(of, action): &(u64, Action)| match action {
            Action::Confirmed(round) if *of == node => Some(*round),
            _ => None,
        };
        self.said.iter().filter_map(round).collect()
    }

    /// Who is asked in which round.
    fn asked(&self) -> Vec<(u64, u64)> {
        let round = |(_, to, peer): &(u64, u64, Peer)| match peer {
            Peer::Confirm { round, .. } => Some((*to, *round)),
            _ => None,
        };
        self.net.iter().filter_map(round).collect()
    }
}

#[test]
fn all_reads_before_a_round_are_confirmed_by_it_and_those_behind_by_the_next() {
    let mut world = World::serving(&[1, 2, 3]);
    assert_eq!((world.read(1), world.asked()), (Some(1), vec![(2, 1), (3, 1)]));
    assert_eq!((world.read(1), world.read(1)), (Some(2), Some(2)));
    assert_eq!(world.asked().len(), 2, "one round at a time");
    world.deliver(&[2]);
    world.deliver(&[1]);
    assert_eq!(world.rounds(1), NONE, "one copy says so, and there are two");
    world.deliver(&[3]);
    world.deliver(&[1]);
    assert_eq!((world.rounds(1), world.asked()), (vec![1], vec![(2, 2), (3, 2)]));
    world.deliver_all();
    assert_eq!((world.rounds(1), world.asked()), (vec![1, 2], vec![]));
    assert_eq!(world.read(1), Some(3));
}

/// What got lost is asked again, and what comes twice changes nothing.
#[test]
fn a_round_goes_on_though_messages_get_lost_and_a_copy_that_is_silent_is_told_of() {
    let mut world = World::serving(&[1, 2, 3]);
    world.read(1);
    world.net.clear();
    world.tick_once();
    assert_eq!(world.asked(), vec![], "not at once");
    world.tick_once();
    assert_eq!(world.asked(), [(2, 1), (3, 1)]);
    world.arrive(2, 1, Peer::Confirmed { epoch: Epoch(1), round: 1 });
    world.arrive(2, 1, Peer::Confirmed { epoch: Epoch(1), round: 1 });
    for _ in 0..12 {
        world.net.retain(|(_, to, _)| *to != 3);
        world.tick_once();
    }
    assert!(world.wishes().contains(&(1, Wish::Shrink(NodeId(3)))), "{:?}", world.said);
    assert_eq!(world.rounds(1), NONE);
    // Without it those that are left are enough.
    world.view(&segment(2, &[1, 2], &[]));
    world.deliver_all();
    assert_eq!(world.rounds(1), [1]);
}

/// Its lease is none of its business here: a primary that others have replaced hears it from them, or
/// nothing. That one of several does not know it yet says nothing.
#[test]
fn one_that_others_have_replaced_confirms_nothing_however_its_clock_runs() {
    for (new, know) in [(&[2, 3][..], &[2, 3][..]), (&[2], &[2]), (&[3], &[3]), (&[2], &[2, 3])] {
        let mut world = World::serving(&[1, 2, 3]);
        let next = segment(2, new, &[]);
        know.iter().for_each(|node| world.view_of(*node, &next));
        assert_eq!(world.read(1), Some(1));
        world.tick(40);
        assert_eq!((world.rounds(1), world.copies[&1].0.confirmed()), (NONE, 0), "{new:?}");
        // It hears of it in the end. What is read in a later time of its service is another round.
        world.view(&next);
        world.deliver_all();
        assert_eq!((world.rounds(1), world.read(1)), (NONE, None));
        world.view(&segment(3, &[1, 2, 3], &[]));
        world.tick(20);
        assert_eq!(world.read(1), Some(2));
        world.deliver_all();
        assert_eq!(world.rounds(1), [2], "{new:?} {know:?}");
    }
}

/// An answer of an epoch that is over there is none; one that was given in this epoch may come late.
#[test]
fn a_round_is_not_over_by_what_was_said_before_it_began() {
    let mut world = World::serving(&[1, 2]);
    world.read(1);
    world.deliver(&[2]);
    assert_eq!(world.read(1), Some(2));
    world.view_of(2, &segment(2, &[2], &[]));
    world.tick(20);
    assert_eq!(world.rounds(1), [1], "what 2 said before it served ends the first one alone");
}

/// Nobody is asked where nobody else could serve; a copy that is about to be in sync could.
#[test]
fn who_counts_for_a_write_counts_for_a_read() {
    let mut world = World::serving(&[1]);
    assert_eq!((world.read(1), world.asked()), (None, vec![]));
    world.view(&segment(1, &[1], &[(2, 7)]));
    assert_eq!(world.read(1), None, "it has nothing yet");
    world.tick(20);
    assert!(world.wishes().contains(&(1, Wish::Expand(copy(2), 7))), "{:?}", world.said);
    assert_eq!((world.read(1), world.asked()), (Some(1), vec![(2, 1)]));
    world.view_of(2, &segment(2, &[1, 2], &[]));
    world.view_of(2, &segment(3, &[2], &[]));
    world.tick(20);
    assert_eq!(world.rounds(1), NONE, "it serves, and was one in sync without our knowing it");
}
