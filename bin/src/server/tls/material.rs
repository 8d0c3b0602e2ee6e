//! Certificates, keys and authorities from PEM files.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::TlsError;
use super::certificate;
use crate::config::{ClientCertificates, TlsConfig};

/// What was read, ready for handshakes.
pub struct Loaded {
    /// The configuration of handshakes.
    pub server: Arc<ServerConfig>,
    /// When the certificate ends, Unix ms.
    pub expires: Option<u64>,
    /// When this was read, Unix ms.
    pub at: u64,
    /// The files as they were.
    pub stamps: Stamps,
}

/// What a file's change shows in: its time and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps([Option<(SystemTime, u64)>; 3]);

impl Stamps {
    /// The files of certificate, key and authorities as they are.
    pub fn of(files: [&Option<String>; 3]) -> Self {
        let stamp = |path: &Option<String>| {
            let data = std::fs::metadata(path.as_ref()?).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        Stamps(files.map(stamp))
    }
}

impl Loaded {
    /// Reads the files.
    pub fn read(config: &TlsConfig, now: u64) -> Result<Self, TlsError> {
        // Before the files are read: a change meanwhile is seen at the next look.
        let stamps = Stamps::of([&config.cert, &config.key, &config.ca]);
        let chain = certificates(config.cert.as_deref().unwrap_or_default())?;
        let key = private_key(config.key.as_deref().unwrap_or_default())?;
        let expires = chain.first().and_then(certificate::not_after);
        let versions: &[&rustls::SupportedProtocolVersion] = match config.min_version.as_str() {
            "1.3" => &[&rustls::version::TLS13],
            _ => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(TlsError::Pair)?;
        let builder = match client_verifier(config)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let server = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
        Ok(Loaded { server: Arc::new(server), expires, at: now, stamps })
    }
}

fn client_verifier(config: &TlsConfig) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if config.client == ClientCertificates::Off {
        return Ok(None);
    }
    let path = config.ca.as_deref().unwrap_or_default();
    let provider = Arc::new(ring::default_provider());
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider);
    let builder = match config.client {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Required | ClientCertificates::Off => builder,
    };
    builder.build().map(Some).map_err(|error| unusable(path, &error))
}

/// The authorities of a PEM file.
///
/// # Errors
/// [`TlsError`] names the file and what to do.
pub fn authorities(path: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn unusable(path: &str, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Authorities { path: path.to_owned(), why: error.to_string() }
}

/// The certificates of a PEM file.
///
/// # Errors
/// [`TlsError`] names the file and what to do.
pub fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |error: pem::Error| file(path, &error, "name a PEM file of certificates");
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(refused)?
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    if found.is_empty() { Err(refused(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// The private key of a PEM file.
///
/// # Errors
/// [`TlsError`] names the file and what to do.
pub fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let help =
        "name a PEM file with a private key that has no password and that the server may read";
    PrivateKeyDer::from_pem_file(path).map_err(|error| file(path, &error, help))
}

/// What a file says is never part of the message: it may be a key.
fn file(path: &str, error: &pem::Error, help: &'static str) -> TlsError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        _ => "it is not PEM".to_owned(),
    };
    TlsError::File { path: path.to_owned(), why, help }
}
