//! What the codec of GNP costs: a get and a put from bytes to bytes, as a server and as a client
//! see them. `request` has the same for memcached's protocols.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isogrid_wire::Output;
use isogrid_wire::native::cache::{Get, GetReply, Put, PutReply, Request as CacheRequest};
use isogrid_wire::native::{
    Answer, Call, Entry, Frame, Header, Key, Kind, Limits, Ms, Prelude, ReadOptions, ReplyExt,
    Request, RequestFrame, Value, WriteOptions, put_reply, reply_ext,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Requests that arrive together.
const PIPELINED: u32 = 32;
const VALUE: [u8; 64] = [b'v'; 64];

/// Appends the request for a stream's number.
type OfStream = fn(u32, &mut Output);

fn get(stream: u32, out: &mut Output) {
    let key = format!("key-{stream:08}");
    let switches = ReadOptions::VALUE | ReadOptions::VERSION;
    let read = ReadOptions { switches, ..ReadOptions::default() };
    let header = Header::new(Kind::Req, Get::CODE, stream, 0);
    let prelude = Prelude { object: 1, ..Prelude::default() };
    prelude.put_request(header, &Get { key: Key(key.as_bytes()), read }, out);
}

fn put(stream: u32, out: &mut Output) {
    let key = format!("key-{stream:08}");
    let write = WriteOptions { ttl: Some(Ms(60_000)), ..WriteOptions::default() };
    let header = Header::new(Kind::Req, Put::CODE, stream, 0);
    let prelude = Prelude { object: 1, ..Prelude::default() };
    let body = Put { key: Key(key.as_bytes()), value: Value::Inline(&VALUE), write };
    prelude.put_request(header, &body, out);
}

/// Decodes every request and answers it from nowhere.
fn serve(input: &[u8], out: &mut Output) {
    let limits = Limits::default();
    let mut rest = input;
    while let Some(frame) = Frame::decode(rest, &limits).unwrap() {
        let request = RequestFrame::decode(&frame, &limits).unwrap();
        let header = Header { kind: Kind::Res, ..frame.header };
        let ext = ReplyExt::default();
        match Request::decode(frame.header.op, request.body).unwrap() {
            Request::Cache(CacheRequest::Get(get)) => {
                black_box(get.key);
                let (value, version) = (Some(Value::Inline(&VALUE)), Some(7));
                let entry = Entry { value, version, ..Entry::default() };
                put_reply(header, &ext, &GetReply::Ok { entry }, out);
            }
            Request::Cache(CacheRequest::Put(put)) => {
                black_box((put.key, put.write.ttl));
                put_reply(header, &ext, &PutReply::Ok { version: 7, prev: None }, out);
            }
            other => panic!("{other:?}"),
        }
        rest = rest.get(frame.encoded_len()..).unwrap();
    }
}

/// Decodes every answer.
fn receive(input: &[u8]) {
    let limits = Limits::default();
    let mut rest = input;
    while let Some(frame) = Frame::decode(rest, &limits).unwrap() {
        let (_, body) = reply_ext(&frame, &limits).unwrap();
        match frame.header.op {
            Get::CODE => drop(black_box(GetReply::decode_all(body))),
            _ => drop(black_box(PutReply::decode_all(body))),
        }
        rest = rest.get(frame.encoded_len()..).unwrap();
    }
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("native codec");
    group.throughput(Throughput::Elements(u64::from(PIPELINED)));
    for (name, one) in [("get", get as OfStream), ("put", put)] {
        let mut requests = Output::new();
        (1..=PIPELINED).for_each(|stream| one(stream, &mut requests));
        let requests = requests.to_vec();
        let mut out = Output::new();
        group.bench_function(format!("serve {name}"), |b| {
            b.iter(|| {
                out.clear();
                serve(black_box(&requests), &mut out);
            });
        });
        let answers = out.to_vec();
        group.bench_function(format!("receive {name}"), |b| {
            b.iter(|| receive(black_box(&answers)));
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
