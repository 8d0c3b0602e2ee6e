//! Readers that load what they miss, beside a writer: none of them sees an older value than was
//! acknowledged when it asked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isogrid_tests::harness::Client;

use super::three;

const ROUNDS: u64 = 3_000;

#[test]
fn readers_that_load_see_nothing_older_than_what_was_acknowledged() {
    let cluster = three();
    // What the caches stand in front of, what was acknowledged, and how often something was found.
    let (database, floor, hits) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let read = |node: usize| {
        let mut client = Client::tcp(cluster.clients()[node]);
        while !is_over.load(Ordering::SeqCst) {
            let before = floor.load(Ordering::SeqCst);
            client.send("get k\r\n");
            let line = client.line();
            if line == "END" {
                let loaded = database.load(Ordering::SeqCst).to_string();
                client.send(format!("add k 0 0 {}\r\n{loaded}\r\n", loaded.len()));
                assert!(["STORED", "NOT_STORED"].contains(&&*client.line()));
                continue;
            }
            let value: u64 = client.line().parse().unwrap();
            assert_eq!(client.line(), "END");
            hits.fetch_add(1, Ordering::SeqCst);
            assert!(value >= before, "node {node} serves {value} after {before} was acknowledged");
        }
    };
    std::thread::scope(|scope| {
        let readers = [0, 0, 1, 1].map(|node| scope.spawn(move || read(node)));
        let mut writer = Client::tcp(cluster.clients()[2]);
        for value in 1..=ROUNDS {
            database.store(value, Ordering::SeqCst);
            match value % 3 {
                0 => writer.ask("delete k\r\n", "NOT_FOUND\r\n"),
                1 => writer.ask(format!("set k 0 0 4\r\n{value:04}\r\n"), "STORED\r\n"),
                _ => writer.ask("md k q\r\nmn\r\n", "MN\r\n"),
            }
            floor.store(value, Ordering::SeqCst);
            if readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let hits = hits.into_inner();
    println!("{ROUNDS} writes, {hits} reads found something");
    assert!(hits > ROUNDS / 10, "the readers found something: {hits}");
}
