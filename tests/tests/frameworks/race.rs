//! A slow request that has its session while a fast one of the same session goes to another node.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use isogrid_tests::harness::{temporary, wait_until};
use serde_json::Value;

use super::app::{App, Browser};
use super::table::{End, Framework};

/// How long a fast request may take when nothing holds it.
const FAST: Duration = Duration::from_millis(1_500);

/// Two writers, a writer and a logout, a reader and a writer.
pub fn races(framework: &Framework, apps: &[App; 2]) -> [End; 3] {
    let wrote = |session: &Value| session["b"] == 1;
    let logged_out = |session: &Value| session["user"] != "ann";
    [
        race(framework, apps, ["put?name=a&", "put?name=b"], wrote),
        race(framework, apps, ["put?name=a&", "logout"], logged_out),
        race(framework, apps, ["show?", "put?name=b"], wrote),
    ]
}

/// Whether what the fast request did is still so when both have ended.
fn race(
    framework: &Framework,
    apps: &[App; 2],
    [slow, fast]: [&str; 2],
    is_so: impl Fn(&Value) -> bool,
) -> End {
    let browser = Browser::logged_in(&apps[0]);
    let [mut slower, mut faster, mut later] = [(); 3].map(|()| browser.clone());
    let held = hold(&apps[0]);
    let path = format!("{slow}hold={}", held.display());
    let has_waited = std::thread::scope(|scope| {
        // Django refuses to save what was logged out, and so does every store of ours.
        let slow = scope.spawn(|| slower.ask(&apps[0], &path));
        wait_until("the slow request has its session", || held.exists() || slow.is_finished());
        assert!(held.exists(), "{}: {:?}", framework.name, slow.join());
        let (sender, ended) = mpsc::channel();
        scope.spawn(move || sender.send(faster.session(&apps[1], fast)).is_ok());
        let has_waited = ended.recv_timeout(FAST).is_err();
        std::fs::remove_file(&held).unwrap();
        let refused = slow.join().unwrap().is_err();
        assert!(refused || !framework.merges() || fast != "logout", "{}: saved", framework.name);
        has_waited
    });
    let session = later.session(&apps[1], "show");
    match (has_waited, is_so(&session)) {
        (false, true) => End::Kept,
        (true, true) => End::Waited,
        (false, false) => End::Lost,
        (true, false) => panic!("{}: waited and lost: {session}", framework.name),
    }
}

/// A file that is not there yet.
fn hold(app: &App) -> PathBuf {
    temporary("hold").with_extension(app.address.port().to_string())
}

/// Requests of one session at two nodes, several at a time at each, have it one after the other: a
/// lock that two hold would count twice to the same number.
pub fn one_at_a_time(apps: &[App; 2]) {
    let browser = Browser::logged_in(&apps[0]);
    let count = |app: &App| {
        let mut browser = browser.clone();
        (0..5).map(|_| browser.session(app, "count")["n"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let clients =
            apps.iter().chain(apps).chain(apps).map(|app| scope.spawn(move || count(app)));
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    all.sort_unstable();
    assert_eq!(all, (1..=30).collect::<Vec<_>>());
}
