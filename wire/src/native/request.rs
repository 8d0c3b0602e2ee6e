//! All groups together.

use super::error::ErrorCode;
use super::reader::{Malformed, Reader};
use super::schema::{Group, Operation};
use super::sink::Sink;
use super::{admin, batch, cache, catalog, conn, counter, lease, queue, session, tx};

/// The groups, in the order of their numbers.
pub const GROUPS: &[&Group] = &[
    conn::GROUP,
    cache::GROUP,
    tx::GROUP,
    counter::GROUP,
    lease::GROUP,
    queue::GROUP,
    session::GROUP,
    catalog::GROUP,
    admin::GROUP,
    batch::GROUP,
];

/// Groups whose numbers are kept for what is to come.
pub const RESERVED_GROUPS: &[(u8, &str)] = &[(0x07, "job"), (0x08, "naming")];

/// The operation of this opcode.
#[must_use]
pub fn operation(code: u16) -> Option<&'static Operation> {
    let [number, _] = code.to_be_bytes();
    let group = GROUPS.iter().find(|group| group.number == number)?;
    group.operations.iter().find(|operation| operation.code == code).copied()
}

/// The body of any request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Request<'a> {
    /// Group 0x00.
    Conn(conn::Request<'a>),
    /// Group 0x01.
    Cache(cache::Request<'a>),
    /// Group 0x02.
    Tx(tx::Request<'a>),
    /// Group 0x03.
    Counter(counter::Request<'a>),
    /// Group 0x04.
    Lease(lease::Request<'a>),
    /// Group 0x05.
    Queue(queue::Request<'a>),
    /// Group 0x06.
    Session(session::Request<'a>),
    /// Group 0x09.
    Catalog(catalog::Request<'a>),
    /// Group 0x0A.
    Admin(admin::Request<'a>),
    /// Group 0x0B.
    Batch(batch::Request<'a>),
}

/// Why a body is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such operation.
    UnknownOp(u16),
    /// The operation takes something else.
    Malformed(Malformed),
}

impl Refused {
    /// The code of the `ERR`.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Refused::UnknownOp(_) => ErrorCode::UnsupportedOp,
            Refused::Malformed(malformed) => malformed.code(),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::UnknownOp(op) => write!(f, "there is no operation 0x{op:04x}"),
            Refused::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

impl<'a> Request<'a> {
    /// Decodes the body of the operation `code`.
    ///
    /// # Errors
    ///
    /// [`Refused`]: the request is answered with an `ERR` of its code, and nothing else suffers.
    #[inline]
    pub fn decode(code: u16, body: Reader<'a>) -> Result<Self, Refused> {
        let [group, _] = code.to_be_bytes();
        let decoded = match group {
            0x00 => conn::Request::decode(code, body).map(|body| body.map(Request::Conn)),
            0x01 => cache::Request::decode(code, body).map(|body| body.map(Request::Cache)),
            0x02 => tx::Request::decode(code, body).map(|body| body.map(Request::Tx)),
            0x03 => counter::Request::decode(code, body).map(|body| body.map(Request::Counter)),
            0x04 => lease::Request::decode(code, body).map(|body| body.map(Request::Lease)),
            0x05 => queue::Request::decode(code, body).map(|body| body.map(Request::Queue)),
            0x06 => session::Request::decode(code, body).map(|body| body.map(Request::Session)),
            0x09 => catalog::Request::decode(code, body).map(|body| body.map(Request::Catalog)),
            0x0a => admin::Request::decode(code, body).map(|body| body.map(Request::Admin)),
            0x0b => batch::Request::decode(code, body).map(|body| body.map(Request::Batch)),
            _ => None,
        };
        decoded.ok_or(Refused::UnknownOp(code))?.map_err(Refused::Malformed)
    }

    /// What is asked for.
    #[must_use]
    pub fn operation(&self) -> &'static Operation {
        match self {
            Request::Conn(body) => body.operation(),
            Request::Cache(body) => body.operation(),
            Request::Tx(body) => body.operation(),
            Request::Counter(body) => body.operation(),
            Request::Lease(body) => body.operation(),
            Request::Queue(body) => body.operation(),
            Request::Session(body) => body.operation(),
            Request::Catalog(body) => body.operation(),
            Request::Admin(body) => body.operation(),
            Request::Batch(body) => body.operation(),
        }
    }

    /// Appends the body.
    pub fn encode<S: Sink>(&self, out: &mut S) {
        match self {
            Request::Conn(body) => body.encode(out),
            Request::Cache(body) => body.encode(out),
            Request::Tx(body) => body.encode(out),
            Request::Counter(body) => body.encode(out),
            Request::Lease(body) => body.encode(out),
            Request::Queue(body) => body.encode(out),
            Request::Session(body) => body.encode(out),
            Request::Catalog(body) => body.encode(out),
            Request::Admin(body) => body.encode(out),
            Request::Batch(body) => body.encode(out),
        }
    }
}
