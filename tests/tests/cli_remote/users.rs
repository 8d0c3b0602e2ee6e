//! `isogrid user --server`: the users of a running server, who is let in by them, and that no
//! password leaves the machine that it is typed at.

use std::fs;

use isogrid_tests::harness::{Server, Users, wait_until};
use serde_json::json;

use crate::{Said, run};

const PASSWORD: &str = "correct-horse-battery";
const OTHER: &str = "tr0ub4dor-and-3";

/// A server that wants logins as soon as there is a user.
struct Door {
    _server: Server,
    address: String,
    users: Users,
}

impl Door {
    fn new() -> Self {
        let users = Users::new();
        let file = format!("auth.users={}", users.file());
        let audit = format!("auth.audit={}", users.path("audit.jsonl"));
        let flags = ["--native", "127.0.0.1:0", "--set", &file, "--set", &audit];
        let server = Server::isogrid(&flags);
        let address = server.bound_for("native").remove(0);
        fs::write(users.path("password"), PASSWORD).unwrap();
        Door { _server: server, address, users }
    }

    /// A command, asked by nobody or by who has [`PASSWORD`].
    fn asked(&self, who: Option<&str>, words: &str, stdin: &str) -> Said {
        let file = self.users.path("password");
        let mut args: Vec<&str> = words.split(' ').collect();
        args.extend(["--server", &self.address]);
        args.extend(who.into_iter().flat_map(|who| ["--user", who, "--password-file", &file]));
        run(&args, &[], stdin.as_bytes())
    }

    /// Tries until the server has read its users again.
    fn soon(&self, who: Option<&str>, words: &str, code: i32) {
        wait_until(words, || self.asked(who, words, "").code == Some(code));
    }
}

#[test]
fn users_of_a_running_server_are_listed_added_changed_and_removed() {
    let door = Door::new();
    assert_eq!(door.asked(None, "user ls", "").out, "");
    let added = door.asked(None, "user add boss --role all@*", PASSWORD);
    assert_eq!((added.code, added.out.as_str()), (Some(0), ""), "{added:?}");
    // The first user closes the door.
    door.soon(None, "cache ls", 6);
    let boss = Some("boss");
    assert_eq!(
        door.asked(boss, "user add app --role read@* --role write@own*", PASSWORD).code,
        Some(0)
    );
    door.soon(Some("app"), "cache ls", 0);
    let told = door.asked(boss, "user ls", "");
    assert_eq!(told.out, "app\tpassword\tread@* write@own*\nboss\tpassword\tall@*\n", "{told:?}");

    let token = door.asked(boss, "user passwd app --token", "");
    assert!(token.out.starts_with("app.") && token.out.len() > 40, "{token:?}");
    let listed = door.asked(boss, "user ls -o json", "").json();
    let app = json!({
        "name": "app", "password": true, "token": true, "roles": ["read@*", "write@own*"],
    });
    assert_eq!(listed["users"][0], app);

    // Roles hold, a password that was changed is worth nothing, who was removed is out.
    assert_eq!(door.asked(Some("app"), "cache get default k", "").code, Some(3), "nothing there");
    assert_eq!(door.asked(boss, "user role app write@*", "").code, Some(0));
    door.soon(Some("app"), "cache get default k", 6);
    assert_eq!(door.asked(boss, "user role app read@*", "").code, Some(0));
    door.soon(Some("app"), "cache get default k", 3);
    assert_eq!(door.asked(boss, "user passwd app", OTHER).code, Some(0));
    door.soon(Some("app"), "cache get default k", 6);
    assert_eq!(door.asked(boss, "user rm app", "").code, Some(0));
    assert_eq!(door.asked(boss, "user ls", "").out, "boss\tpassword\tall@*\n");

    for file in ["users.toml", "audit.jsonl"] {
        let text = fs::read_to_string(door.users.path(file)).unwrap();
        let has = |secret: &str| text.contains(secret.trim());
        assert!(!has(PASSWORD) && !has(OTHER) && !has(&token.out), "{file}");
    }
}

#[test]
fn what_makes_no_user_is_refused_and_changes_nothing() {
    let door = Door::new();
    door.asked(None, "user add boss --role all@*", PASSWORD);
    door.soon(None, "cache ls", 6);
    let boss = Some("boss");
    door.asked(boss, "user add app --role read@*", PASSWORD);
    door.soon(Some("app"), "cache ls", 0);
    let before = fs::read_to_string(door.users.file()).unwrap();
    for (who, words, stdin, code, why) in [
        (boss, "user add app --role read@*", PASSWORD, 2, "there is a user `app` already"),
        (boss, "user passwd nobody", PASSWORD, 2, "there is no user `nobody`"),
        (boss, "user role nobody read@*", "", 2, "there is no user `nobody`"),
        (boss, "user rm nobody", "", 2, "there is no user `nobody`"),
        (boss, "user role app reed@*", "", 1, "`reed` is no permission"),
        (boss, "user add new --role read@*", "short", 1, "a password has 8 to 1024 bytes"),
        (boss, "admin users.add name=new", "", 2, "`roles` is missing"),
        (boss, "admin users.passwd name=app", "", 2, "`verifier` or `token_sha256`"),
        (boss, "admin users.passwd name=app verifier=secret", "", 2, "not SCRAM-SHA-256$"),
        (boss, "admin users.passwd name=app token_sha256=00", "", 2, "not 64 hex digits"),
        (Some("app"), "user ls", "", 6, "FORBIDDEN"),
        (Some("app"), "user add me --role all@*", PASSWORD, 6, "FORBIDDEN"),
        (Some("app"), "admin node.diagnose", "", 6, "FORBIDDEN"),
        (Some("app"), "admin config.reload", "", 6, "FORBIDDEN"),
    ] {
        let said = door.asked(who, words, stdin);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{words}: {said:?}");
        assert!(said.error.contains(why), "{words}: {said:?}");
    }
    assert_eq!(fs::read_to_string(door.users.file()).unwrap(), before);
}

/// A file that somebody has changed by hand is read at once when that is asked for, and what is
/// wrong with it is told.
#[test]
fn a_reload_says_what_was_read_and_what_was_not() {
    let door = Door::new();
    door.asked(None, "user add boss --role all@*", PASSWORD);
    door.soon(None, "cache ls", 6);
    let reload = || door.asked(Some("boss"), "admin config.reload -o json", "").json();
    assert_eq!(reload(), json!({ "users": "loaded", "audit_log": "loaded" }));
    let good = fs::read_to_string(door.users.file()).unwrap();
    fs::write(door.users.file(), good.clone() + "[[user]]\n").unwrap();
    let said = reload();
    let users = said["users"].as_str().unwrap();
    assert!(users.starts_with("not loaded, the old one holds: "), "{said}");
    assert!(users.contains("missing field `name`"), "{said}");
    fs::write(door.users.file(), good).unwrap();
    assert_eq!(reload()["users"], "loaded");
}

#[test]
fn a_diagnosis_has_everything_and_no_secret() {
    let door = Door::new();
    door.asked(None, "user add boss --role all@*", PASSWORD);
    door.soon(None, "cache ls", 6);
    let told = door.asked(Some("boss"), "node diagnose", "");
    let document = told.json();
    for part in ["node", "ready", "stats", "configuration", "connections", "caches", "metrics"] {
        assert!(!document[part].is_null(), "{part}: {document}");
    }
    let metrics = document["metrics"].as_str().unwrap();
    assert!(metrics.contains("\nisogrid_connections"), "{metrics}");
    assert_eq!(document["connections"].as_array().unwrap().len(), 1, "who asks");
    assert!(!told.out.contains("SCRAM-SHA-256$") && !told.out.contains(PASSWORD));
}
