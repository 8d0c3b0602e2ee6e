//! Commands that need no server: what they print, where, and their exit codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/errors.rs"]
mod errors;
#[path = "cli/manner.rs"]
mod manner;
#[path = "cli/pages.rs"]
mod pages;
#[path = "cli/proto.rs"]
mod proto;

use std::io::Write as _;
use std::process::{Command, Stdio};

use isogrid_tests::harness::isogrid;

/// What a command ended with: exit code, stdout, stderr.
type Said = (Option<i32>, String, String);

/// Runs `isogrid` with these arguments, and without any setting of this process.
fn said(args: &[&str]) -> Said {
    fed(args, "")
}

/// The same with something on stdin.
fn fed(args: &[&str], stdin: &str) -> Said {
    let mut command = Command::new(isogrid());
    command.args(args).env_clear().stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
    (output.status.code(), stdout, stderr)
}

#[test]
fn a_misspelled_command_names_the_right_one() {
    for (args, near) in [
        (&["serv"][..], "serve"),
        (&["docter"], "doctor"),
        (&["explian"], "explain"),
        (&["config", "shwo"], "show"),
        (&["serve", "--memroy", "1GiB"], "--memory"),
    ] {
        let (code, out, error) = said(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(error.contains(near), "{args:?}: {error}");
    }
}
