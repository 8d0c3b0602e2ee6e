//! TLS on listeners, by rustls on ring: 1.3, and 1.2 with ECDHE and AEAD alone.
//!
//! Certificates are read anew without touching a connection: each handshake takes what is current
//! when it begins.

pub mod certificate;
pub mod material;
mod socket;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use material::{Loaded, Stamps};
use socket::Socket;

/// A connection over TLS.
pub type TlsStream = tokio_rustls::server::TlsStream<Socket>;

/// The first byte of a TLS connection: a handshake record. No text command and no binary request
/// begins with it.
pub const FIRST_BYTE: u8 = 0x16;

/// How long before its end a certificate is warned of, ms.
pub const EXPIRES_SOON: u64 = 21 * 24 * 3_600 * 1_000;

/// Why TLS cannot be spoken with these files.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {why}\n  help: {help}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
        /// What to do.
        help: &'static str,
    },
    /// The files do not fit each other.
    #[error(
        "the certificate and its key cannot be used: {0}\n  help: `openssl x509 -in CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` say the same for a pair that fits"
    )]
    Pair(rustls::Error),
    /// The authorities cannot be used.
    #[error("{path}: {why}\n  help: put PEM certificates of authorities into it")]
    Authorities {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// The certificate in force, and where it comes from.
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<Loaded>>,
    /// Handshakes done.
    pub handshakes: AtomicU64,
    /// Handshakes that failed.
    pub failures: AtomicU64,
}

/// The days that a certificate has left that ends then, when they are few; 0 when it is over.
#[must_use]
pub fn days_left(end: u64, now: u64) -> Option<u64> {
    let left = end.saturating_sub(now);
    (left < EXPIRES_SOON).then_some(left / (24 * 3_600 * 1_000))
}

impl Tls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn open(config: &TlsConfig, now: u64) -> Result<Self, TlsError> {
        let loaded = Arc::new(Loaded::read(config, now)?);
        Ok(Tls {
            config: config.clone(),
            current: RwLock::new(loaded),
            handshakes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Reads the files again; with an error the old ones stay in force.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn reload(&self, now: u64) -> Result<(), TlsError> {
        let loaded = Arc::new(Loaded::read(&self.config, now)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Whether the files are others than those in force.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let TlsConfig { cert, key, ca, .. } = &self.config;
        Stamps::of([cert, key, ca]) != self.current().stamps
    }

    /// When the certificate ends, Unix ms; `None` when it does not say.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.current().expires
    }

    /// When the files were read, Unix ms.
    #[must_use]
    pub fn loaded_at(&self) -> u64 {
        self.current().at
    }

    /// The server's side of a handshake.
    ///
    /// # Errors
    /// When the client goes away, speaks no TLS, an old one, or shows a bad certificate.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().server));
        let accepted = acceptor.accept(Socket(stream)).await;
        let count = if accepted.is_ok() { &self.handshakes } else { &self.failures };
        count.fetch_add(1, Ordering::Relaxed);
        accepted
    }

    fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The common name of the client's certificate, which the handshake has verified.
#[must_use]
pub fn client_name(stream: &TlsStream) -> Option<String> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates()?.first()?;
    certificate::common_name(certificate)
}

/// The keying material that binds a SCRAM login to this connection; TLS 1.3 alone has it.
#[must_use]
pub fn channel_binding(stream: &TlsStream) -> Option<[u8; isogrid_wire::scram::EXPORTER_LEN]> {
    let (_, connection) = stream.get_ref();
    if connection.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return None;
    }
    let out = [0; isogrid_wire::scram::EXPORTER_LEN];
    connection.export_keying_material(out, isogrid_wire::scram::EXPORTER_LABEL, Some(&[])).ok()
}
