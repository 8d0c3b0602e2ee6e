//! Each way to log in, right and wrong, in the clear and over TLS, and again on each connection.

use std::time::Duration;

use isogrid_tests::harness::tls::Authority;
use isogrid_tests::harness::{Server, Users};
use isogrid_wire::client::{Cause, Client, Error, Options, TlsOptions, Url};
use isogrid_wire::native::ErrorCode;

use crate::{Place, options};

const PASSWORD: &str = "correct-horse-battery";

/// What a server needs that takes logins, in the clear and over TLS.
struct Door {
    users: Users,
    authority: Authority,
    token: String,
    flags: Vec<String>,
}

impl Door {
    fn new() -> Self {
        let (users, authority) = (Users::new(), Authority::new());
        users.add("app", PASSWORD, &["read,write@*"]);
        let token = users.token("ci", &["read@*"]);
        for name in ["server", "app", "stranger"] {
            authority.sign(name, name, 2100);
        }
        let set = |text: String| ["--set".to_owned(), text];
        let flags = [
            "auth.mode=on".to_owned(),
            format!("auth.users={}", users.file()),
            format!("auth.audit={}", users.path("audit.jsonl")),
            "tls.mode=optional".to_owned(),
            format!("tls.cert={}", authority.path("server.pem")),
            format!("tls.key={}", authority.path("server.key")),
            format!("tls.ca={}", authority.path("ca.pem")),
            "tls.client=optional".to_owned(),
        ];
        Door { users, authority, token, flags: flags.into_iter().flat_map(set).collect() }
    }

    fn serve(&self, more: &[&str]) -> Server {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        Server::isogrid(&[&flags, more].concat())
    }

    fn open(&self) -> (Server, String) {
        let server = self.serve(&["--native", "127.0.0.1:0"]);
        let address = server.bound_for("native").remove(0);
        (server, address)
    }

    /// Trusts the server, and shows a certificate.
    fn tls(&self, certificate: Option<&str>) -> TlsOptions {
        let tls = TlsOptions::default().authorities(self.authority.path("ca.pem"));
        let path =
            |end: &str| certificate.map(|name| self.authority.path(&format!("{name}.{end}")));
        match (path("pem"), path("key")) {
            (Some(chain), Some(key)) => tls.certificate(chain, key),
            _ => tls,
        }
    }
}

#[tokio::test]
async fn a_url_says_the_server_the_login_and_the_authority() {
    let door = Door::new();
    door.users.add("a@b", "p:a/s%s?", &["read,write@*"]);
    let (_server, address) = door.open();
    let ca = door.authority.path("ca.pem").replace('/', "%2F");
    let with = |password: &str| {
        format!("isogrid://a%40b:{password}@127.0.0.1:1,{address}/default?ca={ca}&timeout=20s")
    };
    let url: Url = with("p%3Aa%2Fs%25s%3F").parse().unwrap();
    let client = Client::open(&url).await.unwrap();
    let cache = client.cache(url.cache().unwrap()).must_exist().open().await.unwrap();
    cache.put(b"k", b"1").await.unwrap();
    let wrong = Client::open(&with("p").parse().unwrap()).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::AuthFailed), "{wrong}");
}

/// Waits as the client's own task can go on meanwhile.
async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if ready().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited until {what}");
}

/// Whether requests are carried out, or why the connection is refused.
async fn try_in(address: &str, options: Options) -> Result<(), Error> {
    let client = Client::connect([address], options).await?;
    let cache = client.cache("default").must_exist().open().await?;
    cache.get(b"k").await.map(drop)
}

/// In, or refused at once with this error and nothing done.
async fn holds(address: &str, what: &str, options: Options, code: Option<ErrorCode>) {
    match (try_in(address, options).await, code) {
        (Ok(()), None) => {}
        (Err(error), Some(code)) => {
            assert_eq!((error.code(), error.is_failed()), (Some(code), true), "{what}: {error}");
        }
        (other, _) => panic!("{what}: {other:?} instead of {code:?}"),
    }
}

/// A client without TLS is told that it is wanted, of all connections or of logins alone.
#[tokio::test]
async fn a_server_that_wants_tls_says_so() {
    let door = Door::new();
    for setting in ["tls.mode=on", "auth.require_tls=on"] {
        let server = door.serve(&["--native", "127.0.0.1:0", "--set", setting]);
        let address = server.bound_for("native").remove(0);
        let clear = options().password("app", PASSWORD);
        holds(&address, setting, clear.clone(), Some(ErrorCode::TlsRequired)).await;
        holds(&address, setting, clear.tls(door.tls(None)), None).await;
    }
}

#[tokio::test]
async fn each_mechanism_right_and_wrong() {
    let door = Door::new();
    let failed = Some(ErrorCode::AuthFailed);
    for secure in [false, true] {
        let (_server, address) = door.open();
        let base = || if secure { options().tls(door.tls(None)) } else { options() };
        let no_certificate = if secure { ErrorCode::AuthFailed } else { ErrorCode::TlsRequired };
        for (what, options, code) in [
            ("SCRAM", base().password("app", PASSWORD), None),
            ("SCRAM, a wrong password", base().password("app", "wrong"), failed),
            ("SCRAM, nobody", base().password("nobody", PASSWORD), failed),
            ("PLAIN", base().plain_password("app", PASSWORD), None),
            ("PLAIN, a wrong password", base().plain_password("app", "wrong"), failed),
            ("a token", base().token(&door.token), None),
            ("another's token", base().token(&door.token.replace("ci.", "app.")), failed),
            ("no certificate", base().external(), Some(no_certificate)),
            ("nothing", base(), Some(ErrorCode::AuthRequired)),
        ] {
            holds(&address, &format!("{what}, TLS: {secure}"), options, code).await;
        }
    }
    let (_server, address) = door.open();
    for (what, options, code) in [
        ("a certificate", options().tls(door.tls(Some("app"))), None),
        ("EXTERNAL", options().tls(door.tls(Some("app"))).external(), None),
        ("no user's certificate", options().tls(door.tls(Some("stranger"))), failed),
        (
            "a password beside it",
            options().tls(door.tls(Some("stranger"))).password("app", PASSWORD),
            None,
        ),
    ] {
        holds(&address, what, options, code).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_gets_nothing() {
    let (door, other) = (Door::new(), Authority::new());
    let (_server, address) = door.open();
    let stranger = TlsOptions::default().authorities(other.path("ca.pem"));
    let mixed = door.tls(None).certificate(door.authority.path("app.pem"), other.path("ca.pem"));
    for (what, tls) in [
        ("invalid peer certificate", stranger),
        ("not valid for name", door.tls(None).server_name("grid.example.org")),
        ("is no name of a server", door.tls(None).server_name("no name")),
        ("cannot read", TlsOptions::default().authorities("/nowhere/ca.pem")),
        ("nothing of what it is to have", mixed),
    ] {
        let options = options().tls(tls).plain_password("app", PASSWORD);
        let error = try_in(&address, options).await.unwrap_err();
        let Cause::Insecure(why) = &error.cause else { panic!("{what}: {error:?}") };
        assert!(why.contains(what) && error.is_failed(), "{what}: {error}");
    }
    let server = Server::isogrid(&["--native", "127.0.0.1:0"]);
    let open = server.bound_for("native").remove(0);
    let soon = options().timeout(Duration::from_millis(500));
    let error = try_in(&open, soon.tls(door.tls(None))).await.unwrap_err();
    assert!(error.is_failed(), "a server without TLS: {error}");
    let error = try_in(&open, options().password("app", PASSWORD)).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MechUnsupported), "nobody has to log in there");
}

#[tokio::test]
async fn large_values_go_over_tls_both_ways() {
    let door = Door::new();
    let (_server, address) = door.open();
    let options = options().tls(door.tls(None)).password("app", PASSWORD);
    let client = Client::connect([&*address], options).await.unwrap();
    let cache = client.cache("default").must_exist().open().await.unwrap();
    let value: Vec<u8> = (0..900_000u32).map(|n| n.to_be_bytes()[3]).collect();
    // Together they are more than sockets take at once.
    let writers = (0..16u8).map(|number| {
        let (cache, value) = (cache.clone(), value.clone());
        tokio::spawn(async move {
            assert!(cache.put(&[number], &value).await.unwrap().is_stored());
            assert_eq!(*cache.get(&[number]).await.unwrap().unwrap().value, *value);
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// A server that begins anew and a password that changes: each connection is a login of its own.
#[tokio::test]
async fn it_logs_in_again_and_says_so_when_it_may_not() {
    let (door, place) = (Door::new(), Place::new("logins"));
    let start = || door.serve(&["--native", &place.native, "--data-dir", &place.data]);
    let mut server = start();
    let options = options().tls(door.tls(None)).password("app", PASSWORD);
    let client = Client::connect([&*place.native], options).await.unwrap();
    let cache = client.cache("default").must_exist().open().await.unwrap();
    cache.put(b"k", b"v").await.unwrap();
    place.kill(&mut server);
    let mut server = start();
    assert_eq!(&*cache.get(b"k").await.unwrap().unwrap().value, b"v");

    let passwd = |password: &str| {
        let changed = door.users.user(&["passwd", "app"], &format!("{password}\n"));
        assert!(changed.status.success(), "{changed:?}");
    };
    let tries = || {
        let audit = std::fs::read_to_string(door.users.path("audit.jsonl")).unwrap();
        audit.lines().filter(|line| line.contains("\"event\":\"login_failed\"")).count()
    };
    passwd("another-password");
    // The connection is closed, and the client comes back with the old password.
    until("the old password is tried", async || tries() > 0).await;
    for _ in 0..2 {
        let error = cache.get(b"k").await.unwrap_err();
        assert_eq!((error.code(), error.is_failed()), (Some(ErrorCode::AuthFailed), true));
    }
    // The audit log is written a moment after the client was told.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = tries();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(tries(), before, "nobody asks, and nobody knocks");
    passwd(PASSWORD);
    until("the password is right again", async || cache.get(b"k").await.is_ok()).await;
    server.signal("TERM");
    server.wait();
}
