//! Planted bad histories are found, good ones are not complained about, and the checks agree with
//! the search.

use isogrid_engine::env::split_mix;

use super::wgl::{Found, STEPS_MAX, search};
use super::{Ask, Operation, Told, acked, counter, versioned};

fn op((called, returned): (u64, u64), ask: Ask, told: Told) -> Operation {
    Operation { client: 0, node: 0, key: "k".into(), ask, told, called, returned }
}

fn get(when: (u64, u64), value: u64, version: u64) -> Operation {
    op(when, Ask::Get, Told::Read(Some((value, version))))
}

fn absent(when: (u64, u64)) -> Operation {
    op(when, Ask::Get, Told::Read(None))
}

fn put(when: (u64, u64), value: u64, told: Told) -> Operation {
    op(when, Ask::Put(value), told)
}

fn cas(when: (u64, u64), (expected, version): (u64, u64), value: u64, told: Told) -> Operation {
    op(when, Ask::Cas { expected, version, value }, told)
}

fn count(when: (u64, u64), told: Told) -> Operation {
    op(when, Ask::Increment, told)
}

const DONE: Told = Told::Done(None);
const DELETE: Ask = Ask::Delete;

fn refs(history: &[Operation]) -> Vec<&Operation> {
    history.iter().collect()
}

/// What both checks say of a history: the versioned one whether it is good, the search too.
fn verdicts(history: &[Operation]) -> (Result<(), String>, Found) {
    (versioned::check(&refs(history)), search(&refs(history), STEPS_MAX))
}

#[test]
fn good_histories_are_good() {
    let table: [(&str, Vec<Operation>); 8] = [
        ("nothing", vec![absent((0, 1)), op((2, 3), DELETE, Told::Missing)]),
        ("one after the other", vec![put((0, 1), 1, Told::Done(Some(5))), get((2, 3), 1, 5)]),
        (
            "overlapping reads may differ",
            vec![put((0, 1), 1, DONE), put((2, 9), 2, DONE), get((3, 8), 2, 6), get((3, 8), 1, 5)],
        ),
        (
            "an unknown write comes late",
            vec![
                put((0, 1), 1, DONE),
                put((2, 3), 2, Told::Unknown),
                get((4, 5), 1, 1),
                get((6, 7), 1, 1),
                get((8, 9), 2, 2),
            ],
        ),
        ("an unknown write never comes", vec![put((0, 1), 1, Told::Unknown), absent((2, 3))]),
        (
            "an unknown deletion comes late",
            vec![
                put((0, 1), 1, DONE),
                op((2, 3), DELETE, Told::Unknown),
                get((4, 5), 1, 1),
                absent((6, 7)),
            ],
        ),
        (
            "refused for another write",
            vec![
                put((0, 1), 1, DONE),
                get((2, 3), 1, 4),
                put((4, 5), 2, DONE),
                cas((6, 7), (1, 4), 3, Told::Changed),
                get((8, 9), 2, 5),
            ],
        ),
        (
            "failed writes leave no trace",
            vec![put((0, 1), 1, DONE), put((2, 3), 2, Told::Failed), get((4, 5), 1, 1)],
        ),
    ];
    for (name, history) in table {
        let (checked, found) = verdicts(&history);
        assert_eq!((checked, found), (Ok(()), Found::Linearizable), "{name}");
    }
}

#[test]
fn bad_histories_are_found() {
    let table: [(&str, &str, Vec<Operation>); 11] = [
        ("lost", "I6", vec![put((0, 1), 1, DONE), get((2, 3), 1, 1), absent((4, 5))]),
        ("lost unseen", "I6", vec![put((0, 1), 1, DONE), absent((4, 5))]),
        (
            "lost after a deletion",
            "I6",
            vec![
                put((0, 1), 1, DONE),
                op((2, 3), DELETE, DONE),
                put((4, 5), 2, DONE),
                op((6, 7), DELETE, Told::Missing),
            ],
        ),
        ("stale", "I8", vec![put((0, 1), 1, DONE), put((2, 3), 2, DONE), get((4, 5), 1, 1)]),
        (
            "back again",
            "I8",
            vec![put((0, 1), 1, DONE), put((2, 20), 2, DONE), get((4, 5), 2, 2), get((6, 7), 1, 1)],
        ),
        (
            "back from the dead",
            "I8",
            vec![put((0, 1), 1, DONE), op((2, 3), DELETE, DONE), get((4, 5), 1, 1)],
        ),
        ("out of nothing", "I7", vec![put((0, 1), 1, DONE), get((2, 3), 9, 1)]),
        ("failed and done", "I15", vec![put((0, 1), 1, Told::Failed), get((2, 3), 1, 1)]),
        (
            "both of two conditional writes",
            "lies between",
            vec![
                put((0, 1), 1, DONE),
                get((2, 3), 1, 1),
                cas((4, 8), (1, 1), 2, Told::Done(Some(2))),
                cas((4, 8), (1, 1), 3, Told::Done(Some(3))),
            ],
        ),
        (
            "refused for nothing",
            "refused",
            vec![put((0, 1), 1, DONE), get((2, 3), 1, 1), cas((4, 5), (1, 1), 2, Told::Changed)],
        ),
        ("before it was asked for", "before", vec![get((0, 1), 1, 1), put((2, 3), 1, DONE)]),
    ];
    for (name, says, history) in table {
        let (checked, found) = verdicts(&history);
        let why = checked.expect_err(name);
        assert!(why.contains(says), "{name}: {why}");
        assert_eq!(found, Found::Broken, "{name}");
    }
}

#[test]
fn versions_say_more_than_values() {
    let bad = [
        ("two versions", vec![put((0, 1), 1, DONE), get((2, 3), 1, 1), get((4, 5), 1, 2)]),
        (
            "one version twice",
            vec![put((0, 9), 1, Told::Done(Some(1))), put((0, 9), 2, Told::Done(Some(1)))],
        ),
        (
            "versions fall",
            vec![put((0, 1), 1, Told::Done(Some(7))), put((2, 3), 2, Told::Done(Some(6)))],
        ),
    ];
    for (name, history) in bad {
        assert!(versioned::check(&refs(&history)).is_err(), "{name}");
    }
}

#[test]
fn counters_lose_and_invent_nothing() {
    let start = put((0, 1), 0, DONE);
    let good = [
        start.clone(),
        count((2, 3), Told::Counted(1)),
        count((4, 5), Told::Unknown),
        count((6, 9), Told::Counted(2)),
        count((6, 9), Told::Counted(3)),
        get((10, 11), 4, 9),
    ];
    assert_eq!(counter::check(&refs(&good)), Ok(()));
    assert_eq!(search(&refs(&good), STEPS_MAX), Found::Linearizable);
    for (name, bad) in [
        ("twice", [count((2, 9), Told::Counted(1)), count((2, 9), Told::Counted(1))]),
        ("lost", [count((2, 3), Told::Counted(1)), get((4, 5), 0, 1)]),
        ("lost unseen", [count((2, 3), Told::Counted(1)), count((4, 5), Told::Counted(1))]),
        ("applied twice", [count((2, 3), Told::Unknown), get((4, 5), 2, 1)]),
        ("failed and counted", [count((2, 3), Told::Failed), get((4, 5), 1, 1)]),
    ] {
        let history = [&[start.clone()][..], &bad].concat();
        assert!(counter::check(&refs(&history)).is_err(), "{name}");
        assert_eq!(search(&refs(&history), STEPS_MAX), Found::Broken, "{name}");
    }
}

#[test]
fn what_was_acknowledged_is_there() {
    let write = |told| put((0, 1), 7, told);
    for (told, found, good) in [
        (DONE, Some(7), true),
        (DONE, None, false),
        (DONE, Some(8), false),
        (Told::Unknown, None, true),
        (Told::Unknown, Some(7), true),
        (Told::Failed, None, true),
        (Told::Failed, Some(7), false),
    ] {
        let found = [("k".to_owned(), found)].into();
        assert_eq!(acked::check(&[&write(told)], &found).is_ok(), good, "{told:?} {found:?}");
    }
    assert!(acked::check(&[&write(DONE)], &Default::default()).is_err(), "nobody looked");
}

/// A history of clients at one real register, with unknown ends; and with one answer changed.
fn random(rng: &mut u64, is_bad: bool) -> Vec<Operation> {
    let mut below = |end: u64| split_mix(rng) % end;
    let (mut state, mut history): (Option<(u64, u64)>, Vec<Operation>) = (None, Vec::new());
    for number in 1..=30 {
        // It takes effect at `number * 10`, somewhere within its time.
        let when = (number * 10 - below(25).min(number * 9), number * 10 + below(25));
        let (ask, told) = match below(5) {
            0 | 1 => (Ask::Get, Told::Read(state)),
            2 => (Ask::Put(number), Told::Done(Some(number))),
            3 => match state {
                Some((expected, version)) => {
                    let ask = Ask::Cas { expected, version, value: number };
                    (ask, Told::Done(Some(number)))
                }
                None => (Ask::Put(number), Told::Done(None)),
            },
            _ => (DELETE, if state.is_some() { DONE } else { Told::Missing }),
        };
        let takes_effect = !matches!(told, Told::Missing | Told::Read(_));
        if takes_effect {
            state = op(when, ask, told).writes().map(|value| (value, number));
        }
        let is_unknown = takes_effect && below(6) == 0;
        history.push(op(when, ask, if is_unknown { Told::Unknown } else { told }));
    }
    if is_bad {
        let values: Vec<u64> = history.iter().filter_map(Operation::writes).collect();
        let reads = history.iter_mut().filter(|one| one.ask == Ask::Get);
        let reads: Vec<&mut Operation> = reads.collect();
        let at = usize::try_from(below(reads.len().max(1) as u64)).unwrap();
        if let Some(read) = reads.into_iter().nth(at) {
            let other = usize::try_from(below(values.len().max(1) as u64)).unwrap();
            let other = values.get(other);
            read.told = Told::Read(other.map(|value| (*value, *value)));
        }
    }
    history
}

#[test]
fn the_checks_agree_with_the_search() {
    let (mut found, mut overlooked) = (0, 0);
    for seed in 0..2_000 {
        let mut rng = seed;
        let good = random(&mut rng, false);
        assert_eq!(verdicts(&good), (Ok(()), Found::Linearizable), "seed {seed}: {good:#?}");
        let bad = random(&mut rng, true);
        match verdicts(&bad) {
            (Ok(()), Found::Linearizable) => {}
            (Ok(()), _) => overlooked += 1,
            (Err(_), Found::Broken) => found += 1,
            // The order of versions is known to one of them alone: an order of the values
            // may exist that is not theirs.
            (Err(why), _) => {
                assert!(why.contains("version") || why.contains("lies"), "seed {seed}: {why}");
                found += 1;
            }
        }
    }
    assert!(found > 500 && overlooked < found / 10, "found {found}, overlooked {overlooked}");
}
