//! SIGKILL at random moments, again and again on one data directory.

use std::time::Duration;

use isogrid_engine::env::split_mix;
use isogrid_tests::durability::{Fleet, Promise, Verdict};
use isogrid_tests::harness::Server;
use isogrid_tests::seeds;

use super::{Place, kill, replay, seed};

const ROUNDS: &str = "ISOGRID_KILL_ROUNDS";
const ROUNDS_DEFAULT: u64 = 15;
const OWNERS: usize = 4;
/// So little that there is a checkpoint in most rounds.
const LOG: &str = "node.log_size=1MiB";

fn pause(rng: &mut u64, from_ms: u64, to_ms: u64) {
    std::thread::sleep(Duration::from_millis(from_ms + split_mix(rng) % (to_ms - from_ms)));
}

/// Starts a server that is killed while it reads what it kept, some times, and then one that may
/// go on.
fn restart(place: &Place, rng: &mut u64) -> Server {
    for _ in 0..split_mix(rng) % 3 {
        let begun = place.begin();
        pause(rng, 1, 40);
        kill(begun);
    }
    place.start()
}

fn kill_loop(test: &str, persist: &'static str) {
    let rounds = seeds::number(ROUNDS, ROUNDS_DEFAULT);
    let place = Place::new(persist).with(LOG);
    let (mut fleet, mut rng) = (Fleet::new(seed(), OWNERS), seed());
    let (mut total, mut checkpoints) = (Verdict::default(), 0);
    let mut server = place.start();
    for round in 0..rounds {
        let before = snapshots(&place);
        fleet.run(&server, || {
            pause(&mut rng, 1, 500);
            server.signal("KILL");
        });
        kill(server);
        checkpoints += u64::from(snapshots(&place) != before);
        server = restart(&place, &mut rng);
        let verdict = fleet.check(&server, Promise::All).unwrap_or_else(|wrong| {
            let rounds = format!("{ROUNDS}={rounds}");
            panic!("round {round}: {wrong}\n{}", replay(test, &rounds));
        });
        total.sent += verdict.sent;
        total.acked += verdict.acked;
    }
    let Verdict { sent, acked, .. } = total;
    eprintln!("{persist}: {rounds} kills, {sent} operations, {acked} acknowledged, none lost");
    eprintln!("{persist}: checkpoints in {checkpoints} rounds");
    assert!(acked as u64 > 50 * rounds, "only {acked} operations in {rounds} rounds");
    assert!(checkpoints * 8 > rounds || rounds < 8, "checkpoints in {checkpoints} of {rounds}");
}

fn snapshots(place: &Place) -> Vec<std::path::PathBuf> {
    super::files(&place.data).into_iter().filter(|file| file.starts_with("snapshots")).collect()
}

#[test]
fn async_survives_kill_9() {
    kill_loop("async_survives_kill_9", "async");
}

#[test]
fn sync_survives_kill_9() {
    kill_loop("sync_survives_kill_9", "sync");
}
