//! GNP, the native protocol, as much as the load needs: GET and PUT of the cache `default`, asked
//! for and answered on streams that are told apart by where a request stands in its batch.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use isogrid_wire::native::cache::{Get, GetReply, Put, PutReply};
use isogrid_wire::native::catalog::{ObjectKind, Resolve, ResolveReply};
use isogrid_wire::native::handshake::{Client, Hello, to_payload};
use isogrid_wire::native::preface::{ClientPreface, PREFACE_LEN};
use isogrid_wire::native::{
    Answer, Call, Codec, ErrorCode, Frame, HEADER_LEN, Header, Key, Kind, Limits, Prelude,
    ReadOptions, Value, WriteOptions, decode_error, reply_ext,
};

use super::Result;
use super::protocol::{Reply, key};

/// The cache that is there without being made.
const CACHE: &str = "default";

/// The number of the cache on the server there, for all of its connections.
pub fn resolve(address: SocketAddr) -> Result<u32> {
    let mut stream = TcpStream::connect(address)?;
    introduce(&mut stream)?;
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    let resolve = Resolve { kind: ObjectKind::Cache, name: CACHE, create: false };
    let header = Header::new(Kind::Req, Resolve::CODE, 1, 0);
    Prelude::default().put_request(header, &resolve, &mut request);
    stream.write_all(&request)?;
    read_frame(&mut stream, &mut answer)?;
    match reply::<ResolveReply<'_>>(&answer, Resolve::CODE)? {
        Some((ResolveReply::Ok { id, .. }, _)) => Ok(id),
        _ => Err(format!("the server has no cache {CACHE}").into()),
    }
}

/// Preface, HELLO and WELCOME on a connection that blocks: then it takes requests.
pub fn introduce(stream: &mut (impl Read + Write)) -> Result<()> {
    let client = Client { name: "compare".to_owned(), ..Client::default() };
    let hello = to_payload(&Hello { client, ..Hello::default() });
    let mut greeting = ClientPreface::OURS.encode().to_vec();
    Header::control(Kind::Hello, 0, 0).encode(hello.len(), &mut greeting);
    greeting.extend_from_slice(&hello);
    stream.write_all(&greeting)?;
    stream.read_exact(&mut [0; PREFACE_LEN])?;
    let mut welcome = Vec::new();
    read_frame(stream, &mut welcome)?;
    match Frame::decode(&welcome, &Limits::default())? {
        Some(frame) if frame.header.kind == Kind::Welcome => Ok(()),
        _ => Err("the server does not welcome a client without a login".into()),
    }
}

/// Reads one frame.
fn read_frame(stream: &mut impl Read, frame: &mut Vec<u8>) -> Result<()> {
    frame.resize(HEADER_LEN, 0);
    stream.read_exact(frame)?;
    frame.resize(Frame::needed(frame), 0);
    Ok(stream.read_exact(frame.get_mut(HEADER_LEN..).unwrap_or_default())?)
}

/// `GET`, for one key.
pub fn encode_get(object: u32, ids: &[u64], out: &mut Vec<u8>) {
    let read = ReadOptions { switches: ReadOptions::VALUE, ..ReadOptions::default() };
    for &id in ids {
        encode(object, &Get { key: Key(&key(id)), read }, out);
    }
}

/// `PUT`
pub fn encode_set(object: u32, id: u64, value: &[u8], out: &mut Vec<u8>) {
    let (value, write) = (Value::Inline(value), WriteOptions::default());
    encode(object, &Put { key: Key(&key(id)), value, write }, out);
}

fn encode<'a, T: Call + Codec<'a>>(object: u32, body: &T, out: &mut Vec<u8>) {
    let stream = u32::try_from(out.len()).unwrap_or(u32::MAX).saturating_add(1);
    let header = Header::new(Kind::Req, T::CODE, stream, 0);
    Prelude { object, ..Prelude::default() }.put_request(header, body, out);
}

/// The entry, or that it is not there.
pub fn decode_get(input: &[u8]) -> Result<Option<Reply>> {
    let Some((answer, length)) = reply::<GetReply<'_>>(input, Get::CODE)? else { return Ok(None) };
    let value_bytes = match answer {
        GetReply::Ok { entry } => entry.value.map(|value| value.bytes().len()),
        GetReply::NotFound {} | GetReply::Unchanged {} => None,
    };
    let (hits, value_bytes) = (usize::from(value_bytes.is_some()), value_bytes.unwrap_or(0));
    Ok(Some(Reply { length, hits, value_bytes, refused: false }))
}

/// That it is stored, or that there is no memory.
pub fn decode_set(input: &[u8]) -> Result<Option<Reply>> {
    if let Some((code, length)) = error(input)? {
        return match ErrorCode::of(code) == Some(ErrorCode::OutOfMemory) {
            true => Ok(Some(Reply { length, refused: true, ..Reply::default() })),
            false => Err(format!("a PUT was refused with E{code}").into()),
        };
    }
    match reply::<PutReply<'_>>(input, Put::CODE)? {
        None => Ok(None),
        Some((PutReply::Ok { .. }, length)) => Ok(Some(Reply { length, ..Reply::default() })),
        Some((other, _)) => Err(format!("unexpected reply: {other:?}").into()),
    }
}

/// The answer that the input begins with, and its length.
fn reply<'a, T: Answer<'a>>(input: &'a [u8], op: u16) -> Result<Option<(T, usize)>> {
    let limits = Limits::default();
    let Some(frame) = Frame::decode(input, &limits)? else { return Ok(None) };
    if (frame.header.kind, frame.header.op) != (Kind::Res, op) {
        return Err(format!("unexpected frame: {:?}", frame.header).into());
    }
    let (_, body) = reply_ext(&frame, &limits)?;
    Ok(Some((T::decode_all(body)?, frame.encoded_len())))
}

/// The code of the ERR that the input begins with, and its length.
fn error(input: &[u8]) -> Result<Option<(u16, usize)>> {
    let limits = Limits::default();
    match Frame::decode(input, &limits)? {
        Some(frame) if frame.header.kind == Kind::Err => {
            let (_, body) = decode_error(&frame, &limits)?;
            Ok(Some((body.code, frame.encoded_len())))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use isogrid_wire::native::{Entry, ReplyExt, put_reply};

    use super::*;

    #[test]
    fn a_reply_is_read_when_complete_and_not_before() {
        let entry = Entry { value: Some(Value::Inline(b"abc")), ..Entry::default() };
        let mut one = Vec::new();
        let header = |op| Header::new(Kind::Res, op, 1, 0);
        put_reply(header(Get::CODE), &ReplyExt::default(), &GetReply::Ok { entry }, &mut one);
        for cut in 0..one.len() {
            assert_eq!(decode_get(&one[..cut]).expect("no error"), None);
        }
        let reply = decode_get(&one).expect("no error").expect("complete");
        assert_eq!((reply.length, reply.hits, reply.value_bytes), (one.len(), 1, 3));
        assert!(decode_set(&one).is_err(), "the answer to something else");
    }

    #[test]
    fn requests_of_a_batch_have_streams_of_their_own() {
        let mut batch = Vec::new();
        encode_get(1, &[7], &mut batch);
        encode_set(1, 8, b"v", &mut batch);
        encode_get(1, &[9], &mut batch);
        let (mut rest, mut streams) = (batch.as_slice(), Vec::new());
        while let Some(frame) = Frame::decode(rest, &Limits::default()).expect("frames") {
            streams.push(frame.header.stream);
            rest = &rest[frame.encoded_len()..];
        }
        assert_eq!(streams.len(), 3);
        assert!(streams.windows(2).all(|pair| pair[0] < pair[1]), "{streams:?}");
    }
}
