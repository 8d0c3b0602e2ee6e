//! GNP/1, the native protocol: what `docs/PROTOCOL.md` specifies, as types.
//!
//! Bytes of a connection become [`Frame`]s, the payload of a request a [`RequestFrame`], and its
//! body, once the caller is known to be allowed, a [`Request`]. Everything that is decoded borrows
//! from the input, and nothing is allocated. Answers, errors and items are written into any
//! [`Sink`], a vector or a connection's [`crate::Output`], with their lengths known beforehand.
//!
//! Each operation is declared once, in the file of its group: the declaration is the request's
//! type, its replies' type, both codecs, and the [`schema`] that documents and vectors are made
//! of.

mod declare;

pub mod schema;

mod limits;
mod reader;
mod sink;

mod blob;
mod codec;
mod list;
mod operation;

mod error;
mod options;
mod status;

pub mod ext;
pub mod frame;
pub mod handshake;
pub mod preface;

pub mod control;
mod message;
mod reassembly;
mod streams;

mod sub;

pub mod admin;
pub mod batch;
pub mod cache;
pub mod catalog;
pub mod conn;
pub mod counter;
pub mod lease;
pub mod queue;
pub mod session;
pub mod topology;
pub mod tx;

mod request;

pub mod dynamic;

pub use blob::{JSON_DEPTH_MAX, JSON_LEN_MAX, Json, Key, Value};
pub use codec::{Codec, Ms, Varint, decode_all};
pub use error::{Detail, ErrorBody, ErrorCode, ErrorInfo, Retry};
pub use ext::{Consistency, Fence, ReplyExt, RequestExt, Timing, Trace};
pub use frame::{Frame, FrameError, HEADER_LEN, Header, Kind};
pub use limits::{BEFORE_AUTH_LEN_MAX, Limits};
pub use list::List;
pub use message::{
    Prelude, RequestFrame, decode_error, decode_items, put_answer, put_error, put_items, put_reply,
    reply_ext,
};
pub use operation::{Answer, Call, Nothing};
pub use options::{Ack, Entry, ReadOptions, WriteOptions};
pub use reader::{Malformed, Reader};
pub use reassembly::{Assembled, FRAGMENT_LEN, Reassembly, put_fragments};
pub use request::{GROUPS, RESERVED_GROUPS, Refused, Request, operation};
pub use sink::Sink;
pub use status::Status;
pub use streams::{Cancel, ClientStreams, Received, Streams};
pub use sub::{SubKind, SubReply, SubRequest};
