//! What a connection may do before it has logged in, up to each limit and one beyond it.

use std::time::Instant;

use isogrid_tests::harness::{Client, Server, Users, opcode, request};

use super::{PASSWORD, guarded};

fn users() -> Users {
    let users = Users::new();
    users.add("app", PASSWORD, &["all@*"]);
    users
}

/// Nothing but the limit that is tested ends a connection.
const PATIENT: [&str; 2] = ["--set", "limits.login_timeout=off"];

#[test]
fn three_failed_logins_end_a_connection() {
    let users = users();
    let server = guarded(&users, &PATIENT);
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.log_in("app", "wrong"), "CLIENT_ERROR authentication failure");
    }
    assert_eq!(client.log_in("app", PASSWORD), "STORED", "the third may be right");
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.log_in("app", "wrong"), "CLIENT_ERROR authentication failure");
    }
    client.closed();
}

#[test]
fn four_kib_each_way_and_no_more() {
    let users = users();
    let server = guarded(&users, &PATIENT);
    // 32 bytes come for each line of 5; answers reach 4 KiB with the 128th.
    let mut client = server.connect();
    (0..128).for_each(|_| client.ask("get\r\n", "CLIENT_ERROR unauthenticated\r\n"));
    let mut client = server.connect();
    client.send("get\r\n".repeat(1_000));
    let got = client.rest().unwrap();
    assert!((4 << 10..5 << 10).contains(&got.len()), "{} bytes", got.len());
    // Two logins of 2,052 bytes are more than 4 KiB: the second is the last.
    let mut client = server.connect();
    let long = "x".repeat(2_030);
    assert_eq!(client.log_in("app", &long), "CLIENT_ERROR authentication failure");
    assert_eq!(client.log_in("app", &long), "CLIENT_ERROR authentication failure");
    client.closed();
    // Lines that nobody ends.
    let mut client = server.connect();
    let _ = client.try_send("x".repeat(5_000));
    client.closed();
    // A packet that announces a megabyte is answered by its header.
    let mut client = server.connect();
    let set = request(opcode::SET, 1, 0, &[0; 8], b"k", &vec![b'x'; 1 << 20]);
    client.send(&set[..24]);
    assert_eq!(client.packet().status, 0x20);
    client.closed();
}

/// The most that one input of up to 64 bytes draws out of a server that it has not logged in to.
#[test]
fn nothing_is_amplified() {
    let users = users();
    let server = guarded(&users, &[]);
    let mut inputs: Vec<Vec<u8>> = (0..=255u8).map(|n| request(n, 1, 0, &[], &[], &[])).collect();
    inputs.extend(["stats\r\n", "\n\n\n\n\n\n\n\n", "get a b c d\r\n"].map(|text| text.into()));
    for input in inputs {
        let mut client = server.connect();
        client.send(&input);
        client.finish();
        let got = client.rest().unwrap().len();
        assert!(got <= 32 * input.len(), "{got} bytes for {input:?}");
    }
}

#[test]
fn who_does_not_log_in_goes() {
    let users = users();
    let server = guarded(&users, &["--set", "limits.login_timeout=1s"]);
    let mut known = server.connect();
    assert_eq!(known.log_in("app", PASSWORD), "STORED");
    let begin = Instant::now();
    server.connect().closed();
    assert!(begin.elapsed().as_millis() >= 900, "{:?}", begin.elapsed());
    known.ask("mn\r\n", "MN\r\n");
}

#[test]
fn one_too_many_ends_the_oldest() {
    let users = users();
    let server = guarded(&users, &["--set", "limits.unauthenticated=8"]);
    let mut known = server.connect();
    assert_eq!(known.log_in("app", PASSWORD), "STORED");
    let mut waiting: Vec<Client> = (0..8).map(|_| greeted(&server)).collect();
    for client in &mut waiting {
        client.ask("get\r\n", "CLIENT_ERROR unauthenticated\r\n");
    }
    let mut last = greeted(&server);
    waiting.remove(0).closed();
    for client in waiting.iter_mut().chain([&mut last]) {
        client.ask("get\r\n", "CLIENT_ERROR unauthenticated\r\n");
    }
    known.ask("mn\r\n", "MN\r\n");
}

/// A connection that the server has surely accepted.
fn greeted(server: &Server) -> Client {
    let mut client = server.connect();
    client.ask("get\r\n", "CLIENT_ERROR unauthenticated\r\n");
    client
}

/// Ten failures are free; then tries from the network take a second each, right ones too, and
/// nobody is locked out.
#[test]
fn guessing_gets_slow() {
    let users = users();
    let server = guarded(&users, &["--set", "limits.login_tries=off"]);
    let mut client = server.connect();
    for _ in 0..10 {
        assert_eq!(client.log_in("app", "wrong"), "CLIENT_ERROR authentication failure");
    }
    let begin = Instant::now();
    (0..3).for_each(|_| drop(client.log_in("app", "wrong")));
    assert!(begin.elapsed().as_millis() >= 1_900, "{:?}", begin.elapsed());
    assert_eq!(server.connect().log_in("app", PASSWORD), "STORED");
}
