//! Where to listen.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A unix socket path (`unix:PATH`) and its access mask (octal, memcached's `-a`).
    Unix(PathBuf, u32),
}

impl Address {
    /// The access mask of a unix socket unless configured otherwise (memcached's `-a`).
    pub const UNIX_MASK: u32 = 0o700;

    /// A port on the loopback interface.
    pub fn local(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(..) => true,
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path, Self::UNIX_MASK) => write!(f, "unix:{}", path.display()),
            Self::Unix(path, mask) => write!(f, "unix:{}?mode={mask:o}", path.display()),
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::local(11211)
    }
}
