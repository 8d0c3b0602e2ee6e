//! `isogrid doctor`, on the machine that the tests run on.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use isogrid_tests::harness::tls::Authority;
use isogrid_tests::harness::{Server, isogrid, temporary};
use serde_json::Value;

use crate::{Said, said};

/// Runs the doctor with no listener but those that are asked for.
fn doctor(settings: &[&str]) -> (Said, Vec<Value>) {
    let quiet = ["memcached=off", "native=off", "http=off", "node.data_dir=off"];
    let mut args = vec!["doctor", "--config", "/dev/null", "-o", "json"];
    quiet.iter().chain(settings).for_each(|setting| args.extend(["--set", setting]));
    let said = said(&args);
    let told: Value = serde_json::from_str(&said.1).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    (said, told["checks"].as_array().unwrap().clone())
}

fn state(checks: &[Value], code: &str) -> String {
    let check = checks.iter().find(|check| check["code"] == code);
    check.unwrap_or_else(|| panic!("{code}: {checks:?}"))["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_port_that_is_taken_fails_unless_the_server_itself_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let native = format!("native={address}");
    let ((code, ..), checks) = doctor(&[&native]);
    assert_eq!((code, state(&checks, "D03").as_str()), (Some(1), "FAIL"));
    drop(listener);
    let ((code, ..), checks) = doctor(&[&native]);
    assert_eq!((code, state(&checks, "D03").as_str()), (Some(0), "OK"));
    let dir = temporary("doctor");
    let data = dir.to_str().unwrap();
    let server = Server::isogrid(&["--native", &address.to_string(), "--data-dir", data]);
    let kept = format!("node.data_dir={data}");
    let ((code, out, _), checks) = doctor(&[&native, &kept]);
    assert_eq!((code, state(&checks, "D03").as_str()), (Some(0), "OK"));
    assert!(out.contains(&format!("in use by process {}", server.pid())), "{out}");
    drop(server);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_data_directory_is_written_to_and_left_as_it_was() {
    let dir = temporary("doctor");
    fs::create_dir(&dir).unwrap();
    let (_, checks) = doctor(&[&format!("node.data_dir={}", dir.display())]);
    assert_eq!(state(&checks, "D05"), "OK");
    assert!(["OK", "WARN"].contains(&state(&checks, "D07").as_str()), "{checks:?}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::remove_dir(&dir).unwrap();
    // One that is not there yet would be made: nothing of it is.
    let (_, checks) = doctor(&[&format!("node.data_dir={}", dir.join("deep").display())]);
    assert_eq!(state(&checks, "D05"), "OK");
    assert!(!dir.exists());
    let file = isogrid();
    let ((code, ..), checks) = doctor(&[&format!("node.data_dir={}/data", file.display())]);
    assert_eq!((code, state(&checks, "D05").as_str()), (Some(1), "FAIL"));
    assert_eq!(state(&checks, "D07"), "SKIP");
    let (_, checks) = doctor(&[]);
    assert_eq!(state(&checks, "D05"), "SKIP");
}

#[test]
fn what_the_configuration_asks_too_much_of_is_found() {
    for (setting, code, expected) in [
        ("cache.default.memory=60TiB", "D02", "FAIL"),
        ("native=0.0.0.0:0", "D04", "FAIL"),
        ("limits.max_connections=17", "D01", "OK"),
    ] {
        let ((exit, ..), checks) = doctor(&[setting]);
        assert_eq!(state(&checks, code), expected, "{setting}");
        assert_eq!(exit, Some(i32::from(expected == "FAIL")), "{setting}: {checks:?}");
    }
    let ((exit, ..), checks) = doctor(&["limits.backlog=0"]);
    assert_eq!((exit, state(&checks, "D00").as_str()), (Some(1), "FAIL"));
}

/// Whatever was named, the doctor said that all was well, and the server did not start.
#[test]
fn files_of_tls_are_read_and_their_end_is_seen() {
    let authority = Authority::new();
    authority.sign("good", "grid", 2099);
    authority.sign("other", "grid", 2099);
    authority.sign("old", "grid", 2020);
    let tls = |mode: &str, cert: &str, key: &str| {
        let [cert, key] = [cert, key].map(|file| authority.path(file));
        doctor(&[
            &format!("tls.mode={mode}"),
            &format!("tls.cert={cert}"),
            &format!("tls.key={key}"),
        ])
    };
    for (mode, cert, key, states, part) in [
        ("off", "none", "none", ["SKIP", "SKIP"], "TLS is not spoken"),
        ("on", "good.pem", "good.key", ["OK", "OK"], "tls.cert has "),
        ("optional", "good.pem", "good.key", ["OK", "WARN"], "may travel in the clear"),
        ("on", "none.pem", "good.key", ["FAIL", "OK"], "none.pem: No such file"),
        ("on", "good.pem", "ca.pem", ["FAIL", "OK"], "ca.pem: there is none in it"),
        ("on", "good.pem", "other.key", ["FAIL", "OK"], "cannot be used"),
        ("on", "old.pem", "old.key", ["FAIL", "OK"], "days ago"),
    ] {
        let ((exit, out, _), checks) = tls(mode, cert, key);
        assert_eq!(["D12", "D13"].map(|code| state(&checks, code)), states, "{cert} {key}: {out}");
        assert_eq!(exit, Some(i32::from(states[0] == "FAIL")), "{cert} {key}");
        assert!(out.contains(part), "{cert} {key}: {out}");
    }
    // The certificates of peers are others.
    let peers = ["cert=old.pem", "key=old.key", "ca=ca.pem"].map(|pair| {
        let (name, file) = pair.split_once('=').unwrap();
        format!("cluster.tls_{name}={}", authority.path(file))
    });
    let (_, checks) = doctor(&peers.each_ref().map(String::as_str));
    assert_eq!(state(&checks, "D12"), "FAIL", "{checks:?}");
}

#[test]
fn few_open_files_are_a_warning_and_no_failure() {
    let line = format!(
        "ulimit -n 256; exec {} doctor --config /dev/null --set native=off --set http=off \
         --set memcached=off --set node.data_dir=off",
        isogrid().display()
    );
    let output = Command::new("sh").args(["-c", &line]).env_clear().output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.starts_with("STATE  CODE  CHECK"), "{out}");
    assert!(out.contains("\nWARN D01: only 128 connections will be accepted"), "{out}");
}
