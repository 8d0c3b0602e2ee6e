//! Requests, answers, errors and items as frames: what every operation has around its body.

use super::codec::{Codec, decode_all};
use super::error::ErrorBody;
use super::ext::{ReplyExt, RequestExt};
use super::frame::{EXT, Frame, Header};
use super::limits::Limits;
use super::list::List;
use super::operation::{Answer, Call};
use super::reader::{Malformed, Reader};
use super::sink::{Sink, put_varint, varint_len};

/// A request, its body not decoded yet: the body is decoded once it is known that the caller may
/// ask for this operation.
#[derive(Debug, Clone, Copy)]
pub struct RequestFrame<'a> {
    /// Extensions.
    pub ext: RequestExt<'a>,
    /// How long the caller waits, in milliseconds from when the server read the frame; 0 is the
    /// server's default for the operation.
    pub timeout_ms: u32,
    /// The object that the operation works on, as `catalog.RESOLVE` numbered it; 0 for operations
    /// that work on none.
    pub object: u32,
    /// The operation's own fields.
    pub body: Reader<'a>,
}

/// Bytes of `timeout_ms` and `object`.
const PRELUDE_LEN: usize = 8;

impl<'a> RequestFrame<'a> {
    /// Splits the payload of a `REQ`.
    ///
    /// # Errors
    ///
    /// What is wrong with the extensions or the prelude.
    #[inline]
    pub fn decode(frame: &Frame<'a>, limits: &Limits) -> Result<Self, Malformed> {
        let mut input = Reader::new(frame.payload, limits);
        let has_ext = frame.header.has(EXT);
        let ext = if has_ext { RequestExt::decode(&mut input)? } else { RequestExt::default() };
        let (timeout_ms, object) = prelude(&mut input)?;
        Ok(RequestFrame { ext, timeout_ms, object, body: input })
    }

    /// As [`RequestFrame::decode`] of a frame without extensions: `timeout_ms`, `object` and the
    /// body.
    ///
    /// # Errors
    ///
    /// What is wrong with the prelude.
    #[inline(always)]
    pub fn split(payload: &'a [u8], limits: &Limits) -> Result<(u32, u32, Reader<'a>), Malformed> {
        let mut input = Reader::new(payload, limits);
        let (timeout_ms, object) = prelude(&mut input)?;
        Ok((timeout_ms, object, input))
    }
}

#[inline(always)]
fn prelude(input: &mut Reader<'_>) -> Result<(u32, u32), Malformed> {
    Ok((u32::decode(input)?, u32::decode(input)?))
}

/// What a client sends around the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prelude<'a> {
    /// See [`RequestFrame::ext`].
    pub ext: RequestExt<'a>,
    /// See [`RequestFrame::timeout_ms`].
    pub timeout_ms: u32,
    /// See [`RequestFrame::object`].
    pub object: u32,
}

impl Prelude<'_> {
    /// Appends a request. [`EXT`] is set in the header if there are extensions.
    #[inline]
    pub fn put_request<'b, T: Codec<'b>, S: Sink>(&self, header: Header, body: &T, out: &mut S) {
        let len = self.ext.encoded_len() + PRELUDE_LEN + body.encoded_len();
        with_ext(header, self.ext.is_empty()).encode(len, out);
        self.ext.encode(out);
        self.timeout_ms.encode(out);
        self.object.encode(out);
        body.encode(out);
    }
}

#[inline]
fn with_ext(header: Header, ext_is_empty: bool) -> Header {
    let ext = if ext_is_empty { 0 } else { EXT };
    Header { flags: header.flags & !EXT | ext, ..header }
}

/// Takes the extensions off the payload of a `RES`, `ERR` or `ITEM`.
///
/// # Errors
///
/// What is wrong with them.
#[inline]
pub fn reply_ext<'a>(
    frame: &Frame<'a>,
    limits: &Limits,
) -> Result<(ReplyExt, Reader<'a>), Malformed> {
    let mut input = Reader::new(frame.payload, limits);
    let has_ext = frame.header.has(EXT);
    let ext = if has_ext { ReplyExt::decode(&mut input)? } else { ReplyExt::default() };
    Ok((ext, input))
}

/// Appends a `RES`.
#[inline(always)]
pub fn put_reply<'b, T: Answer<'b>, S: Sink>(
    header: Header,
    ext: &ReplyExt,
    answer: &T,
    out: &mut S,
) {
    let len = ext.encoded_len() + answer.encoded_len();
    with_ext(header, ext.is_empty()).encode(len, out);
    if !ext.is_empty() {
        ext.encode(out);
    }
    answer.encode(out);
}

/// Appends a `RES` without extensions, of an answer of `len` bytes.
#[inline(always)]
pub fn put_answer<'b, T: Answer<'b>, S: Sink>(header: Header, len: usize, answer: &T, out: &mut S) {
    header.encode(len, out);
    answer.encode(out);
}

/// Appends an `ERR`.
pub fn put_error<S: Sink>(header: Header, ext: &ReplyExt, error: &ErrorBody<'_>, out: &mut S) {
    let len = ext.encoded_len() + error.encoded_len();
    with_ext(header, ext.is_empty()).encode(len, out);
    ext.encode(out);
    error.encode(out);
}

/// Decodes the payload of an `ERR`.
///
/// # Errors
///
/// What is wrong with it.
pub fn decode_error<'a>(
    frame: &Frame<'a>,
    limits: &Limits,
) -> Result<(ReplyExt, ErrorBody<'a>), Malformed> {
    let (ext, body) = reply_ext(frame, limits)?;
    Ok((ext, decode_all(body)?))
}

/// Appends an `ITEM` of these items, and of what the operation adds behind them: [`super::Nothing`]
/// for most.
pub fn put_items<'b, T: Codec<'b>, U: Codec<'b>, S: Sink>(
    header: Header,
    items: &[T],
    trailer: &U,
    out: &mut S,
) {
    let items_len: usize = items.iter().map(T::encoded_len).sum();
    let len = varint_len(items.len() as u64) + items_len + trailer.encoded_len();
    header.encode(len, out);
    put_varint(items.len() as u64, out);
    items.iter().for_each(|item| item.encode(out));
    trailer.encode(out);
}

/// Decodes the payload of an `ITEM` of the operation `T`: the items, and what it adds behind them.
/// Bytes behind that are of a later release and ignored.
///
/// # Errors
///
/// What is wrong with it.
pub fn decode_items<'a, T: Call + 'a>(
    frame: &Frame<'a>,
    limits: &Limits,
) -> Result<(List<'a, T::Item<'a>>, T::Trailer<'a>), Malformed> {
    let (_, mut body) = reply_ext(frame, limits)?;
    Ok((List::decode(&mut body)?, Codec::decode(&mut body)?))
}
