//! Members that speak TLS with each other, and those that may be none.

use isogrid_tests::harness::Server;
use isogrid_tests::harness::tls::Authority;

use super::dev::{Dev, asked, until};
use super::{health, is_whole, numbers};

/// Connections of peers that were refused.
const REFUSED: &str = "isogrid_cluster_refused_total";

/// The settings of a node with this certificate and key, which trusts the authority.
fn settings(certificate: &str, key: &str, ca: &str) -> Vec<String> {
    let keys = [("cert", certificate), ("key", key), ("ca", ca)];
    let pairs = keys.map(|(key, path)| format!("cluster.tls_{key}={path}"));
    pairs.into_iter().flat_map(|pair| ["--set".to_owned(), pair]).collect()
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign("peer", "a member", 2090);
    authority
}

fn good(authority: &Authority) -> Vec<String> {
    let [certificate, key, ca] =
        ["peer.pem", "peer.key", "ca.pem"].map(|file| authority.path(file));
    settings(&certificate, &key, &ca)
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn only_who_has_a_certificate_of_the_authority_is_a_member() {
    let (ours, other) = (authority(), authority());
    let ours_given = good(&ours);
    let dev = Dev::start(&[&["--nodes", "3"][..], &borrowed(&ours_given)].concat());
    until("every copy is there", || is_whole(&dev, &[0, 1, 2]));
    let status = dev.said(0, "cluster status -o json").json();
    assert_eq!(status["peer_tls"], true, "{status}");
    let (join, name) =
        ([0, 1, 2].map(|node| dev.peer(node)).join(","), status["cluster"].to_string());
    let [certificate, key] = ["peer.pem", "peer.key"].map(|file| other.path(file));
    let refused = || (0..3).map(|node| dev.metric(node, REFUSED)).sum::<u64>();
    for (what, bad) in [
        ("another authority", good(&other)),
        ("a certificate of another one", settings(&certificate, &key, &ours.path("ca.pem"))),
        ("no certificate", Vec::new()),
    ] {
        let before = refused();
        let args = ["--native", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--mode", "distributed"];
        let cluster = ["--cluster", name.trim_matches('"'), "--join", &join];
        let stranger = Server::isogrid(&[&args[..], &cluster, &borrowed(&bad)].concat());
        until(&format!("{what} is refused"), || refused() > before + 5);
        let native = stranger.bound_for("native").remove(0);
        let status = asked(&["cluster", "status", "-o", "json"], &[("ISOGRID_SERVER", &native)]);
        assert!(status.json()["member"].is_null(), "{what}: {status:?}");
        let log = stranger.log();
        assert!(log.contains(r#""event":"peer_unreachable","peer":"127.0.0.1:"#), "{what}: {log}");
    }
    let log = dev.log();
    let said = |line: &str| {
        line.contains("peer_refused") && line.contains("no TLS with a certificate of a member")
    };
    assert!(log.lines().any(said), "{log}");
    let members = &dev.said(1, "cluster members -o json").json()["members"];
    assert_eq!(numbers(members, "member"), [1, 2, 3], "{members}");
    assert_eq!(health(&dev, 2, "").0, 200, "the cluster is as it was");
    dev.client(0).ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    dev.client(1).ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let (ours, other) = (authority(), authority());
    let path = |file: &str| ours.path(file);
    let half = ["--set".to_owned(), format!("cluster.tls_cert={}", path("peer.pem"))];
    for (given, why) in [
        (half.to_vec(), "cluster.tls_cert without cluster.tls_key, cluster.tls_ca".to_owned()),
        (settings("/nowhere", &path("peer.key"), &path("ca.pem")), "/nowhere: ".to_owned()),
        (settings(&path("peer.pem"), &path("ca.pem"), &path("ca.pem")), path("ca.pem") + ": "),
        (
            settings(&path("peer.pem"), &other.path("peer.key"), &path("ca.pem")),
            "the certificate and its key cannot be used".to_owned(),
        ),
    ] {
        let args = ["serve", "-c", "/dev/null", "--ephemeral", "--memcached", "off", "--native"];
        let rest = ["off", "--http", "off", "--peer", "127.0.0.1:0", "--bootstrap-expect", "1"];
        let said = asked(&[&args[..], &rest, &borrowed(&given)].concat(), &[]);
        assert_eq!(said.code, Some(78), "{given:?}: {said:?}");
        assert!(said.error.contains(&why), "{given:?}: {said:?}");
    }
    let beyond =
        ["serve", "-c", "/dev/null", "--ephemeral", "--memcached", "off", "--native", "off"];
    let rest = ["--http", "off", "--peer", "0.0.0.0:0", "--bootstrap-expect", "1"];
    let said = asked(&[&beyond[..], &rest].concat(), &[]);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.error.contains("--set cluster.tls_cert=FILE"), "{said:?}");
    assert!(said.error.contains("--insecure-i-know"), "{said:?}");
}
