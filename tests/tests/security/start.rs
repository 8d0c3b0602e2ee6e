//! Who may start: each address with each way of logging in and each way of TLS.

use std::os::unix::fs::PermissionsExt;

use isogrid_tests::harness::tls::Authority;
use isogrid_tests::harness::{Client, Server, Users};

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
