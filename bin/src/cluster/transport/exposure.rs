//! Whether a transport may listen where it is told to.

use std::net::SocketAddr;

use thiserror::Error;

/// Other machines could speak as peers without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{0} can be reached from other machines, and whoever reaches it could join the cluster\n  \
     help: give the peers certificates (cluster.tls_cert, cluster.tls_key, cluster.tls_ca), listen on 127.0.0.1 or [::1], or allow it for a network \
     where everybody may read and write everything"
)]
pub struct ExposedPeer(pub SocketAddr);

/// Whether peers may be listened for on `listen`: on this machine, over TLS, or when the operator
/// has said that he knows (`insecure`).
///
/// # Errors
/// [`ExposedPeer`] otherwise; its text says what to do.
pub fn check_exposure(
    listen: &SocketAddr,
    has_tls: bool,
    insecure: bool,
) -> Result<(), ExposedPeer> {
    let is_local = listen.ip().to_canonical().is_loopback();
    if is_local || has_tls || insecure { Ok(()) } else { Err(ExposedPeer(*listen)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_certificates_or_a_word() {
        for (listen, has_tls, insecure, allowed) in [
            ("127.0.0.1:1", false, false, true),
            ("[::1]:1", false, false, true),
            ("[::ffff:127.0.0.1]:1", false, false, true),
            ("0.0.0.0:1", false, false, false),
            ("[::]:1", false, false, false),
            ("10.0.0.1:1", false, false, false),
            ("10.0.0.1:1", true, false, true),
            ("10.0.0.1:1", false, true, true),
        ] {
            let listen = listen.parse().unwrap();
            let checked = check_exposure(&listen, has_tls, insecure);
            assert_eq!(checked, if allowed { Ok(()) } else { Err(ExposedPeer(listen)) });
        }
    }
}
