//! Makes connections, over TLS if it was told to.

use std::hash::{BuildHasher, RandomState};
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::core::Channel;
use super::happy_eyeballs;

/// What bytes go over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, and what a login on it may rely on.
pub struct Dialed {
    pub stream: Box<dyn Stream>,
    pub channel: Channel,
}

/// How connections are made.
#[derive(Clone, Default)]
pub struct Dialer {
    #[cfg(feature = "client-tls")]
    pub tls: Option<super::tls::Tls>,
}

impl Dialer {
    /// Whether connections are made in the clear.
    pub fn is_clear(&self) -> bool {
        #[cfg(feature = "client-tls")]
        let is_clear = self.tls.is_none();
        #[cfg(not(feature = "client-tls"))]
        let is_clear = true;
        is_clear
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] when the two ends do not trust each other; others when
    /// nobody answers.
    pub async fn dial(self, address: String) -> io::Result<Dialed> {
        let stream = happy_eyeballs::connect(&address).await?;
        stream.set_nodelay(true)?;
        #[cfg(feature = "client-tls")]
        if let Some(tls) = self.tls {
            let (stream, binding) = tls.secure(stream, &address).await?;
            let channel = Channel { private: true, binding, nonce: nonce() };
            return Ok(Dialed { stream: Box::new(stream), channel });
        }
        let private = stream.peer_addr()?.ip().is_loopback();
        let channel = Channel { private, binding: None, nonce: nonce() };
        Ok(Dialed { stream: Box::new(stream), channel })
    }
}

/// A number that nobody can foresee: SipHash under a key that std draws once for each thread from
/// the system's own source, and counts up from.
pub fn chance(which: u64) -> u64 {
    RandomState::new().hash_one(which)
}

fn nonce() -> [u8; 18] {
    let mut nonce = [0; 18];
    for (which, part) in (0..).zip(nonce.chunks_mut(8)) {
        let drawn = chance(which).to_be_bytes();
        part.iter_mut().zip(drawn).for_each(|(byte, drawn)| *byte = drawn);
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nonces_are_alike() {
        let (one, other) = (nonce(), nonce());
        assert_ne!(one, other);
        assert!(one[16..] != [0, 0] || other[16..] != [0, 0], "the last ones are drawn, too");
    }
}
