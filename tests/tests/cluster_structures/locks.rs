//! Leases, locks and fencing tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use isogrid_tests::harness::native::{COUNTERS, LOCKS};
use isogrid_tests::harness::{Native, send_signal};
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::three;

/// The node that serves locks.
pub fn primary(dev: &Dev) -> usize {
    let topology = dev.said(0, "cluster topology --cache $structures -o json").json();
    let member = &topology["caches"][0]["segments"][0]["primary"];
    let is_it =
        |node: &usize| dev.said(*node, "cluster status -o json").json()["member"] == *member;
    (0..3).find(is_it).unwrap_or_else(|| panic!("{topology}"))
}

/// The nodes in an order in which this one comes first.
pub fn nodes_from(first: usize) -> [usize; 3] {
    [first, (first + 1) % 3, (first + 2) % 3]
}

pub fn lease(client: &mut Native, ttl_ms: u64) -> Value {
    let granted = client.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": ttl_ms, "info": "{}"}));
    assert_eq!(granted[0], "OK", "{granted}");
    granted[1]["lease"].clone()
}

fn ask_lock(client: &mut Native, key: &str, lease: &Value, wait_ms: u64) -> u64 {
    let body = json!({"key": key, "mode": "EXCLUSIVE", "wait": wait_ms});
    client.ask_with("lease.LOCK", LOCKS, body, &json!({"ext": {"lease": lease}}))
}

fn lock(client: &mut Native, key: &str, lease: &Value, wait_ms: u64) -> Value {
    let stream = ask_lock(client, key, lease, wait_ms);
    client.answer(stream)
}

/// The token of a lock that was granted.
fn fence(answer: &Value) -> u64 {
    assert_eq!(answer[0], "OK", "{answer}");
    answer[1]["fence"].as_str().unwrap().parse().unwrap()
}

fn unlock(client: &mut Native, key: &str, fence: u64) -> Value {
    client.call("lease.UNLOCK", LOCKS, json!({"key": key, "fence": fence.to_string()}))
}

/// What a counter and a cache answer to writes under a lock.
fn write(client: &mut Native, key: &str, fence: u64) -> [Value; 2] {
    let cache = client.cache("default");
    let body = json!({"key": "guarded", "value": "x", "write": {}});
    let fence = json!({"object": LOCKS, "key": key, "token": fence.to_string()});
    let ext = json!({"ext": {"fence": fence}});
    let counted =
        client.call_with("counter.ADD", COUNTERS, json!({"name": "n", "delta": "1"}), &ext);
    let put = client.call_with("cache.PUT", cache, body, &ext);
    [counted, put]
}

fn are_done(answers: &[Value; 2]) -> bool {
    answers.iter().all(|answer| answer[0] == "OK")
}

fn fenced() -> [Value; 2] {
    [json!(["ERR", "FENCED"]), json!(["ERR", "FENCED"])]
}

/// A lock that several want.
#[derive(Default)]
struct Wanted {
    is_held: AtomicBool,
    fence: AtomicU64,
    grants: AtomicUsize,
}

const WANTED: usize = 3;

/// Takes one lock after the other and gives it back.
fn contend(mut client: Native, wanted: &[Wanted], stop: &AtomicBool) {
    let mut of = lease(&mut client, 60_000);
    for at in (0..WANTED).cycle() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let (key, wanted) = (format!("l{at}"), &wanted[at]);
        let answer = lock(&mut client, &key, &of, 30_000);
        let fence = fence(&answer);
        assert!(!wanted.is_held.swap(true, Ordering::SeqCst), "{key} is held twice");
        let before = wanted.fence.swap(fence, Ordering::SeqCst);
        assert!(fence > before, "{key}: {fence} after {before}");
        wanted.grants.fetch_add(1, Ordering::SeqCst);
        wanted.is_held.store(false, Ordering::SeqCst);
        let answer = unlock(&mut client, &key, fence);
        if answer[0] != "OK" {
            assert_eq!(answer, json!(["ERR", "OUTCOME_UNKNOWN"]));
            client.call("lease.REVOKE", LOCKS, json!({"lease": of}));
            of = lease(&mut client, 60_000);
        }
    }
}

/// Nobody has a lock that somebody else has, and no token comes twice or is below an older one, also
/// when the member is killed that serves locks while many wait.
#[test]
fn a_lock_is_one_while_its_primary_is_killed() {
    let dev = three();
    let nodes = nodes_from(primary(&dev));
    let wanted: Arc<Vec<Wanted>> = Arc::new((0..WANTED).map(|_| Wanted::default()).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let contenders: Vec<_> = (0..6)
        .map(|number| {
            let client = dev.native(nodes[1 + number % 2]);
            let (wanted, stop) = (Arc::clone(&wanted), Arc::clone(&stop));
            std::thread::spawn(move || contend(client, &wanted, &stop))
        })
        .collect();
    let grants = || wanted.iter().map(|wanted| wanted.grants.load(Ordering::SeqCst));
    until("each was locked often", || grants().all(|count| count > 20));
    dev.kill(nodes[0]);
    let before: Vec<usize> = grants().collect();
    let begin = Instant::now();
    until("each is locked again", || grants().zip(&before).all(|(now, then)| now > *then + 20));
    println!("each was locked 20 times more {:?} after the kill", begin.elapsed());
    stop.store(true, Ordering::SeqCst);
    contenders.into_iter().for_each(|contender| contender.join().unwrap());
    // Nothing that was granted was lost on the way, to be held by nobody.
    let mut client = dev.native(nodes[1]);
    let of = lease(&mut client, 60_000);
    for at in 0..WANTED {
        fence(&lock(&mut client, &format!("l{at}"), &of, 0));
    }
}

/// A holder whose node dies has the lock as long as it said it lives, and no longer than it takes to
/// notice; who waits has it then.
#[test]
fn a_lock_is_free_when_its_holder_has_not_been_heard_of_for_its_lifespan() {
    const TTL_MS: u64 = 3_000;
    for serves in [false, true] {
        let dev = three();
        let nodes = nodes_from(primary(&dev));
        let (killed, other) = if serves { (nodes[0], nodes[1]) } else { (nodes[1], nodes[0]) };
        let mut holder = dev.native(killed);
        let of = lease(&mut holder, TTL_MS);
        let held = fence(&lock(&mut holder, "l", &of, 0));
        let mut waits = dev.native(other);
        let next = lease(&mut waits, 60_000);
        let heard = Instant::now();
        let alive = holder.call("lease.KEEPALIVE", LOCKS, json!({"leases": [of]}));
        assert_eq!(alive[0], "OK", "{alive}");
        dev.kill(killed);
        let granted = fence(&lock(&mut waits, "l", &next, 60_000));
        let after = heard.elapsed();
        println!("the primary is killed: {serves}: {after:?}");
        assert!(after >= Duration::from_millis(TTL_MS), "it was held still: {after:?}");
        assert!(granted > held, "{granted} after {held}");
        assert_eq!(write(&mut waits, "l", held), fenced());
    }
}

/// A holder that is stopped and goes on when somebody else has its lock writes nothing under it.
#[test]
fn a_holder_that_was_stopped_is_refused() {
    let dev = three();
    let nodes = nodes_from(primary(&dev));
    let (mut stopped, mut other) = (dev.native(nodes[1]), dev.native(nodes[2]));
    let (of, next) = (lease(&mut stopped, 1_000), lease(&mut other, 60_000));
    let old = fence(&lock(&mut stopped, "l", &of, 0));
    assert!(are_done(&write(&mut stopped, "l", old)));
    let pid = dev.pid(nodes[1]);
    send_signal(pid, "STOP");
    let new = fence(&lock(&mut other, "l", &next, 60_000));
    assert!(new > old, "{new} after {old}");
    until("what the node served is served", || are_done(&write(&mut other, "l", new)));
    send_signal(pid, "CONT");
    assert_eq!(write(&mut stopped, "l", old), fenced());
    until("the node serves again", || are_done(&write(&mut stopped, "l", new)));
    assert_eq!(unlock(&mut stopped, "l", old), json!(["ERR", "NOT_HOLDER"]));
}

/// Who does not wait any more gets nothing: it closed its connection, or its node was killed.
#[test]
fn a_lock_is_not_left_to_who_has_gone() {
    let dev = three();
    let nodes = nodes_from(primary(&dev));
    let mut holder = dev.native(nodes[0]);
    let of = lease(&mut holder, 60_000);
    for killed in [false, true] {
        let held = fence(&lock(&mut holder, "l", &of, 0));
        let mut goes = dev.native(nodes[1]);
        let gone = lease(&mut goes, 60_000);
        ask_lock(&mut goes, "l", &gone, 60_000);
        let waiting = |dev: &Dev| {
            let mut client = dev.native(nodes[2]);
            let info = client.call("lease.LOCK_INFO", LOCKS, json!({"key": "l"}));
            let lock: Value = serde_json::from_str(info[1]["lock"].as_str().unwrap()).unwrap();
            lock["waiting"].as_u64().unwrap()
        };
        until("it waits", || waiting(&dev) == 1);
        let mut stays = dev.native(nodes[2]);
        let next = lease(&mut stays, 60_000);
        let stream = ask_lock(&mut stays, "l", &next, 60_000);
        until("both wait", || waiting(&dev) == 2);
        if killed {
            dev.kill(nodes[1]);
        } else {
            drop(goes);
        }
        until("one waits", || waiting(&dev) == 1);
        assert_eq!(unlock(&mut holder, "l", held)[0], "OK");
        let granted = stays.answer(stream);
        assert_eq!(unlock(&mut stays, "l", fence(&granted))[0], "OK");
    }
}
