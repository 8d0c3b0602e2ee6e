//! Sessions of real frameworks in a real cluster, over memcached's protocols and by our own stores: what
//! is in `docs/FRAMEWORKS.md`, line by line.
//!
//! The applications are in `tests/frameworks`, one a framework, and those of Rust are examples of their
//! stores. They know the same paths: `login`, `put?name=`, `show`, `count` and `logout`; with `hold=FILE` they stay between the load of the
//! session and what they do, until the file that they make is gone. They answer with what the
//! session has.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "frameworks/app.rs"]
mod app;
#[path = "frameworks/counter.rs"]
mod counter;
#[path = "frameworks/grid.rs"]
mod grid;
#[path = "frameworks/merged.rs"]
mod merged;
#[path = "frameworks/race.rs"]
mod race;
#[path = "frameworks/table.rs"]
mod table;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use app::{App, Browser};
use grid::Grid;
use isogrid_tests::cluster::free_address;
use isogrid_tests::harness::wait_until;
use serde_json::json;
use table::{FRAMEWORKS, Framework, Unreached};

/// What is said when there is no room.
const FULL: &str = "SERVER_ERROR out of memory storing object";

/// The frameworks that can run here, each on a thread of its own.
fn each(framework: impl Fn(&Framework) + Sync) {
    let here = FRAMEWORKS.iter().filter(|framework| framework.is_here());
    std::thread::scope(|scope| {
        let framework = &framework;
        for one in here {
            scope.spawn(move || framework(one));
        }
    });
}

/// Two applications, each of which knows one node alone, and not the same one.
fn apart(framework: &Framework, grid: &Grid) -> [App; 2] {
    [0, 1].map(|node| App::start(framework, &grid.servers(framework)[node..=node]))
}

/// How many browsers meet each server of a list: a store of ours asks any for each session, and waits
/// for one as long as its client says.
fn browsers(framework: &Framework) -> usize {
    if framework.merges() { 2 } else { 12 }
}

/// What one node was told another one knows; a logout holds everywhere; and what concurrent
/// requests do to each other is what the table says.
#[test]
fn sessions_are_the_same_behind_every_node_and_race_as_documented() {
    let grid = Grid::start();
    each(|framework| {
        let apps = apart(framework, &grid);
        let name = framework.name;
        let mut browser = Browser::logged_in(&apps[0]);
        browser.session(&apps[1], "put?name=a");
        let there = browser.session(&apps[0], "show");
        assert_eq!(there, json!({"user": "ann", "a": 1}), "{name}");
        let mut old = browser.clone();
        browser.session(&apps[1], "logout");
        assert_eq!(old.session(&apps[0], "show"), json!({}), "{name}: logged out");
        let races = race::races(framework, &apps);
        let expected = [framework.writers, framework.logout, framework.reader];
        assert_eq!(races, expected, "{name}: writers, logout, reader");
        if framework.locks() {
            race::one_at_a_time(&apps);
        }
        if framework.merges() {
            merged::letters_of_many_requests_are_all_there(&apps);
            merged::a_login_gives_a_session_another_cookie(&apps);
            merged::everybody_else_of_a_user_is_logged_out(&apps);
        }
    });
}

/// An application that does not reach a server says so, if it does: else it takes somebody for logged
/// out. It is asked when none of its servers is there, and when one of them is.
#[test]
fn nobody_is_taken_for_logged_out_where_a_server_is_not_reached() {
    let grid = Grid::start();
    each(|framework| {
        let servers = grid.servers(framework);
        let app = App::start(framework, &servers);
        let mut browsers: Vec<_> =
            (0..browsers(framework)).map(|_| Browser::logged_in(&app)).collect();
        let dead = free_address().to_string();
        let apps = [vec![dead.clone()], vec![dead, servers[0].clone()]];
        let forgotten = apps.map(|servers| {
            let app = App::start(framework, &servers);
            let mut asked = browsers.iter_mut().map(|browser| browser.ask(&app, "show"));
            asked.any(|session| session.is_ok_and(|session| session["user"] != "ann"))
        });
        let expected = framework.unreached == Unreached::Forgotten;
        assert_eq!(forgotten.contains(&true), expected, "{}: {forgotten:?}", framework.name);
    });
}

/// One node after the other is killed and comes back, so that it meets each session's server and
/// both of its owners.
#[test]
fn a_session_goes_on_while_one_node_after_the_other_is_killed() {
    let mut grid = Grid::start_to_fail();
    let frameworks = FRAMEWORKS.iter().filter(|one| one.fails_over && one.is_here());
    let rows: Vec<_> = frameworks
        .map(|framework| {
            (framework, App::start(framework, &grid.servers(framework)), AtomicU64::new(0))
        })
        .collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let count = |row| {
            let (framework, app, total): &(&Framework, App, AtomicU64) = row;
            (framework.name, counter::count(app, counter::users(framework), &stop, total))
        };
        let users: Vec<_> = rows.iter().map(|row| scope.spawn(move || count(row))).collect();
        for node in 0..3 {
            counts_on(&rows);
            grid.kill(node);
            counts_on(&rows);
            grid.restart(node);
        }
        counts_on(&rows);
        stop.store(true, Ordering::Relaxed);
        for (name, told) in users.into_iter().map(|user| user.join().unwrap()) {
            told.check(name);
            println!("{name}: {told}");
        }
    });
}

/// Waits until each session has counted ten times more.
fn counts_on(rows: &[(&Framework, App, AtomicU64)]) {
    let before: Vec<u64> = rows.iter().map(|(_, _, total)| total.load(Ordering::Relaxed)).collect();
    for ((framework, _, total), before) in rows.iter().zip(before) {
        wait_until(&format!("{} counts on", framework.name), || {
            total.load(Ordering::Relaxed) >= before + 10
        });
    }
}

/// `flush_all` on the listener of the sessions is refused, and elsewhere empties its own cache.
#[test]
fn clearing_a_cache_logs_nobody_out() {
    let grid = Grid::start();
    for (node, other) in [(0, 1), (1, 2), (2, 0)] {
        let (mut sessions, mut default) = (grid.sessions(node), grid.default(node));
        for client in [&mut sessions, &mut default] {
            client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
        }
        sessions.ask("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n");
        sessions.send("flush_all noreply\r\n");
        default.ask("flush_all\r\n", "OK\r\n");
        grid.default(other).ask("get a\r\n", "END\r\n");
        grid.sessions(other).ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

/// A cache without eviction that is full refuses new sessions and forgets none.
#[test]
fn a_full_cache_refuses_new_sessions_and_forgets_none() {
    let grid = Grid::start();
    let (mut client, value) = (grid.sessions(0), "s".repeat(100_000));
    let mut stored = |number: usize| {
        client.send(format!("set s{number} 0 0 {}\r\n{value}\r\n", value.len()));
        let said = client.line();
        assert!(said == "STORED" || said == FULL, "{said}");
        said == "STORED"
    };
    let kept: Vec<usize> = (0..400).filter(|number| stored(*number)).collect();
    assert!((100..300).contains(&kept.len()), "{} of 400 fit", kept.len());
    let mut other = grid.sessions(1);
    for number in kept {
        other.ask(
            format!("get s{number}\r\n"),
            &format!("VALUE s{number} 0 {}\r\n{value}\r\nEND\r\n", value.len()),
        );
    }
}
