//! Bad input: clients that lie, flood, stall or never read. Each of them meets a live server with a
//! well-behaved client beside it, which must be served as if nothing happened, and with memory
//! that stays bounded.
#![expect(clippy::indexing_slicing, reason = "a test: what is out of bounds fails it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use isogrid_tests::harness::{
    Client, HEADER_LEN, Server, opcode, raise_open_files, request, wait_until,
};

/// The longest that the well-behaved client may wait.
const UNDISTURBED: Duration = Duration::from_millis(1_000);
/// How much memory an attack may take beyond what it stores.
const GROWTH_MAX_KIB: u64 = 48 << 10;

/// A server, and a client that does as it should while others do not.
struct Scene {
    server: Server,
    good: Client,
    before_kib: u64,
}

impl Scene {
    fn new(args: &[&str]) -> Scene {
        let server = Server::isogrid(args);
        let mut good = server.connect();
        good.ask("set good 0 0 5\r\nvalue\r\n", "STORED\r\n");
        Scene { before_kib: server.resident_kib(), server, good }
    }

    /// The good client gets its answer, soon.
    fn undisturbed(&mut self) {
        let begin = Instant::now();
        self.good.ask("get good\r\n", "VALUE good 0 5\r\nvalue\r\nEND\r\n");
        let took = begin.elapsed();
        assert!(took < UNDISTURBED, "the good client waited {took:?}");
    }

    fn memory_is_bounded(&mut self) {
        let grown = self.server.resident_kib().saturating_sub(self.before_kib);
        assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than before");
        assert!(self.server.is_running());
    }

    /// Sends `input` on a connection of its own; the answer is `answer`, and is all.
    fn bad(&mut self, input: &[u8], answer: &str) {
        let mut client = self.server.connect();
        // The server may close before it has taken all of it.
        let _ = client.try_send(input);
        client.finish();
        let is = client.rest().expect("the server closes");
        let shown = String::from_utf8_lossy(&input[..input.len().min(80)]).into_owned();
        assert_eq!(String::from_utf8_lossy(&is), answer, "to {shown:?}");
        self.undisturbed();
    }
}

const BAD_LINE: &str = "CLIENT_ERROR bad command line format\r\n";

#[test]
fn keys_that_are_too_long() {
    let mut scene = Scene::new(&[]);
    let key = "k".repeat(251);
    for command in ["get KEY", "delete KEY", "incr KEY 1", "touch KEY 1", "gat 1 KEY", "mg KEY v"] {
        let line = format!("{}\r\n", command.replace("KEY", &key));
        scene.bad(line.as_bytes(), BAD_LINE);
    }
    // The block of a refused store is not taken for a command.
    let set = format!("set {key} 0 0 9\r\nflush_all\r\nmn\r\n");
    scene.bad(set.as_bytes(), &format!("{BAD_LINE}MN\r\n"));
    scene.bad(format!("get {}\r\n", "k".repeat(250)).as_bytes(), "END\r\n");
}

#[test]
fn control_characters_and_high_bytes_in_keys() {
    let mut scene = Scene::new(&[]);
    for key in ["a\u{1}b", "\u{7f}", "k\u{e9}y", "\u{b}"] {
        let len = key.len();
        assert!(len <= 250);
        let input = format!("set {key} 0 0 1\r\nx\r\nget {key}\r\n");
        scene.bad(input.as_bytes(), &format!("STORED\r\nVALUE {key} 0 1\r\nx\r\nEND\r\n"));
    }
    scene.bad(b"get a\0b\r\nmn\r\n", "END\r\nMN\r\n");
}

#[test]
fn data_blocks_that_are_missing_or_wrong() {
    let mut scene = Scene::new(&[]);
    scene.bad(b"set a 0 0 10\r\n", "");
    scene.bad(b"set a 0 0 10\r\nabc\r\n", "");
    scene.bad(b"set a 0 0 3\r\nabcdef\r\nmn\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n");
    scene.bad(b"set good 0 0 3\r\nabcde", "CLIENT_ERROR bad data chunk\r\n");
    scene.bad(b"ms a 2\r\nhello\r\nmn\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n");
}

#[test]
fn lengths_that_nobody_can_store() {
    let mut scene = Scene::new(&[]);
    for len in [
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1000000000000000000000000",
        "-1",
        "-9223372036854775808",
        "1e3",
        "0x10",
    ] {
        scene.bad(format!("set a 0 0 {len}\r\nmn\r\n").as_bytes(), &format!("{BAD_LINE}MN\r\n"));
        scene.bad(format!("ms a {len}\r\nmn\r\n").as_bytes(), &format!("{BAD_LINE}MN\r\n"));
    }
    // Announced, refused at once, and swallowed as it comes: nothing is allocated for it.
    for _ in 0..20 {
        scene
            .bad(b"set a 0 0 2147483645\r\nabc\r\n", "SERVER_ERROR object too large for cache\r\n");
    }
    let mut sizes = vec![0; 1 << 20];
    sizes.extend_from_slice(b"\r\nmn\r\n");
    let input = [b"set good2 0 0 1048576 noreply\r\n", &sizes[..]].concat();
    scene.bad(&input, "MN\r\n");
    scene.memory_is_bounded();
}

#[test]
fn lengths_that_are_announced_and_never_sent() {
    let mut scene = Scene::new(&[]);
    let clients: Vec<Client> = (0..200)
        .map(|index| {
            let mut client = scene.server.connect();
            match index % 2 {
                0 => client.send("set a 0 0 1000000\r\nx"),
                _ => client.send(header(opcode::SET, 1, 8, 1_000_000)),
            }
            client
        })
        .collect();
    scene.undisturbed();
    scene.memory_is_bounded();
    drop(clients);
    scene.undisturbed();
}

#[test]
fn lines_without_an_end() {
    let mut scene = Scene::new(&[]);
    scene.bad(&vec![b'x'; 1 << 20], "");
    scene.bad(&[b"set ".as_slice(), &vec![b'k'; 1 << 20]].concat(), "");
    scene.bad(&[b"get ".as_slice(), &vec![b'k'; 4 << 20]].concat(), "");
    scene.bad(&vec![b' '; 1 << 20], "");
    scene.memory_is_bounded();
}

#[test]
fn commands_that_are_none() {
    let mut scene = Scene::new(&[]);
    scene.bad(b"foo\r\nGET a\r\nconfig get cluster\r\n\xff\xfe\r\nmn\r\n", &{
        format!("{}MN\r\n", "ERROR\r\n".repeat(4))
    });
    scene.bad(b"\r\n \r\nmn\r\n", &format!("{BAD_LINE}{BAD_LINE}MN\r\n"));
    scene.bad(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "");
    scene.bad(b"POST /x HTTP/1.0\r\nContent-Length: 9\r\n\r\nset a 0 0", "");
}

#[test]
fn random_bytes() {
    let mut scene = Scene::new(&[]);
    let mut random = isogrid_tests::differential::Random::new(7);
    for first in [0x80, b's', 0] {
        for _ in 0..50 {
            let len = 1 + random.below(8_000);
            let mut input: Vec<u8> = (0..len).map(|_| random.bits().to_le_bytes()[0]).collect();
            input[0] = first;
            let mut client = scene.server.connect();
            let _ = client.try_send(&input);
            client.finish();
            assert!(client.rest().is_some(), "the server closes");
        }
        scene.undisturbed();
    }
    scene.memory_is_bounded();
}

/// A request header with lengths as told, true or not.
fn header(opcode: u8, key_len: u16, extras_len: u8, body_len: u32) -> Vec<u8> {
    let mut bytes = request(opcode, 0, 0, &[], &[], &[]);
    assert_eq!(bytes.len(), HEADER_LEN);
    bytes[2..4].copy_from_slice(&key_len.to_be_bytes());
    bytes[4] = extras_len;
    bytes[8..12].copy_from_slice(&body_len.to_be_bytes());
    bytes
}

#[test]
fn packets_that_lie() {
    let mut scene = Scene::new(&[]);
    let noop = request(opcode::NOOP, 1, 0, &[], &[], &[]);
    let mut wrong_magic = noop.clone();
    wrong_magic[0] = 0x81;
    for (what, packet) in [
        ("the magic of an answer", [noop.clone(), wrong_magic].concat()),
        ("a body of 4 GiB", header(opcode::SET, 1, 8, u32::MAX - 23)),
        ("a body shorter than its key", header(opcode::GET, 100, 0, 4)),
        ("a body shorter than its extras", header(opcode::SET, 0, 255, 8)),
        ("a key of 64 KiB", header(opcode::GET, u16::MAX, 0, 65_535)),
        ("no key", header(opcode::GET, 0, 0, 0)),
        ("a noop with a body", header(opcode::NOOP, 0, 0, 10)),
        ("half a header", noop[..10].to_vec()),
    ] {
        let mut client = scene.server.connect();
        client.send(&packet);
        client.send([b'x'; 100]);
        client.finish();
        assert!(client.rest().is_some(), "{what}: the server closes");
        scene.undisturbed();
    }
    scene.memory_is_bounded();
}

#[test]
fn a_hundred_thousand_gets_at_once() {
    const COUNT: usize = 100_000;
    let mut scene = Scene::new(&[]);
    let one = "VALUE good 0 5\r\nvalue\r\nEND\r\n";
    let mut reader = TcpStream::connect(scene.server.address()).unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut writer = reader.try_clone().unwrap();
    let mut answers = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all("get good\r\n".repeat(COUNT).as_bytes()).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(|| reader.read_to_end(&mut answers).unwrap());
        for _ in 0..20 {
            scene.undisturbed();
        }
    });
    assert_eq!(answers.len(), one.len() * COUNT);
    assert!(answers.chunks(one.len()).all(|answer| answer == one.as_bytes()));
    scene.memory_is_bounded();
}

/// The rest of a line was copied once for each of its keys whenever its answer paused: a line like
/// this one held its thread for minutes.
#[test]
fn a_line_of_half_a_million_keys() {
    let scene = Scene::new(&[]);
    let mut client = scene.server.connect();
    client.ask("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    let count = (1 << 19) - 8;
    let answer = "VALUE k 0 1\r\nv\r\n".repeat(count) + "END\r\n";
    client.send(format!("get{}\r\n", " k".repeat(count)));
    // Too long to be shown where it is wrong.
    assert!(client.bytes(answer.len()) == answer.as_bytes(), "another answer");
}

#[test]
fn half_a_request_for_ever() {
    let mut scene = Scene::new(&["--set", "limits.request_timeout=1s"]);
    let begin = Instant::now();
    let mut slow: Vec<Client> = ["set a 0 0 5\r\nab", "ge", "\u{0}"]
        .iter()
        .map(|half| {
            let mut client = scene.server.connect();
            client.send(half);
            client
        })
        .collect();
    slow.push(scene.server.connect());
    slow[3].send(header(opcode::SET, 1, 8, 20));
    for client in &mut slow {
        assert_eq!(client.rest().expect("the server closes"), b"");
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(took > Duration::from_millis(900), "{took:?}");
    scene.undisturbed();
}

#[test]
fn ten_thousand_idle_connections() {
    const COUNT: u64 = 10_000;
    let files = raise_open_files() as u64;
    assert!(files > COUNT + 500, "only {files} open files are allowed: raise `ulimit -Hn`");
    let mut scene = Scene::new(&[
        "--max-connections",
        "10100",
        "--set",
        "limits.max_connections_per_address=off",
    ]);
    let clients: Vec<Client> = (0..COUNT)
        .map(|_| {
            let mut client = scene.server.connect();
            client.ask("mn\r\n", "MN\r\n");
            client
        })
        .collect();
    let grown = scene.server.resident_kib().saturating_sub(scene.before_kib);
    println!("{COUNT} idle connections: {} bytes each", grown * 1024 / COUNT);
    assert!(grown * 1024 / COUNT < 24 << 10, "{grown} KiB for {COUNT} connections");
    assert_eq!(scene.good.stat("curr_connections"), COUNT + 1);
    scene.undisturbed();
    drop(clients);
    wait_until("all of them are gone", || scene.good.stat("curr_connections") == 1);
}

#[test]
fn a_reader_that_never_reads() {
    let mut scene = Scene::new(&["--set", "limits.write_timeout=1s"]);
    let value = "v".repeat(1_000_000);
    scene.good.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    let before = scene.server.resident_kib();
    let mut deaf: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = scene.server.connect();
            client.send("get big big big big\r\n".repeat(50));
            client
        })
        .collect();
    let mut most = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(700) {
        scene.undisturbed();
        most = most.max(scene.server.resident_kib().saturating_sub(before));
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("1.6 GB of answers that nobody reads: {most} KiB more");
    assert!(most < 64 << 10, "{most} KiB more");
    wait_until("they are closed", || scene.good.stat("curr_connections") == 1);
    for client in &mut deaf {
        // What had been sent is there, then the end.
        let rest = client.rest().expect("closed");
        assert!(rest.len() < 100_000_000);
    }
    scene.undisturbed();
}

#[test]
fn a_slow_reader_gets_the_old_bytes() {
    let mut scene = Scene::new(&["--set", "limits.write_timeout=10s"]);
    let old = "o".repeat(1_000_000);
    scene.good.ask(format!("set big 0 0 {}\r\n{old}\r\n", old.len()), "STORED\r\n");
    let mut slow = scene.server.connect();
    slow.send("get big big big big big big big big\r\n");
    // The first bytes are here, so all keys of the line are under way.
    assert_eq!(slow.line(), "VALUE big 0 1000000");
    let begin = slow.bytes(300_000);
    assert!(begin.iter().all(|byte| *byte == b'o'));
    for letter in ["n", "m"] {
        scene.good.ask("delete big\r\n", "DELETED\r\n");
        let new = letter.repeat(1_000_000);
        scene.good.ask(format!("set big 0 0 {}\r\n{new}\r\n", new.len()), "STORED\r\n");
    }
    let rest = slow.bytes(700_002);
    assert!(rest.iter().take(700_000).all(|byte| *byte == b'o'), "the bytes of the old value");
    // Each value is whole, of one version.
    for _ in 0..7 {
        assert_eq!(slow.line(), "VALUE big 0 1000000");
        let value = slow.bytes(1_000_002);
        assert!(value.iter().take(1_000_000).all(|byte| *byte == value[0]), "a torn value");
    }
    assert_eq!(slow.line(), "END");
}
