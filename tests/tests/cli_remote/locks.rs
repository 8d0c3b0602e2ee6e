//! `isogrid lock hold`.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use isogrid_tests::harness::{isogrid, run as must};
use serde_json::json;

use crate::Place;

#[test]
fn a_command_runs_while_the_lock_is_held_and_tells_how_it_ended() {
    let place = Place::new();
    for (command, code, out) in [
        (&["echo", "held"][..], 0, "held\n"),
        (&["sh", "-c", "exit 7"], 7, ""),
        (&["sh", "-c", "kill -9 $$"], 137, ""),
        (&["sh", "-c", "test \"$ISOGRID_FENCE\" -gt 0 && echo fenced"], 0, "fenced\n"),
        (&["/no/such/command"], 3, ""),
    ] {
        let said = place.fed("lock hold k --wait 20s --", command, b"");
        assert_eq!((said.code, said.out.as_str()), (Some(code), out), "{command:?}: {said:?}");
    }
    // A command that cannot be started leaves nothing behind: the lock is free at once.
    for _ in 0..5 {
        assert_eq!(place.fed("lock hold n --", &["/no/such/command"], b"").code, Some(3));
        let said = place.said("lock hold n -- echo mine");
        assert_eq!((said.code, said.out.as_str()), (Some(0), "mine\n"), "{said:?}");
    }
}

/// A process that holds the lock `k` while a script runs, and what that prints.
fn holder(place: &Place, script: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut holder = Command::new(isogrid())
        .args(["lock", "hold", "k", "--", "sh", "-c", script])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("ISOGRID_SERVER", &place.address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    (holder, lines)
}

fn signal(name: &str, process: &Child) {
    must(Command::new("sh").args(["-c", &format!("kill -{name} {}", process.id())]));
}

/// One holds the lock, and says so; another one does not get it until the first has ended.
#[test]
fn one_at_a_time() {
    let place = Place::new();
    let (mut holder, mut lines) =
        holder(&place, "echo begun; trap 'echo told; exit 5' TERM; while :; do sleep 0.05; done");
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let busy = place.said("lock hold k -- echo mine");
    assert_eq!((busy.code, busy.out.as_str()), (Some(4), ""), "{busy:?}");
    assert!(busy.error.contains(&format!("\"pid\":{}", holder.id())), "{busy:?}");
    assert_eq!(place.said("lock hold other -- echo mine").out, "mine\n");
    let told = place.said("lock info k -o json").json();
    assert_eq!((&told["mode"], &told["waiting"]), (&json!("EXCLUSIVE"), &json!(0)));
    assert_eq!(told["holders"][0]["info"]["pid"], json!(holder.id()), "{told}");
    assert!(told["fence"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{told}");
    assert!(place.said("lock info k").out.contains("\nholders.0.info.pid"), "{told}");
    signal("TERM", &holder);
    assert_eq!(lines.next().unwrap().unwrap(), "told");
    assert_eq!(holder.wait().unwrap().code(), Some(5));
    assert_eq!(place.said("lock hold k -- echo mine").out, "mine\n");
    place.holds(&[("lock info k", 3, "", "nobody holds the lock \"k\"")]);
}

/// A command that does not heed the first signal could not be ended by a second one.
#[test]
fn a_second_signal_kills() {
    let place = Place::new();
    // It ends by itself when nothing kills it, and the test says so.
    let script = "trap 'echo told' TERM; echo begun; for n in $(seq 200); do sleep 0.05; done";
    for (first, second) in [("INT", "INT"), ("TERM", "INT")] {
        let (mut holder, mut lines) = holder(&place, script);
        assert_eq!(lines.next().unwrap().unwrap(), "begun");
        signal(first, &holder);
        assert_eq!(lines.next().unwrap().unwrap(), "told");
        signal(second, &holder);
        assert!(lines.next().is_none(), "it goes on");
        assert_eq!(holder.wait().unwrap().code(), Some(137));
    }
}

/// A command that went on for as long as it liked, and told like any other that a server was gone.
#[test]
fn a_lost_lock_is_said_and_ends_the_command() {
    for (script, heeds) in [
        ("echo begun; exec sleep 60", true),
        ("trap 'echo told' TERM; echo begun; for n in $(seq 600); do sleep 0.05; done", false),
    ] {
        let place = Place::new();
        let mut holder = Command::new(isogrid())
            .args(["lock", "hold", "k", "--ttl", "1s", "--grace", "300ms", "--timeout", "1s"])
            .args(["--", "sh", "-c", script])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("ISOGRID_SERVER", &place.address)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "begun");
        place.server.signal("KILL");
        let said: Vec<_> = BufReader::new(holder.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .filter(|line| line.contains("lost"))
            .collect();
        assert!(said[0].contains("the command is told to end"), "{said:?}");
        assert!(said[1].contains("the lock \"k\" was lost"), "{said:?}");
        assert_eq!(lines.next().map(Result::unwrap), (!heeds).then(|| "told".to_owned()));
        assert_eq!(holder.wait().unwrap().code(), Some(8), "{script}");
    }
}
