//! Programs of others that some tests talk to.

use std::process::Command;

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
