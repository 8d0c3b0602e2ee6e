use super::*;
use crate::cluster::Left;

/// A cluster of three voters that all have leases, with one cache. Each segment is written as its
/// members in sync, the primary first: `12` is served by 1 and has a backup on 2, `-3` is served by
/// nobody.
fn cluster(copies: usize, min_insync: usize, segments: &[&str], lost: &[u64]) -> Status {
    let of = |text: &&str| {
        let insync: Vec<u64> = text.chars().filter_map(|c| Some(c.to_digit(10)?.into())).collect();
        let primary = insync.first().copied().filter(|_| !text.starts_with('-'));
        let target = insync.clone();
        let (syncing, awaited, stale) = (Vec::new(), Vec::new(), Vec::new());
        SegmentStatus { epoch: 1, primary, insync, syncing, target, awaited, stale }
    };
    let map: Vec<SegmentStatus> = segments.iter().map(of).collect();
    let cache = CacheStatus {
        cache: "c".to_owned(),
        segments: map.len(),
        served: map.iter().filter(|segment| segment.primary.is_some()).count(),
        complete: map.iter().filter(|segment| segment.insync.len() >= copies).count(),
        lost: map
            .iter()
            .filter(|segment| segment.insync == [3] && segment.primary.is_none())
            .count(),
        filling: 0,
        active_here: 0,
        min_insync,
        persist: "none",
        segment_bytes: 100,
        map,
    };
    let member = |member: u64| MemberStatus {
        member,
        address: format!("10.0.0.{member}:7401"),
        role: "data",
        raft: "voter",
        registered: true,
        lost: lost.contains(&member),
        leaving: false,
        stopping: false,
        primaries: 0,
        backups: 0,
        filling: 0,
    };
    let members = (1..=3).map(member).collect();
    let leader = Some(1);
    Status { member: leader, leader, members, caches: vec![cache], ..Status::default() }
}

#[test]
fn what_is_not_as_it_should_be_is_said() {
    for (segments, lost, whole, expected) in [
        (&["12", "23", "31"][..], &[][..], true, &[][..]),
        (&["12", "2", "31"], &[], true, &["copies are missing of 1 of 3 segments of c"]),
        (
            &["12", "-2", "31"],
            &[],
            false,
            &["nobody serves 1 of 3 segments of c: the last copies in sync are those of 2"],
        ),
        (
            &["-3", "-12", "31"],
            &[],
            false,
            &["nobody serves 2 of 3 segments of c: the last copies in sync are those of 1, 2, 3; \
               of 1 segments they are gone"],
        ),
        (&[], &[], false, &["the cache c is not there yet"]),
        (&["12"], &[2], true, &["the connection to the member 2 is lost"]),
    ] {
        let status = cluster(2, 1, segments, lost);
        assert_eq!(status.is_served_whole(), whole, "{segments:?}");
        assert_eq!(status.troubles(), expected, "{segments:?}");
    }
    assert!(!Status::stranger("c", "a:1").is_served_whole());
}

#[test]
fn a_member_can_be_stopped_when_nothing_hangs_on_it() {
    let few = |count: usize| format!("{count} segments of c would have too few copies in sync");
    let voters = |left: usize| format!("{left} of 3 voters would be left, which is no majority");
    for (segments, min_insync, lost, member, expected) in [
        (&["12", "23", "31"][..], 1, &[][..], 1, vec![]),
        // The last copy, whether it is served or not.
        (&["1", "23", "-1"], 1, &[], 1, vec![few(2)]),
        (&["1", "23", "-1"], 1, &[], 2, vec![]),
        // Enough to keep the data, too few to take writes.
        (&["123", "12"], 2, &[], 1, vec![few(1)]),
        (&["123", "12"], 2, &[], 3, vec![]),
        // What only a member has that is gone anyway does not count.
        (&["12", "23"], 1, &[2], 1, vec![few(1), voters(1)]),
        (&["12", "13"], 1, &[2], 2, vec![]),
    ] {
        let status = cluster(2, min_insync, segments, lost);
        let said = status.dangers_of_stopping(member);
        assert_eq!(said, expected, "{segments:?} min {min_insync} without {lost:?} and {member}");
    }
}

/// Who has a segment, who fills it, who should have it; what is left.
/// R63: who serves nothing any more, and who could with what was lost.
#[test]
fn stale_copies_are_named_where_nobody_serves() {
    let mut status = cluster(2, 1, &["-3", "12", "-3"], &[]);
    let stale = |member, age_ms| StaleStatus { member, epoch: 7, seq: None, age_ms };
    let copies =
        [vec![stale(1, 9_500), stale(2, 70_000)], vec![stale(4, 1)], vec![stale(2, 8_000)]];
    for (segment, stale) in status.caches[0].map.iter_mut().zip(copies) {
        segment.stale = stale;
    }
    let said = "nobody serves 2 of 3 segments of c: the last copies in sync are those of 3; of 2 segments \
                they are gone; stale copies have 1, 2, the newest in sync 8 s ago, which serve if you \
                accept the loss (`isogrid cluster force-promote`)";
    assert_eq!(status.troubles(), [said]);
}

#[test]
fn what_is_left_to_be_moved_is_counted() {
    let count = |counts: [u64; 6]| {
        let [segments_left, copies_to_fill, filling, copies_to_drop, primaries_to_move, bytes_left] =
            counts;
        Left {
            segments_left,
            copies_to_fill,
            filling,
            copies_to_drop,
            primaries_to_move,
            bytes_left,
        }
    };
    for (insync, syncing, target, expected) in [
        ("12", &[][..], &[1, 2][..], [0, 0, 0, 0, 0, 0]),
        ("12", &[], &[2, 1], [1, 0, 0, 0, 1, 0]),
        ("12", &[3], &[1, 3], [1, 1, 1, 1, 0, 100]),
        ("123", &[], &[1, 3], [1, 0, 0, 1, 0, 0]),
        ("-1", &[], &[2, 3], [1, 2, 0, 1, 1, 200]),
    ] {
        let mut status = cluster(2, 1, &["12", insync], &[]);
        let segment = &mut status.caches[0].map[1];
        (segment.syncing, segment.target) = (syncing.to_vec(), target.to_vec());
        assert_eq!(Left::of(&status), count(expected), "{insync} {syncing:?} {target:?}");
    }
}

#[test]
fn members_are_found_by_number_and_address() {
    let status = cluster(2, 1, &[], &[]);
    for (text, found) in
        [("2", Some(2)), ("n3", Some(3)), ("10.0.0.1:7401", Some(1)), ("4", None), ("", None)]
    {
        assert_eq!(status.find(text).map(|one| one.member), found, "{text}");
    }
}
