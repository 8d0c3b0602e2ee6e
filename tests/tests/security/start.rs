//! Who may start: each address with each way of logging in and each way of TLS.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use isogrid_tests::harness::tls::Authority;
use isogrid_tests::harness::{Client, Server, Users, isogrid};

const REFUSED: i32 = 78;

#[test]
fn a_listener_that_others_reach_wants_logins_and_tls() {
    let (authority, users) = (Authority::new(), Users::new());
    authority.sign("server", "server", 2100);
    users.add("app", "some-password", &["read@*"]);
    let file = format!("auth.users={}", users.file());
    let cert = format!("tls.cert={}", authority.path("server.pem"));
    let key = format!("tls.key={}", authority.path("server.key"));
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        for auth in ["off", "auto", "on"] {
            for tls in ["off", "optional", "on"] {
                let (auth_is, tls_is) = (format!("auth.mode={auth}"), format!("tls.mode={tls}"));
                let mut args = vec!["--memcached", address, "--set", &auth_is, "--set", &tls_is];
                args.extend(["--set", &file, "--set", &cert, "--set", &key]);
                let outcome = Server::try_isogrid(&args);
                let starts = address != "0.0.0.0:0" || (auth, tls) == ("on", "on");
                match outcome {
                    Ok(_) => assert!(starts, "{args:?} starts"),
                    Err(error) => {
                        assert!(!starts, "{args:?}: {error:?}");
                        assert_eq!(error.code, Some(REFUSED), "{args:?}");
                        assert!(error.log.contains("help: add `--set "), "{args:?}: {error:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_secured_is_refused_with_the_next_step() {
    let (authority, users) = (Authority::new(), Users::new());
    authority.sign("server", "server", 2100);
    authority.sign("other", "other", 2100);
    std::fs::write(users.file(), "[[user]]\nname = \"a\"\nroles = [\"reed@*\"]\n").unwrap();
    let set = |key: &str, value: String| format!("{key}={value}");
    let users_file = set("auth.users", users.file());
    let cert = set("tls.cert", authority.path("server.pem"));
    let key = set("tls.key", authority.path("server.key"));
    let strange = set("tls.key", authority.path("other.key"));
    let missing = set("tls.key", authority.path("none.key"));
    for (sets, said) in [
        (vec!["tls.mode=on"], "docs/SECURITY.md"),
        (vec!["tls.mode=on", &cert, &strange], "openssl x509"),
        (vec!["tls.mode=on", &cert, &missing], "none.key"),
        (vec!["tls.mode=on", &cert, &cert.replace("cert=", "key=")], "there is none in it"),
        (vec!["tls.mode=on", &cert, &key, "tls.client=required"], "set tls.ca"),
        (vec!["auth.mode=on"], "auth.users"),
        (vec!["auth.require_tls=on"], "set tls.mode to on or optional"),
        (vec!["auth.mode=on", &users_file], "`reed` is no permission"),
        (vec![&users_file], "`reed` is no permission"),
    ] {
        let args: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let error = Server::try_isogrid(&args).err().unwrap_or_else(|| panic!("{args:?} starts"));
        assert_eq!(error.code, Some(REFUSED), "{args:?}: {error:?}");
        assert!(error.log.contains(said), "{args:?}: {error:?}");
    }
}

#[test]
fn a_server_without_users_makes_one() {
    let users = Users::new();
    let server = super::guarded(&users, &[]);
    let path = users.folder().join("admin-password");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(&path).unwrap();
    assert!(!server.log().contains(password.trim()), "it is in the file alone");
    let mut client: Client = server.connect();
    assert_eq!(client.log_in("admin", password.trim()), "STORED");
    client.ask("cache_memlimit 64\r\n", "OK\r\n");
    drop(server);
    let server = super::guarded(&users, &[]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), password, "the first user stays");
    assert_eq!(server.connect().log_in("admin", password.trim()), "STORED");
}

/// Memory is not written to a file where somebody logs in, unless `-r` asks for that.
#[test]
fn a_crash_leaves_no_image_of_secrets() {
    let users = Users::new();
    let file = users.path("authfile");
    std::fs::write(&file, "app:some-password\n").unwrap();
    let table: [(&[&str], &str); 3] =
        [(&[], "1000000"), (&["-Y", &file], "0"), (&["-Y", &file, "-r"], "1000000")];
    for (args, limit) in table {
        let mut command = Command::new("prlimit");
        command.arg("--core=1000000").arg(isogrid()).arg("memcached");
        let server = Server::memcached_like(command, args).unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(line.split_whitespace().nth(4), Some(limit), "{args:?}: {line}");
    }
}

/// Whoever replaces memcached is told what to do in memcached's words, and that helps.
#[test]
fn a_refusal_of_the_drop_in_names_its_flags() {
    let (authority, users) = (Authority::new(), Users::new());
    authority.sign("server", "server", 2100);
    let file = users.path("authfile");
    std::fs::write(&file, "app:some-password\n").unwrap();
    let (cert, key) = (authority.path("server.pem"), authority.path("server.key"));
    let tls = format!("ssl_chain_cert={cert},ssl_key={key}");
    let everywhere = ["-l", "0.0.0.0"];
    let start = |args: &[&[&str]]| {
        let mut command = Command::new(isogrid());
        command.arg("memcached");
        Server::memcached_like(command, &args.concat())
    };
    let (login, secured) = (["-Y", &file], ["-Z", "-o", &tls]);
    let table: [(&[&[&str]], &[&str], &[&str]); 5] = [
        (&[&everywhere], &["`-Y FILE`", "`-Z -o ssl_chain_cert=FILE,ssl_key=FILE`"], &["--set"]),
        (&[&everywhere, &login], &["-Z -o"], &["-Y FILE", "--set"]),
        (&[&everywhere, &secured], &["-Y FILE"], &["-Z -o", "--set"]),
        (&[&["-Z"]], &["-o ssl_chain_cert=FILE,ssl_key=FILE"], &["tls.cert"]),
        (&[&["-Y", "/nonexistent"]], &["/nonexistent", "user:password"], &[]),
    ];
    for (args, said, not) in table {
        let error = start(args).err().unwrap_or_else(|| panic!("{args:?} starts"));
        assert_eq!(error.code, Some(REFUSED), "{args:?}: {error:?}");
        assert!(said.iter().all(|word| error.log.contains(word)), "{args:?}: {error:?}");
        assert!(!not.iter().any(|word| error.log.contains(word)), "{args:?}: {error:?}");
    }
    start(&[&everywhere, &login, &secured]).unwrap();
}
