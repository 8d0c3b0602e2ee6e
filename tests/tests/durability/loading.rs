//! A server that serves while it still reads what it had: killed and stopped meanwhile.

use isogrid_engine::env::split_mix;
use isogrid_tests::harness::{Client, Server};
use isogrid_tests::seeds;

use super::overflow::{is_there, set_all, stat};
use super::{Place, kill, replay, seed};

const ROUNDS: &str = "ISOGRID_LOADING_ROUNDS";
const ROUNDS_DEFAULT: u64 = 3;
/// Of about 1.1 KiB: enough not to be read at once.
const KEYS: usize = 10_000;
const MEMORY: [&str; 3] =
    ["cache.default.memory=256MiB", "cache.default.eviction=w-tinylfu", "node.log_size=1GiB"];

fn stop(mut server: Server) {
    server.signal("TERM");
    server.wait();
}

/// Changes what is not read yet, and looks at it.
fn change(client: &mut Client, generations: &mut [u64], rng: &mut u64) {
    for _ in 0..40 {
        let n = usize::try_from(split_mix(rng) % KEYS as u64).unwrap();
        match split_mix(rng) % 4 {
            0 => {
                let there = generations[n] != 0;
                let answer = if there { "DELETED\r\n" } else { "NOT_FOUND\r\n" };
                client.ask(format!("delete key{n}\r\n"), answer);
                generations[n] = 0;
            }
            1 => is_there(client, n, generations[n]),
            _ => {
                generations[n] += 1;
                set_all(client, &[n], generations);
            }
        }
    }
}

fn loading(test: &str, persist: &'static str) {
    let rounds = seeds::number(ROUNDS, ROUNDS_DEFAULT);
    let place = MEMORY.iter().fold(Place::new(persist), |place, setting| place.with(setting));
    let (mut rng, mut generations) = (seed(), vec![1; KEYS]);
    let server = place.start();
    set_all(&mut server.connect(), &(0..KEYS).collect::<Vec<_>>(), &generations);
    stop(server);
    for round in 0..rounds {
        println!("{}, round {round}", replay(test, &format!("{ROUNDS}={rounds}")));
        let server = place.start();
        change(&mut server.connect(), &mut generations, &mut rng);
        let log = server.log();
        let later = log.split("\"later\":").nth(1).is_some_and(|rest| !rest.starts_with('0'));
        assert!(later, "all was read at once: {log}");
        match round % 3 {
            0 => kill(server),
            1 => stop(server),
            _ => {
                let mut client = server.connect();
                (0..KEYS).for_each(|n| is_there(&mut client, n, generations[n]));
                assert_eq!(stat(&server, "storage_unread"), 0);
                assert!(!server.log().contains("panicked"), "{}", server.log());
                stop(server);
            }
        }
    }
    let server = place.start();
    let mut client = server.connect();
    (0..KEYS).for_each(|n| is_there(&mut client, n, generations[n]));
}

#[test]
fn async_serves_while_it_reads() {
    loading("async_serves_while_it_reads", "async");
}

#[test]
fn sync_serves_while_it_reads() {
    loading("sync_serves_while_it_reads", "sync");
}
