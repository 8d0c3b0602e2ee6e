//! What a shell is offered: commands, flags, and the names that a server and a file have now.

use std::path::Path;
use std::process::Command;

use isogrid_tests::harness::{has, isogrid, temporary};

use crate::{Place, run};

/// What is offered behind `words`, the last of which is being typed.
fn offered(words: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let words: Vec<&str> = words.split(' ').collect();
    let index = (words.len() - 1).to_string();
    let asks = [("ISOGRID_COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", &*index)];
    let said = run(&[&["--"], &words[..]].concat(), &[environment, &asks].concat(), b"");
    assert_eq!((said.code, said.error.as_str()), (Some(0), ""), "{words:?}: {said:?}");
    said.out.lines().map(str::to_owned).collect()
}

#[test]
fn names_of_caches_and_contexts_are_those_that_there_are() {
    let place = Place::new();
    place.said("cache create orders");
    place.said("cache create order-lines");
    place.said("queue create jobs");
    let folder = temporary("completion");
    let settings = ("XDG_CONFIG_HOME", folder.to_str().unwrap());
    for name in ["prod", "test"] {
        run(&["context", "add", name, "--server", &place.address], &[settings], b"");
    }
    let server = ("ISOGRID_SERVER", place.address.as_str());
    let environment = [settings, server];
    for (words, offers) in [
        ("isogrid cache get ord", &["order-lines", "orders"][..]),
        ("isogrid cache put def", &["default"]),
        ("isogrid cache drop orders", &["orders"]),
        ("isogrid cache keys none", &[]),
        ("isogrid cache get orders ke", &[]),
        ("isogrid queue delete j", &["jobs"]),
        ("isogrid queue publish j", &["jobs"]),
        ("isogrid queue pull j", &["jobs"]),
        ("isogrid queue consume j", &["jobs"]),
        ("isogrid queue browse j", &["jobs"]),
        ("isogrid queue stats j", &["jobs"]),
        ("isogrid queue purge j", &["jobs"]),
        ("isogrid queue redrive j", &["jobs"]),
        ("isogrid queue stats ord", &[]),
        ("isogrid context use p", &["prod"]),
        ("isogrid cache ls --context t", &["test"]),
        ("isogrid cac", &["cache"]),
        ("isogrid cache get orders k --time", &["--timeout"]),
    ] {
        let mut found = offered(words, &environment);
        found.sort();
        assert_eq!(found, offers, "{words}");
    }
    // Nobody answers, or a password would have to be typed: then there is nothing to offer.
    for (variable, text) in [("ISOGRID_SERVER", "127.0.0.1:1"), ("ISOGRID_USER", "app")] {
        let environment = [settings, server, (variable, text)];
        assert_eq!(offered("isogrid cache get ord", &environment), [""; 0], "{variable}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// What bash itself offers with the script in place.
fn in_bash(script: &Path, server: &str, words: &[&str]) -> String {
    let line = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
         _clap_complete_isogrid isogrid {} {}; echo \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let folder = isogrid().parent().unwrap().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &line]).env("PATH", path).env("ISOGRID_SERVER", server);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_commands_flags_and_names() {
    if !has("bash", "apt-get install bash") {
        return;
    }
    let place = Place::new();
    place.said("cache create orders");
    let script = temporary("completion");
    std::fs::write(&script, run(&["completion", "bash"], &[], b"").out).unwrap();
    for (words, completed) in [
        (&["isogrid", "doc"][..], "doctor"),
        (&["isogrid", "config", "ex"], "explain"),
        (&["isogrid", "serve", "--eph"], "--ephemeral"),
        (&["isogrid", "cache", "get", "ord"], "orders"),
    ] {
        assert_eq!(in_bash(&script, &place.address, words), completed, "{words:?}");
    }
    std::fs::remove_file(script).unwrap();
}
