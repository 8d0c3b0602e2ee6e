//! Passwords, tokens, certificates and TLS of the commands that talk to a server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use isogrid_tests::harness::tls::Authority;
use isogrid_tests::harness::{Server, Users, has, isogrid};

use crate::run;

const PASSWORD: &str = "correct-horse-battery";

/// A server that wants logins, and the files that open it.
struct Door {
    _server: Server,
    address: String,
    users: Users,
    authority: Authority,
    token: String,
}

impl Door {
    fn new() -> Self {
        let (users, authority) = (Users::new(), Authority::new());
        users.add("app", PASSWORD, &["read,write@*"]);
        users.add("sweeper", PASSWORD, &["delete@*", "admin@*"]);
        let token = users.token("ci", &["read@*"]);
        for name in ["server", "app", "stranger"] {
            authority.sign(name, name, 2100);
        }
        for (file, text) in [("password", PASSWORD), ("wrong", "x"), ("token", &token)] {
            fs::write(users.path(file), format!("{text}\n")).unwrap();
        }
        let set = |key: &str, file: String| format!("{key}={file}");
        let settings = [
            set("auth.users", users.file()),
            set("tls.cert", authority.path("server.pem")),
            set("tls.key", authority.path("server.key")),
            set("tls.ca", authority.path("ca.pem")),
        ];
        let fixed = ["auth.mode=on", "auth.audit=off", "tls.mode=optional", "tls.client=optional"];
        let mut flags = vec!["--native", "127.0.0.1:0"];
        settings.iter().map(String::as_str).chain(fixed).for_each(|s| flags.extend(["--set", s]));
        let server = Server::isogrid(&flags);
        let address = server.bound_for("native").remove(0);
        Door { _server: server, address, users, authority, token }
    }

    /// `PASSWORD`, `WRONG`, `TOKEN` and the names of certificates stand for their files.
    fn words(&self, words: &str) -> Vec<String> {
        let file = |word: &str| match word {
            "PASSWORD" => self.users.path("password"),
            "WRONG" => self.users.path("wrong"),
            "TOKEN" => self.users.path("token"),
            "SERVER" => self.address.clone(),
            word if word.ends_with(".pem") || word.ends_with(".key") => self.authority.path(word),
            word => word.to_owned(),
        };
        words.split(' ').map(file).collect()
    }

    fn said(&self, words: &str, environment: &[(&str, &str)]) -> crate::Said {
        let words = self.words(words);
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&args, environment, b"")
    }
}

#[test]
fn who_may_and_who_may_not() {
    let door = Door::new();
    let server = ("ISOGRID_SERVER", door.address.as_str());
    let ca = door.authority.path("ca.pem");
    let user = ("ISOGRID_USER", "app");
    for (words, environment, code, error) in [
        ("--user app --password-file PASSWORD", &[server][..], 0, ""),
        ("--user app", &[server, ("ISOGRID_PASSWORD", PASSWORD)], 0, ""),
        ("", &[server, user, ("ISOGRID_PASSWORD", PASSWORD)], 0, ""),
        ("--token-file TOKEN", &[server], 0, ""),
        ("", &[server, ("ISOGRID_TOKEN", &door.token)], 0, ""),
        ("--user app --password-file WRONG", &[server], 6, "error[E2002 AUTH_FAILED]"),
        ("", &[server, ("ISOGRID_TOKEN", "ci.0")], 6, "error[E2002 AUTH_FAILED]"),
        ("", &[server], 6, "error[E2001 AUTH_REQUIRED]"),
        ("--user app --password-file nowhere", &[server], 1, "cannot read nowhere"),
        ("--user app --token-file TOKEN", &[server], 2, "cannot be used with"),
        ("--user app --password secret", &[server], 2, "--password"),
        ("--cacert ca.pem --user app --password-file PASSWORD", &[server], 0, ""),
        ("--cacert ca.pem --cert app.pem --key app.key", &[server], 0, ""),
        ("--tls --token-file TOKEN", &[server, ("SSL_CERT_FILE", &ca)], 0, ""),
        ("--cacert ca.pem --cert app.pem", &[server], 2, "--key"),
        ("--cacert server.pem --token-file TOKEN", &[server], 6, "UnknownIssuer"),
        ("--cacert nowhere --token-file TOKEN", &[server], 6, "cannot read nowhere"),
    ] {
        let words = format!("cache keys default {words}").trim_end().to_owned();
        let said = door.said(&words, environment);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{words}: {said:?}");
        assert!(said.error.contains(error), "{words}: {said:?}");
        assert_eq!(said.error.is_empty(), error.is_empty(), "{words}: {said:?}");
    }
    let certificate = "cache keys default --cacert ca.pem --cert stranger.pem --key stranger.key";
    assert_eq!(door.said(certificate, &[server]).code, Some(6));
}

/// A list and a removal asked for more than they need, and who may not have that was refused.
#[test]
fn what_is_not_needed_is_not_asked_for() {
    let door = Door::new();
    let server = [("ISOGRID_SERVER", door.address.as_str())];
    let by = |user: &str, words: &str| {
        door.said(
            &format!("{words} --cacert ca.pem --user {user} --password-file PASSWORD"),
            &server,
        )
    };
    for (user, words, code, out) in [
        ("sweeper", "cache create orders", 0, "created orders\n"),
        ("app", "cache put orders k v", 0, "stored, version"),
        ("app", "cache ls --glob o*", 0, "\norders  "),
        ("sweeper", "cache ls --glob o*", 0, "\norders  "),
        ("sweeper", "cache clear orders", 2, ""),
        ("sweeper", "cache clear orders --yes", 0, "cleared orders\n"),
        ("app", "cache get orders k", 3, ""),
        ("app", "cache clear orders --yes", 6, ""),
        ("sweeper", "cache drop orders --yes", 0, "dropped orders\n"),
    ] {
        let said = by(user, words);
        assert_eq!(said.code, Some(code), "{user}: {words}: {said:?}");
        assert!(said.out.contains(out), "{user}: {words}: {said:?}");
    }
    let listed = by("app", "cache ls -o json").json();
    assert_eq!(listed["caches"][0]["name"], "default", "{listed}");
}

#[test]
fn a_context_remembers_how_to_log_in() {
    let door = Door::new();
    let folder = door.users.path("settings");
    let settings = ("XDG_CONFIG_HOME", folder.as_str());
    for (words, code) in [
        ("context add prod --server SERVER --user app --password-file PASSWORD --cacert ca.pem", 0),
        ("context add mine --server SERVER --cacert ca.pem --cert app.pem --key app.key", 0),
        ("context add ci --server SERVER --token-file TOKEN", 0),
        ("context add bad --server SERVER --user app --token-file TOKEN", 2),
        ("cache keys default --context prod", 0),
        ("cache keys default --context mine", 0),
        ("cache keys default --context ci", 0),
        ("cache keys default --context prod --user app --password-file WRONG", 6),
        ("cache keys default --context prod --token-file TOKEN", 0),
    ] {
        let said = door.said(words, &[settings]);
        assert_eq!(said.code, Some(code), "{words}: {said:?}");
    }
    let listed = door.said("context ls", &[settings]).out;
    let row = |name: &str| {
        let row = listed.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        row.split_whitespace().skip(2).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("prod"), "app tls", "{listed}");
    assert_eq!(row("ci"), format!("token in {}", door.users.path("token")), "{listed}");
    let file = fs::read_to_string(format!("{folder}/isogrid/contexts.toml")).unwrap();
    assert!(!file.contains(PASSWORD) && !file.contains(&door.token), "{file}");
}

#[test]
fn a_password_is_asked_for_on_the_terminal_and_not_shown() {
    if !has("script", "apt-get install bsdutils") {
        return;
    }
    let door = Door::new();
    let binary = isogrid();
    let line =
        format!("{} cache put default k - --server {} --user app", binary.display(), door.address);
    // A terminal of its own; what is typed comes from this pipe.
    // One that waits for ever is ended, and the test says what it waited for.
    let mut command = Command::new("timeout");
    command.args(["20", "script", "-qec", &line, "/dev/null"]).env_remove("ISOGRID_PASSWORD");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut typed, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    while !shown.ends_with("password of app: ") {
        let mut byte = [0];
        screen.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e}: {shown}"));
        shown.push(char::from(byte[0]));
    }
    typed.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    screen.read_to_string(&mut shown).unwrap();
    drop(typed);
    assert!(child.wait().unwrap().success() && shown.contains("stored, version"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

/// Ctrl-C at the question ended the program and left the terminal without an echo.
#[test]
fn ctrl_c_at_the_question_leaves_the_terminal_as_it_was() {
    if !has("script", "apt-get install bsdutils") {
        return;
    }
    let door = Door::new();
    let binary = isogrid();
    // What is behind the command shows the terminal as the command left it.
    let line = format!(
        "trap : INT; {} cache ls --server {} --user app; echo ended $?; stty -a",
        binary.display(),
        door.address
    );
    let mut command = Command::new("timeout");
    command.args(["20", "script", "-qec", &line, "/dev/null"]).env_remove("ISOGRID_PASSWORD");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut typed, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    while !shown.ends_with("password of app: ") {
        let mut byte = [0];
        screen.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e}: {shown}"));
        shown.push(char::from(byte[0]));
    }
    typed.write_all(b"half a pass\x03").unwrap();
    screen.read_to_string(&mut shown).unwrap();
    drop(typed);
    child.wait().unwrap();
    assert!(shown.contains("ended 130"), "{shown}");
    for mode in ["isig", "icanon", "echo"] {
        assert!(shown.split_whitespace().any(|word| word == mode), "no {mode}: {shown}");
    }
    assert!(!shown.contains("half"), "{shown}");
}

#[test]
fn without_a_terminal_it_says_where_a_password_may_come_from() {
    if !has("setsid", "apt-get install util-linux") {
        return;
    }
    let door = Door::new();
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(isogrid()).args(["cache", "ls", "--user", "app"]);
    command.args(["--server", &door.address]).env_remove("ISOGRID_PASSWORD").stdin(Stdio::null());
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--password-file FILE, or set ISOGRID_PASSWORD"), "{error}");
}
