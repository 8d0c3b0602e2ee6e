//! What an operator expects of the places of copies, for random members.

use proptest::prelude::*;

use super::*;

const SEGMENTS: usize = 64;

thread_local! {
    /// How often it was asked whether a copy may go somewhere.
    pub static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Members by number, weight and zone.
fn candidates(members: &[(u64, u16, u8)]) -> Vec<Candidate> {
    let candidate = |(node, weight, zone): &(u64, u16, u8)| Candidate {
        node: NodeId(*node),
        weight: *weight,
        zone: format!("z{zone}"),
    };
    members.iter().map(candidate).collect()
}

fn equal(nodes: impl IntoIterator<Item = u64>) -> Vec<Candidate> {
    candidates(&nodes.into_iter().map(|node| (node, 1, 0)).collect::<Vec<_>>())
}

fn nobody(segments: usize) -> Vec<Vec<NodeId>> {
    vec![Vec::new(); segments]
}

/// How many segments of each candidate this is true of.
fn count(
    candidates: &[Candidate],
    owners: &[Vec<NodeId>],
    is_so: impl Fn(&[NodeId], NodeId) -> bool,
) -> Vec<usize> {
    let of = |one: &Candidate| owners.iter().filter(|owners| is_so(owners, one.node)).count();
    candidates.iter().map(of).collect()
}

fn copies_of(candidates: &[Candidate], owners: &[Vec<NodeId>]) -> Vec<usize> {
    count(candidates, owners, |owners, node| owners.contains(&node))
}

fn primaries_of(candidates: &[Candidate], owners: &[Vec<NodeId>]) -> Vec<usize> {
    count(candidates, owners, |owners, node| owners.first() == Some(&node))
}

/// Everyone has the same, or one more: `sum` in all.
fn assert_even(counts: &[usize], sum: usize) {
    let (least, most) = (sum / counts.len(), sum.div_ceil(counts.len()));
    assert!(counts.iter().all(|count| (least..=most).contains(count)), "{counts:?} of {sum}");
    assert_eq!(counts.iter().sum::<usize>(), sum);
}

/// Who got a copy that it had not, once for each copy.
fn gained(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> Vec<NodeId> {
    let both = before.iter().zip(after);
    both.flat_map(|(before, after)| after.iter().filter(|node| !before.contains(node)))
        .copied()
        .collect()
}

fn zones_of(candidates: &[Candidate], owners: &[NodeId]) -> usize {
    let zone = |node| candidates.iter().find(|one| one.node == node).map(|one| &one.zone);
    owners.iter().map(|node| zone(*node)).collect::<BTreeSet<_>>().len()
}

/// Up to 12 members of up to 30, with any weights and zones.
fn members() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::btree_map(1u64..30, (1u16..5, 0u8..4), 1..12).prop_map(|members| {
        let member = |(node, (weight, zone))| (node, weight, zone);
        candidates(&members.into_iter().map(member).collect::<Vec<_>>())
    })
}

/// Owners as bad as metadata could have them.
fn anybody() -> impl Strategy<Value = Vec<Vec<NodeId>>> {
    prop::collection::vec(prop::collection::vec((1u64..30).prop_map(NodeId), 0..5), SEGMENTS)
}

proptest! {
    #[test]
    fn each_segment_has_its_copies_in_as_many_zones_as_can_be(
        members in members(), before in anybody(), copies in 1usize..6,
    ) {
        let after = assign(&members, &before, copies);
        let wanted = copies.min(members.len());
        let all: Vec<NodeId> = members.iter().map(|one| one.node).collect();
        let zones = zones_of(&members, &all).min(wanted);
        for owners in &after {
            let distinct: BTreeSet<&NodeId> = owners.iter().collect();
            prop_assert_eq!((owners.len(), distinct.len()), (wanted, wanted));
            prop_assert!(owners.iter().all(|node| all.contains(node)));
            prop_assert_eq!(zones_of(&members, owners), zones);
        }
    }

    #[test]
    fn the_same_members_leave_everything_where_it_is(
        members in members(), before in anybody(), copies in 1usize..6,
    ) {
        let after = assign(&members, &before, copies);
        prop_assert_eq!(&assign(&members, &after, copies), &after);
        let mut shuffled = members;
        shuffled.reverse();
        prop_assert_eq!(&assign(&shuffled, &before, copies), &after);
    }

    /// Whatever there was before: single moves would get stuck with one who could not give to
    /// any that has less.
    #[test]
    fn equal_members_have_equal_shares(
        nodes in prop::collection::btree_set(1u64..30, 1..12), before in anybody(),
        copies in 1usize..6,
    ) {
        let members = equal(nodes);
        let after = assign(&members, &before, copies);
        assert_even(&copies_of(&members, &after), SEGMENTS * copies.min(members.len()));
        assert_even(&primaries_of(&members, &after), SEGMENTS);
    }

    /// Nobody has so much that another one would have less in proportion with one copy more;
    /// but who has a copy of every segment can take no more.
    #[test]
    fn unequal_members_have_shares_in_proportion(
        weights in prop::collection::vec(1u16..9, 1..12), before in anybody(),
        copies in 1usize..6,
    ) {
        let members: Vec<_> = (1..).zip(weights).map(|(node, weight)| (node, weight, 0)).collect();
        let members = candidates(&members);
        let counts = copies_of(&members, &assign(&members, &before, copies));
        let share = |at: usize, more| (counts[at] + more) * 5040 / usize::from(members[at].weight);
        for to in (0..members.len()).filter(|to| counts[*to] < SEGMENTS) {
            let has_more = (0..members.len()).find(|from| share(to, 1) < share(*from, 0));
            prop_assert_eq!(has_more.filter(|_| copies < members.len()), None, "{:?}", counts);
        }
    }

    /// One that joins takes its share, and nothing else moves.
    #[test]
    fn nobody_gets_a_copy_but_the_one_that_joins(
        nodes in prop::collection::btree_set(1u64..30, 1..12), before in anybody(),
        copies in 1usize..6,
    ) {
        let nodes: Vec<u64> = nodes.into_iter().collect();
        let (members, more) = (equal(nodes.clone()), equal(nodes.iter().copied().chain([99])));
        let before = assign(&members, &before, copies);
        let after = assign(&more, &before, copies);
        let gained = gained(&before, &after);
        prop_assert!(gained.iter().all(|node| *node == NodeId(99)), "{:?}", gained);
        let share = SEGMENTS * copies.min(more.len());
        prop_assert!(gained.len() <= share.div_ceil(more.len()), "{:?}", gained);
    }

    /// What one leaves goes to others. Where that cannot be even, since they have the other
    /// copies of its segments, as many again may move, and no more.
    #[test]
    fn one_that_leaves_moves_what_it_had(
        nodes in prop::collection::btree_set(1u64..30, 2..12), before in anybody(),
        copies in 1usize..6,
    ) {
        let members = equal(nodes);
        let before = assign(&members, &before, copies);
        let (gone, rest) = members.split_first().unwrap();
        let had = copies_of(std::slice::from_ref(gone), &before)[0];
        let moved = gained(&before, &assign(rest, &before, copies)).len();
        let replaced = if copies <= rest.len() { had } else { 0 };
        prop_assert!((replaced..=2 * replaced).contains(&moved), "{} of {}", moved, had);
    }
}

/// The usual case is better than what holds for sure: from where there was nothing, members come
/// and go by 1/n of the copies, and nothing else moves.
#[test]
fn what_one_leaves_behind_falls_to_all_others() {
    for (count, copies) in [(4, 2), (5, 2), (5, 3), (7, 2), (10, 3), (16, 2)] {
        let members = equal(1..=count);
        let before = assign(&members, &nobody(256), copies);
        for gone in 1..=count {
            let rest = equal((1..=count).filter(|node| *node != gone));
            let had = before.iter().filter(|owners| owners.contains(&NodeId(gone))).count();
            let after = assign(&rest, &before, copies);
            let heirs = gained(&before, &after);
            assert_eq!(heirs.len(), had, "{gone} of {count} with {copies} copies");
            let distinct: BTreeSet<&NodeId> = heirs.iter().collect();
            assert_eq!(distinct.len(), rest.len(), "{gone} of {count} with {copies} copies");
            // Those that serve what it served, until copies have moved: not one alone.
            let served = before.iter().filter(|owners| owners[0] == NodeId(gone));
            let next: BTreeSet<NodeId> =
                served.filter_map(|owners| owners.get(1).copied()).collect();
            assert!(next.len() > 2, "{next:?} after {gone} of {count} with {copies} copies");
        }
    }
}

/// Zones of one size each, whatever members they have, share evenly.
#[test]
fn zones_share_evenly_and_each_within() {
    for (zones, each, copies) in [(2, 3, 2), (3, 2, 2), (3, 3, 3), (4, 3, 3), (2, 4, 3), (5, 1, 2)]
    {
        let members: Vec<(u64, u16, u8)> =
            (1..=zones * each).map(|node| (node, 1, u8::try_from(node % zones).unwrap())).collect();
        let mut some: Vec<Candidate> = candidates(&members);
        let mut owners = nobody(256);
        // They come one after the other, and the places follow.
        let later = some.split_off(2);
        for one in later {
            some.push(one);
            owners = assign(&some, &owners, copies);
        }
        assert_even(&copies_of(&some, &owners), 256 * copies);
        assert_even(&primaries_of(&some, &owners), 256);
    }
}

/// A story: two members of one zone had everything, and a third from another zone got only its
/// third of the copies. The loss of the first zone lost the rest.
#[test]
fn a_zone_that_comes_later_gets_a_copy_of_each_segment() {
    let members = candidates(&[(1, 1, 0), (2, 1, 0), (3, 1, 1)]);
    let before = assign(&members[..2], &nobody(256), 2);
    let after = assign(&members, &before, 2);
    assert_eq!(copies_of(&members, &after), [128, 128, 256]);
    assert_eq!(gained(&before, &after).len(), 256);
    assert_even(&primaries_of(&members, &after), 256);
}

/// What it costs, in looks at whether a copy may go somewhere: a leader plans several times a
/// second. Nothing is to be done most of the time, also where zones keep shares uneven.
#[test]
fn a_hundred_members_are_placed_within_bounds() {
    let even: Vec<(u64, u16, u8)> =
        (1..=100).map(|node| (node, 1, u8::try_from(node % 3).unwrap())).collect();
    let uneven: Vec<(u64, u16, u8)> = (1..=100)
        .map(|node| (node, u16::try_from(node % 7 + 1).unwrap(), u8::from(node > 90)))
        .collect();
    for (what, members, copies) in
        [("even", even, 2), ("uneven", uneven.clone(), 3), ("all", uneven, 200)]
    {
        let mut members = candidates(&members);
        let mut owners = nobody(256);
        for (when, most) in
            [("first", 100_000), ("idle", 50_000), ("join", 100_000), ("leave", 100_000)]
        {
            match when {
                "join" => members.extend(candidates(&[(101, 1, 0)])),
                "leave" => drop(members.remove(3)),
                _ => {}
            }
            LOOKS.set(0);
            owners = assign(&members, &owners, copies);
            assert!(LOOKS.get() <= most, "{} looks: {what}, {when}", LOOKS.get());
        }
    }
}
