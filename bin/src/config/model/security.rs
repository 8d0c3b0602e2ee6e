//! Who may do what, and TLS.

use std::path::PathBuf;

use crate::security::Mode;

/// Who may do what.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfig {
    /// When connections have to log in. Default: auto.
    pub mode: Mode,
    /// The file of users; `auto` = `security/users.toml` in the data directory. Default: auto.
    pub users: String,
    /// The audit log; `auto` = `security/audit.jsonl` in the data directory, `None` = none.
    /// Default: auto.
    pub audit: Option<String>,
    /// Whether logins over TCP are taken over TLS alone, also those of this machine. Default: no.
    pub require_tls: bool,
    /// memcached's `-Y` and `MEMCACHED_SASL_PWDB`: a file of `user:password` lines in the place of
    /// the file of users. Default: none.
    pub passwords: Option<PathBuf>,
}

impl AuthConfig {
    /// The folder in the data directory that the files are in unless configured otherwise.
    pub(super) const FOLDER: &str = "security";
    /// Stands for a file in that folder.
    pub(super) const AUTO: &str = "auto";
}

impl Default for AuthConfig {
    fn default() -> Self {
        let auto = Self::AUTO.to_owned();
        Self {
            mode: Mode::Auto,
            users: auto.clone(),
            audit: Some(auto),
            require_tls: false,
            passwords: None,
        }
    }
}

/// TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// Whether TLS is spoken, where a listener does not say. Default: off.
    pub mode: TlsMode,
    /// A PEM file: the certificate, then those that lead to its authority. Default: none.
    pub cert: Option<String>,
    /// A PEM file with the certificate's private key. Default: none.
    pub key: Option<String>,
    /// A PEM file: the authorities of client certificates. Default: none.
    pub ca: Option<String>,
    /// Whether clients show certificates. Default: off.
    pub client: ClientCertificates,
    /// The oldest version spoken, `1.2` or `1.3`. Default: 1.2.
    pub min_version: String,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            mode: TlsMode::Off,
            cert: None,
            key: None,
            ca: None,
            client: ClientCertificates::Off,
            min_version: "1.2".to_owned(),
        }
    }
}

/// Whether TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// Always.
    On,
    /// By those who begin with it.
    Optional,
}

/// Whether TLS is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    /// As `[tls]` says.
    Node,
    /// Never.
    Off,
    /// Always.
    On,
    /// By those who begin with it.
    Optional,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked to.
    Off,
    /// They may; one that is shown must be good.
    Optional,
    /// They must.
    Required,
}
