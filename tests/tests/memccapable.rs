//! libmemcached's own checks of a server, text and binary, all of them.

use std::process::Command;

use isogrid_tests::harness::{Server, has, run};

#[test]
fn text() {
    check("-a");
}

#[test]
fn binary() {
    check("-b");
}

fn check(protocol: &str) {
    if !has("memccapable", "apt-get install libmemcached-tools") {
        return;
    }
    let server = Server::isogrid(&[]);
    let mut command = Command::new("memccapable");
    command.args(["-h", "127.0.0.1", "-p", &server.port(), protocol]);
    let output = run(&mut command);
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = text.lines().filter(|line| line.contains("[FAIL]")).collect();
    let passed = text.lines().filter(|line| line.contains("[pass]")).count();
    assert!(failed.is_empty(), "{failed:#?}\n{text}");
    assert_eq!(passed, 27, "every check was made:\n{text}");
    assert!(output.status.success(), "{text}");
}
