//! Counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use isogrid_tests::harness::Native;
use isogrid_tests::harness::native::COUNTERS;
use serde_json::{Value, json};

use super::dev::until;
use super::three;

/// So many that each node is the primary of some.
const COUNT: usize = 32;
/// Connections that add, a third of them at each node.
const ADDERS: usize = 6;

/// What clients know of one counter.
#[derive(Default)]
struct Known {
    acknowledged: AtomicI64,
    /// Additions of which nobody knows, those under way among them.
    unknown: AtomicI64,
}

fn name(counter: usize) -> String {
    format!("c{counter}")
}

/// Adds to one counter after the other until told to stop; one whose node dies ends by a panic, and
/// what it had under way stays unknown.
fn add(mut client: Native, known: &[Known], stop: &AtomicBool) {
    for counter in (0..COUNT).cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let known = &known[counter];
        known.unknown.fetch_add(1, Ordering::Relaxed);
        let body = json!({"name": name(counter), "delta": "1"});
        let answer = client.call("counter.ADD", COUNTERS, body);
        match answer[0].as_str().unwrap() {
            "OK" => drop(known.acknowledged.fetch_add(1, Ordering::Relaxed)),
            "ERR" if answer[1] == "OUTCOME_UNKNOWN" => continue,
            _ => {}
        }
        known.unknown.fetch_sub(1, Ordering::Relaxed);
    }
}

fn value(client: &mut Native, counter: usize) -> Value {
    client.call("counter.GET", COUNTERS, json!({"name": name(counter)}))
}

/// While a node is killed that is the primary of a third of the counters, no addition is lost that
/// was acknowledged, and none is done twice.
#[test]
fn what_was_added_is_there_when_a_primary_is_killed() {
    let dev = three();
    let known: Arc<Vec<Known>> = Arc::new((0..COUNT).map(|_| Known::default()).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let adders: Vec<_> = (0..ADDERS)
        .map(|number| {
            let (client, known, stop) =
                (dev.native(number % 3), Arc::clone(&known), Arc::clone(&stop));
            std::thread::spawn(move || add(client, &known, &stop))
        })
        .collect();
    let acknowledged = || known.iter().map(|known| known.acknowledged.load(Ordering::Relaxed));
    until("each was added to often", || acknowledged().all(|count| count > 20));
    let killed_at = Instant::now();
    dev.kill(1);
    // More than what was on its way comes from a new primary.
    let before: Vec<i64> =
        acknowledged().map(|count| count + i64::try_from(ADDERS).unwrap()).collect();
    until("each is added to again", || acknowledged().zip(&before).all(|(now, then)| now > *then));
    println!("each was added to again {:?} after the kill", killed_at.elapsed());
    stop.store(true, Ordering::Relaxed);
    let ended = adders.into_iter().map(|adder| adder.join().is_ok());
    assert_eq!(
        ended.filter(|is_well| *is_well).count(),
        ADDERS / 3 * 2,
        "those at the other nodes go on"
    );
    for node in [0, 2] {
        let mut client = dev.native(node);
        for (counter, known) in known.iter().enumerate() {
            let least = known.acknowledged.load(Ordering::Relaxed);
            let most = least + known.unknown.load(Ordering::Relaxed);
            let is = value(&mut client, counter)[1]["value"].as_str().unwrap().parse().unwrap();
            assert!((least..=most).contains(&is), "{counter} at {node}: {least}..={most}, is {is}");
        }
    }
    refuses_without_a_majority(&dev);
}

/// One of three serves nothing: what it says is not what the others might have.
fn refuses_without_a_majority(dev: &super::dev::Dev) {
    let mut client = dev.native(0);
    dev.kill(2);
    let is_refused = |answer: &Value| answer[0] == "ERR";
    until("the lease of the last one has ended", || is_refused(&value(&mut client, 0)));
    for counter in 0..4 {
        let body = json!({"name": name(counter), "delta": "1"});
        let hasty = json!({"timeout_ms": 500});
        let added = client.call_with("counter.ADD", COUNTERS, body, &hasty);
        assert!(is_refused(&added), "{added}");
    }
    // It would wait for the others to take over what it has.
    dev.kill(0);
}
