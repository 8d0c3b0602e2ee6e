//! The comparison itself, on histories without a server: each way to break a promise is seen.

use std::time::Instant;

use isogrid_engine::env::split_mix;
use isogrid_tests::durability::{Cas, Found, History, State, Value, now_ms};

const KEYS: usize = 24;

/// An owner whose operations were all answered rightly.
fn history(seed: u64, steps: usize) -> History {
    let mut owner = History::new("owner", seed, KEYS, seed.is_multiple_of(2));
    let mut version = 0;
    for _ in 0..steps {
        let bytes = owner.draw();
        version += 3;
        let answer = match owner.due() {
            "HD" => format!("HD c{version}"),
            answer => answer.to_owned(),
        };
        assert!(owner.answered(&answer, Instant::now()), "{bytes:?}: {:?}", owner.wrong);
    }
    owner
}

/// What a good server holds in `states`.
fn found(owner: &History, states: &[State]) -> Vec<Option<Found>> {
    let found = |(key, state): (usize, &State)| {
        let entry = state.as_ref()?;
        let cas = match entry.cas {
            Cas::Is(cas) => cas,
            Cas::Above(cas) => cas + 1,
        };
        let ttl_s = entry.deadline.map(|at| at.saturating_sub(now_ms()) / 1_000);
        Some(Found { value: entry.value.bytes(&owner.key(key)), flags: entry.flags, ttl_s, cas })
    };
    states.iter().enumerate().map(found).collect()
}

#[test]
fn what_was_promised_is_recognized() {
    for seed in 0..200 {
        let owner = history(seed, 500);
        for prefix in [0, 250, 499, 500] {
            let found = found(&owner, &owner.after(prefix));
            assert!(owner.prefix(0, &found, now_ms()).unwrap() >= prefix, "seed {seed}");
            // What was not acknowledged in time may be lost, and the rest goes on from there.
            let mut on = owner.clone();
            on.settle(prefix, &found);
            assert_eq!(on.prefix(0, &found, now_ms()), Ok(0), "seed {seed}");
        }
    }
}

/// Breaks a promise; false when there is nothing to break it on.
type Break = fn(&History, &mut Vec<Option<Found>>, &mut u64) -> bool;

fn any(found: &mut [Option<Found>], rng: &mut u64, fits: fn(&Found) -> bool) -> Option<usize> {
    // Keys that are a multiple of 8 expire any moment and may be gone.
    let there: Vec<usize> = (0..found.len())
        .filter(|key| key % 8 != 0 && found[*key].as_ref().is_some_and(fits))
        .collect();
    let count = there.len() as u64;
    (count > 0).then(|| there[usize::try_from(split_mix(rng) % count).unwrap()])
}

fn edit(
    found: &mut [Option<Found>],
    rng: &mut u64,
    fits: fn(&Found) -> bool,
    change: impl Fn(&mut Found),
) -> bool {
    let Some(key) = any(found, rng, fits) else { return false };
    found[key].iter_mut().for_each(change);
    true
}

const BREAKS: [(&str, Break); 11] = [
    ("the last operations are lost", |owner, found, rng| {
        let sent = owner.sent();
        let earlier = sent - 1 - usize::try_from(split_mix(rng) % 5).unwrap();
        replaced(found, self::found(owner, &owner.after(earlier)))
    }),
    ("one key is as it was earlier", |owner, found, rng| {
        let key = usize::try_from(split_mix(rng) % KEYS as u64).unwrap();
        let earlier = self::found(owner, &owner.after(owner.sent() / 2));
        let is = std::mem::replace(&mut found[key], earlier[key].clone());
        key % 8 != 0 && is.map(|is| is.value) != found[key].as_ref().map(|was| was.value.clone())
    }),
    ("a key is lost", |_, found, rng| {
        any(found, rng, |_| true).is_some_and(|key| found[key].take().is_some())
    }),
    ("a deleted key is back", |owner, found, rng| {
        let key = usize::try_from(split_mix(rng) % KEYS as u64).unwrap();
        let value = Value::Text(vec![1]).bytes(&owner.key(key));
        let back = Found { value, flags: 0, ttl_s: None, cas: u64::MAX };
        found[key].replace(back).is_none()
    }),
    ("a bit of a value", |_, found, rng| {
        let bit = split_mix(rng);
        edit(
            found,
            rng,
            |_| true,
            |found| {
                let len = found.value.len() as u64 * 8;
                let (byte, bit) = (usize::try_from(bit % len / 8).unwrap(), bit % 8);
                found.value[byte] ^= 1 << bit;
            },
        )
    }),
    ("the flags", |_, found, rng| edit(found, rng, |_| true, |found| found.flags ^= 1)),
    ("a deadline is moved", |_, found, rng| {
        edit(found, rng, |f| f.ttl_s.is_some(), |found| found.ttl_s = found.ttl_s.map(|s| s + 9))
    }),
    ("a deadline is forgotten", |_, found, rng| {
        edit(found, rng, |f| f.ttl_s.is_some(), |found| found.ttl_s = None)
    }),
    ("a deadline is invented", |_, found, rng| {
        edit(found, rng, |f| f.ttl_s.is_none(), |found| found.ttl_s = Some(60))
    }),
    ("a version was used before", |owner, found, rng| {
        let low = owner.clone();
        let Some(key) = any(found, rng, |_| true) else { return false };
        let entry = low.after(low.sent())[key].clone().unwrap();
        let cas = match entry.cas {
            Cas::Is(cas) => cas - 1,
            Cas::Above(cas) => cas,
        };
        found[key].iter_mut().for_each(|found| found.cas = cas);
        true
    }),
    ("two keys are mixed up", |_, found, rng| {
        let (one, two) = (any(found, rng, |_| true), any(found, rng, |_| true));
        let (Some(one), Some(two)) = (one, two) else { return false };
        let value = |at: usize| found[at].as_ref().map(|found| found.value.clone());
        let differ = value(one) != value(two);
        found.swap(one, two);
        differ
    }),
];

fn replaced(found: &mut Vec<Option<Found>>, other: Vec<Option<Found>>) -> bool {
    // Deadlines are in whole seconds from now, so only the rest tells the two apart.
    let told = |found: &[Option<Found>]| -> Vec<_> {
        let told = |found: &Found| (found.value.clone(), found.flags);
        let long = found.iter().enumerate().filter(|(key, _)| key % 8 != 0);
        long.map(|(_, found)| found.as_ref().map(told)).collect()
    };
    let differ = told(found) != told(&other);
    *found = other;
    differ
}

#[test]
fn every_broken_promise_is_seen() {
    for (what, breaks) in BREAKS {
        let (mut broken, mut rng) = (0, 5);
        for seed in 0..60 {
            let owner = history(seed, 500);
            let mut found = found(&owner, &owner.after(owner.sent()));
            if breaks(&owner, &mut found, &mut rng) {
                broken += 1;
                let result = owner.prefix(owner.acked(), &found, now_ms());
                assert!(result.is_err(), "seed {seed}: {what}: not seen");
            }
        }
        assert!(broken >= 10, "{what}: tried {broken} times");
    }
}

/// An operation in the middle is lost, and later ones are there: no prefix, however little must
/// be there.
#[test]
fn a_hole_is_seen() {
    let mut holes = 0;
    for seed in 0..200 {
        let owner = history(seed, 200);
        let whole = found(&owner, &owner.after(200));
        for key in (1..KEYS).filter(|key| key % 8 > 2) {
            let Some(state) = &owner.after(200)[key] else { continue };
            let Some(last) = state.value.last() else { continue };
            let mut holed = whole.clone();
            let before = found(&owner, &owner.after(usize::try_from(last).unwrap() - 1));
            holed[key] = before[key].clone();
            // The newest operation of all may be lost alone.
            let later = (0..KEYS).filter(|other| *other != key && other % 8 > 2);
            let newest = later.filter_map(|other| owner.after(200)[other].as_ref()?.value.last());
            if newest.max() > Some(last) {
                holes += 1;
                assert!(owner.prefix(0, &holed, now_ms()).is_err(), "seed {seed}, key {key}");
            }
        }
    }
    assert!(holes > 1_000, "{holes}");
}

#[test]
fn wrong_answers_are_seen() {
    for wrong in ["NOT_STORED", "HD c1", "HD", "SERVER_ERROR out of memory", "STORED x", "99999"] {
        let mut owner = history(3, 300);
        owner.draw();
        let cas = if owner.due() == "HD" { " c99999999" } else { "" };
        let right = format!("{}{cas}", owner.due());
        assert!(owner.clone().answered(&right, Instant::now()));
        assert!(right == wrong || !owner.answered(wrong, Instant::now()), "{wrong} for {right}");
    }
}

#[test]
fn a_value_tells_who_wrote_it() {
    let value = Value::Text(vec![7, 12, 40]);
    let bytes = value.bytes("owner1-3");
    assert_eq!(Value::parse("owner1-3", &bytes), Some(value));
    assert_eq!(Value::parse("owner1-4", &bytes), None);
    assert_eq!(
        Value::parse("owner1-3", &bytes[..bytes.len() - 1]),
        Some(Value::Text(vec![7, 12, 4]))
    );
    for byte in 0..bytes.len() - 6 {
        let mut wrong = bytes.clone();
        wrong[byte] ^= 1;
        assert_ne!(Value::parse("owner1-3", &wrong), Value::parse("owner1-3", &bytes));
    }
}
