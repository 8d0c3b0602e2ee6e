//! `isogrid snapshot`: what it is done to, a running server or a data directory.

use std::fs;
use std::process::Command;

use isogrid_tests::harness::{Server, isogrid, temporary};

/// A prompt, a context or a variable that named a server was overlooked, and what was in the folder
/// `isogrid-data` was loaded over.
#[test]
fn the_server_that_anything_names_is_asked_and_no_directory() {
    let home = temporary("snapshot-place");
    fs::create_dir_all(&home).unwrap();
    let copies = format!("node.backup_dir={}", home.join("copies").display());
    let server = Server::isogrid(&["--native", "127.0.0.1:0", "--set", &copies]);
    let address = server.bound_for("native").remove(0);
    let run = |words: &str, environment: &[(&str, &str)], line: &str| {
        let mut command = Command::new(isogrid());
        command.args(words.split(' ')).env_clear().envs(environment.iter().copied());
        command.env("XDG_CONFIG_HOME", home.join("settings")).current_dir(&home);
        fs::write(home.join("script"), line).unwrap();
        command.stdin(fs::File::open(home.join("script")).unwrap());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let add = format!("context add prod --server {address}");
    assert_eq!(run(&add, &[], "").0, Some(0));
    let save = "snapshot save all --overwrite";
    let (online, offline) =
        (format!("the server {address}\n"), "the data directory isogrid-data\n");
    let by_flag = format!("{save} --server {address}");
    let repl = format!("repl --server {address}");
    let in_directory = format!("{save} --data-dir isogrid-data");
    let variable = [("ISOGRID_SERVER", address.as_str())];
    for (words, environment, line, code, place) in [
        (by_flag.as_str(), &[][..], "", 0, online.as_str()),
        (&format!("{save} --context prod"), &[], "", 0, &online),
        (save, &variable, "", 0, &online),
        (save, &[("ISOGRID_CONTEXT", "prod")], "", 0, &online),
        (&repl, &[], save, 0, &online),
        ("repl --context prod", &[], save, 0, &online),
        // Nothing says a server, or the directory is said: there is none yet.
        (save, &[], "", 78, offline),
        (&in_directory, &variable, "", 78, offline),
        (&repl, &[], &in_directory, 78, offline),
        (&format!("{by_flag} --data-dir isogrid-data"), &[], "", 2, "error: --data-dir is of no"),
        ("context use prod", &[], "", 0, ""),
        (save, &[], "", 0, &online),
    ] {
        let (found, error) = run(words, environment, line);
        assert_eq!(found, Some(code), "{words} {environment:?} {line}: {error}");
        assert!(error.starts_with(place), "{words} {environment:?} {line}: {error}");
    }
    assert!(!home.join("isogrid-data").exists());
    fs::remove_dir_all(home).unwrap();
}
