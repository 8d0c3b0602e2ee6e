//! TLS on the connections of a client, by rustls on ring: 1.3, and 1.2 with ECDHE and AEAD alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scram::{EXPORTER_LABEL, EXPORTER_LEN};

/// Whom a client trusts, and the certificate that it shows. The files are PEM, read by
/// [`Client::connect`](super::Client::connect), and again ahead of a later connection when they
/// have changed; while what they have then is of no use, what was read before counts.
///
/// ```
/// use isogrid_wire::client::{Options, TlsOptions};
///
/// let tls = TlsOptions::default().authorities("ca.pem").certificate("app.pem", "app.key");
/// let options = Options::default().tls(tls);
/// # drop(options);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    authorities: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

impl TlsOptions {
    /// Trusts servers whose certificate one of the authorities in this file has signed, and no
    /// others. Default: the authorities that this system trusts, from `SSL_CERT_FILE` or the file
    /// of the distribution.
    #[must_use]
    pub fn authorities(self, file: impl Into<PathBuf>) -> Self {
        TlsOptions { authorities: Some(file.into()), ..self }
    }

    /// Shows a certificate, with the authorities between in the same file, and proves to have its
    /// key. Default: none.
    #[must_use]
    pub fn certificate(self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        TlsOptions { certificate: Some((chain.into(), key.into())), ..self }
    }

    /// The name that the server's certificate has to have. Default: the host of the address.
    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        TlsOptions { server_name: Some(name.to_owned()), ..self }
    }
}

/// What was read, ready for handshakes.
#[derive(Clone)]
pub struct Tls {
    options: Arc<TlsOptions>,
    read: Arc<Mutex<(Stamps, Arc<ClientConfig>)>>,
    name: Option<ServerName<'static>>,
}

/// What tells that a file is another one than it was: when it was written, and its length.
type Stamps = Vec<Option<(SystemTime, u64)>>;

impl TlsOptions {
    fn stamps(&self) -> Stamps {
        let authorities = self.authorities.clone().or_else(of_the_system);
        let pair = self.certificate.iter().flat_map(|(chain, key)| [chain, key]);
        let files = authorities.iter().chain(pair);
        let stamp = |file: &PathBuf| {
            let there = std::fs::metadata(file).ok()?;
            Some((there.modified().ok()?, there.len()))
        };
        files.map(stamp).collect()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them; nothing of what is in them.
    pub fn read(options: &TlsOptions) -> Result<Self, String> {
        // Ahead of the reading: what is written meanwhile is read again.
        let stamps = options.stamps();
        let read = Arc::new(Mutex::new((stamps, Self::config(options)?)));
        let name = options.server_name.as_deref().map(server_name).transpose()?;
        Ok(Tls { options: Arc::new(options.clone()), read, name })
    }

    /// What the files say now, or said when they were of use.
    fn current(&self) -> Arc<ClientConfig> {
        let stamps = self.options.stamps();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != stamps
            && let Ok(config) = Self::config(&self.options)
        {
            *read = (stamps, config);
        }
        Arc::clone(&read.1)
    }

    fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
        let roots = match &options.authorities {
            Some(file) => all_roots(file)?,
            None => usable_roots(
                &of_the_system().ok_or("this system has no file of authorities: name one")?,
            )?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let pair = format!("{} and {}", chain.display(), key.display());
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
                builder
                    .with_client_auth_cert(certificates(chain)?, key)
                    .map_err(|error| format!("{pair} do not fit: {error}"))?
            }
        };
        Ok(Arc::new(config))
    }

    /// The client's side of a handshake, and the keying material that binds a login to the
    /// connection: TLS 1.3 alone has it.
    pub async fn secure(
        self,
        stream: TcpStream,
        address: &str,
    ) -> io::Result<(TlsStream<TcpStream>, Option<[u8; EXPORTER_LEN]>)> {
        let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let name = match self.name.clone() {
            Some(name) => name,
            None => server_name(host(address)).map_err(wrong)?,
        };
        let config = self.current();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (_, connection) = stream.get_ref();
        let is_new = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let key = |()| {
            let out = [0; EXPORTER_LEN];
            connection.export_keying_material(out, EXPORTER_LABEL, Some(&[])).ok()
        };
        let binding = is_new.then_some(()).and_then(key);
        Ok((stream, binding))
    }
}

/// The host of `host:port`, with the brackets of IPv6 taken away.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a server"))
}

/// Where distributions keep the authorities that they trust: Debian, Fedora, openSUSE, Alpine.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn of_the_system() -> Option<PathBuf> {
    let said = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
    let known = || SYSTEM_FILES.iter().map(PathBuf::from).find(|file| file.exists());
    said.map(PathBuf::from).or_else(known)
}

/// Of a file that was named everything has to be of use.
fn all_roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(roots)
}

/// The file of a system has authorities of all kinds, and nobody who connects has chosen them: one
/// that is of no use keeps no other from being trusted.
fn usable_roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates(file)?) {
        (0, _) => Err(unusable(file, &pem::Error::NoItemsFound)),
        _ => Ok(roots),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(|certificates| certificates.collect());
    match found {
        Ok(none) if none.is_empty() => Err(unusable(file, &pem::Error::NoItemsFound)),
        other => other.map_err(|error| unusable(file, &error)),
    }
}

/// What a file says is never part of the message: it may be a key.
fn unusable(file: &Path, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::Io(error) => format!("cannot read {file}: {error}"),
        pem::Error::NoItemsFound => format!("{file} has nothing of what it is to have"),
        _ => format!("{file} is not PEM"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_a_certificate_names() {
        for (address, is) in
            [("a.example:7400", "a.example"), ("10.0.0.1:1", "10.0.0.1"), ("[::1]:7400", "::1")]
        {
            assert_eq!(host(address), is);
            assert!(server_name(host(address)).is_ok(), "{address}");
        }
        assert!(server_name("no name").is_err());
    }

    /// Of an authority that nobody has the key of, until 2126.
    const GOOD: &str = "\
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUaUqb/7ThJpOrYcOLrG1kPRGGCnswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMjEzNDU0NVoYDzIxMjYxMDI5
MTM0NTQ1WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS2tZoE6M4vXDp3C86YtPODrApNhLF9QmTPeXvcP/+I4JrVbJpLzJ9i
hd9wpiGNl7eklAVYcIlUIvZuPdL6Svx9o1MwUTAdBgNVHQ4EFgQURjOR34dE45lB
drJEKsLUmX8CDzMwHwYDVR0jBBgwFoAURjOR34dE45lBdrJEKsLUmX8CDzMwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEApMWWQ6tIk9zwRQbAiVpE
Y2doBXh2nfFRsDmPK3Kb9yUCIQDrpEjLT70OYv7wAt3YVrWtus3lDz114WGLD3dv
2gu/XA==
-----END CERTIFICATE-----
";
    /// PEM, but no certificate.
    const BAD: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    /// One odd authority among the system's hundreds turned TLS off.
    #[test]
    fn an_authority_of_no_use_is_passed_over_in_the_file_of_the_system_alone() {
        let file = std::env::temp_dir().join(format!("roots-{}.pem", std::process::id()));
        for (text, all, usable) in [
            (GOOD.to_owned(), Some(1), Some(1)),
            (BAD.to_owned() + GOOD, None, Some(1)),
            (BAD.to_owned(), None, None),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(all_roots(&file).ok().map(|roots| roots.len()), all);
            assert_eq!(usable_roots(&file).ok().map(|roots| roots.len()), usable);
        }
        std::fs::remove_file(&file).unwrap();
    }

    /// A certificate that was about to expire was renewed in its file, and the client went on
    /// showing the old one until it was started again.
    #[test]
    fn files_that_have_changed_are_read_again_and_count_when_they_are_of_use() {
        let file = std::env::temp_dir().join(format!("renewed-{}.pem", std::process::id()));
        std::fs::write(&file, GOOD).unwrap();
        let tls = Tls::read(&TlsOptions::default().authorities(&file)).unwrap();
        let first = tls.current();
        assert!(Arc::ptr_eq(&first, &tls.current()), "nothing has changed");
        std::fs::write(&file, BAD).unwrap();
        assert!(Arc::ptr_eq(&first, &tls.current()), "of no use");
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&first, &tls.clone().current()), "not there");
        std::fs::write(&file, GOOD.to_owned() + GOOD).unwrap();
        let second = tls.clone().current();
        assert!(!Arc::ptr_eq(&first, &second), "renewed");
        assert!(Arc::ptr_eq(&second, &tls.current()), "by all connections of a client");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_file_that_is_no_use_is_named_and_not_shown() {
        let file = std::env::temp_dir().join(format!("authorities-{}.pem", std::process::id()));
        std::fs::write(&file, "canary").unwrap();
        let read = |options: TlsOptions| Tls::read(&options).err().unwrap();
        let empty = read(TlsOptions::default().authorities(&file));
        assert!(empty.contains(&file.display().to_string()) && !empty.contains("canary"));
        std::fs::remove_file(&file).unwrap();
        assert!(read(TlsOptions::default().authorities(&file)).starts_with("cannot read"));
    }
}
