//! Programs of others that some tests talk to.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Server;

/// Whether a program is there. A test whose peer is missing says how to get it and has nothing to
/// check; in CI (`CI` is set) that is a failure, since there it must be checked.
pub fn has(program: &str, install: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    let note = format!("{program} is not installed, so this is not checked: {install}");
    assert!(there || std::env::var_os("CI").is_none(), "{note}");
    if !there {
        eprintln!("{note}");
    }
    there
}

/// `strace` on a server, making its syncs fail with EIO; `None` where it may not.
pub fn fail_syncs(server: &Server) -> Option<Child> {
    if !has("strace", "apt-get install strace") {
        return None;
    }
    let pid = server.pid().to_string();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=fdatasync,fsync", "-e", "signal=none"]);
    command.args(["-e", "inject=fdatasync,fsync:error=EIO", "-o", "/dev/null", "-p", &pid]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1_000));
    if child.try_wait().unwrap().is_some() {
        eprintln!("strace may not trace here, so this is not checked");
        return None;
    }
    Some(child)
}
