//! `isogrid node`, `isogrid admin`, and what is said when nobody answers.

use std::net::TcpListener;

use serde_json::json;

use crate::{Place, run};

#[test]
fn a_node_is_shown_and_drained() {
    let place = Place::new();
    let info = place.said("node info -o json").json();
    assert_eq!((&info["draining"], &info["ready"]), (&json!(false), &json!(true)), "{info}");
    assert!(place.said("node info").out.contains("\nready"), "{info}");
    assert_eq!(place.said("node drain -o json").json()["draining"], json!(true));
    assert_eq!(place.said("node info -o json").json()["draining"], json!(true));
    assert_eq!(place.said("node undrain -o json").json()["draining"], json!(false));
    assert!(place.said("node stats -o json").json()["connections"].is_object());
}

#[test]
fn methods_are_called_by_name() {
    let place = Place::new();
    place.holds(&[
        ("admin log.level", 0, "level  info\n", ""),
        ("admin log.level level=warn,isogrid=debug", 0, "level  warn,isogrid=debug\n", ""),
        ("admin log.levle", 3, "", "error[E3002 NO_SUCH_OBJECT]: "),
        ("admin log.levle", 3, "", "\n  help: did you mean `log.level`?\n  more: "),
        ("admin nothing.such", 3, "", "\n  help: `isogrid admin` lists them all\n  more: "),
        ("admin log.level lvl=1", 2, "", "unknown parameter `lvl`; known here: level"),
        ("admin caches.clear", 2, "", "`cache` is missing"),
        ("admin caches.clear cache=none", 3, "", "there is no cache `none`"),
    ]);
    let listed = place.said("admin").out;
    let row = ["caches.clear", "cache", "Removes", "every", "entry"];
    let is = |line: &str| line.split_whitespace().take(row.len()).eq(row);
    assert!(listed.lines().any(is), "{listed}");
}

#[test]
fn nobody_there_is_said_at_once_and_silence_in_time() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for words in
        ["cache ls", "counter get x", "node info", "admin node.info", "lock hold k -- true"]
    {
        let (before, behind) =
            words.split_once(" -- ").map_or((words, None), |(a, b)| (a, Some(b)));
        let mut args: Vec<&str> = before.split(' ').chain(["--server", &free]).collect();
        args.extend(behind.iter().flat_map(|command| ["--", command]));
        let said = run(&args, &[], b"");
        assert_eq!((said.code, said.out.as_str()), (Some(5), ""), "{said:?}");
        assert!(said.error.contains(&format!("cannot reach the server {free}: ")), "{said:?}");
        assert!(said.error.contains("\n  help: start one here with `isogrid serve`"), "{said:?}");
    }
    // The kernel takes the connection, and nobody says a word over it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let said = run(&["cache", "ls", "--server", &address, "--timeout", "300ms"], &[], b"");
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(said.error.contains("--timeout 30s"), "{said:?}");
}

#[test]
fn a_token_that_the_server_does_not_take_is_told() {
    let place = Place::new();
    let environment = [("ISOGRID_SERVER", place.address.as_str()), ("ISOGRID_TOKEN", "ci.secret")];
    let said = run(&["cache", "ls"], &environment, b"");
    assert_eq!((said.code, said.out.as_str()), (Some(6), ""), "{said:?}");
    assert!(said.error.starts_with("error[E2006 MECH_UNSUPPORTED]: "), "{said:?}");
    assert!(!said.error.contains("secret"), "{said:?}");
    let said = run(&["cache", "ls", "--token-file", "/no/such/file"], &environment[..1], b"");
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("cannot read /no/such/file"), "{said:?}");
}
