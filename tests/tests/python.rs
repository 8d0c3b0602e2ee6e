//! The Python client (`clients/python`): its own tests, with the vectors and a live server.
//!
//! `python3 -m unittest` in `clients/python` runs them alone; `ISOGRID_ADDRESS` names a server.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::path::Path;
use std::process::Command;

use isogrid_tests::harness::{Server, Users, has, python_with};
use isogrid_tests::tidy::root;

/// Runs modules of the client's tests, and says how many tests there were.
fn unittest(modules: &[&str], environment: &[(&str, &str)]) -> Option<u32> {
    if !has("python3", "apt-get install python3") {
        return None;
    }
    Some(unittest_with(Path::new("python3"), modules, environment))
}

fn unittest_with(python: &Path, modules: &[&str], environment: &[(&str, &str)]) -> u32 {
    let mut command = Command::new(python);
    command.args(["-m", "unittest"]).args(modules).current_dir(root().join("clients/python"));
    command.env_remove("ISOGRID_ADDRESS").env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("skipped"), "{command:?}\n{said}");
    let ran = said.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next());
    ran.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn every_vector_both_ways_the_refused_ones_refused_and_urls() {
    let modules = ["tests.test_vectors", "tests.test_url"];
    assert!(unittest(&modules, &[]).is_none_or(|ran| ran >= 13));
}

#[test]
fn outcomes_retries_streams_and_locks_against_a_server_that_misbehaves() {
    assert!(unittest(&["tests.test_client"], &[]).is_none_or(|ran| ran >= 30));
}

#[test]
fn sessions_of_django_and_flask_send_what_has_changed_and_end_once() {
    assert!(unittest(&["tests.test_web"], &[]).is_none_or(|ran| ran >= 7));
    if !has("python3", "apt-get install python3-venv") {
        return;
    }
    let server = Server::isogrid(&["--native", "127.0.0.1:0", "--memcached", "off"]);
    let address = server.bound_for("native").remove(0);
    let python = python_with("django, flask", &["django", "flask"]);
    let environment = [("ISOGRID_ADDRESS", &*address)];
    assert!(unittest_with(&python, &["tests.test_frameworks"], &environment) >= 15);
}

#[test]
fn caches_queues_topics_sessions_counters_locks_transactions_and_streams_of_a_live_server() {
    let server = Server::isogrid(&["--native", "127.0.0.1:0", "--memcached", "off"]);
    let address = server.bound_for("native").remove(0);
    let environment = [("ISOGRID_ADDRESS", &*address)];
    assert!(unittest(&["tests.test_live"], &environment).is_none_or(|ran| ran >= 28));
}

#[test]
fn scram_plain_and_token_at_a_server_that_wants_logins() {
    let (users, password) = (Users::new(), "correct-horse-battery");
    users.add("app", password, &["read,write@*"]);
    let token = users.token("ci", &["read@*"]);
    let file = format!("auth.users={}", users.file());
    let server =
        Server::isogrid(&["--native", "127.0.0.1:0", "--memcached", "off", "--set", &file]);
    let address = server.bound_for("native").remove(0);
    let environment = [
        ("ISOGRID_ADDRESS", &*address),
        ("ISOGRID_PASSWORD", password),
        ("ISOGRID_TOKEN", token.trim()),
    ];
    assert!(unittest(&["tests.test_login"], &environment).is_none_or(|ran| ran >= 3));
}
