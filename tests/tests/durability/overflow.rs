//! A cache that holds more than memory has room for: what was evicted is read from the disk, after
//! kills too.

use isogrid_engine::env::split_mix;
use isogrid_tests::harness::{Client, Server};
use isogrid_tests::seeds;

use super::{Place, kill, replay, seed};

const ROUNDS: &str = "ISOGRID_OVERFLOW_ROUNDS";
const ROUNDS_DEFAULT: u64 = 4;
const VALUE_BYTES: usize = 1_000;
/// Of about 1.1 KiB: three times as much as there is memory.
const KEYS: usize = 6_000;
const MEMORY: [&str; 3] =
    ["cache.default.memory=2MiB", "cache.default.eviction=w-tinylfu", "node.log_size=1MiB"];

fn place(persist: &'static str) -> Place {
    MEMORY.iter().fold(Place::new(persist), |place, setting| place.with(setting))
}

pub fn value(n: usize, generation: u64) -> String {
    let text = format!("{n}.{generation}:");
    text.repeat(VALUE_BYTES / text.len())
}

fn set(client: &mut Client, n: usize, generation: u64) {
    let value = value(n, generation);
    client.send(format!("set key{n} {n} 0 {}\r\n{value}\r\n", value.len()));
}

/// Stores many at once, and waits for all answers.
pub fn set_all(client: &mut Client, keys: &[usize], generations: &[u64]) {
    for chunk in keys.chunks(50) {
        chunk.iter().for_each(|n| set(client, *n, generations[*n]));
        chunk.iter().for_each(|_| assert_eq!(client.line(), "STORED"));
    }
}

/// What a key holds: generation 0 is nothing.
pub fn is_there(client: &mut Client, n: usize, generation: u64) {
    let answer = match generation {
        0 => "END\r\n".to_owned(),
        _ => {
            let value = value(n, generation);
            format!("VALUE key{n} {n} {}\r\n{value}\r\nEND\r\n", value.len())
        }
    };
    client.ask(format!("get key{n}\r\n"), &answer);
}

pub fn stat(server: &Server, name: &str) -> u64 {
    let mut client = server.connect();
    client.send("stats\r\n");
    let mut found = None;
    loop {
        let line = client.line();
        if line == "END" {
            return found.unwrap_or_else(|| panic!("no {name}"));
        }
        if let Some(number) = line.strip_prefix(&format!("STAT {name} ")) {
            found = number.parse().ok();
        }
    }
}

fn overflow(test: &str, persist: &'static str) {
    let rounds = seeds::number(ROUNDS, ROUNDS_DEFAULT);
    let (place, mut rng) = (place(persist), seed());
    let mut generations = vec![1; KEYS];
    let mut server = place.start();
    set_all(&mut server.connect(), &(0..KEYS).collect::<Vec<_>>(), &generations);
    for round in 0..rounds {
        let mut client = server.connect();
        println!("{}, round {round}", replay(test, &format!("{ROUNDS}={rounds}")));
        (0..KEYS).for_each(|n| is_there(&mut client, n, generations[n]));
        let away = KEYS as u64 - stat(&server, "curr_items");
        assert!(away > KEYS as u64 / 2, "only {away} of {KEYS} are not in memory");
        conditional(&mut client, &mut generations, &mut rng);
        let mut changed: Vec<usize> =
            (0..KEYS).filter(|_| split_mix(&mut rng).is_multiple_of(8)).collect();
        changed.iter().for_each(|n| generations[*n] += 2 + round);
        set_all(&mut client, &changed, &generations);
        changed.retain(|n| n.is_multiple_of(3));
        for n in changed {
            client.ask(format!("delete key{n}\r\n"), "DELETED\r\n");
            generations[n] = 0;
        }
        kill(server);
        server = place.start();
    }
    let mut client = server.connect();
    (0..KEYS).for_each(|n| is_there(&mut client, n, generations[n]));
    client.ask("flush_all\r\n", "OK\r\n");
    kill(server);
    let server = place.start();
    let mut client = server.connect();
    (0..KEYS).for_each(|n| is_there(&mut client, n, 0));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Operations that depend on what a key holds are as if it were in memory.
fn conditional(client: &mut Client, generations: &mut [u64], rng: &mut u64) {
    let mut draw = || usize::try_from(split_mix(rng) % KEYS as u64).unwrap();
    for _ in 0..50 {
        let n = draw();
        let there = generations[n] != 0;
        let touched = if there { "TOUCHED\r\n" } else { "NOT_FOUND\r\n" };
        client.ask(format!("touch key{n} 0\r\n"), touched);
        let n = draw();
        let added = if generations[n] != 0 { "NOT_STORED\r\n" } else { "STORED\r\n" };
        let new = self::value(n, 1);
        client.ask(format!("add key{n} {n} 0 {}\r\n{new}\r\n", new.len()), added);
        generations[n] = generations[n].max(1);
        let n = draw();
        let number = if generations[n] != 0 {
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
        } else {
            "NOT_FOUND\r\n"
        };
        client.ask(format!("incr key{n} 1\r\n"), number);
    }
    // Many keys of one line, in and out of memory.
    let keys: Vec<usize> = (0..40).map(|_| draw()).filter(|n| generations[*n] != 0).collect();
    let line = keys.iter().fold("get".to_owned(), |line, n| format!("{line} key{n}"));
    let values = keys.iter().map(|n| {
        let value = self::value(*n, generations[*n]);
        format!("VALUE key{n} {n} {}\r\n{value}\r\n", value.len())
    });
    let answer = values.collect::<String>() + "END\r\n";
    client.ask(format!("{line}\r\n"), &answer);
}

#[test]
fn async_serves_more_than_memory_holds() {
    overflow("async_serves_more_than_memory_holds", "async");
}

#[test]
fn sync_serves_more_than_memory_holds() {
    overflow("sync_serves_more_than_memory_holds", "sync");
}
