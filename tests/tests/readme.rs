//! The tours of the pages: every command in a `console` block is executed, in the order of the
//! page, against one server, and prints what the page shows.
//!
//! The ports of the pages are exchanged for those that the server got, and `cargo run` for what it
//! would run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use std::os::unix::fs::symlink;
use std::process::Command;

use isogrid_tests::harness::{Server, example, has, isogrid, temporary};
use isogrid_tests::tidy::root;

/// A command of a page, and what stands behind it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    shows: String,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    steps.push(Step { command: command.to_owned(), shows: String::new() });
                }
                None => {
                    let step = steps.last_mut().unwrap_or_else(|| panic!("no command: {line}"));
                    step.shows += &format!("{line}\n");
                }
            }
        }
    }
    steps
}

#[test]
fn commands_begin_with_a_dollar_and_the_rest_is_shown() {
    let page =
        "x\n```console\n$ a\n1\n2\n$ b\n```\n$ no\n```sh\n$ no\n```\n```console\n$ c\n3\n```\n";
    let step = |command: &str, shows: &str| Step { command: command.into(), shows: shows.into() };
    assert_eq!(steps(page), [step("a", "1\n2\n"), step("b", ""), step("c", "3\n")]);
}

/// Runs the commands of a page; how many there were.
fn walk(page: &str) -> Vec<Step> {
    let flags = ["--native", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let server = Server::isogrid(&flags);
    let native = server.bound_for("native").remove(0);
    let http = server.bound_for("http").remove(0);
    let memcached = server.address();
    let folder = temporary("tour");
    std::fs::create_dir_all(&folder).unwrap();
    symlink(isogrid(), folder.join("isogrid")).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let steps = steps(&text);
    for Step { command, shows } in &steps {
        let here = command
            .replace("127.0.0.1:7400", &native)
            .replace("127.0.0.1:7480", &http)
            .replace("127.0.0.1 11211", &format!("127.0.0.1 {}", memcached.port()));
        let built = |name: &str| format!("{} ", example(name).display());
        let here = match here.split_once("cargo run --release --example tour -- ") {
            Some((before, behind)) => format!("{before}{}{behind}", built("tour")),
            None => here,
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", &here]).current_dir(root());
        shell.env("PATH", &path).env("ISOGRID_SERVER", &native).env("HOME", &folder);
        shell.env_remove("XDG_CONFIG_HOME").env("PYTHONDONTWRITEBYTECODE", "1");
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: $ {command}\n{said}{error}");
        assert_eq!(said.trim_end(), shows.trim_end(), "{page}: $ {command}\n{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
    steps
}

fn tools() -> bool {
    let all = [
        has("curl", "apt-get install curl"),
        has("nc", "apt-get install netcat-openbsd"),
        has("python3", "apt-get install python3"),
    ];
    all.iter().all(|there| *there)
}

#[test]
fn the_tour_of_the_readme_is_true() {
    if !tools() {
        return;
    }
    let steps = walk("README.md");
    for door in
        ["isogrid cache create", "isogrid cache put", "curl ", "nc ", "python3 ", "cargo run"]
    {
        let through = |step: &Step| step.command.contains(door) && !step.shows.is_empty();
        assert!(steps.iter().any(through), "the tour leaves out {door}");
    }
}

#[test]
fn the_page_of_queues_is_true() {
    assert!(walk("docs/QUEUES.md").len() >= 10);
}

#[test]
fn the_page_of_sessions_is_true() {
    assert!(walk("docs/SESSIONS.md").len() >= 3);
}

#[test]
fn the_page_of_topics_is_true() {
    assert!(walk("docs/TOPICS.md").len() >= 8);
}

#[test]
fn the_page_of_http_is_true() {
    if tools() {
        assert!(walk("docs/HTTP.md").len() >= 4);
    }
}
