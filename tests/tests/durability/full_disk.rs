//! A disk of 3 MB that fills up, and is given room again.

use std::fs;
use std::time::{Duration, Instant};

use isogrid_tests::harness::{Client, Mount, Server};

use super::{Place, kill};

const DISK_BYTES: u64 = 3 << 20;
const ANSWER: Duration = Duration::from_millis(100);
const RECOVERY: Duration = Duration::from_secs(5);
const VALUE_BYTES: usize = 1_000;

/// Stores under a new key; the answer.
fn store(client: &mut Client, n: usize) -> String {
    let value = value(n);
    client.send(format!("set key{n} {n} 0 {}\r\n{value}\r\n", value.len()));
    client.line()
}

fn value(n: usize) -> String {
    format!("{n}:").repeat(VALUE_BYTES / format!("{n}:").len())
}

fn is_there(client: &mut Client, n: usize) {
    let value = value(n);
    let answer = format!("VALUE key{n} {n} {}\r\n{value}\r\nEND\r\n", value.len());
    client.ask(format!("get key{n}\r\n"), &answer);
}

/// Stores until the disk is full; the keys that were taken are added to `taken`.
fn fill(client: &mut Client, taken: &mut Vec<usize>, next: &mut usize) {
    loop {
        *next += 1;
        let begin = Instant::now();
        let answer = store(client, *next);
        let took = begin.elapsed();
        match answer.as_str() {
            "STORED" => taken.push(*next),
            refused => {
                assert!(refused.starts_with("SERVER_ERROR out of storage"), "{refused}");
                assert!(took < ANSWER, "the refusal took {took:?}");
                return;
            }
        }
        assert!(*next < 100_000, "a disk of {DISK_BYTES} bytes is never full");
    }
}

fn full(persist: &'static str) {
    let Some(disk) = Mount::memory(DISK_BYTES) else { return };
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 900 << 10]).unwrap();
    let place = Place::at(&disk.path().join("data"), persist).with("node.log_size=256KiB");
    let mut server = place.start();
    let mut client = server.connect();
    let (mut taken, mut next) = (Vec::new(), 0);
    fill(&mut client, &mut taken, &mut next);
    assert!(taken.len() > 50, "only {} entries on {DISK_BYTES} bytes", taken.len());
    // Refused at once, again and again, and reads go on.
    for _ in 0..20 {
        fill(&mut client, &mut taken, &mut next);
        is_there(&mut client, taken[next % taken.len()]);
    }
    alive(&mut server);
    fs::remove_file(&filler).unwrap();
    let begin = Instant::now();
    let back = loop {
        next += 1;
        if store(&mut client, next) == "STORED" {
            taken.push(next);
            break begin.elapsed();
        }
        assert!(begin.elapsed() < RECOVERY, "no write is taken {RECOVERY:?} after there is room");
        std::thread::sleep(Duration::from_millis(20));
    };
    fill(&mut client, &mut taken, &mut next);
    taken.iter().for_each(|n| is_there(&mut client, *n));
    alive(&mut server);
    kill(server);
    let server = place.start();
    let mut client = server.connect();
    taken.iter().for_each(|n| is_there(&mut client, *n));
    eprintln!("{persist}: {} entries kept on a full disk, {back:?} to recover", taken.len());
    kill(server);
}

fn alive(server: &mut Server) {
    assert!(server.is_running(), "{}", server.log());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    full("async");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_in_sync() {
    full("sync");
}
