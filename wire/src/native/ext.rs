//! Extensions: tagged values at the start of a payload whose frame has the flag
//! [`super::frame::EXT`]. Tags from 0x80 on are critical: who does not know one must not execute
//! the request.

use super::blob::Key;
use super::codec::{Codec, Ms, Varint, decode_all};
use super::declare::{choices, record};
use super::reader::{Malformed, Reader};
use super::schema::Type;
use super::sink::{Sink, put_varint, varint_len};

/// Tags from here on must be understood.
const CRITICAL: u8 = 0x80;

choices! {
    /// Which copy a read may be served from.
    Consistency {
        /// As the cache is configured.
        0 Default "DEFAULT",
        /// The segment's owner.
        1 Owner "OWNER",
        /// More than half of the copies.
        2 Majority "MAJORITY",
        /// Whichever copy is nearest.
        3 Any "ANY",
    }
}

record! {
    /// The lock that the caller believes to hold. The request is refused with `FENCED` unless it is
    /// held under this token.
    Fence<'a> {
        /// The lock space, as `catalog.RESOLVE` named it.
        object: u32,
        /// The lock.
        key: Key<'a>,
        /// The token that `lease.LOCK` answered.
        token: u64,
    }
}

/// A W3C trace context: version, trace id, parent id and flags, and the tracestate behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace<'a> {
    /// Version (1 byte), trace id (16), parent id (8), flags (1).
    pub parent: [u8; 26],
    /// The `tracestate` header; empty if there is none.
    pub state: &'a str,
}

impl<'a> Codec<'a> for Trace<'a> {
    const TYPE: Type = Type::Bytes;
    const LEN_MIN: usize = 26;

    fn encoded_len(&self) -> usize {
        self.parent.len() + if self.state.is_empty() { 0 } else { self.state.encoded_len() }
    }

    fn encode<S: Sink>(&self, out: &mut S) {
        out.put(&self.parent);
        if !self.state.is_empty() {
            self.state.encode(out);
        }
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let parent = input.array()?;
        let state = if input.rest().is_empty() { "" } else { <&str>::decode(input)? };
        Ok(Trace { parent, state })
    }
}

record! {
    /// How long a request took on the server.
    Timing {
        /// Microseconds that it waited.
        queued_us: Varint,
        /// Microseconds that it was executed.
        executed_us: Varint,
        /// Members that it was forwarded over.
        hops: Varint,
    }
}

/// A set of extensions: each at most once.
macro_rules! extensions {
    (
        $(#[doc = $doc:literal])+
        $name:ident $(<$life:lifetime>)? {
            $( $(#[doc = $tag_doc:literal])+ $tag:literal $field:ident: $kind:ty, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct $name $(<$life>)? {
            $( $(#[doc = $tag_doc])+ pub $field: Option<$kind>, )+
        }

        impl<'a> $name $(<$life>)? {
            /// The tags for documents: number, name, meaning, type.
            pub const TAGS: &'static [(u8, &'static str, &'static str, Type)] = &[$(
                ($tag, stringify!($field), concat!($($tag_doc, "\n"),+), <$kind as Codec>::TYPE),
            )+];

            /// Whether there are none, so that the frame needs no block.
            #[inline]
            #[must_use]
            pub fn is_empty(&self) -> bool {
                true $(&& self.$field.is_none())+
            }

            /// Bytes of the tags and their values.
            fn tags_len(&self) -> usize {
                let len = 0;
                $( let len = len + self.$field.as_ref().map_or(0, |value| {
                    let value_len = value.encoded_len();
                    1 + varint_len(value_len as u64) + value_len
                }); )+
                len
            }

            /// Bytes of the block; 0 if there is none.
            #[inline]
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                if self.is_empty() {
                    return 0;
                }
                let len = self.tags_len();
                varint_len(len as u64) + len
            }

            /// Appends the block, if there is one.
            #[inline]
            pub fn encode<S: Sink>(&self, out: &mut S) {
                if self.is_empty() {
                    return;
                }
                put_varint(self.tags_len() as u64, out);
                $( if let Some(value) = &self.$field {
                    out.put(&[$tag]);
                    put_varint(value.encoded_len() as u64, out);
                    value.encode(out);
                } )+
            }

            /// Takes a block off the front of a payload. Unknown tags below 0x80 are skipped.
            ///
            /// # Errors
            ///
            /// What is wrong with the block, or the critical tag that is not known.
            pub fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
                let bytes = input.bytes()?;
                let mut block = input.within(bytes);
                let mut all = Self::default();
                while !block.rest().is_empty() {
                    let [tag] = block.array()?;
                    let value = block.bytes()?;
                    match tag {
                        $( $tag => put_once(&mut all.$field, block.within(value))?, )+
                        CRITICAL.. => return Err(Malformed::UnknownTag(tag)),
                        _ => {}
                    }
                }
                Ok(all)
            }
        }
    };
}

fn put_once<'a, T: Codec<'a>>(place: &mut Option<T>, value: Reader<'a>) -> Result<(), Malformed> {
    match place.replace(decode_all(value)?) {
        Some(_) => Err(Malformed::TagTwice),
        None => Ok(()),
    }
}

extensions! {
    /// The extensions of a request.
    RequestExt<'a> {
        /// W3C trace context: 26 bytes (version 1, trace id 16, parent id 8, flags 1), and
        /// optionally a `str`, the tracestate.
        0x01 trace: Trace<'a>,
        /// A number that the client's instance uses once; they rise. The server keeps the answers for
        /// a while (10 minutes, 64 k per instance) and answers the same number with the first answer;
        /// for a key of a cluster's cache, and for a transaction, copies keep them (5 minutes, 64 per
        /// instance and segment), and any member answers.
        0x02 idem: u64,
        /// Where the request comes from, in words for the slow log.
        0x03 origin: &'a str,
        /// The transaction that the request belongs to.
        0x83 tx: u64,
        /// The lease that what is made hangs on.
        0x84 lease: u64,
        /// Which copy a read may be served from.
        0x85 consistency: Consistency,
        /// The lock that must still be the caller's for the request to be executed.
        0x86 fence: Fence<'a>,
    }
}

extensions! {
    /// The extensions of an answer.
    ReplyExt {
        /// How long it took.
        0x40 timing: Timing,
        /// The key is hot: keeping the entry in the client for this time is welcome.
        0x41 hot: Ms,
        /// The client should wait for this time before the next request of this kind.
        0x42 throttle: Ms,
    }
}
