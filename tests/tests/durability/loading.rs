//! A server that serves while it still reads what it had: killed and stopped meanwhile.

use isogrid_engine::env::split_mix;
use isogrid_tests::harness::{Client, Server};
use isogrid_tests::seeds;
use serde_json::{Value, json};

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

fn reads_later(server: &Server) {
    let log = server.log();
    let later = log.split("\"later\":").nth(1).is_some_and(|rest| !rest.starts_with('0'));
    assert!(later, "all was read at once: {log}");
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
        reads_later(&server);
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

/// Items of a stream until it has ended, or all there are.
fn items(server: &Server, op: &str, body: Value) -> usize {
    let mut client = server.native();
    let cache = client.cache("default");
    let (stream, mut found) = (client.ask(op, cache, body), 0);
    while found < KEYS {
        let frame = client.next_of(stream);
        let Some(items) = frame["items"].as_array() else { break };
        found += items.len();
    }
    found
}

fn metadump(server: &Server) -> usize {
    let mut client = server.connect();
    client.send("lru_crawler metadump all\r\n");
    client.lines_to("END").len() - 1
}

fn sizes(server: &Server) -> usize {
    let rows = server.connect().stats("stats sizes");
    rows.iter().map(|(_, entries)| entries.parse::<usize>().unwrap()).sum()
}

fn size(server: &Server) -> usize {
    let mut client = server.native();
    let cache = client.cache("default");
    let answer = client.call("cache.SIZE", cache, json!({"exact": true}));
    answer[1]["entries"].as_str().unwrap().parse().unwrap()
}

fn scan(server: &Server) -> usize {
    let all = json!({
        "read": {"KEY": true}, "segments": null, "glob": null,
        "batch": 200, "cursor": null, "credit": 100_000,
    });
    items(server, "cache.SCAN", all)
}

fn listen(server: &Server) -> usize {
    let all = json!({
        "events": {"CREATE": true, "REMOVE": true}, "read": {}, "glob": null,
        "flags": {"INITIAL_STATE": true}, "credit": 100_000,
    });
    items(server, "cache.LISTEN", all)
}

/// Counts entries in its own way.
type Count = fn(&Server) -> usize;

/// Who asked for all entries in the first moments after a start got those that had been read.
#[test]
fn what_goes_through_all_entries_waits_until_all_are_read() {
    let settings = MEMORY.iter().chain(&["native=127.0.0.1:0"]);
    let place = settings.fold(Place::new("async"), |place, setting| place.with(setting));
    let server = place.start();
    set_all(&mut server.connect(), &(0..KEYS).collect::<Vec<_>>(), &[1; KEYS]);
    stop(server);
    let all: [(&str, Count); 5] = [
        ("metadump", metadump),
        ("stats sizes", sizes),
        ("SIZE", size),
        ("SCAN", scan),
        ("LISTEN", listen),
    ];
    for (name, count) in all {
        let server = place.start();
        assert_eq!(count(&server), KEYS, "{name}");
        reads_later(&server);
        stop(server);
    }
}
