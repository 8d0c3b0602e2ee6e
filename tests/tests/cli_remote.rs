//! Commands that talk to a running server: what they print, where, and their exit codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "cli_remote/caches.rs"]
mod caches;
#[path = "cli_remote/completion.rs"]
mod completion;
#[path = "cli_remote/contexts.rs"]
mod contexts;
#[path = "cli_remote/entries.rs"]
mod entries;
#[path = "cli_remote/locks.rs"]
mod locks;
#[path = "cli_remote/logins.rs"]
mod logins;
#[path = "cli_remote/repl.rs"]
mod repl;
#[path = "cli_remote/server.rs"]
mod server;
#[path = "cli_remote/snapshots.rs"]
mod snapshots;
#[path = "cli_remote/users.rs"]
mod users;
#[path = "cli_remote/watch.rs"]
mod watch;

use std::io::Write as _;
use std::process::{Command, Stdio};

use isogrid_tests::harness::{Server, isogrid};
use serde_json::Value;

/// A server that keeps nothing, and its native address.
struct Place {
    server: Server,
    address: String,
}

/// What a command ended with.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    bytes: Vec<u8>,
    out: String,
    error: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Place {
    fn new() -> Self {
        let server = Server::isogrid(&["--native", "127.0.0.1:0"]);
        let address = server.bound_for("native").remove(0);
        Place { server, address }
    }

    /// `isogrid` with these words and `more`, asking this server, with `stdin`.
    fn fed(&self, words: &str, more: &[&str], stdin: &[u8]) -> Said {
        let args: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
        run(&args, &[("ISOGRID_SERVER", &self.address)], stdin)
    }

    /// The same with nothing on stdin.
    fn said(&self, words: &str) -> Said {
        self.fed(words, &[], b"")
    }

    /// Runs each command, in this order: its exit code, all that it prints, and a part of what it
    /// says went wrong (nothing, where this is empty).
    fn holds(&self, table: &[(&str, i32, &str, &str)]) {
        for (words, code, out, error) in table {
            let said = self.said(words);
            assert_eq!((said.code, said.out.as_str()), (Some(*code), *out), "{words}: {said:?}");
            assert!(said.error.contains(error), "{words}: {said:?}");
            assert_eq!(said.error.is_empty(), error.is_empty(), "{words}: {said:?}");
        }
    }
}

fn run(args: &[&str], environment: &[(&str, &str)], stdin: &[u8]) -> Said {
    let mut command = Command::new(isogrid());
    command.args(args).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        error: String::from_utf8(output.stderr).unwrap(),
        bytes: output.stdout,
    }
}
