//! Requests within a request, and their answers.

use super::declare::{choices, record};

record! {
    /// A request within another one.
    SubRequest<'a> {
        /// Its opcode.
        op: u16,
        /// Its object.
        object: u32,
        /// Its body, as it would stand behind the prelude of a `REQ`.
        body: &'a [u8],
    }
}

choices! {
    /// What an answer within another one is: the number of its frame type.
    SubKind {
        /// The payload of a `RES`: status and result.
        2 Res "RES",
        /// The payload of an `ERR`.
        3 Err "ERR",
    }
}

record! {
    /// An answer within another one.
    SubReply<'a> {
        /// What it is.
        kind: SubKind,
        /// The payload, without extensions.
        payload: &'a [u8],
    }
}
