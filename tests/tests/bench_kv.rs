//! `isogrid bench kv` against a real server: what it says that it sent is what came.
#![expect(clippy::indexing_slicing, reason = "a test: what is out of bounds fails it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use std::process::{Command, Output};

use isogrid_tests::harness::tls::Authority;
use isogrid_tests::harness::{Server, Users, isogrid};
use serde_json::Value;

const PROTOCOLS: [&str; 4] = ["native", "memcached", "memcached-meta", "memcached-binary"];

fn server() -> Server {
    Server::isogrid(&["--native", "127.0.0.1:0"])
}

fn address(server: &Server, protocol: &str) -> String {
    match protocol {
        "native" => server.bound_for("native")[0].clone(),
        _ => server.address().to_string(),
    }
}

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(isogrid());
    command.args(["bench", "kv"]).args(args).env_clear().output().unwrap()
}

/// Runs it against a server; the exit code and the JSON.
fn measured(server: &Server, protocol: &str, args: &[&str]) -> (Option<i32>, Value) {
    let address = address(server, protocol);
    let ours = ["--protocol", protocol, "--server", &address, "-o", "json"];
    let output = bench(&[&ours, args].concat());
    let said = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {args:?}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

fn stat(server: &Server, name: &str) -> u64 {
    let mut client = server.connect();
    client.send("stats\r\n");
    let lines = client.lines_to("END");
    let value = lines.iter().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    value.unwrap_or_else(|| panic!("no {name} in {lines:?}")).parse().unwrap()
}

fn number(said: &Value, pointer: &str) -> u64 {
    said.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {said}"))
}

/// Gets or sets of all phases.
fn sent(said: &Value, kind: &str) -> u64 {
    ["", "/fill", "/warmup"].iter().map(|phase| number(said, &format!("{phase}/{kind}"))).sum()
}

#[test]
fn what_is_said_to_be_sent_is_what_the_server_counted() {
    const CLOSED: &[&str] = &["--requests", "5_003", "-c", "7", "--depth", "5"];
    const OPEN: &[&str] = &["--requests", "403", "-c", "3", "--rate", "2k"];
    const TIMED: &[&str] =
        &["--duration", "200ms", "--warmup", "100ms", "-c", "4", "--threads", "2"];
    const RATED: &[&str] = &["--duration", "300ms", "--warmup", "100ms", "--rate", "1k"];
    const COMMON: &[&str] =
        &["--keys", "300", "--fill", "--ratio", "3:1", "--value-size", "0-2000"];
    for protocol in PROTOCOLS {
        for (args, requests) in
            [(CLOSED, Some(5_003)), (OPEN, Some(403)), (TIMED, None), (RATED, None)]
        {
            let server = server();
            let (code, said) = measured(&server, protocol, &[COMMON, args].concat());
            let context = format!("{protocol} {args:?}: {said}");
            let (gets, sets) = (number(&said, "/gets"), number(&said, "/sets"));
            // A machine that is busy with other tests may keep no rate: it must say so.
            let unsent = number(&said, "/generator/unsent");
            let all_unsent = unsent + number(&said, "/warmup/unsent");
            assert_eq!(code, Some(i32::from(all_unsent > 0)), "{context}");
            if let Some(requests) = requests {
                assert_eq!(gets + sets + unsent, requests, "{context}");
            }
            assert_eq!(stat(&server, "cmd_get"), sent(&said, "gets"), "{context}");
            assert_eq!(stat(&server, "cmd_set"), sent(&said, "sets"), "{context}");
            assert_eq!(number(&said, "/fill/sets"), 300, "{context}");
            assert_eq!(number(&said, "/hits"), gets, "each key was there: {context}");
            assert_eq!(number(&said, "/stored"), sets, "{context}");
            assert_eq!(number(&said, "/latency_us/all/count"), gets + sets, "{context}");
            assert!(gets > sets && sets > 0, "{context}");
            assert_eq!(number(&said, "/warmup/sets") > 0, requests.is_none(), "{context}");
        }
    }
}

#[test]
fn an_open_loop_is_due_as_often_as_the_rate_says() {
    let server = server();
    let args = ["--duration", "500ms", "--rate", "1k", "-c", "3"];
    let (_, said) = measured(&server, "native", &args);
    let sent = number(&said, "/gets") + number(&said, "/sets");
    assert_eq!(sent + number(&said, "/generator/unsent"), 500, "{said}");
    assert_eq!(said["loop"], "open");
    let late = number(&said, "/generator/late_us/count");
    assert_eq!(late + number(&said, "/generator/held"), sent, "{said}");
}

#[test]
fn a_rate_that_nobody_can_keep_is_owned_up_to() {
    let server = server();
    for protocol in PROTOCOLS {
        let address = address(&server, protocol);
        // One request under way at a time, and a thousand million a second.
        let output = bench(&[
            "--protocol",
            protocol,
            "--server",
            &address,
            "-c",
            "1",
            "--depth",
            "1",
            "--rate",
            "1000M",
            "--duration",
            "50ms",
            "--warmup",
            "20ms",
        ]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("the rate of 1000000000 a second was not kept"), "{stderr}");
        let (_, warmup) = stderr.split_once("while warming up: ").expect("the warm-up is named");
        assert!(warmup.contains("requests were due and never sent"), "{stderr}");
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(!table.contains(" 0 never sent") && table.contains(" never sent"), "{table}");
    }
}

#[test]
fn misses_are_no_errors_and_refusals_are() {
    for protocol in PROTOCOLS {
        let server = server();
        let args = ["--requests", "100", "--ratio", "1:0", "-c", "2"];
        let (code, said) = measured(&server, protocol, &args);
        assert_eq!((code, number(&said, "/misses")), (Some(0), 100), "{said}");
        assert_eq!(said["failed"], serde_json::json!({}));
        // Larger than any value may be: nothing is stored, and the server says so each time.
        let args = ["--requests", "4", "--ratio", "0:1", "-c", "2", "--value-size", "3MiB"];
        let (code, said) = measured(&server, protocol, &args);
        assert_eq!((code, number(&said, "/stored")), (Some(1), 0), "{said}");
        let failed: u64 =
            said["failed"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!((failed, said["unknown"].clone()), (4, serde_json::json!({})), "{said}");
    }
}

#[test]
fn values_larger_than_a_frame_are_written_and_read() {
    for protocol in PROTOCOLS {
        let server = server();
        let args =
            ["--requests", "40", "--fill", "--keys", "10", "--value-size", "300KiB", "-c", "2"];
        let (code, said) = measured(&server, protocol, &args);
        assert_eq!((code, number(&said, "/misses")), (Some(0), 0), "{said}");
    }
}

#[test]
fn the_same_seed_hits_and_misses_the_same() {
    let counts = |protocol: &str, seed: &str| {
        let server = server();
        let args =
            ["--requests", "2k", "--zipf", "0.99", "--seed", seed, "-c", "1", "--ratio", "1:1"];
        let (code, said) = measured(&server, protocol, &args);
        assert_eq!(code, Some(0), "{said}");
        let keys = stat(&server, "curr_items");
        ["/gets", "/sets", "/hits", "/misses"].map(|name| number(&said, name)).map(|n| (n, keys))
    };
    let first = counts("native", "7");
    for protocol in PROTOCOLS {
        assert_eq!(first, counts(protocol, "7"), "{protocol}");
    }
    assert_ne!(first, counts("native", "8"));
}

#[test]
fn the_table_has_a_picture() {
    let server = server();
    let address = address(&server, "native");
    let output = bench(&["--server", &address, "-n", "500", "-c", "2"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    for part in ["native at ", "a second", "p50", "p99.9", "max", "us  ####"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert_eq!(output.stderr, b"", "no bar where there is no terminal");
}

#[test]
fn wrong_use_is_refused_and_names_the_flag() {
    for (args, named) in [
        (&["--connections", "0"][..], "--connections"),
        (&["--depth", "2k"], "--depth"),
        (&["--zipf=-1"], "--zipf"),
        (&["--zipf=0"], "--zipf"),
        (&["--ratio", "0:0"], "--ratio"),
        (&["--rate", "fast"], "--rate"),
        (&["--duration", "0s"], "--duration"),
        (&["--value-size", "9-8"], "--value-size"),
        (&["--keys", "1M", "--key-size", "11"], "--key-size"),
        (&["--protocol", "memcached", "--key-size", "251"], "--key-size"),
        (&["--protocol", "memcached", "--cache", "orders"], "--cache"),
        (&["--protocol", "memcached-binary", "--key-size", "251"], "--key-size"),
        (&["--protocol", "http"], "--protocol"),
    ] {
        let output = bench(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
    }
}

#[test]
fn a_server_that_is_not_there_or_speaks_something_else_is_named() {
    let server = server();
    let (memcached, native) = (address(&server, "memcached"), address(&server, "native"));
    for args in [
        &["--server", "127.0.0.1:1"][..],
        &["--server", &native, "--cache", "nobody-made-it"],
        &["--server", &memcached, "--protocol", "native"],
    ] {
        let output = bench(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.starts_with(&format!("error: {}: ", args[1])), "{args:?}: {stderr}");
    }
}

#[test]
fn a_run_is_told_beside_an_earlier_one() {
    let server = server();
    let file = isogrid_tests::harness::temporary("bench-compare");
    std::fs::create_dir_all(&file).unwrap();
    let (old, odd) = (file.join("old.json"), file.join("odd.json"));
    let args = ["--requests", "200", "-c", "2"];
    let (_, first) = measured(&server, "native", &args);
    std::fs::write(&old, first.to_string()).unwrap();
    std::fs::write(&odd, "{}").unwrap();
    let compare = ["--compare", old.to_str().unwrap()];
    let (code, said) = measured(&server, "native", &[&args[..], &compare].concat());
    assert_eq!(code, Some(0), "{said}");
    let ratio = said["compared"]["ratios"]["requests_per_second"].as_f64().unwrap();
    let of = |said: &Value| said["requests_per_second"].as_f64().unwrap();
    assert!((ratio - of(&said) / of(&first)).abs() < 1e-6, "{said}");
    assert_eq!(said["compared"]["then"], first, "{said}");
    let address = address(&server, "native");
    let with = |more: &[&str]| {
        let output =
            bench(&[&["--server", &address, "--requests", "20", "-c", "2"], more].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, error) = with(&[&compare[..], &["--depth", "3"]].concat());
    assert!(code == Some(0) && out.contains("now/then"), "{out}");
    assert!(error.contains("the two runs differ in depth"), "{error}");
    let (code, _, error) = with(&["--compare", odd.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("is not what `isogrid bench kv -o json`"), "{error}");
    std::fs::remove_dir_all(file).unwrap();
}

/// Over TLS the same is measured, and who has to log in says so as with every other command.
#[test]
fn servers_with_tls_and_logins_are_measured() {
    let authority = Authority::new();
    authority.sign("server", "server", 2100);
    let files = [("cert", "server.pem"), ("key", "server.key")];
    let files = files.map(|(key, file)| format!("tls.{key}={}", authority.path(file)));
    let tls = ["--set", &files[0], "--set", &files[1], "--set", "tls.mode=on"];
    let server = Server::isogrid(&[&["--native", "127.0.0.1:0"], &tls[..]].concat());
    let ca = authority.path("ca.pem");
    let load = ["--requests", "2_000", "-c", "3", "--depth", "4", "--keys", "50", "--fill"];
    let large = ["--value-size", "100-40000"];
    for protocol in PROTOCOLS {
        let args = [&load[..], &large, &["--cacert", &ca]].concat();
        let (code, said) = measured(&server, protocol, &args);
        assert_eq!((code, number(&said, "/hits")), (Some(0), number(&said, "/gets")), "{said}");
    }
    let users = Users::new();
    users.add("app", "correct-horse-battery", &["read,write@*"]);
    std::fs::write(users.path("password"), "correct-horse-battery\n").unwrap();
    std::fs::write(users.path("wrong"), "battery\n").unwrap();
    let (file, audit) = (users.file(), users.path("audit.jsonl"));
    let (file, audit) = (format!("auth.users={file}"), format!("auth.audit={audit}"));
    let auth = ["--set", "auth.mode=on", "--set", &file, "--set", &audit];
    for tls in [&[][..], &tls] {
        let server = Server::isogrid(&[&["--native", "127.0.0.1:0"][..], &auth, tls].concat());
        let ca = if tls.is_empty() { vec![] } else { vec!["--cacert", &ca] };
        let login = |file: &str| users.path(file);
        let (right, wrong) = (login("password"), login("wrong"));
        let args = [&load[..], &ca, &["--user", "app", "--password-file", &right]].concat();
        for (protocol, failed, required) in [
            ("native", "AUTH_FAILED", "AUTH_REQUIRED"),
            ("memcached", "the login was refused: CLIENT_ERROR", "CLIENT_ERROR unauthenticated"),
            ("memcached-meta", "the login was refused: CLIENT_ERROR", "unauthenticated"),
            ("memcached-binary", "the login was refused: status 32", "status 32"),
        ] {
            let (code, said) = measured(&server, protocol, &args);
            let hits = number(&said, "/gets");
            assert_eq!((code, number(&said, "/hits")), (Some(0), hits), "{said}");
            assert!(hits > 0, "{said}");
            let to = address(&server, protocol);
            let wrong = ["--server", &to, "--user", "app", "--password-file", &wrong];
            for (login, why) in [(&wrong[..], failed), (&wrong[..2], required)] {
                let refused = bench(&[&["--protocol", protocol], &load[..], &ca, login].concat());
                let said = [refused.stderr, refused.stdout].concat();
                let said = String::from_utf8(said).unwrap();
                assert_eq!(refused.status.code(), Some(1), "{said}");
                assert!(said.contains(why), "{said}");
            }
        }
    }
    let refused = bench(&["--protocol", "memcached", "--token-file", "t"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
