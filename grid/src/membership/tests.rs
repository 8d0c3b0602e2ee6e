//! Whatever clocks do within their bound, nobody acts on a lease that the leader takes for over.

use super::*;
use crate::id::{Incarnation, NodeId};
use proptest::prelude::*;

const L: u64 = 2_000;

fn beat(node: u64, n: u64) -> Beat {
    Beat { node: NodeId(node), incarnation: Incarnation(9), n }
}

/// A leader of long ago, whose rounds are confirmed at once, with the log at `index`.
fn grant(grants: &mut Grants, beat: Beat, now: Monotonic, index: u64) -> Vec<Grant> {
    grants.beat(beat);
    let round = grants.begin_round(now).unwrap();
    grants.confirmed(round, index);
    grants.grant(now, index)
}

/// The reading of a clock that is off by `drift` per 10,000 at a moment, microseconds of true
/// time.
fn reading(offset: u64, drift: i64, micros: u64) -> Monotonic {
    let rate = u64::try_from(10_000 + drift).unwrap();
    offset + micros * rate / 10_000 / 1_000
}

proptest! {
    /// R6 and R9: the grant is made at the earliest moment, when the beat was just sent.
    #[test]
    fn the_holders_end_comes_before_the_grantors(
        holder in (0u64..10_000, prop::sample::select(vec![-100i64, 0, 100])),
        leader in (0u64..10_000, prop::sample::select(vec![-100i64, 0, 100])),
        length in 100u64..100_000, sent in 0u64..1_000_000, way in 0u64..3_000,
        permille in 980u64..1_030,
    ) {
        let (mut lease, mut grants) = (Lease::new(length), Grants::new(length, 0));
        let at = |clock: (u64, i64), micros| reading(clock.0, clock.1, micros);
        let n = lease.beat(at(holder, sent));
        let arrived = sent + way;
        prop_assert_eq!(grant(&mut grants, beat(1, n), at(leader, arrived), 5).len(), 1);
        lease.granted(n, 5, 5);
        // Around where the one ends and the other waits.
        let then = arrived + length * permille;
        let (holds, is_over) =
            (lease.holds(at(holder, then)), grants.is_over(NodeId(1), at(leader, then)));
        prop_assert!(!(holds && is_over), "{then} after {sent}");
    }
}

/// The margins are what the rules say, to the millisecond, so that nothing is waited for longer.
#[test]
fn a_lease_is_cut_by_a_hundredth_and_waited_for_by_one_more() {
    let (mut lease, mut grants) = (Lease::new(L), Grants::new(L, 0));
    assert!(!lease.holds(0));
    let n = lease.beat(1_000);
    assert_eq!(grant(&mut grants, beat(1, n), 1_300, 5), [Grant { beat: beat(1, n), index: 5 }]);
    lease.granted(n, 5, 5);
    assert_eq!(lease.until(), 1_000 + 1_980);
    assert_eq!((lease.holds(2_979), lease.holds(2_980)), (true, false));
    let ends = |now| (grants.holds(NodeId(1), now), grants.is_over(NodeId(1), now));
    let wanted = [
        (3_299, (true, false)),
        (3_300, (false, false)),
        (3_321, (false, false)),
        (3_322, (false, true)),
    ];
    for (now, expect) in wanted {
        assert_eq!(ends(now), expect, "at {now}");
    }
}

#[test]
fn beats_are_answered_once_and_never_later_than_they_were_sent() {
    let mut lease = Lease::new(L);
    let sent: Vec<u64> = (0..20).map(|beat| lease.beat(beat * 100)).collect();
    // The first four of twenty are forgotten; a number that was never sent means nothing.
    for n in [sent[0], sent[3], 99] {
        lease.granted(n, 1, 1);
        assert_eq!(lease.until(), 0, "{n}");
    }
    lease.granted(sent[9], 1, 1);
    assert_eq!(lease.until(), 900 + 1_980);
    // An older answer that comes later takes nothing back, and counts from no later beat.
    lease.granted(sent[5], 1, 1);
    lease.granted(sent[9], 1, 1);
    assert_eq!(lease.until(), 900 + 1_980);
    lease.granted(sent[19], 1, 1);
    assert_eq!(lease.until(), 1_900 + 1_980);
}

/// R8: the member might not know yet what it lost.
#[test]
fn a_grant_counts_once_the_log_is_as_far_as_the_leaders_was() {
    let mut lease = Lease::new(L);
    let (first, second, third) = (lease.beat(100), lease.beat(200), lease.beat(300));
    lease.granted(first, 7, 6);
    assert!(!lease.holds(150));
    lease.applied(6);
    assert!(!lease.holds(150));
    lease.applied(7);
    assert_eq!(lease.until(), 100 + 1_980);
    // One that waits does not take away what holds already, nor does an older one it.
    lease.granted(third, 9, 7);
    lease.granted(second, 8, 8);
    assert_eq!(lease.until(), 100 + 1_980);
    lease.applied(9);
    assert_eq!(lease.until(), 300 + 1_980);
}

/// R7: who was deposed meanwhile gets no confirmation, and one of before the beat says nothing.
#[test]
fn leases_come_from_a_round_that_began_after_their_beats() {
    let mut grants = Grants::new(L, 0);
    assert_eq!(grants.begin_round(0), None, "nobody asks");
    grants.beat(beat(1, 1));
    let first = grants.begin_round(10).unwrap();
    grants.beat(beat(2, 1));
    assert_eq!(grants.begin_round(20), None, "one is under way");
    assert_eq!(grants.grant(20, 100), []);
    grants.confirmed(first + 1, 5);
    assert_eq!(grants.grant(25, 100), [], "of another round");
    grants.confirmed(first, 5);
    assert_eq!(grants.grant(30, 4), [], "what the log held then is not applied");
    assert_eq!(grants.grant(30, 6), [Grant { beat: beat(1, 1), index: 6 }]);
    assert_eq!(grants.grant(30, 6), []);
    // The second beat came too late for the first round, and gets the next.
    let second = grants.begin_round(31).unwrap();
    grants.beat(beat(2, 2));
    grants.confirmed(first, 5);
    assert_eq!(grants.grant(32, 6), []);
    grants.confirmed(second, 5);
    assert_eq!(grants.grant(33, 6), [Grant { beat: beat(2, 1), index: 6 }]);
}

/// R73: rounds get lost without a word.
#[test]
fn a_round_without_an_answer_is_begun_again_for_all_who_wait() {
    let mut grants = Grants::new(L, 0);
    grants.beat(beat(1, 1));
    grants.beat(beat(2, 1));
    let lost = grants.begin_round(1_000).unwrap();
    grants.beat(beat(1, 2));
    assert_eq!(grants.begin_round(1_199), None);
    let again = grants.begin_round(1_200).unwrap();
    grants.confirmed(lost, 5);
    assert_eq!(grants.grant(1_201, 5), [], "the beats are newer than that");
    grants.confirmed(again, 5);
    let granted = grants.grant(1_202, 5);
    assert_eq!(
        granted.iter().map(|grant| grant.beat).collect::<Vec<_>>(),
        [beat(1, 2), beat(2, 1)]
    );
}

/// R9: something is about to be taken from them.
#[test]
fn who_is_withheld_gets_nothing_until_it_is_called_off() {
    let mut grants = Grants::new(L, 0);
    assert_eq!(grant(&mut grants, beat(1, 1), 100, 5).len(), 1);
    grants.withhold([NodeId(1)].into());
    assert_eq!(grant(&mut grants, beat(1, 2), 3_000, 5), []);
    assert!(grants.is_over(NodeId(1), 3_000));
    // Decided while the round was under way.
    grants.beat(beat(2, 1));
    let round = grants.begin_round(3_000).unwrap();
    grants.confirmed(round, 5);
    grants.withhold([NodeId(2)].into());
    assert_eq!(grants.grant(3_001, 5), []);
    grants.withhold([].into());
    assert_eq!(grant(&mut grants, beat(1, 3), 3_002, 5).len(), 1);
}

/// R10: leases that the leader before granted may be as new as the first moment of this one.
#[test]
fn a_new_leader_takes_no_lease_for_over_before_its_time() {
    let grants = Grants::new(L, 50_000);
    for (now, expect) in [(50_000, false), (52_021, false), (52_022, true)] {
        assert_eq!(grants.is_over(NodeId(1), now), expect, "at {now}");
        assert!(!grants.holds(NodeId(1), now), "it granted none");
    }
}

#[test]
fn short_leases_want_a_faster_clock() {
    let ticks = [(60_000, 50), (1_500, 50), (750, 25), (600, 20), (500, 16), (1, 10)];
    assert!(ticks.iter().all(|&(lease_ms, tick)| tick_ms(lease_ms) == tick));
}
