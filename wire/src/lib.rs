//! The protocols of Isogrid as sans-IO codecs: bytes in, [`memcached::Request`] out; a
//! [`memcached::Reply`] in, bytes out. No socket, clock, thread or storage lives here.
#![forbid(unsafe_code)]

pub mod base64;
pub mod limits;
pub mod memcached;
pub mod output;
pub mod scram;

pub use limits::Limits;
pub use output::Output;
