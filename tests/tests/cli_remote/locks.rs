//! `isogrid lock hold`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use isogrid_tests::harness::{isogrid, run as must};

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
}

/// One holds the lock, and says so; another one does not get it until the first has ended.
#[test]
fn one_at_a_time() {
    let place = Place::new();
    let mut holder = Command::new(isogrid())
        .args(["lock", "hold", "k", "--", "sh", "-c"])
        .arg("echo begun; trap 'echo told; exit 5' TERM; while :; do sleep 0.05; done")
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("ISOGRID_SERVER", &place.address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let busy = place.said("lock hold k -- echo mine");
    assert_eq!((busy.code, busy.out.as_str()), (Some(4), ""), "{busy:?}");
    assert!(busy.error.contains(&format!("\"pid\":{}", holder.id())), "{busy:?}");
    assert_eq!(place.said("lock hold other -- echo mine").out, "mine\n");
    must(Command::new("sh").args(["-c", &format!("kill -TERM {}", holder.id())]));
    assert_eq!(lines.next().unwrap().unwrap(), "told");
    assert_eq!(holder.wait().unwrap().code(), Some(5));
    assert_eq!(place.said("lock hold k -- echo mine").out, "mine\n");
}
