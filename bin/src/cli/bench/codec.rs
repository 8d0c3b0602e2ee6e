//! One connection's requests as bytes, and bytes as its answers, in whichever protocol. No sockets.

use std::time::Duration;

use super::binary::Binary;
use super::native::Native;
use super::text::Text;

/// What is kept of a request until its answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whether it is a set.
    pub is_set: bool,
    /// Since when it has been due.
    pub due: Duration,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The set is done.
    Stored,
    /// The get found something.
    Hit,
    /// The get found nothing.
    Miss,
    /// Surely not done; why, in a few words.
    Failed(String),
    /// Nobody knows whether it was done; why, in a few words.
    Unknown(String),
}

/// The connection cannot go on; why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

/// What the bytes that have come begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes are the answer to this request.
    Answer(usize, Asked, Answer),
    /// So many bytes are for the connection itself.
    Control(usize),
    /// Too few bytes to tell.
    Incomplete,
}

/// The protocol of a connection, with what is under way on it.
pub enum Codec {
    /// memcached's text protocol, classic or meta.
    Text(Text),
    /// memcached's binary protocol.
    Binary(Binary),
    /// GNP.
    Native(Box<Native>),
}

impl Codec {
    /// How many requests are under way.
    pub fn under_way(&self) -> usize {
        match self {
            Codec::Text(text) => text.under_way(),
            Codec::Binary(binary) => binary.under_way(),
            Codec::Native(native) => native.under_way(),
        }
    }

    /// Appends a read.
    pub fn get(&mut self, key: &[u8], due: Duration, out: &mut Vec<u8>) {
        match self {
            Codec::Text(text) => text.get(key, due, out),
            Codec::Binary(binary) => binary.get(key, due, out),
            Codec::Native(native) => native.get(key, due, out),
        }
    }

    /// Appends a write.
    pub fn set(&mut self, key: &[u8], value: &[u8], due: Duration, out: &mut Vec<u8>) {
        match self {
            Codec::Text(text) => text.set(key, value, due, out),
            Codec::Binary(binary) => binary.set(key, value, due, out),
            Codec::Native(native) => native.set(key, value, due, out),
        }
    }

    /// Reads what `input` begins with; what the connection has to say itself is appended to `out`.
    pub fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Taken, Broken> {
        match self {
            Codec::Text(text) => text.take(input),
            Codec::Binary(binary) => binary.take(input),
            Codec::Native(native) => native.take(input, out),
        }
    }

    /// Gives up what is under way: the connection is gone.
    pub fn give_up(&mut self) -> Vec<Asked> {
        match self {
            Codec::Text(text) => text.give_up(),
            Codec::Binary(binary) => binary.give_up(),
            Codec::Native(native) => native.give_up(),
        }
    }
}
