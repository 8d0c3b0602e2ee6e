//! Binary replies.

use super::decode::INVALID;
use super::opcode::{Command, Opcode};
use crate::Output;
use crate::memcached::{Item, Refusal, Reply, Value};

/// The first byte of every reply.
const MAGIC: u8 = 0x81;

/// How the replies to one binary request look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    opcode: u8,
    opaque: [u8; 4],
    last: bool,
}

/// The status of a reply, and the text that goes with it where there is no other body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok = 0x00,
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    NonNumeric = 0x06,
    AuthFailure = 0x20,
    Continue = 0x21,
    Unknown = 0x81,
    OutOfMemory = 0x82,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Status::Ok | Status::Continue => "",
            Status::NotFound => "Not found",
            Status::Exists => "Data exists for key.",
            Status::TooLarge => "Too large.",
            Status::Invalid => "Invalid arguments",
            Status::NotStored => "Not stored.",
            Status::NonNumeric => "Non-numeric server-side value for incr or decr",
            Status::AuthFailure => "Auth failure.",
            Status::Unknown => "Unknown command",
            Status::OutOfMemory => "Out of memory",
        }
    }
}

/// The parts of a reply before its value.
#[derive(Default)]
struct Head<'r> {
    cas: u64,
    extras: &'r [u8],
    key: &'r [u8],
}

impl Binary {
    pub(super) fn new(opcode: u8, opaque: [u8; 4]) -> Self {
        Binary { opcode, opaque, last: Opcode::of(opcode).command == Command::Quit }
    }

    /// The connection ends with this reply.
    pub(super) fn last(self) -> Self {
        Binary { last: true, ..self }
    }

    pub(in crate::memcached) fn ends_connection(self) -> bool {
        self.last
    }

    /// Behind "Invalid arguments" memcached always hangs up.
    pub(in crate::memcached) fn closes(self, reply: &Reply<'_>) -> bool {
        let refused = matches!(reply, Reply::Refused(_));
        let command = Opcode::of(self.opcode).command;
        self.last || (refused && failure(command, reply) == Status::Invalid)
    }

    pub(in crate::memcached) fn encode(self, reply: &Reply<'_>, out: &mut Output) {
        let Opcode { command, quiet, .. } = Opcode::of(self.opcode);
        match *reply {
            Reply::Item { key, ref item } => self.item(key, item, out),
            Reply::Miss { key } if !quiet => self.miss(key, out),
            Reply::Miss { .. } | Reply::End | Reply::Raw(_) => {}
            Reply::Stored { cas, .. } => self.success(Head { cas, ..Head::default() }, &[], out),
            Reply::Number { value, cas, .. } => {
                self.success(Head { cas, ..Head::default() }, &value.to_be_bytes(), out);
            }
            Reply::Touched { flags, cas } => {
                let extras = &flags.to_be_bytes();
                self.success(Head { cas, extras, ..Head::default() }, &[], out);
            }
            Reply::Deleted { .. } | Reply::Ok | Reply::Noop | Reply::Reset | Reply::StatEnd => {
                self.success(Head::default(), &[], out);
            }
            Reply::Version(version) => self.success(Head::default(), version.as_bytes(), out),
            Reply::Line(line) => self.success(Head::default(), line.as_bytes(), out),
            Reply::Stat { name, value } => {
                let key = name.as_bytes();
                self.success(Head { key, ..Head::default() }, value.as_bytes(), out);
            }
            Reply::Continue => self.failure(Status::Continue, out),
            Reply::NotStored { .. }
            | Reply::Exists { .. }
            | Reply::NotFound { .. }
            | Reply::NonNumeric
            | Reply::TooLarge
            | Reply::OutOfMemory
            | Reply::Debug { .. }
            | Reply::Refused(_) => self.failure(failure(command, reply), out),
        }
    }

    fn item(self, key: &[u8], item: &Item<'_>, out: &mut Output) {
        let extras = &item.flags.to_be_bytes();
        let key = if Opcode::of(self.opcode).with_key { key } else { &[] };
        let len = item.value.bytes().len();
        self.head(Status::Ok, &Head { cas: item.cas, extras, key }, len, out);
        match item.value {
            Value::Inline(bytes) => out.put(bytes),
            Value::Shared(bytes) => out.put_shared(bytes.clone()),
        }
    }

    /// A miss tells the key to those who asked for it, and says so in words to all others.
    fn miss(self, key: &[u8], out: &mut Output) {
        if Opcode::of(self.opcode).with_key {
            self.head(Status::NotFound, &Head { key, ..Head::default() }, 0, out);
        } else {
            self.failure(Status::NotFound, out);
        }
    }

    fn success(self, head: Head<'_>, value: &[u8], out: &mut Output) {
        if !Opcode::of(self.opcode).quiet {
            self.head(Status::Ok, &head, value.len(), out);
            out.put(value);
        }
    }

    fn failure(self, status: Status, out: &mut Output) {
        let text = status.text();
        self.head(status, &Head::default(), text.len(), out);
        out.put(text.as_bytes());
    }

    /// Header, extras and key of a reply whose value of `value_len` bytes follows.
    fn head(self, status: Status, head: &Head<'_>, value_len: usize, out: &mut Output) {
        let extras_len = u8::try_from(head.extras.len()).unwrap_or(0);
        let [k0, k1] = u16::try_from(head.key.len()).unwrap_or(0).to_be_bytes();
        let body_len = head.extras.len() + head.key.len() + value_len;
        out.put(&[MAGIC, self.opcode, k0, k1, extras_len, 0, 0, status as u8]);
        out.put(&u32::try_from(body_len).unwrap_or(0).to_be_bytes());
        out.put(&self.opaque);
        out.put(&head.cas.to_be_bytes());
        out.put(head.extras);
        out.put(head.key);
    }
}

/// The status of what did not work.
fn failure(command: Command, reply: &Reply<'_>) -> Status {
    match (command, reply) {
        (_, Reply::Exists { .. }) | (Command::Add, Reply::NotStored { .. }) => Status::Exists,
        (_, Reply::NotFound { .. }) | (Command::Replace, Reply::NotStored { .. }) => {
            Status::NotFound
        }
        (_, Reply::NotStored { .. }) => Status::NotStored,
        (_, Reply::NonNumeric) => Status::NonNumeric,
        (_, Reply::TooLarge | Reply::Refused(Refusal::TooLarge)) => Status::TooLarge,
        (_, Reply::OutOfMemory | Reply::Refused(Refusal::Server(_))) => Status::OutOfMemory,
        (_, Reply::Refused(Refusal::Denied(_))) => Status::AuthFailure,
        // Refused by the server, not by the decoder, which ends the connection.
        (Command::Flush, Reply::Refused(Refusal::Client(FLUSH_NOT_ALLOWED))) => Status::AuthFailure,
        (Command::Stat, Reply::Refused(refusal)) if *refusal != INVALID => Status::NotFound,
        (_, Reply::Refused(Refusal::Client(_))) => Status::Invalid,
        _ => Status::Unknown,
    }
}

/// What the server says when started with `-F`.
const FLUSH_NOT_ALLOWED: &str = "flush_all not allowed";

#[cfg(test)]
mod tests {
    use super::*;

    /// Opcode, reply, status or nothing.
    fn check(opcode: u8, reply: &Reply<'_>, expect: Option<u8>) {
        let mut out = Output::new();
        Binary::new(opcode, *b"opaq").encode(reply, &mut out);
        let bytes = out.to_vec();
        assert_eq!(bytes.get(7).copied(), expect, "{opcode:#x} {reply:?}");
        if let Some(body) = bytes.get(24..) {
            let said = bytes.get(8..12).and_then(|len| len.try_into().ok()).map(u32::from_be_bytes);
            assert_eq!(said, u32::try_from(body.len()).ok(), "{opcode:#x} {reply:?}");
            assert_eq!(bytes.get(12..16), Some(&b"opaq"[..]));
        }
    }

    #[test]
    fn what_is_quiet_and_what_is_not() {
        let (key, cas, size) = (&b"k"[..], 1, 1);
        let number = Reply::Number { key, value: 1, cas, ttl: None };
        for (opcode, quiet, reply, status) in [
            (0x00, 0x09, Reply::Miss { key }, 1),
            (0x0c, 0x0d, Reply::Miss { key }, 1),
            (0x1d, 0x1e, Reply::Miss { key }, 1),
            (0x23, 0x24, Reply::Miss { key }, 1),
            (0x01, 0x11, Reply::Stored { key, cas, size }, 0),
            (0x04, 0x14, Reply::Deleted { key }, 0),
            (0x05, 0x15, number, 0),
            (0x07, 0x17, Reply::Ok, 0),
            (0x08, 0x18, Reply::Ok, 0),
        ] {
            check(opcode, &reply, Some(status));
            check(quiet, &reply, None);
        }
        for opcode in [0x01, 0x11] {
            check(opcode, &Reply::Exists { key }, Some(2));
            check(opcode, &Reply::TooLarge, Some(3));
            check(opcode, &Reply::OutOfMemory, Some(0x82));
        }
        for (opcode, status) in [(0x02, 2), (0x12, 2), (0x03, 1), (0x13, 1), (0x0e, 5), (0x1a, 5)] {
            check(opcode, &Reply::NotStored { key }, Some(status));
        }
        check(0x00, &Reply::End, None);
    }

    #[test]
    fn what_the_server_refuses() {
        let client = |why| Reply::Refused(Refusal::Client(why));
        check(0x08, &client(FLUSH_NOT_ALLOWED), Some(0x20));
        check(0x10, &Reply::Refused(Refusal::Unknown), Some(1));
        check(0x10, &client("usage: stats detail on|off|dump"), Some(1));
        check(0x10, &Reply::Refused(INVALID), Some(4));
        check(0x7f, &Reply::Refused(Refusal::Unknown), Some(0x81));
        check(0x11, &Reply::Refused(Refusal::Denied("why")), Some(0x20));
        check(0x21, &Reply::Continue, Some(0x21));
        check(0x20, &Reply::Line("PLAIN"), Some(0));
        let closes = |opcode, reply: Reply<'_>| Binary::new(opcode, [0; 4]).closes(&reply);
        assert!(closes(0x01, client("too odd")) && closes(0x07, Reply::Ok));
        assert!(!closes(0x08, client(FLUSH_NOT_ALLOWED)) && !closes(0x01, Reply::TooLarge));
    }
}
