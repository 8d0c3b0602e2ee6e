//! The protocols of Isogrid as sans-IO codecs: memcached's three in [`memcached`], Isogrid's own
//! in [`native`]. Bytes in, requests out; replies in, bytes out. No socket, clock, thread or
//! storage lives here, but for the feature `client`: the module `client` speaks the native
//! protocol over tokio's sockets.
#![forbid(unsafe_code)]

pub mod base64;
#[cfg(feature = "client")]
pub mod client;
pub mod limits;
pub mod memcached;
pub mod native;
pub mod output;
pub mod scram;

pub use limits::Limits;
pub use output::Output;
