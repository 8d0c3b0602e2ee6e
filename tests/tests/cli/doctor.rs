//! `isogrid doctor`, on the machine that the tests run on.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

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
