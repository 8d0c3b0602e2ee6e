use isogrid_engine::Allocator;
use isogrid_wire::native::cache::{FieldChange, FieldOp};
use isogrid_wire::native::session::SaveMode;
use isogrid_wire::native::{List, Value};

use super::*;
use crate::structures::new_table;

const SPACE: &str = "web";

fn sessions() -> Sessions {
    Sessions::new(Arc::new(new_table(4, Allocator::Glibc, 0).unwrap()))
}

fn id(number: u32) -> Vec<u8> {
    format!("session {number:08}").into_bytes()
}

fn create(sessions: &Sessions, now: u64, number: u32, index: &[&str]) -> bool {
    let (attributes, index) = (List::of(&[]), List::of(index));
    let op = SessionOp::Create { idle: 60_000, absolute: 0, attributes, index };
    let say = |reply: &SessionReply<'_>, _| *reply == SessionReply::Created;
    sessions.apply(now, (SPACE, &id(number)), &op, say).unwrap()
}

fn found(sessions: &Sessions, now: u64, name: &str) -> Vec<Vec<u8>> {
    let in_one = |segment| sessions.find(now, segment, (SPACE, name)).unwrap();
    let mut all: Vec<_> = (0..4).flat_map(in_one).map(|found| found.id).collect();
    all.sort();
    all
}

#[test]
fn sessions_are_found_by_the_names_that_they_have() {
    let sessions = sessions();
    for number in 0..40 {
        let (user, odd) = (format!("user:{}", number % 4), ["even", "odd"][number as usize % 2]);
        assert!(create(&sessions, 0, number, &[&user, odd]));
        assert!(!create(&sessions, 0, number, &[]), "it is there");
    }
    assert_eq!(found(&sessions, 0, "odd").len(), 20);
    let (add, remove) = (List::of(&["user:9"]), List::of(&["odd", "user:1"]));
    let op = SessionOp::Index { add, remove };
    sessions
        .apply(1, (SPACE, &id(5)), &op, |reply, _| assert_eq!(*reply, SessionReply::Done))
        .unwrap();
    assert_eq!(found(&sessions, 1, "odd").len(), 19);
    assert_eq!(found(&sessions, 1, "user:9"), [id(5)]);
    assert!(found(&sessions, 1, "user:").is_empty(), "a part is no name");
    let end = |segment| sessions.destroy_by(2, segment, (SPACE, "user:0"), &id(8)).unwrap().count;
    assert_eq!((0..4).map(end).sum::<u32>(), 9);
    assert_eq!(found(&sessions, 2, "user:0"), [id(8)]);
    assert_eq!(found(&sessions, 2, "even").len(), 11);
    let count = |space| (0..4).map(|segment| sessions.count_in(2, segment, space)).sum::<u64>();
    assert_eq!((count(SPACE), count("we"), count("webs")), (31, 0, 0));
    assert!(!create(&sessions, 600_001, 0, &[]), "it was destroyed");
    assert!(create(&sessions, 600_002, 0, &[]), "long ago");
}

#[test]
fn names_lead_to_sessions_as_long_as_they_live() {
    let sessions = sessions();
    create(&sessions, 0, 1, &["user:1"]);
    let mut now = 0;
    for _ in 0..100 {
        now += 59_000;
        let touched = |reply: &SessionReply<'_>, _| *reply == SessionReply::Touched(Some(60_000));
        assert!(sessions.apply(now, (SPACE, &id(1)), &SessionOp::Touch, touched).unwrap());
        assert_eq!(found(&sessions, now, "user:1"), [id(1)]);
        assert_eq!(found(&sessions, now + 58_000, "user:1"), [id(1)], "until it is used again");
    }
    assert!(found(&sessions, now + 63_000, "user:1").is_empty());
    while sessions.table().maintain(now + 200_000, 1_000) {}
    sessions.table().maintain(now + 400_000, 1_000);
    assert_eq!(sessions.table().usage().entries, 0, "nothing of it is left");
}

#[test]
fn a_name_that_leads_nowhere_takes_no_room() {
    let sessions = sessions();
    create(&sessions, 0, 1, &["user:1"]);
    let op = SessionOp::Index { add: List::of(&["user:2"]), remove: List::of(&["user:1"]) };
    sessions
        .apply(0, (SPACE, &id(1)), &op, |reply, _| assert_eq!(*reply, SessionReply::Done))
        .unwrap();
    assert_eq!(sessions.table().usage().entries, 2, "the session and its name");
    sessions.apply(0, (SPACE, &id(1)), &SessionOp::Destroy, |_, _| ()).unwrap();
    assert_eq!(sessions.table().usage().entries, 1, "what is known of it");
}

#[test]
fn one_name_is_not_for_all() {
    let sessions = Sessions::new(Arc::new(new_table(1, Allocator::Glibc, 0).unwrap()));
    for number in 0..256 {
        assert!(create(&sessions, 0, number, &["all"]));
    }
    let (attributes, index) = (List::of(&[]), List::of(&["all"]));
    let op = SessionOp::Create { idle: 60_000, absolute: 0, attributes, index };
    let refused = sessions.apply(0, (SPACE, &id(256)), &op, |_, _| ());
    assert_eq!(refused, Err(SessionError::Crowded { limit: 256 }));
    assert!(sessions.destroy_by(0, 0, (SPACE, "all"), b"").unwrap().count == 256);
    assert!(create(&sessions, 0, 256, &["all"]));
}

#[test]
fn a_use_changes_neither_value_nor_version() {
    let sessions = sessions();
    create(&sessions, 0, 1, &[]);
    let change = [FieldChange { name: "a", op: FieldOp::Set, value: Value::Inline(b"1") }];
    let (changes, removals) = (List::of(&change), List::of(&[]));
    let save = SessionOp::Save { base: 0, mode: SaveMode::Merge, changes, removals };
    let saved = sessions.apply(0, (SPACE, &id(1)), &save, |_, version| version).unwrap();
    let load = |now, known| {
        let op = SessionOp::Load { known, touch: true };
        let unchanged = |reply: &SessionReply<'_>, _| *reply == SessionReply::Unchanged;
        sessions.apply(now, (SPACE, &id(1)), &op, unchanged).unwrap()
    };
    assert!(!load(0, 0));
    for now in [0, 20_000, 70_000, 120_000] {
        assert!(load(now, saved), "{now}");
    }
    assert!(!load(183_001, saved), "it has ended");
}
