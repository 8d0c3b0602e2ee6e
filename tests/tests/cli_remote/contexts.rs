//! `isogrid context`.

use std::fs;
use std::path::Path;
use std::process::Command;

use isogrid_tests::harness::{isogrid, temporary};
use serde_json::{Value, json};

use crate::{Place, run};

#[test]
fn servers_are_noted_chosen_and_forgotten() {
    let (here, there) = (Place::new(), Place::new());
    assert_eq!(there.said("cache create only-there").code, Some(0));
    let folder = temporary("contexts");
    let settings = ("XDG_CONFIG_HOME", folder.to_str().unwrap());
    let holds = |words: &str, code: i32, out: &str, error: &str| {
        let words = words.replace("FIRST", &here.address).replace("SECOND", &there.address);
        let said = run(&words.split(' ').collect::<Vec<_>>(), &[settings], b"");
        assert_eq!((said.code, said.out.as_str()), (Some(code), out), "{words}: {said:?}");
        assert!(said.error.contains(error), "{words}: {said:?}");
        assert_eq!(said.error.is_empty(), error.is_empty(), "{words}: {said:?}");
    };
    let found = "cache keys only-there";
    holds("context add prod --server SECOND", 0, "", "");
    holds("context add test --server FIRST", 0, "", "");
    holds("context use tes", 3, "", "did you mean \"test\"?");
    holds("context use prod", 0, "", "");
    holds(found, 0, "", "");
    holds(&format!("{found} --context test"), 3, "", "there is no cache \"only-there\"");
    holds(&format!("{found} --server FIRST"), 3, "", "there is no cache");
    holds(&format!("{found} --context none"), 3, "", "`isogrid context add none --server");
    let told = run(&["context", "ls", "-o", "json"], &[settings], b"").json();
    assert_eq!(told["use"], json!("prod"));
    assert_eq!(told["contexts"]["test"], json!({ "server": here.address }));
    let listed = run(&["context", "ls"], &[settings], b"").out;
    assert!(listed.contains(&format!("*  prod  {}\n", there.address)), "{listed}");
    for (variable, text, code) in
        [("ISOGRID_CONTEXT", "test", 3), ("ISOGRID_SERVER", here.address.as_str(), 3), ("X", "", 0)]
    {
        let said = run(&["cache", "keys", "only-there"], &[settings, (variable, text)], b"");
        assert_eq!(said.code, Some(code), "{variable}: {said:?}");
    }
    // Back to the one before, and back again; one that is forgotten is none before either.
    holds("context use -", 3, "", "no context was in use before");
    holds("context use test", 0, "", "");
    holds("context use -", 0, "prod\n", "");
    holds("context use prod", 0, "", "");
    holds("context use -", 0, "test\n", "");
    holds(found, 3, "", "there is no cache");
    holds("context rm prod", 0, "", "");
    holds("context use -", 3, "", "no context was in use before");
    holds("context rm prod", 3, "", "there is no context \"prod\"");
    fs::write(folder.join("isogrid/contexts.toml"), "use = 1").unwrap();
    holds("cache ls", 1, "", "contexts.toml: ");
    fs::remove_dir_all(folder).unwrap();
}

/// A file that was named from one folder was looked for in every other one.
#[test]
fn files_of_a_context_are_found_from_every_folder() {
    let (home, elsewhere) = (temporary("context-home"), temporary("context-elsewhere"));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    // The name by which the system knows the folder.
    let home = home.canonicalize().unwrap();
    let said = |words: &str, folder: &Path| {
        let mut command = Command::new(isogrid());
        command.args(words.split(' ')).env_clear().env("XDG_CONFIG_HOME", &home);
        command.current_dir(folder).output().unwrap()
    };
    let files = "--user anna --password-file secret --cacert ca.pem --cert a/../c.pem --key k.pem";
    let added = said(&format!("context add prod --server 127.0.0.1:1 {files}"), &home);
    assert!(added.status.success(), "{added:?}");
    let added = said("context add ci --server 127.0.0.1:1 --token-file /run/token", &home);
    assert!(added.status.success(), "{added:?}");
    let listed: Value =
        serde_json::from_slice(&said("context ls -o json", &elsewhere).stdout).unwrap();
    for (context, field, file) in [
        ("prod", "password_file", "secret"),
        ("prod", "cacert", "ca.pem"),
        ("prod", "cert", "a/../c.pem"),
        ("prod", "key", "k.pem"),
        ("ci", "token_file", "/run/token"),
    ] {
        let noted = &listed["contexts"][context][field];
        assert_eq!(*noted, json!(home.join(file).to_str().unwrap()), "{context} {field}");
    }
    for folder in [home, elsewhere] {
        fs::remove_dir_all(folder).unwrap();
    }
}
