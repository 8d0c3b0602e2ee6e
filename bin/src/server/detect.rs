//! Which protocol a connection speaks, told by its first byte, as in PROTOCOL 2.2: the protocols
//! were chosen so that no two begin alike.

use super::connections::Spoken;
use crate::config::Accept;

/// The first byte of a native connection; it begins no text.
const NATIVE: u8 = 0xF7;
/// The first byte of a TLS handshake.
const TLS: u8 = 0x16;
/// The first byte of a request in memcached's binary protocol.
const MEMCACHED_BINARY: u8 = 0x80;
/// The first byte of a Redis command.
const RESP: u8 = b'*';

/// What a first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// A protocol that this listener serves.
    Served(Spoken),
    /// A protocol that is known by this name, and not served here.
    NotAccepted(&'static str),
    /// None that is known.
    Unknown,
}

/// What a connection speaks whose first byte is `first`, on a listener that accepts `accept`.
pub fn detect(first: u8, accept: Accept) -> Detected {
    let served = |accepted: bool, spoken: Spoken| match accepted {
        true => Detected::Served(spoken),
        false => Detected::NotAccepted(spoken.name()),
    };
    match first {
        NATIVE => served(accept.native, Spoken::Native),
        MEMCACHED_BINARY | b'a'..=b'z' => served(accept.memcached, Spoken::Memcached),
        b'A'..=b'Z' => served(accept.http, Spoken::Http),
        TLS => Detected::NotAccepted("tls"),
        RESP => Detected::NotAccepted("resp"),
        _ => Detected::Unknown,
    }
}

/// The only protocol that a listener accepts: then nothing need be told apart.
pub fn only(accept: Accept) -> Option<Spoken> {
    match accept {
        Accept { memcached: true, http: false, native: false } => Some(Spoken::Memcached),
        Accept { memcached: false, http: true, native: false } => Some(Spoken::Http),
        Accept { memcached: false, http: false, native: true } => Some(Spoken::Native),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_means_one_thing() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0xF7 => Detected::Served(Spoken::Native),
                0x80 | 0x61..=0x7a => Detected::Served(Spoken::Memcached),
                0x41..=0x5a => Detected::Served(Spoken::Http),
                0x16 => Detected::NotAccepted("tls"),
                0x2a => Detected::NotAccepted("resp"),
                _ => Detected::Unknown,
            };
            assert_eq!(detect(first, Accept::ALL), expected, "{first:#04x}");
        }
    }

    #[test]
    fn what_a_listener_does_not_accept_is_named() {
        for (first, accept, expected) in [
            (b'G', Accept::MEMCACHED, Detected::NotAccepted("http")),
            (b'g', Accept::MEMCACHED, Detected::Served(Spoken::Memcached)),
            (b'g', Accept::HTTP, Detected::NotAccepted("memcached")),
            (0x80, Accept::HTTP, Detected::NotAccepted("memcached")),
            (0xF7, Accept::HTTP, Detected::NotAccepted("native")),
            (0x16, Accept::HTTP, Detected::NotAccepted("tls")),
            (0x00, Accept::HTTP, Detected::Unknown),
        ] {
            assert_eq!(detect(first, accept), expected, "{first:#04x} {accept:?}");
        }
    }

    #[test]
    fn one_protocol_alone_needs_no_detection() {
        assert_eq!(only(Accept::MEMCACHED), Some(Spoken::Memcached));
        assert_eq!(only(Accept::HTTP), Some(Spoken::Http));
        assert_eq!(only(Accept::ALL), None);
    }
}
