//! TLS on listeners: who gets in, who does not, and certificates that change under load.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isogrid_tests::harness::tls::{self, Authority};
use isogrid_tests::harness::{
    Client, Server, Users, has, opcode, raise_open_files, request, wait_until,
};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{PASSWORD, guarded};

/// The flags of a server with the certificate `server`.
fn flags(authority: &Authority, mode: &str, more: &[&str]) -> Vec<String> {
    let set = |text: String| ["--set".to_owned(), text];
    let files = [("cert", "server.pem"), ("key", "server.key"), ("ca", "ca.pem")];
    let files = files.map(|(key, file)| set(format!("tls.{key}={}", authority.path(file))));
    let mode = set(format!("tls.mode={mode}"));
    let more = more.iter().flat_map(|text| set((*text).to_owned()));
    files.into_iter().flatten().chain(mode).chain(more).collect()
}

fn serve(authority: &Authority, mode: &str, more: &[&str]) -> Server {
    let flags = flags(authority, mode, more);
    Server::isogrid(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign("server", "server", 2100);
    authority
}

#[test]
fn metrics_tell_how_long_the_certificate_lasts() {
    let authority = authority();
    let mut flags = flags(&authority, "on", &[]);
    flags.extend(["--http", "127.0.0.1:0"].map(str::to_owned));
    let server = Server::isogrid(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let address = server.bound_for("http").remove(0);
    let mut client = Client::tls(address.parse().unwrap(), &authority.client(None)).unwrap();
    let text = client.http("GET", "/metrics", &[], b"").text();
    let series = "isogrid_tls_cert_expiry_seconds{use=\"clients\"} ";
    let left = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    let years = left.parse::<f64>().unwrap() / (365.25 * 86_400.0);
    assert!((70.0..75.0).contains(&years), "{years} years until 2100");
    assert!(!text.contains("use=\"peers\""), "there are none");
}

#[test]
fn text_and_binary_and_large_values_over_tls() {
    let authority = authority();
    let server = serve(&authority, "on", &[]);
    let config = authority.client(None);
    let mut client = Client::tls(server.address(), &config).unwrap();
    client.ask("set a 0 0 1\r\n1\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    client.ask("mg a v\r\n", "VA 1\r\n1\r\n");
    // Longer than any record, many times, both ways, and read late: the answers wait in the stream.
    let value = "v".repeat(900_000);
    client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    client.send("get big\r\n".repeat(20));
    for _ in 0..20 {
        assert_eq!(client.line(), format!("VALUE big 0 {}", value.len()));
        assert_eq!(client.line(), value);
        assert_eq!(client.line(), "END");
    }
    client.send("quit\r\n");
    client.closed();
    let mut client = Client::tls(server.address(), &config).unwrap();
    assert_eq!(client.call(&request(opcode::GET, 7, 0, &[], b"a", &[])).value, b"1");
    let mut client = server.connect();
    client.send("version\r\n");
    let rest = client.rest().unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("VERSION"), "nothing in the clear");
}

/// What the socket does not take waits in the TLS stream, and its last bytes come without being
/// asked for again: answers that end just where the socket is full.
#[test]
fn the_end_of_an_answer_comes_though_the_client_is_slow() {
    const ANSWER_LEN: u64 = "VALUE k 0 9000\r\n".len() as u64 + 9_000 + "\r\nEND\r\n".len() as u64;
    let authority = authority();
    let server = serve(&authority, "optional", &[]);
    let config = authority.client(None);
    let mut control = server.connect();
    control.ask(format!("set k 0 0 9000\r\n{}\r\n", "v".repeat(9_000)), "STORED\r\n");
    // How many answers the server gets rid of while nobody reads them.
    let mut stalled = |gets: u64| {
        let before = control.stat("bytes_written");
        let mut client = Client::tls_narrow(server.address(), &config).unwrap();
        client.send("get k\r\n".repeat(usize::try_from(gets).unwrap()));
        let mut written = 0;
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = control.stat("bytes_written") - before;
            // The figures themselves are written, too: a few KiB.
            if now - written < ANSWER_LEN {
                return (client, now / ANSWER_LEN);
            }
            written = now;
        }
    };
    let (_, full) = stalled(2_000);
    assert!(full < 2_000, "the socket takes everything");
    for less in 0..8 {
        let gets = full - less;
        let (mut client, _) = stalled(gets);
        for n in 0..gets {
            assert_eq!(client.line(), "VALUE k 0 9000", "answer {n} of {gets}");
            assert_eq!((client.line().len(), client.line().as_str()), (9_000, "END"));
        }
    }
}

#[test]
fn optional_takes_both() {
    let authority = authority();
    let server = serve(&authority, "optional", &[]);
    server.connect().ask("mn\r\n", "MN\r\n");
    Client::tls(server.address(), &authority.client(None)).unwrap().ask("mn\r\n", "MN\r\n");
    assert_eq!(server.connect().call(&request(opcode::NOOP, 7, 0, &[], &[], &[])).status, 0);
}

#[test]
fn bad_certificates_of_the_server_are_seen_by_clients() {
    let authority = Authority::new();
    authority.sign("server", "server", 2020);
    let server = serve(&authority, "on", &[]);
    let error = Client::tls(server.address(), &authority.client(None)).err().unwrap();
    assert!(error.to_string().contains("expired"), "{error}");
    wait_until("it is warned of", || server.log().contains("certificate_ends_soon"));
    let stranger = Authority::new();
    assert!(Client::tls(server.address(), &stranger.client(None)).is_err());
}

/// Whether a client gets an answer: in TLS 1.3 it learns only then what the server thinks of it.
fn gets_in(server: &Server, config: &Arc<ClientConfig>) -> bool {
    let Ok(mut client) = Client::tls(server.address(), config) else { return false };
    client.try_send("mn\r\n").is_ok() && client.rest_after("MN\r\n")
}

#[test]
fn client_certificates() {
    let authority = authority();
    for (file, year) in [("app", 2100), ("nobody", 2100), ("expired", 2020)] {
        authority.sign(file, file, year);
    }
    let stranger = Authority::new();
    stranger.sign("app", "app", 2100);
    std::fs::copy(authority.path("ca.pem"), stranger.path("ca.pem")).unwrap();
    let required = serve(&authority, "on", &["tls.client=required"]);
    let optional = serve(&authority, "on", &["tls.client=optional"]);
    for (what, config, by_required, by_optional) in [
        ("a good one", authority.client(Some("app")), true, true),
        ("none", authority.client(None), false, true),
        ("an expired one", authority.client(Some("expired")), false, false),
        ("another authority's", stranger.client(Some("app")), false, false),
    ] {
        assert_eq!(gets_in(&required, &config), by_required, "{what}");
        assert_eq!(gets_in(&optional, &config), by_optional, "{what}");
    }
}

#[test]
fn a_certificate_is_a_login() {
    let (authority, users) = (authority(), Users::new());
    authority.sign("app", "app", 2100);
    authority.sign("nobody", "nobody", 2100);
    users.add("app", PASSWORD, &["read@*"]);
    let flags = flags(&authority, "on", &["tls.client=optional"]);
    let server = guarded(&users, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let connect =
        |certificate| Client::tls(server.address(), &authority.client(certificate)).unwrap();
    let mut app = connect(Some("app"));
    app.ask("get a\r\n", "END\r\n");
    app.ask("set a 0 0 1\r\n1\r\n", "CLIENT_ERROR permission denied\r\n");
    connect(Some("nobody")).ask("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let mut client = connect(None);
    client.ask("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
    assert_eq!(client.log_in("app", PASSWORD), "STORED");
}

/// What rustls cannot say, OpenSSL says for it.
#[test]
fn old_versions_are_refused() {
    if !has("openssl", "apt-get install openssl") {
        return;
    }
    let authority = authority();
    let server = serve(&authority, "on", &[]);
    let modern = serve(&authority, "on", &["tls.min_version=1.3"]);
    for (server, version, works) in [
        (&server, "-tls1_1", false),
        (&server, "-tls1_2", true),
        (&server, "-tls1_3", true),
        (&modern, "-tls1_2", false),
        (&modern, "-tls1_3", true),
    ] {
        let mut command = Command::new("openssl");
        let address = server.address().to_string();
        command.args(["s_client", "-quiet", "-no_ign_eof", "-connect", &address, version]);
        // Debian's own policy would refuse the old one before the server could.
        command.args(["-cipher", "ALL:@SECLEVEL=0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(b"mn\r\nquit\r\n");
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert_eq!(said.contains("MN"), works, "{version}: {said:?}");
    }
}

#[test]
fn half_handshakes_end_and_keep_nobody_out() {
    raise_open_files();
    let authority = authority();
    let server = serve(&authority, "on", &[]);
    // 0x16: the beginning of a handshake, and then nothing.
    let halves: Vec<TcpStream> = (0..1_000)
        .map(|_| {
            let mut half = TcpStream::connect(server.address()).unwrap();
            half.write_all(&[0x16, 3]).unwrap();
            half
        })
        .collect();
    let mut client = Client::tls(server.address(), &authority.client(None)).unwrap();
    client.ask("mn\r\n", "MN\r\n");
    // All of them are gone: 744 for want of room, the others after 5 s.
    wait_until("half handshakes are ended", || client.stat("curr_connections") == 1);
    drop(halves);
    client.ask("mn\r\n", "MN\r\n");
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn certificates_change_under_load() {
    let authority = authority();
    let server = serve(&authority, "on", &[]);
    let config = authority.client(None);
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let mut first = Client::tls(server.address(), &config).unwrap();
        let (stop, asked) = (&stop, &asked);
        // Also when something fails: the others would go on for ever.
        let ending = SetOnDrop(stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                first.ask("set a 0 0 1\r\n1\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut client = Client::tls(server.address(), &config).unwrap();
                client.ask("mn\r\n", "MN\r\n");
            }
        });
        for round in 1..=5 {
            authority.sign("server", "server", 2100);
            server.signal("HUP");
            let seen = || server.log().matches("certificate_loaded").count() >= round;
            wait_until("the certificate is read again", seen);
            let shown = tls::connect(server.address(), &config).unwrap();
            let is = CertificateDer::from_pem_file(authority.path("server.pem")).unwrap();
            assert_eq!(shown.conn.peer_certificates().unwrap(), [is], "round {round}");
        }
        let before = asked.load(Ordering::Relaxed);
        wait_until("the first connection lives", || asked.load(Ordering::Relaxed) > before + 10);
        drop(ending);
    });
    // A bad one changes nothing.
    std::fs::write(authority.path("server.pem"), "rubbish").unwrap();
    server.signal("HUP");
    wait_until("it is refused", || server.log().contains("certificate_not_loaded"));
    let mut client = Client::tls(server.address(), &config).unwrap();
    client.ask("mn\r\n", "MN\r\n");
    client.ask("refresh_certs\r\n", "ERROR certificates not loaded: see the server's log\r\n");
    authority.sign("server", "server", 2100);
    client.ask("refresh_certs\r\n", "OK\r\n");
}
