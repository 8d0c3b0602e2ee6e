//! Backups of caches that hold more than memory has room for, or are written behind: of directories
//! and of running servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use isogrid_engine::env::split_mix;
use isogrid_engine::snapshot_file::SnapshotFile;
use isogrid_tests::harness::{Client, Server, wait_until};

use super::command::{Folder, kill, snapshot, works};

/// Of about 1.1 KiB: three times as much as there is memory.
const KEYS: usize = 6_000;
const SMALL: [&str; 6] = [
    "--set",
    "cache.default.memory=2MiB",
    "--set",
    "cache.default.eviction=w-tinylfu",
    "--set",
    "cache.default.behind_delay=50ms",
];

fn serve(data: &str, persist: &str, more: &[&str]) -> Server {
    Server::isogrid(&[&["--data-dir", data, "--persist", persist], more].concat())
}

fn value(n: usize, turn: usize) -> String {
    let text = format!("{n}.{turn}:");
    text.repeat(1_000 / text.len())
}

/// Stores many at once, and waits for all answers.
fn set_all(client: &mut Client, turns: impl Iterator<Item = (usize, usize)>) {
    for chunk in turns.collect::<Vec<_>>().chunks(50) {
        for (n, turn) in chunk {
            let value = value(*n, *turn);
            client.send(format!("set key{n} {n} 0 {}\r\n{value}\r\n", value.len()));
        }
        chunk.iter().for_each(|_| assert_eq!(client.line(), "STORED"));
    }
}

/// What each key of a file holds of `default`; each key once.
fn contents(file: &str) -> BTreeMap<String, (u32, String)> {
    let file = SnapshotFile::open(Path::new(file)).unwrap();
    let (number, section) = file.cache("default").unwrap();
    let mut all = BTreeMap::new();
    for number in file.blocks(number) {
        for record in file.block(number).unwrap().records() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let held = (record.flags, text(record.value));
            let twice = all.insert(text(record.key), held);
            assert_eq!(twice, None, "{} is there twice", record.key.escape_ascii());
        }
    }
    assert_eq!(section.entries, all.len() as u64);
    all
}

fn held(turns: &BTreeMap<usize, usize>) -> BTreeMap<String, (u32, String)> {
    let held = |(n, turn): (&usize, &usize)| {
        (format!("key{n}"), (u32::try_from(*n).unwrap(), value(*n, *turn)))
    };
    turns.iter().map(held).collect()
}

/// Entries that are in memory, in the log, in the store, in several of these, or written behind; some
/// changed and some deleted since they were stored.
fn a_directory_is_saved_whole(persist: &str) {
    let folder = Folder::new();
    let [from, to, file] = ["from", "to", "all.snapshot"].map(|name| folder.at(name));
    let server = serve(&from, persist, &SMALL);
    let mut client = server.connect();
    let mut turns: BTreeMap<usize, usize> = (0..KEYS).map(|n| (n, 1)).collect();
    set_all(&mut client, turns.iter().map(|(n, turn)| (*n, *turn)));
    let mut rng = 3;
    turns.values_mut().for_each(|turn| *turn += usize::from(split_mix(&mut rng).is_multiple_of(6)));
    set_all(&mut client, turns.iter().filter(|(_, turn)| **turn == 2).map(|(n, turn)| (*n, *turn)));
    client.send("set expired 0 1 1\r\nx\r\n");
    assert_eq!(client.line(), "STORED");
    for n in (0..KEYS).step_by(7) {
        client.send(format!("delete key{n}\r\n"));
        // Of a cache that is written behind, what was evicted is not found.
        assert!(["DELETED", "NOT_FOUND"].contains(&&*client.line()));
        if persist != "behind" {
            turns.remove(&n);
        }
    }
    assert!(client.stat("curr_items") < KEYS as u64 / 2, "memory has room for all");
    wait_until("it has expired", || {
        client.send("get expired\r\n");
        client.lines_to("END").len() < 2
    });
    if persist == "behind" {
        wait_until("everything is written", || client.stat("behind_entries") == 0);
    }
    kill(server);
    works(&["save", &file, "--data-dir", &from]);
    let saved = contents(&file);
    if persist == "behind" {
        // What is deleted in memory is deleted there.
        let kept = held(&turns);
        assert!(saved.iter().all(|(key, held)| kept.get(key) == Some(held)));
        assert!(saved.len() > KEYS * 5 / 6 && saved.len() < KEYS, "{}", saved.len());
    } else {
        assert!(saved == held(&turns), "{} of {} are there", saved.len(), turns.len());
    }
    works(&["load", &file, "--data-dir", &to]);
    let server = serve(&to, "async", &[]);
    let mut client = server.connect();
    for (key, (flags, value)) in &saved {
        let answer = format!("VALUE {key} {flags} {}\r\n{value}\r\nEND\r\n", value.len());
        client.ask(format!("get {key}\r\n"), &answer);
    }
    assert_eq!(client.stat("curr_items"), saved.len() as u64);
    // The directory is as it was.
    let again = folder.at("again.snapshot");
    works(&["save", &again, "--data-dir", &from]);
    assert!(contents(&again) == saved);
    drop(serve(&from, persist, &SMALL));
}

#[test]
fn a_directory_with_a_store_is_saved_whole() {
    a_directory_is_saved_whole("async");
}

#[test]
fn a_sync_directory_with_a_store_is_saved_whole() {
    a_directory_is_saved_whole("sync");
}

#[test]
fn a_directory_that_is_written_behind_is_saved_whole() {
    a_directory_is_saved_whole("behind");
}

/// One client writes the keys in turn, so that one number says what all of them hold at a moment;
/// others read them, so that they come and go all the time.
#[test]
fn a_running_server_is_saved_as_it_was_at_one_moment() {
    a_running_server_is_saved("async", "storage_loaded");
}

#[test]
fn a_running_server_that_writes_behind_is_saved_as_it_was_at_one_moment() {
    a_running_server_is_saved("behind", "behind_loaded");
}

fn a_running_server_is_saved(persist: &str, loaded: &str) {
    let folder = Folder::new();
    let data = folder.at("data");
    let ports = ["--native", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let server = serve(&data, persist, &[&SMALL[..], &ports].concat());
    let address = server.bound_for("native").remove(0);
    set_all(&mut server.connect(), (0..KEYS).map(|n| (n, 0)));
    let done = AtomicBool::new(false);
    let names = ["one.snapshot", "two.snapshot", "three.snapshot"];
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, mut turn) = (server.connect(), 0);
            while !done.load(Ordering::Relaxed) {
                let turns = (turn..turn + 50).map(|turn| (turn % KEYS, turn / KEYS + 1));
                // One behind the other, and not in one line that could be done in any order.
                set_all(&mut client, turns);
                turn += 50;
            }
        });
        scope.spawn(|| {
            let (mut client, mut rng) = (server.connect(), 1);
            while !done.load(Ordering::Relaxed) {
                let n = split_mix(&mut rng) % KEYS as u64;
                client.send(format!("get key{n}\r\n"));
                assert_ne!(client.line(), "END");
                client.line();
                client.line();
            }
        });
        let said = names.map(|name| snapshot(&["save", name, "--server", &address]));
        done.store(true, Ordering::Relaxed);
        said
    });
    let mut client = server.connect();
    assert!(client.stat(loaded) > 0, "nothing came back meanwhile");
    for (name, (code, out, error)) in names.iter().zip(said) {
        assert_eq!(code, Some(0), "{out}{error}");
        assert!(out.contains("default") && out.contains("6000"), "{out}");
        let held = contents(&format!("{data}/backups/{name}"));
        assert_eq!(held.len(), KEYS, "{name}");
        let turn = |n: usize| {
            let (_, value) = held.get(&format!("key{n}")).unwrap();
            value.split_once('.').unwrap().1.split_once(':').unwrap().0.parse::<usize>().unwrap()
        };
        let last = turn(0);
        let at = (0..KEYS).find(|n| turn(*n) != last).unwrap_or(KEYS);
        let odd = (at..KEYS).find(|n| turn(*n) + 1 != last);
        assert_eq!(odd, None, "{name}: written up to {at} for the {last}th time");
    }
    // Over HTTP, with its progress.
    let body = br#"{"name": "four.snapshot", "caches": "default"}"#;
    let lines = ["accept: application/x-ndjson"];
    let told = server.http("POST", "/v1/admin/snapshot.save", &lines, body).text();
    assert!(told.contains(r#""phase":"saving""#) && told.contains(r#"{"result":"#), "{told}");
    assert_eq!(contents(&format!("{data}/backups/four.snapshot")).len(), KEYS);
    load(&folder, &address, &mut client, &format!("{data}/backups/{}", names[0]));
}

/// A file goes back into the running server, and what is asked wrongly changes nothing.
fn load(folder: &Folder, address: &str, client: &mut Client, file: &str) {
    client.ask("delete key17\r\n", "DELETED\r\n");
    client.ask("set more 0 0 1\r\nx\r\n", "STORED\r\n");
    let other = folder.at("x");
    for (args, code, says) in [
        (&["save", "one.snapshot"][..], 2, "there already"),
        (&["save", "../x"], 2, "no name of a file"),
        (&["save", &other], 2, "no name of a file"),
        (&["save", "x", "--cache", "orders"], 3, "orders"),
        (&["load", "none.snapshot"], 2, "three.snapshot"),
        (&["save", "x", "--data-dir", &other], 2, "--data-dir"),
    ] {
        let (found, out, error) = snapshot(&[args, &["--server", address]].concat());
        assert!(error.contains(says), "{args:?}: {found:?} {out}{error}");
        assert_eq!(found, Some(code), "{args:?}: {out}{error}");
    }
    works(&["load", "one.snapshot", "--server", address, "--mode", "replace"]);
    client.ask("get more\r\n", "END\r\n");
    for (key, (flags, value)) in contents(file) {
        let answer = format!("VALUE {key} {flags} {}\r\n{value}\r\nEND\r\n", value.len());
        client.ask(format!("get {key}\r\n"), &answer);
    }
    works(&["save", "one.snapshot", "--server", address, "--overwrite"]);
    assert_eq!(contents(file).len(), KEYS);
    assert!(!fs::exists(&other).unwrap());
}
