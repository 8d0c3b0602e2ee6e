//! `isogrid memcached`: memcached's own flags, and what they promise.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use isogrid_tests::harness::{Server, isogrid, opcode, request, run, temporary, wait_until};

fn said(args: &[&str]) -> Output {
    run(Command::new(isogrid()).arg("memcached").args(args))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn flags_of_a_service_file_are_taken() {
    let server = Server::dropin(&["-U", "0", "-m", "64", "-c", "100", "-t", "2", "-b", "512"]);
    let mut client = server.connect();
    client.ask("set a 7 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("get a\r\n", "VALUE a 7 1\r\nx\r\nEND\r\n");
    for (name, value) in [("limit_maxbytes", 64 << 20), ("max_connections", 100), ("threads", 2)] {
        assert_eq!(client.stat(name), value, "{name}");
    }
}

#[test]
fn under_the_name_memcached_it_is_memcached() {
    let folder = temporary("link");
    std::fs::create_dir(&folder).unwrap();
    let link = folder.join("memcached");
    std::os::unix::fs::symlink(isogrid(), &link).unwrap();
    let server = Server::memcached_like(Command::new(&link), &["-m", "64"]).unwrap();
    server.connect().ask("mn\r\n", "MN\r\n");
    let version = run(Command::new(&link).arg("-V"));
    assert!(text(&version.stdout).starts_with("memcached 1.6."), "{version:?}");
    drop(server);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn help_and_version_begin_as_memcached_s() {
    for flag in ["-h", "--help", "-V", "--version"] {
        let output = said(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).starts_with("memcached 1.6."), "{flag}: {output:?}");
    }
    let help = text(&said(&["-h"]).stdout);
    assert!(help.contains("--unix-socket"), "scripts look for it");
    for absent in ["ext_path", "proxy_config"] {
        assert!(!help.contains(absent), "scripts would take {absent} for a promise");
    }
}

#[test]
fn bad_values_are_refused() {
    for args in [
        &["-c", "0"][..],
        &["-t", "0"],
        &["-B", "http"],
        &["-I", "1000"],
        &["-I", "2g"],
        &["-p", "66000"],
        &["-l", "256.0.0.1"],
        &["-U", "11211"],
        &["-S"],
        &["-Z"],
        &["-o", "no_such_option"],
        &["--no-such-flag"],
    ] {
        let output = said(&[&["-u", "root"], args].concat());
        assert!(!output.status.success(), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?} says why");
    }
}

#[test]
fn without_evictions_a_full_cache_refuses() {
    let server = Server::dropin(&["-M", "-m", "8"]);
    let mut client = server.connect();
    let value = "v".repeat(100_000);
    let answers: Vec<String> = (0..200)
        .map(|index| {
            client.send(format!("set k{index} 0 0 100000\r\n{value}\r\n"));
            client.line()
        })
        .collect();
    let refused = "SERVER_ERROR out of memory storing object";
    let stored = answers.iter().filter(|answer| *answer == "STORED").count();
    assert!(answers.iter().all(|answer| answer == "STORED" || answer == refused), "{answers:?}");
    assert!((40..84).contains(&stored), "{stored} values of 100 kB in 8 MiB");
    assert_eq!(answers[0], "STORED");
    client.ask("get k0\r\n", &format!("VALUE k0 0 100000\r\n{value}\r\nEND\r\n"));
    assert_eq!(client.stat("evictions"), 0);
    assert_eq!(client.stat("store_no_memory"), 200 - stored as u64);
}

#[test]
fn with_evictions_a_full_cache_makes_room() {
    let server = Server::dropin(&["-m", "8"]);
    let mut client = server.connect();
    let value = "v".repeat(100_000);
    for index in 0..300 {
        client.ask(format!("set k{index} 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
    }
    assert!(client.stat("evictions") > 100);
    // What was evicted while somebody may still have read it is counted until it is given back.
    assert!(client.stat("bytes") <= (8 << 20) + 2 * 110_000);
    wait_until("evicted values are given back", || client.stat("bytes") <= 8 << 20);
}

#[test]
fn items_up_to_the_size_of_i_are_taken() {
    let server = Server::dropin(&["-I", "2m", "-m", "64"]);
    let mut client = server.connect();
    let value = "v".repeat(2_000_000);
    client.ask(format!("set a 0 0 2000000\r\n{value}\r\n"), "STORED\r\n");
    let value = "v".repeat(2_097_153);
    client.ask(
        format!("set a 0 0 2097153\r\n{value}\r\nget a\r\n"),
        "SERVER_ERROR object too large for cache\r\nEND\r\n",
    );
    assert_eq!(client.stat("store_too_large"), 1);
}

#[test]
fn flush_all_can_be_forbidden() {
    let server = Server::dropin(&["-F"]);
    let mut client = server.connect();
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n");
    client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn dumps_can_be_forbidden() {
    let server = Server::dropin(&["-X"]);
    let mut client = server.connect();
    client.send("stats cachedump 1 10\r\n");
    assert!(client.line().contains("not allowed"));
    client.send("lru_crawler metadump all\r\n");
    assert!(client.line().contains("not allowed"));
    client.ask("mn\r\n", "MN\r\n");
}

#[test]
fn idle_clients_are_kicked() {
    let server = Server::dropin(&["-o", "idle_timeout=1"]);
    let mut idle = server.connect();
    idle.ask("mn\r\n", "MN\r\n");
    let begin = Instant::now();
    idle.closed();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(server.connect().stat("idle_kicks"), 1);
}

#[test]
fn over_the_limit_a_connection_is_refused_at_once() {
    let server = Server::dropin(&["-c", "2", "-o", "maxconns_fast"]);
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.ask("mn\r\n", "MN\r\n");
    }
    let refused = server.connect().rest().unwrap();
    assert_eq!(text(&refused), "ERROR Too many open connections\r\n");
}

#[test]
fn one_protocol_can_be_asked_for() {
    let noop = request(opcode::NOOP, 7, 0, &[], &[], &[]);
    let server = Server::dropin(&["-B", "binary"]);
    assert_eq!(server.connect().call(&noop).opaque, 7);
    let mut client = server.connect();
    client.send("version\r\n");
    client.finish();
    client.closed();
    let server = Server::dropin(&["-B", "ascii"]);
    let mut client = server.connect();
    client.ask("mn\r\n", "MN\r\n");
    let mut client = server.connect();
    client.send(&noop);
    client.finish();
    assert_ne!(client.rest().unwrap().first(), Some(&0x81), "no answer in binary");
}

#[test]
fn without_cas_there_is_none() {
    let server = Server::dropin(&["-C"]);
    let mut client = server.connect();
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("gets a\r\n", "VALUE a 0 1 0\r\nx\r\nEND\r\n");
}

#[test]
fn a_unix_socket_with_its_mask() {
    use std::os::unix::fs::PermissionsExt;
    let socket = temporary("socket");
    let server = Server::dropin(&["-s", socket.to_str().unwrap(), "-a", "770"]);
    server.connect().ask("mn\r\n", "MN\r\n");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o770);
}

#[test]
fn shutdown_and_signals() {
    let mut server = Server::dropin(&["-A"]);
    let mut client = server.connect();
    client.send("shutdown\r\n");
    assert!(client.rest().is_some());
    assert_eq!(server.wait().code(), Some(0));
    let mut server = Server::dropin(&[]);
    server.connect().ask("mn\r\n", "MN\r\n");
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
}

/// `path` with `suffix`, as the file is called until it is whole.
fn beside(path: &Path, suffix: &str) -> bool {
    Path::new(&format!("{}.{suffix}", path.display())).exists()
}

#[test]
fn the_pid_file_is_there_while_the_server_is() {
    let file = temporary("pid");
    let mut server = Server::dropin(&["-P", file.to_str().unwrap()]);
    server.connect().ask("mn\r\n", "MN\r\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", server.pid()));
    assert!(!beside(&file, "tmp"));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!file.exists());
}

/// A hard link keeps the file that was there: one that is written over in place would change, and
/// who reads it meanwhile would see half of it.
#[test]
fn pid_and_port_files_are_replaced_in_one_step() {
    let (pid, ports) = (temporary("pid"), temporary("ports"));
    let links = [&pid, &ports].map(|file| {
        let link = temporary("link");
        std::fs::write(file, "old\n").unwrap();
        std::fs::hard_link(file, &link).unwrap();
        link
    });
    let mut command = Command::new(isogrid());
    command.args(["memcached", "-u", "root", "-p", "-1", "-P", pid.to_str().unwrap()]);
    let mut child = command.env("MEMCACHED_PORT_FILENAME", &ports).spawn().unwrap();
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();
    wait_until("both files are replaced", || read(&ports) != "old\n" && read(&pid) != "old\n");
    assert_eq!(read(&pid), format!("{}\n", child.id()));
    let text = read(&ports);
    let port = text.strip_prefix("TCP INET: ").and_then(|text| text.strip_suffix('\n')).unwrap();
    assert_ne!(port.parse::<u16>().unwrap(), 0);
    assert!(!beside(&ports, "lck"));
    run(Command::new("kill").arg(child.id().to_string()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(read(&ports), text, "memcached leaves its file of ports behind");
    for link in links {
        assert_eq!(read(&link), "old\n");
        std::fs::remove_file(link).unwrap();
    }
    std::fs::remove_file(ports).unwrap();
}

#[test]
fn a_server_that_cannot_listen_leaves_the_files_of_another_alone() {
    let file = temporary("pid");
    let first = Server::dropin(&["-P", file.to_str().unwrap()]);
    let second = said(&["-u", "root", "-p", &first.port(), "-P", file.to_str().unwrap()]);
    assert_ne!(second.status.code(), Some(0));
    assert!(text(&second.stderr).contains(&first.addresses()[0]), "{second:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", first.pid()));
}

#[test]
fn files_that_cannot_be_written_are_named_and_survived() {
    let server =
        Server::dropin(&["-P", "/nonexistent/pid", "-s", temporary("s").to_str().unwrap()]);
    server.connect().ask("mn\r\n", "MN\r\n");
    wait_until("the log names it", || server.log().contains("/nonexistent/pid"));
}

/// Programs that start a memcached wait for a line of `-vv`; ours was never there.
#[test]
fn listeners_are_told_as_memcached_tells_them() {
    let told = |server: &Server| server.log().matches(" server listening (auto-negotiate)").count();
    let two = ["-l", "127.0.0.1,127.0.0.2"];
    for (flag, listeners) in [("-v", 0), ("-vv", 2), ("-vvv", 2)] {
        let server = Server::dropin(&[&two[..], &[flag]].concat());
        server.connect().ask("mn\r\n", "MN\r\n");
        wait_until("the listeners are told", || told(&server) == listeners);
        // What each socket asks of the kernel is nobody's business.
        assert!(!server.log().contains("event source"), "{flag}: {}", server.log());
    }
}
