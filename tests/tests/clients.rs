//! Client libraries as applications use them, and the conversations of session stores.
//!
//! `python3` and `node` are taken as they are when they know the libraries, as in `.ci/run`; else
//! the libraries are installed below the target folder. `ISOGRID_TEST_PYTHON` names a Python.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use isogrid_tests::harness::{Server, has, must_work, node_with, python_with, wait_until};

#[test]
fn pymemcache_text() {
    python("classic.py");
}

#[test]
fn python_binary_memcached() {
    python("binary.py");
}

#[test]
fn memjs_binary() {
    if !has("npm", "apt-get install npm") {
        return;
    }
    let server = Server::isogrid(&[]);
    must_work(node_with(&["memjs"]).arg(script("binary.js")).arg(server.port()));
}

fn python(name: &str) {
    if !has("python3", "apt-get install python3-venv") {
        return;
    }
    let server = Server::isogrid(&[]);
    let python = python_with("pymemcache, bmemcached", &["pymemcache", "python-binary-memcached"]);
    must_work(Command::new(python).arg(script(name)).arg(server.port()));
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// An add whose expiry is more than 30 days is an absolute time, here in 1970: the answer is that
/// it is stored, and nothing is left behind to be in the way of the next one.
#[test]
fn an_add_that_expires_at_once_leaves_nothing() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    for _ in 0..2 {
        client.ask("add memc.sess.key.abc 0 2678400 5\r\nhello\r\n", "STORED\r\n");
        client.ask("get memc.sess.key.abc\r\n", "END\r\n");
    }
    wait_until("nothing is left", || client.stat("curr_items") == 0);
    client.ask("add memc.sess.key.abc 0 2592000 5\r\nhello\r\n", "STORED\r\n");
    client.ask("add memc.sess.key.abc 0 2678400 5\r\nother\r\n", "NOT_STORED\r\n");
}

/// PHP's session handler: a lock with a life, the data, and the lock's end.
#[test]
fn a_php_session() {
    let server = Server::isogrid(&[]);
    let (mut first, mut second) = (server.connect(), server.connect());
    let lock = "add memc.sess.key.lock.abc 0 1 1\r\n1\r\n";
    first.ask(lock, "STORED\r\n");
    second.ask(lock, "NOT_STORED\r\n");
    first.ask("get memc.sess.key.abc\r\n", "END\r\n");
    first.ask("set memc.sess.key.abc 0 1440 9\r\nuser|i:7;\r\n", "STORED\r\n");
    first.ask("delete memc.sess.key.lock.abc\r\n", "DELETED\r\n");
    second.ask(lock, "STORED\r\n");
    second.ask("get memc.sess.key.abc\r\n", "VALUE memc.sess.key.abc 0 9\r\nuser|i:7;\r\nEND\r\n");
    // With lazy writes a session that was only read is touched.
    second.ask("touch memc.sess.key.abc 1440\r\n", "TOUCHED\r\n");
    // The second one dies with its lock; the lock's life ends by itself.
    drop(second);
    wait_until("the lock is free", || {
        first.send(lock);
        first.line() == "STORED"
    });
    first.ask("delete memc.sess.key.abc\r\n", "DELETED\r\n");
}

/// PHP's older handler counts its lock.
#[test]
fn a_php_memcache_session() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("add abc.lock 0 15 1\r\n1\r\n", "STORED\r\n");
    client.ask("incr abc.lock 1\r\n", "2\r\n");
    client.ask("set abc 0 1440 0\r\n\r\n", "STORED\r\n");
    client.ask("get abc\r\n", "VALUE abc 0 0\r\n\r\nEND\r\n");
    client.ask("delete abc.lock\r\n", "DELETED\r\n");
}

/// Django's cache and its sessions.
#[test]
fn a_django_cache() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    let two_months = client.stat("time") + 60 * 24 * 3_600;
    let key = ":1:django.contrib.sessions.cache2m2vukt8m85f420bdecwp";
    client.ask(format!("get {key}\r\n"), "END\r\n");
    client.ask(format!("add {key} 1 1209600 2\r\n{{}}\r\n"), "STORED\r\n");
    client.ask(format!("set {key} 1 {} 2\r\n[]\r\n", two_months), "STORED\r\n");
    client.ask(format!("get {key}\r\n"), &format!("VALUE {key} 1 2\r\n[]\r\nEND\r\n"));
    // A timeout below zero deletes.
    client.ask(format!("set {key} 1 -1 2\r\n[]\r\n"), "STORED\r\n");
    client.ask(format!("get {key}\r\n"), "END\r\n");
    // What is too large leaves a miss and not the old value.
    client.ask("set :1:page 0 300 3\r\nold\r\n", "STORED\r\n");
    let page = "x".repeat(1_100_000);
    client.ask(
        format!("set :1:page 0 300 {}\r\n{page}\r\nget :1:page\r\n", page.len()),
        "SERVER_ERROR object too large for cache\r\nEND\r\n",
    );
    client.ask("touch :1:none 300\r\n", "NOT_FOUND\r\n");
    client.ask("incr :1:none 1\r\n", "NOT_FOUND\r\n");
    client.ask("flush_all\r\n", "OK\r\n");
}

/// Flask-Session writes without waiting for the answer.
#[test]
fn a_flask_session() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    let now = client.stat("time");
    let key = "session:XjVOdf3YeBKWY-NWUtGj";
    client.send(format!("set {key} 0 {} 3 noreply\r\nabc\r\n", now + 2_678_400));
    client.ask(format!("get {key}\r\n"), &format!("VALUE {key} 0 3\r\nabc\r\nEND\r\n"));
    client.send(format!("delete {key} noreply\r\n"));
    client.ask(format!("get {key}\r\n"), "END\r\n");
}
