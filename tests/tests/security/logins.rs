//! Logins over memcached's protocols: as memcached itself answers them, and what becomes of a
//! connection whose user changes.

use std::process::Command;

use isogrid_tests::harness::{Client, Server, Users, isogrid, opcode, request, wait_until};

use super::{PASSWORD, guarded};

/// What both say to `input`, byte for byte, and whether they close.
fn both(dropin: &Server, memcached: Option<&Server>, input: &[u8]) {
    let answer = |server: &Server| {
        let mut client = server.connect();
        client.send(input);
        client.finish();
        client.rest().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let Some(memcached) = memcached else { return };
    let version = |text: Option<String>| text.map(|text| text.replace("1.6.18", "1.6.45"));
    let (ours, theirs) = (version(answer(dropin)), version(answer(memcached)));
    assert_eq!(ours, theirs, "asked {:?}", String::from_utf8_lossy(input));
}

#[test]
fn the_auth_file_of_text_clients_as_memcached_has_it() {
    let users = Users::new();
    let file = users.path("passwords");
    std::fs::write(&file, "alice:secret\nbob:pass word\n").unwrap();
    let dropin = Server::dropin(&["-Y", &file]);
    let memcached = Server::memcached(&["-Y", &file]);
    for input in [
        "get a\r\n",
        "version\r\n",
        "quit\r\n",
        "set x 0 0 12\r\nalice secret\r\nmn\r\n",
        "set x 0 0 12\r\nalice secret\r\nset k 0 0 1\r\n1\r\nget k\r\n",
        "set x 0 0 11\r\nalice wrong\r\n",
        "set x 0 0 5\r\nalice\r\n",
        "set x 0 0 0\r\n\r\n",
        "set x 0 0 12\r\nalice secretXX",
        "set x 0 0\r\n",
        "set x 0 0 y\r\n",
        "set x 0 0 -1\r\n",
        "set x 1 2 12 noreply\r\nalice secret\r\nmn\r\n",
        "set x a b 12\r\nalice secret\r\nmn\r\n",
        "set x 0 0 12\nalice secret\r\nmn\r\n",
        "set x 0 0 14\r\n alice  secret\r\nmn\r\n",
        "set x 0 0 19\r\nalice secret extra!\r\nmn\r\n",
        "set x 0 0 13\r\nbob pass word\r\n",
        "add x 0 0 12\r\n",
        "\r\n",
    ] {
        both(&dropin, memcached.as_ref(), input.as_bytes());
    }
    let mut client = dropin.connect();
    (0..5).for_each(|_| assert!(client.log_in("alice", "no").starts_with("CLIENT_ERROR")));
    assert_eq!(client.log_in("alice", "secret"), "STORED", "memcached never closes");
    let settings = client.stats("stats settings");
    let is = |name: &str, value: &str| settings.contains(&(name.to_owned(), value.to_owned()));
    assert!(is("auth_enabled_ascii", "yes") && is("auth_enabled_sasl", "no"));
    // Changed while it runs: the old password is worth nothing within a second.
    std::fs::write(&file, "alice:changed\nbob:x\n").unwrap();
    client.closed();
    wait_until("the new password is known", || {
        dropin.connect().log_in("alice", "changed") == "STORED"
    });
}

fn sasl(code: u8, mechanism: &[u8], data: &[u8]) -> Vec<u8> {
    request(code, 7, 0, &[], mechanism, data)
}

/// memcached of Debian has no users here, so only what comes before a right password is compared.
#[test]
fn sasl_of_binary_clients_as_memcached_has_it() {
    let users = Users::new();
    let file = users.path("passwords");
    std::fs::write(&file, "alice:secret\n").unwrap();
    let conf = users.path("memcached.conf");
    std::fs::write(&conf, "mech_list: plain\n").unwrap();
    let mut command = Command::new(isogrid());
    command.arg("memcached").env("MEMCACHED_SASL_PWDB", &file);
    let dropin = Server::memcached_like(command, &["-S"]).unwrap();
    let memcached =
        isogrid_tests::harness::has("memcached", "apt-get install memcached").then(|| {
            let mut command = Command::new("memcached");
            command.args(["-l", "127.0.0.1"]).env("SASL_CONF_PATH", users.folder());
            Server::memcached_like(command, &["-S"]).unwrap()
        });
    let plain = |data: &[u8]| sasl(opcode::SASL_AUTH, b"PLAIN", data);
    let list = || request(opcode::SASL_LIST, 7, 0, &[], &[], &[]);
    let noop = || request(opcode::NOOP, 7, 0, &[], &[], &[]);
    for input in [
        list(),
        request(opcode::VERSION, 7, 0, &[], &[], &[]),
        noop(),
        request(opcode::QUIT, 7, 0, &[], &[], &[]),
        request(opcode::GET, 7, 0, &[], b"k", &[]),
        request(opcode::SET, 7, 0, &[0; 8], b"k", &[b'v'; 3_000]),
        request(0x50, 7, 0, &[], &[], &[]),
        [plain(b"\0alice\0wrong"), noop()].concat(),
        [plain(b"\0alice"), list()].concat(),
        [plain(b""), sasl(opcode::SASL_STEP, b"PLAIN", b"\0alice\0wrong"), noop()].concat(),
        [sasl(opcode::SASL_AUTH, b"BOGUS", b"x"), list()].concat(),
        [sasl(opcode::SASL_AUTH, &[b'M'; 40], b"x"), list()].concat(),
        [plain(b"bob\0alice\0secret"), list()].concat(),
        sasl(opcode::SASL_STEP, b"PLAIN", b"\0alice\0secret"),
        request(opcode::SASL_AUTH, 7, 0, &[], &[], &[]),
        request(opcode::SASL_AUTH, 7, 0, &[1; 4], b"PLAIN", b"x"),
        request(opcode::SASL_LIST, 7, 0, &[], b"k", &[]),
    ] {
        both(&dropin, memcached.as_ref(), &input);
    }
    for steps in [
        vec![plain(b"\0alice\0secret")],
        vec![plain(b"alice\0alice\0secret")],
        vec![plain(b""), sasl(opcode::SASL_STEP, b"PLAIN", b"\0alice\0secret")],
        vec![plain(b"\0alice\0wrong"), plain(b"\0alice\0secret")],
    ] {
        let mut client = dropin.connect();
        let answer = steps.iter().map(|step| client.call(step)).last().unwrap();
        assert_eq!((answer.status, &answer.value[..]), (0, &b"Authenticated"[..]));
        assert_eq!(client.call(&noop()).status, 0);
        // Again, in one piece with what follows.
        client.send([plain(b"\0alice\0secret"), noop()].concat());
        assert_eq!((client.packet().value, client.packet().status), (b"Authenticated".to_vec(), 0));
    }
}

#[test]
fn a_change_of_a_user_reaches_its_connections() {
    let users = Users::new();
    users.add("app", PASSWORD, &["read,write@*"]);
    users.add("gone", PASSWORD, &["read@*"]);
    users.add("changed", PASSWORD, &["read@*"]);
    let server = guarded(&users, &[]);
    let connect = |name: &str| {
        let mut client = server.connect();
        assert_eq!(client.log_in(name, PASSWORD), "STORED");
        client
    };
    let (mut app, mut gone, mut changed) = (connect("app"), connect("gone"), connect("changed"));
    app.ask("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    assert!(users.user(&["role", "app", "read@*"], "").status.success());
    assert!(users.user(&["rm", "gone"], "").status.success());
    assert!(users.user(&["passwd", "changed"], "another-password\n").status.success());
    gone.closed();
    changed.closed();
    wait_until("the new role is known", || {
        app.send("set a 0 0 1\r\n2\r\n");
        app.line() == "CLIENT_ERROR permission denied"
    });
    app.ask("get a\r\n", "VALUE a 0 1\r\n");
    assert_eq!(server.connect().log_in("changed", "another-password"), "STORED");
    assert!(server.connect().log_in("gone", PASSWORD).starts_with("CLIENT_ERROR"));
}

/// `auto`: a server that everybody may use begins to want logins with its first user, also of
/// those who are there, and does not stop when the last one goes.
#[test]
fn the_first_user_closes_the_door() {
    let users = Users::new();
    let file = format!("auth.users={}", users.file());
    let server = Server::isogrid(&["--set", &file, "--set", "auth.audit=off"]);
    let mut client = server.connect();
    client.ask("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    users.add("app", PASSWORD, &["read@*"]);
    client.closed();
    let mut client: Client = server.connect();
    client.ask("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
    assert_eq!(client.log_in("app", PASSWORD), "STORED");
    client.ask("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    assert!(users.user(&["rm", "app"], "").status.success());
    client.closed();
    server.connect().ask("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
}

#[test]
fn a_broken_file_of_users_changes_nothing() {
    let users = Users::new();
    users.add("app", PASSWORD, &["read@*"]);
    let server = guarded(&users, &[]);
    std::fs::write(users.file(), "[[user]]\nname = 3\n").unwrap();
    wait_until("the file is looked at", || server.log().contains("users_not_loaded"));
    assert_eq!(server.connect().log_in("app", PASSWORD), "STORED");
}

#[test]
fn the_commands_for_users() {
    let users = Users::new();
    users.add("app", PASSWORD, &["read@*", "write@own/a:"]);
    let text = |words: &[&str], input: &str| {
        let output = users.user(words, input);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), out, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(text(&["ls"], "").1, "app\tpassword\tread@* write@own/a:\n");
    for (words, input, said) in [
        (&["add", "app", "--role", "read@*"][..], "long-enough\n", "there is a user `app` already"),
        (&["add", "b", "--role", "read@*"], "short\n", "8 to 1024 bytes"),
        (&["add", "b", "--role", "read@*"], "", "8 to 1024 bytes"),
        (&["add", "b", "--role", "read"], "long-enough\n", "says no caches"),
        (&["add", "b c", "--role", "read@*"], "long-enough\n", "no name of a user"),
        (&["passwd", "nobody"], "long-enough\n", "no user `nobody`"),
        (&["rm", "nobody"], "", "no user `nobody`"),
    ] {
        let (good, _, error) = text(words, input);
        assert!(!good && error.contains(said), "{words:?}: {error}");
    }
    let (good, token, _) = text(&["add", "ci", "--role", "read@*", "--token"], "");
    assert!(good && token.starts_with("ci.") && token.trim().len() == 3 + 43, "{token}");
    let file = std::fs::read_to_string(users.file()).unwrap();
    assert!(!file.contains(token.trim().trim_start_matches("ci.")) && !file.contains(PASSWORD));
}
