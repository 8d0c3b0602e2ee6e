//! TLS between peers: 1.3 with certificates on both sides.
//!
//! A peer is whoever has a certificate that the cluster's authority signed; its name is not
//! looked at, since members move between addresses. So the authority must sign nothing but members
//! of this cluster. A certificate that is limited to some uses (`extendedKeyUsage`) needs both
//! `serverAuth` and `clientAuth`.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{self, CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::stream::Stream;
use crate::config::ClusterConfig;
use crate::server::tls::TlsError;
use crate::server::tls::certificate::not_after;
use crate::server::tls::material::{Stamps, authorities, certificates, private_key};

/// Certificate, key and authority of a process among its peers. Clones are the same.
#[derive(Clone)]
pub struct PeerTls {
    files: [String; 3],
    current: Arc<ArcSwap<Loaded>>,
}

/// What was read, ready for handshakes.
struct Loaded {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// When the certificate ends, Unix ms.
    expires: Option<u64>,
    stamps: Stamps,
}

impl PeerTls {
    /// That of a configuration, if it has certificates.
    ///
    /// # Errors
    /// As [`PeerTls::load`].
    pub fn configured(config: &ClusterConfig) -> Result<Option<Self>, TlsError> {
        match (&config.tls_cert, &config.tls_key, &config.tls_ca) {
            (Some(certificate), Some(key), Some(ca)) => Self::load(certificate, key, ca).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads the PEM files of the certificate (its chain behind it), its key, and the authority
    /// that signs the certificates of members.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn load(certificate: &str, key: &str, ca: &str) -> Result<Self, TlsError> {
        let files = [certificate, key, ca].map(str::to_owned);
        let current = Arc::new(ArcSwap::from_pointee(Loaded::read(&files)?));
        Ok(PeerTls { files, current })
    }

    /// Reads the files again, for connections that are made from now on; with an error the old ones
    /// stay in force.
    ///
    /// # Errors
    /// As [`PeerTls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(Loaded::read(&self.files)?));
        Ok(())
    }

    /// Whether the files are others than those in force.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        stamps(&self.files) != self.current.load().stamps
    }

    /// When the certificate ends, Unix ms; `None` when it does not say.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.current.load().expires
    }

    /// The accepting side of a handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let acceptor = self.current.load().acceptor.clone();
        Ok(Box::new(acceptor.accept(stream).await?))
    }

    /// The connecting side of a handshake.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        // Some name has to be given; nobody looks at it.
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let connector = self.current.load().connector.clone();
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

fn stamps(files: &[String; 3]) -> Stamps {
    let [certificate, key, ca] = files.clone().map(Some);
    Stamps::of([&certificate, &key, &ca])
}

impl Loaded {
    fn read(files: &[String; 3]) -> Result<Self, TlsError> {
        // Before the files are read: a change meanwhile is seen at the next look.
        let stamps = stamps(files);
        let [certificate, key, ca] = files;
        let (chain, key) = (certificates(certificate)?, private_key(key)?);
        let roots = Arc::new(authorities(ca)?);
        let provider = Arc::new(ring::default_provider());
        let expires = chain.first().and_then(not_after);
        let refused = |why: &dyn fmt::Display| TlsError::Authorities {
            path: ca.clone(),
            why: why.to_string(),
        };
        let peers =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| refused(&error))?;
        let versions = &[&version::TLS13];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Pair)?
            .with_client_cert_verifier(peers)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(TlsError::Pair)?;
        // Each connection shows its certificate: one that is over must not live on in a ticket.
        server.send_tls13_tickets = 0;
        let verifier = Arc::new(SignedByAuthority { roots, provider: Arc::clone(&provider) });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsError::Pair)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Pair)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), Arc::new(client).into());
        Ok(Loaded { acceptor, connector, expires, stamps })
    }
}

impl Debug for PeerTls {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("PeerTls")
    }
}

/// Takes every certificate that the authority signed and whose time it is, whatever its name.
#[derive(Debug)]
struct SignedByAuthority {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SignedByAuthority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            chain,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
