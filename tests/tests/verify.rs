//! `isogrid verify cluster`: a round ends well, and one in which something is lost is found out.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use isogrid_tests::harness::{isogrid, run};
use serde_json::Value;

fn verify(args: &[&str]) -> Command {
    let mut command = Command::new(isogrid());
    command.args(["verify", "cluster", "--seconds", "10"]).args(args).stdin(Stdio::null());
    command
}

#[test]
fn a_round_ends_well_and_leaves_nothing() {
    for args in [&["--seed", "7"][..], &["--mode", "replicated", "--persist", "sync"]] {
        let output = run(verify(args).args(["-o", "json"]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{error}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |key: &str| said[key].as_u64().unwrap();
        assert!(number("kills") + number("pauses") >= 1, "{said}");
        assert!(number("acknowledged") > 500 && number("lost") == 0, "{said}");
        assert!(number("searched") > number("undecided"), "{said}");
        let folder = error.lines().find_map(|line| line.split_once("nodes in ")).unwrap().1;
        assert!(!Path::new(folder).exists(), "{folder} is left");
        let replay = said["replay"].as_str().unwrap();
        assert!(replay.starts_with("isogrid verify cluster --seed "), "{replay}");
    }
}

/// Somebody else empties the cache: what was acknowledged is gone.
#[test]
fn what_is_lost_is_found_and_the_history_stays() {
    let mut child = verify(&["--seed", "3"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut server = String::new();
    while !server.starts_with("node 1: ") {
        server.clear();
        assert!(lines.read_line(&mut server).unwrap() > 0, "it ended");
    }
    let server = server.trim().trim_start_matches("node 1: ").split(',').next().unwrap().to_owned();
    std::thread::sleep(Duration::from_secs(2));
    // A node that is away just now says so; whoever has the rest empties it.
    let cleared = || {
        let clear = ["cache", "clear", "default", "--yes", "--server", &server];
        run(Command::new(isogrid()).args(clear)).status.success()
    };
    while !cleared() {
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("error: I6: ") || rest.contains("error: I8: "), "{rest}");
    assert!(rest.contains("replay: isogrid verify cluster --seed 3 --seconds 10"), "{rest}");
    let folder = rest.lines().find_map(|line| line.strip_prefix("history and logs: ")).unwrap();
    let history = std::fs::read_to_string(Path::new(folder).join("history")).unwrap();
    assert!(history.lines().count() > 500);
    std::fs::remove_dir_all(folder).unwrap();
}
