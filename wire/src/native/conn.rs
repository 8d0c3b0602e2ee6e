//! Group 0x00: the connection itself.

use super::blob::Json;
use super::declare::group;

group! {
    /// The connection itself. The object of these requests is 0.
    0x00 "conn";
    reserved {}

    /// Answers. For a sign of life of the connection alone use the frame `PING`.
    0x0001 PING Ping (Read, None, none) {} => PingReply {
        /// It is alive.
        Ok {}
    }

    /// Answers once everything that was sent before it on this connection is finished, streams
    /// apart.
    0x0002 FENCE Fence (Read, None, none) {} => FenceReply {
        /// Nothing that was sent before is under way any more.
        Ok {}
    }

    /// Answers with what it was sent.
    0x0003 ECHO Echo<'a> (Read, None, none) {
        /// Anything.
        data: &'a [u8],
    } => EchoReply<'a> {
        /// The same.
        Ok {
            /// What was sent.
            data: &'a [u8],
        }
    }

    /// The server's clocks.
    0x0004 TIME Time (Read, None, none) {} => TimeReply {
        /// Both clocks, read one after the other.
        Ok {
            /// Milliseconds since 1970.
            unix_ms: u64,
            /// Milliseconds of a clock that only goes forward, from any start.
            monotonic_ms: u64,
        }
    }

    /// Says more of the client, for the list of connections: the keys of `client` in `HELLO`.
    0x0005 SET_INFO SetInfo<'a> (Idempotent, None, none) {
        /// Replaces the keys that it names.
        info: Json<'a>,
    } => SetInfoReply {
        /// Noted.
        Ok {}
    }
}
