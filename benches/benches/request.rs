//! A request without its sockets: what each codec costs, and the whole way from bytes to bytes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isogrid::config::ServerConfig;
use isogrid::server::Node;
use isogrid::server::connection::Conversation;
use isogrid::server::memcached::Memcached;
use isogrid::server::session::{Rights, Session};
use isogrid_wire::memcached::{Decoder, Framing, Item, Protocols, Reply, Request, Step, Value};
use isogrid_wire::{Limits, Output};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Requests that arrive together.
const PIPELINED: usize = 32;
const KEYS: usize = 100_000;
const VALUE: [u8; 64] = [b'v'; 64];

/// A request for the key of a number.
type OfKey = fn(usize) -> Vec<u8>;

/// The same get and set in each protocol.
const CODECS: [(&str, OfKey, OfKey); 3] = [
    (
        "text",
        |key| format!("get key-{key:08}\r\n").into_bytes(),
        |key| [format!("set key-{key:08} 0 0 64\r\n").as_bytes(), &VALUE, b"\r\n"].concat(),
    ),
    (
        "meta",
        |key| format!("mg key-{key:08} v\r\n").into_bytes(),
        |key| [format!("ms key-{key:08} 64\r\n").as_bytes(), &VALUE, b"\r\n"].concat(),
    ),
    ("binary", |key| packet(0x00, &[], key, &[]), |key| packet(0x01, &[0; 8], key, &VALUE)),
];

fn packet(opcode: u8, extras: &[u8], key: usize, value: &[u8]) -> Vec<u8> {
    let key = format!("key-{key:08}").into_bytes();
    let body = u32::try_from(extras.len() + key.len() + value.len()).unwrap();
    let key_len = u16::try_from(key.len()).unwrap().to_be_bytes();
    let head = [&[0x80, opcode], &key_len[..], &[u8::try_from(extras.len()).unwrap(), 0, 0, 0]];
    [&head.concat()[..], &body.to_be_bytes(), &[0; 12], extras, &key, value].concat()
}

fn pipelined(one: OfKey, from: usize) -> Vec<u8> {
    (0..PIPELINED).flat_map(|n| one((from + n * 7_919) % KEYS)).collect()
}

/// Decodes everything and answers it from nowhere: a hit for a get, success for a set.
fn decode_and_encode(input: &[u8], out: &mut Output) {
    let mut decoder = Decoder::new(Limits::default(), Protocols::Auto);
    let mut rest = input;
    while !rest.is_empty() {
        let decoded = decoder.decode(rest);
        let Step::Request(request, framing) = &decoded.step else { panic!("not decoded") };
        answer(request, framing, out);
        rest = &rest[decoded.consumed..];
    }
}

fn answer(request: &Request<'_>, framing: &Framing<'_>, out: &mut Output) {
    let item = Item {
        value: Value::Inline(&VALUE),
        flags: 0,
        cas: 1,
        ttl: None,
        last_access: 0,
        fetched: false,
        won: false,
        stale: false,
        lease_sent: false,
        unchanged: false,
        key_binary: false,
    };
    match request {
        Request::Get(get) => {
            get.keys.iter().for_each(|key| framing.encode(&Reply::Item { key, item }, out));
            framing.encode(&Reply::End, out);
        }
        Request::Store(store) => {
            let (key, size) = (store.key.as_ref(), store.value.len());
            framing.encode(&Reply::Stored { key, cas: 1, size }, out);
        }
        _ => panic!("a get or a set"),
    }
}

fn codecs(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(PIPELINED as u64));
    let mut out = Output::new();
    for (name, get, set) in CODECS {
        for (what, one) in [("get", get), ("set", set)] {
            let input = pipelined(one, 0);
            group.bench_function(format!("{name} {what}"), |b| {
                b.iter(|| {
                    decode_and_encode(black_box(&input), &mut out);
                    out.clear();
                });
            });
        }
    }
}

/// A connection's conversation with a server that has no sockets.
struct Client {
    memcached: Memcached,
    out: Output,
}

impl Client {
    fn new() -> Self {
        let node = Node::new(ServerConfig::ephemeral()).unwrap();
        let cache = node.catalog.cache("default").unwrap();
        let session = Session::new(node, cache, Rights { flush: false });
        let decoder = Decoder::new(Limits::default(), Protocols::Auto);
        Client { memcached: Memcached::new(session, decoder), out: Output::new() }
    }

    /// One read's worth of requests.
    fn say(&mut self, input: &[u8]) {
        self.memcached.begin();
        let mut rest = input;
        while !rest.is_empty() {
            let done = self.memcached.turn(rest, &mut self.out);
            rest = &rest[done.consumed..];
        }
        self.memcached.end();
        black_box(self.out.len());
        self.out.clear();
    }
}

fn whole_path(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    group.throughput(Throughput::Elements(PIPELINED as u64));
    for (name, get, set) in CODECS {
        let mut client = Client::new();
        (0..KEYS).for_each(|key| client.say(&set(key)));
        for (what, one) in [("get", get), ("set", set)] {
            let inputs: Vec<_> = (0..256).map(|n| pipelined(one, n * 31)).collect();
            let mut turns = inputs.iter().cycle();
            group.bench_function(format!("{name} {what}"), |b| {
                b.iter(|| client.say(turns.next().unwrap()));
            });
        }
    }
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(20);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = request; config = short(); targets = codecs, whole_path }
criterion_main!(request);
