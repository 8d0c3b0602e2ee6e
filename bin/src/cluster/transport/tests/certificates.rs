//! Peers over TLS, and those whose certificates are not good.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use super::super::handshake::{Answer, Hello};
use super::super::{Lane, PeerTls};
use super::fixture::{run, until, with_tls};

/// A folder that is gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("isogrid-peers-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn put(&self, file: &str, text: &str) -> String {
        let path = self.0.join(file);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A peer with a certificate of this authority, which trusts those of `trusted`.
    fn peer(&self, folder: &Folder, trusted: &Authority, last_year: i32) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        // The name is not that of the host, and need not be.
        let mut params = CertificateParams::new(vec!["member-7".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let certificate = folder.put("peer.pem", &certificate.pem());
        let key = folder.put("peer.key", &key.serialize_pem());
        PeerTls::load(&certificate, &key, &folder.put("ca.pem", &trusted.pem)).unwrap()
    }
}

#[test]
fn peers_with_certificates_of_their_authority_hear_each_other() {
    run(async {
        let (folder, ours) = (Folder::new("good"), Authority::new("ours"));
        let a = with_tls(Some(ours.peer(&folder, &ours, 2090))).await;
        let b = with_tls(Some(ours.peer(&folder, &ours, 2090))).await;
        let frames: Vec<Vec<u8>> = [1, 100_000, 3, 6 << 20, 5].map(|len| vec![7; len]).to_vec();
        for (came, frame) in (1..).zip(&frames) {
            for lane in Lane::ALL {
                a.send(&b, lane, frame);
                assert!(b.kept.come(lane, came).await == frames[..came], "{came}");
            }
        }
    });
}

/// Whichever side has no certificate of the other's authority, nothing goes over and both know.
#[test]
fn others_are_refused_by_both_sides() {
    run(async {
        let folder = Folder::new("bad");
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        let good = || Some(ours.peer(&folder, &ours, 2090));
        for (what, bad) in [
            ("another authority", Some(other.peer(&folder, &other, 2090))),
            ("signed by another authority", Some(other.peer(&folder, &ours, 2090))),
            ("over", Some(ours.peer(&folder, &ours, 2001))),
            ("without TLS", None),
        ] {
            let (a, b) = (with_tls(good()).await, with_tls(bad).await);
            for (from, to) in [(&a, &b), (&b, &a)] {
                from.send(to, Lane::Control, b"secret");
                until(what, || from.kept.unreachable.lock().len() == 1).await;
                until(what, || to.count(|s| &s.refused) > 1).await;
                assert_eq!(from.count(|s| &s.connects), 0, "{what}");
                assert!(to.kept.frames.lock().is_empty(), "{what}");
            }
        }
    });
}

/// A certificate that was over is replaced while its process runs.
#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    run(async {
        let (folder, theirs, ours) = (Folder::new("a"), Folder::new("new"), Authority::new("ours"));
        let over = ours.peer(&theirs, &ours, 2001);
        let a = with_tls(Some(ours.peer(&folder, &ours, 2090))).await;
        let b = with_tls(Some(over.clone())).await;
        a.send(&b, Lane::Control, b"early");
        until("the refusal", || b.count(|s| &s.refused) + a.count(|s| &s.refused) > 0).await;
        assert!(!over.is_stale());
        theirs.put("peer.key", "rubbish");
        assert!(over.is_stale() && over.reload().is_err());
        drop(ours.peer(&theirs, &ours, 2090));
        over.reload().unwrap();
        assert!(!over.is_stale() && over.expires() > Some(3_000_000_000_000));
        until("what waited", || !b.kept.frames.lock().is_empty()).await;
    });
}

/// Who trusts the authority and shows nothing is heard no further.
#[test]
fn nobody_is_heard_without_a_certificate() {
    run(async {
        let (folder, ours) = (Folder::new("nobody"), Authority::new("ours"));
        let b = with_tls(Some(ours.peer(&folder, &ours, 2090))).await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = tokio::net::TcpStream::connect(b.address()).await.unwrap();
        let name = ServerName::try_from("member-7").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, socket).await.unwrap();
        let (cluster, address) = ("c".to_owned(), "127.0.0.1:1".to_owned());
        let hello = Hello { versions: (1, 1), lane: 1, cluster, address };
        let _ = stream.write_all(&hello.encode()).await;
        let answer = Answer::read(&mut stream).await;
        assert!(answer.is_err(), "{answer:?}");
        until("the refusal", || b.count(|s| &s.refused) == 1).await;
    });
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = Folder::new("files");
    let ours = Authority::new("ours");
    ours.peer(&folder, &ours, 2090);
    let path = |file: &str| folder.0.join(file).display().to_string();
    let rubbish = folder.put("rubbish.pem", "rubbish");
    for (certificate, key, ca, named) in [
        (path("none.pem"), path("peer.key"), path("ca.pem"), "none.pem"),
        (path("peer.pem"), path("ca.pem"), path("ca.pem"), "ca.pem"),
        (path("peer.pem"), path("peer.key"), rubbish, "rubbish.pem"),
    ] {
        let refused = PeerTls::load(&certificate, &key, &ca).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
}
