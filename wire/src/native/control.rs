//! The payloads of the frames that belong to no operation.

use super::codec::Codec;
use super::declare::{choices, record};
use super::frame::{Header, Kind};
use super::list::List;
use super::sink::Sink;

record! {
    /// The payload of `CREDIT`.
    Credit {
        /// So many more items may be sent.
        items: u32,
    }
}

record! {
    /// The payload of `PING` and `PONG`.
    Ping {
        /// Echoed as it is.
        opaque: u64,
    }
}

choices! {
    /// Why a server goes away.
    GoAwayReason {
        /// The node is being stopped or taken out.
        1 Drain "DRAIN",
        /// The configuration of the listener has changed.
        2 Reconfigured "RECONFIGURED",
        /// The identity of the connection was revoked or has expired.
        3 AuthExpired "AUTH_EXPIRED",
        /// This member has more connections than its share.
        4 Rebalance "REBALANCE",
    }
}

record! {
    /// The payload of `GOAWAY`.
    GoAway<'a> {
        /// Why: `u16`; numbers that a client does not know mean no more than going away.
        reason: u16,
        /// New requests are still served for so many milliseconds.
        drain_ms: u32,
        /// For people.
        message: &'a str,
        /// Addresses of members that can be used instead.
        alternatives: List<'a, &'a str>,
    }
}

/// Appends a frame of `body` that belongs to no request.
pub fn put_control<'a, T: Codec<'a>, S: Sink>(header: Header, body: &T, out: &mut S) {
    header.encode(body.encoded_len(), out);
    body.encode(out);
}

/// Appends a frame without a payload: `CANCEL`.
pub fn put_cancel<S: Sink>(stream: u32, epoch: u32, out: &mut S) {
    Header::control(Kind::Cancel, stream, epoch).encode(0, out);
}
