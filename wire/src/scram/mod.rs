//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266): both ends of a login in
//! which the password never travels and the server never keeps it.
//!
//! Both ends are plain structs: a message in, a message out. Nonces and salts come in as
//! arguments. A server that is handed a [`Verifier::decoy`] for a name that it does not know goes
//! through the same steps and refuses at the same place.
//!
//! Names and passwords are taken as they are; RFC 4013's preparation is not applied. Two spellings
//! of one non-ASCII letter are two passwords.

mod client;
mod error;
mod message;
mod server;
mod verifier;

pub use client::Client;
pub use error::ScramError;
pub use server::{Challenge, Hello};
pub use verifier::{SALT_LEN, Verifier};

/// The name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The name of the mechanism that binds the login to its TLS connection.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The label of the keying material that a `tls-exporter` binding consists of (RFC 9266); 32 bytes
/// of it, with an empty context, from TLS 1.3.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The length of that keying material.
pub const EXPORTER_LEN: usize = 32;

/// The least rounds of a verifier that is made here. RFC 7677 asks for 4,096 of a client's patience.
pub const ITERATIONS: u32 = 15_000;

#[cfg(test)]
mod tests;
