//! Tables of requests and their answers (`isogrid_tests::harness::script`), one file a group in
//! `tests/vectors/native`.

use isogrid_tests::harness::Native;
use isogrid_tests::harness::script::play;
use serde_json::json;

use super::server;

#[test]
fn conn() {
    run(include_str!("../../vectors/native/conn.txt"));
}

#[test]
fn cache() {
    run(include_str!("../../vectors/native/cache.txt"));
}

#[test]
fn map() {
    run(include_str!("../../vectors/native/map.txt"));
}

#[test]
fn counter() {
    run(include_str!("../../vectors/native/counter.txt"));
}

#[test]
fn lease() {
    run(include_str!("../../vectors/native/lease.txt"));
}

#[test]
fn queue() {
    run(include_str!("../../vectors/native/queue.txt"));
}

#[test]
fn session() {
    run(include_str!("../../vectors/native/session.txt"));
}

#[test]
fn topic() {
    run(include_str!("../../vectors/native/topic.txt"));
}

#[test]
fn catalog() {
    run(include_str!("../../vectors/native/catalog.txt"));
}

#[test]
fn admin_and_batch() {
    run(include_str!("../../vectors/native/admin.txt"));
}

#[test]
fn tx() {
    run(include_str!("../../vectors/native/tx.txt"));
}

#[test]
fn tx_over_several_caches() {
    run(include_str!("../../vectors/native/tx_caches.txt"));
}

fn run(script: &str) {
    let server = server(&[]);
    let hello = json!({"client": {"instance": "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11"}});
    play(script, &mut [Native::begin(server.native_raw(), &hello)]);
}
