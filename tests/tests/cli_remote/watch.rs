//! `isogrid cache watch`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use isogrid_tests::harness::{PATIENCE, isogrid, send_signal, wait_until};
use serde_json::{Value, json};

use crate::Place;

/// `isogrid cache watch`, and the lines that it prints.
struct Watch(Child, Receiver<String>);

impl Watch {
    /// One that listens: it has told of the key `key`, which is gone again.
    fn new(place: &Place, more: &str, key: &str) -> Self {
        let mut command = Command::new(isogrid());
        command.args(format!("cache watch default {more}").split_whitespace()).env_clear();
        command.env("ISOGRID_SERVER", &place.address).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| to.send(l)));
        wait_until("it listens", || {
            place.said(&format!("cache put default {key} x"));
            place.said(&format!("cache rm default {key}"));
            lines.try_recv().is_ok()
        });
        Watch(child, lines)
    }

    /// The next line, whatever the beginning left behind.
    fn next(&self, beginning: &str) -> String {
        loop {
            let line = self.1.recv_timeout(PATIENCE).unwrap();
            if !line.contains(beginning) {
                return line;
            }
        }
    }

    fn ends(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

#[test]
fn changes_are_told_as_they_come_until_ctrl_c() {
    let place = Place::new();
    let watch = Watch::new(&place, "--values --glob user:*", "user:0");
    for (words, told) in [
        ("cache put default user:1 one", "create  user:1  one"),
        ("cache put default user:1 two", "update  user:1  two"),
        ("cache put default cart:1 one", ""),
        ("cache rm default user:1", "remove  user:1"),
        ("cache clear default --yes", "resync"),
    ] {
        assert_eq!(place.said(words).code, Some(0), "{words}");
        if !told.is_empty() {
            assert_eq!(watch.next("user:0"), told, "{words}");
        }
    }
    send_signal(watch.0.id(), "INT");
    assert_eq!(watch.ends(), Some(0));
}

#[test]
fn kinds_are_chosen_and_documents_are_one_a_line() {
    let place = Place::new();
    let watch = Watch::new(&place, "--kinds put,expire -o json", "begin");
    place.said("cache put default k one");
    place.said("cache rm default k");
    place.said("cache put default other one --flags 7");
    let mut told: Value = serde_json::from_str(&watch.next("begin")).unwrap();
    // The first may have been gone before it was told.
    if told["key"] == "k" {
        told = serde_json::from_str(&watch.next("begin")).unwrap();
    }
    assert_eq!((&told["event"], &told["key"]), (&json!("create"), &json!("other")));
    assert_eq!((&told["flags"], told.get("value")), (&json!(7), None));
    place.said("cache clear default --yes");
    let told: Value = serde_json::from_str(&watch.next("begin")).unwrap();
    assert_eq!(told, json!({"event": "resync"}));
    place.said("cache create orders");
    send_signal(watch.0.id(), "INT");
    assert_eq!(watch.ends(), Some(0));
}

#[test]
fn a_watch_ends_with_its_count_and_with_its_cache() {
    let place = Place::new();
    let watch = Watch::new(&place, "--count 1", "k");
    assert_eq!(watch.ends(), Some(0));
    place.holds(&[
        ("cache watch nothing", 3, "", "`isogrid cache create nothing` makes it"),
        ("cache watch default --kinds put,move", 2, "", "possible values: put, create"),
    ]);
}
