//! Vectors of what belongs to no operation.

use isogrid_wire::native::dynamic::{encode, to_hex};
use isogrid_wire::native::preface::{ClientPreface, ServerPreface};
use isogrid_wire::native::schema::Type;
use isogrid_wire::native::{Frame, GROUPS, Limits, handshake, put_fragments};
use serde_json::{Value, json};
use xxhash_rust::xxh64::xxh64;

use super::vectors::frame;

/// Name, what it is about, and the vectors of each file.
pub(super) fn files() -> [(&'static str, &'static str, Vec<Value>); 6] {
    [
        ("primitives", "Values of the primitive types.", primitives()),
        ("preface", "The first eight bytes each way.", prefaces()),
        ("control", "Frames that belong to no operation, and the handshake.", control()),
        ("ext", "Extensions of requests and answers.", extensions()),
        ("fragments", "Messages in several frames: `hex` is one string a frame.", fragments()),
        ("segments", "Which segment a key belongs to: xxh64(key, 0) mod 1024.", segments()),
    ]
}

fn primitives() -> Vec<Value> {
    let varints = [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 32, 1 << 63, u64::MAX];
    let varints = varints.map(|number: u64| (Type::Varint, "varint", number.to_string().into()));
    let others: [(Type, &str, Value); 14] = [
        (Type::U8, "u8", 255.into()),
        (Type::U16, "u16", 258.into()),
        (Type::U32, "u32", 16_909_060.into()),
        (Type::U64, "u64", u64::MAX.to_string().into()),
        (Type::I64, "i64", i64::MIN.to_string().into()),
        (Type::I64, "i64", "-1".into()),
        (Type::Bool, "bool", true.into()),
        (Type::Ms, "ms", 60_000.into()),
        (Type::Bytes, "bytes", json!({ "hex": "00ff" })),
        (Type::Str, "str", "ключ".into()),
        (Type::Json, "json", r#"{"a":1}"#.into()),
        (Type::List(&Type::U16), "list<u16>", json!([1, 2])),
        (Type::Opt(&Type::U16), "opt<u16>", Value::Null),
        (Type::Opt(&Type::U16), "opt<u16>", 9.into()),
    ];
    let vector = |(kind, name, value): (Type, &str, Value)| {
        let mut bytes = Vec::new();
        encode(&kind, &value, &mut bytes).unwrap();
        let name_of = format!("{name} {value}");
        json!({ "name": name_of, "since": 1, "type": name, "hex": to_hex(&bytes), "decoded": value })
    };
    varints.into_iter().chain(others).map(vector).collect()
}

fn prefaces() -> Vec<Value> {
    let client = |version_min, version_max| {
        let hex = to_hex(&ClientPreface { version_min, version_max }.encode());
        let name = format!("client {version_min}..{version_max}");
        let decoded = json!({ "version_min": version_min, "version_max": version_max });
        json!({ "name": name, "since": 1, "dir": "c2s", "hex": hex, "decoded": decoded })
    };
    let server = |version_min: u8, version_max: u8| {
        let answer = ServerPreface::answer(ClientPreface { version_min, version_max });
        let decoded = json!({
            "chosen": answer.chosen, "version_min": answer.version_min,
            "version_max": answer.version_max,
        });
        let name = format!("server, to a client of {version_min}..{version_max}");
        let hex = to_hex(&answer.encode());
        json!({ "name": name, "since": 1, "dir": "s2c", "hex": hex, "decoded": decoded })
    };
    vec![client(1, 1), client(1, 3), client(2, 3), server(1, 1), server(1, 3), server(2, 3)]
}

/// A document as the text that goes into a frame.
fn document<T: serde::Serialize>(document: &T) -> String {
    serde_json::to_string(document).unwrap()
}

fn control() -> Vec<Value> {
    let told = |kind: &str, stream: u32, payload: Value| json!({ "type": kind, "stream": stream, "epoch": 7, "payload": payload });
    let goaway = json!({
        "reason": 1, "drain_ms": 30_000, "message": "node n2 is draining",
        "alternatives": ["10.0.0.1:7400", "10.0.0.3:7400"],
    });
    let auth = |state: Option<&str>, user: Option<&str>, data: &str| handshake::Auth {
        state: state.map(str::to_owned),
        user: user.map(str::to_owned),
        data: data.to_owned(),
        mechanisms: Vec::new(),
    };
    let welcome = |auth| told("WELCOME", 0, document(&welcome(auth)).into());
    let plain = hello(None);
    let scram = hello(Some("n,,n=app,r=rOprNGfwEbeRWgbNEkqO"));
    vec![
        frame("HELLO least", told("HELLO", 0, "{}".into())),
        frame("HELLO without credentials", told("HELLO", 0, document(&plain).into())),
        frame("HELLO with SCRAM", told("HELLO", 0, document(&scram).into())),
        frame("WELCOME at once", welcome(auth(Some("ok"), Some("app"), ""))),
        frame("WELCOME, go on", welcome(auth(Some("continue"), None, "r=rOpr,s=W22Z,i=15000"))),
        frame("AUTH of a client", told("AUTH", 0, document(&auth(None, None, "c=biws")).into())),
        frame(
            "AUTH of a server, ok",
            told("AUTH", 0, document(&auth(Some("ok"), Some("app"), "v=6rri")).into()),
        ),
        frame("CREDIT +64", told("CREDIT", 9, json!({ "items": 64 }))),
        frame("CANCEL", json!({ "type": "CANCEL", "stream": 9, "epoch": 7, "payload": {} })),
        frame("PING", told("PING", 0, json!({ "opaque": "1" }))),
        frame("PONG", told("PONG", 0, json!({ "opaque": "1" }))),
        frame("GOAWAY", told("GOAWAY", 0, goaway)),
        frame("ERR of the connection", told("ERR", 0, unknown_error(1001))),
        frame("ERR of a code to come", told("ERR", 3, unknown_error(4999))),
    ]
}

fn unknown_error(code: u16) -> Value {
    json!({
        "code": code, "retry": if code == 4999 { "SAME" } else { "NEVER" }, "retry_after_ms": 0,
        "message": "", "details": [],
    })
}

fn hello(scram: Option<&str>) -> handshake::Hello {
    let client = handshake::Client {
        name: "isogrid-rust".to_owned(),
        version: "0.1.0".to_owned(),
        lang: "rust".to_owned(),
        instance: "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11".to_owned(),
        app: "shop".to_owned(),
    };
    let auth = scram.map(|data| handshake::AuthStart {
        mech: "SCRAM-SHA-256".to_owned(),
        data: data.to_owned(),
    });
    let cluster = Some("prod".to_owned());
    handshake::Hello { client, cluster, auth, ..handshake::Hello::default() }
}

fn welcome(auth: handshake::Auth) -> handshake::Welcome {
    let highest = |group: &isogrid_wire::native::schema::Group| {
        let [_, low] = group.operations.last().unwrap().code.to_be_bytes();
        (group.name.to_owned(), low)
    };
    handshake::Welcome {
        server: handshake::Server {
            name: "isogrid".to_owned(),
            version: "0.1.0".to_owned(),
            node: "n2".to_owned(),
            life: "9c1e".to_owned(),
            member: None,
        },
        cluster: handshake::Cluster { name: "prod".to_owned(), id: "5b1f".to_owned() },
        auth,
        epoch: "7".to_owned(),
        segments: 256,
        hash: "xxh64".to_owned(),
        limits: Limits::default().into(),
        ops: GROUPS.iter().map(|group| highest(group)).collect(),
        keepalive_ms: 15_000,
        endpoints: vec!["10.0.0.2:7400".to_owned()],
        ..handshake::Welcome::default()
    }
}

fn extensions() -> Vec<Value> {
    let trace = "00000102030405060708090a0b0c0d0e0f000102030405060701";
    let with_state = format!("{trace}0561633d3178");
    let fence = json!({ "object": 43, "key": "orders", "token": "9" });
    let request = |name: &str, ext: Value| {
        let told = json!({
            "type": "REQ", "op": "cache.PUT", "stream": 3, "epoch": 8, "ext": ext,
            "timeout_ms": 0, "object": 42, "body": { "key": "k", "value": "", "write": {} },
        });
        frame(&format!("ext {name}"), told)
    };
    let reply = |name: &str, ext: Value| {
        let told = json!({
            "type": "RES", "op": "cache.GET", "stream": 3, "epoch": 8, "ext": ext,
            "status": "NOT_FOUND", "result": {},
        });
        frame(&format!("ext {name}"), told)
    };
    let timing = json!({ "queued_us": "12", "executed_us": "300", "hops": "1" });
    let every = json!({
        "trace": { "hex": trace }, "idem": "99", "origin": "checkout GET /cart", "tx": "5",
        "lease": "6", "consistency": "MAJORITY", "fence": fence,
    });
    vec![
        request("trace", json!({ "trace": { "hex": trace } })),
        request("trace with state", json!({ "trace": { "hex": with_state } })),
        request("idem", json!({ "idem": "99" })),
        request("origin", json!({ "origin": "checkout GET /cart" })),
        request("tx", json!({ "tx": "5" })),
        request("lease", json!({ "lease": "6" })),
        request("consistency", json!({ "consistency": "OWNER" })),
        request("fence", json!({ "fence": fence })),
        request("every one", every),
        request("an empty block", json!({})),
        reply("timing", json!({ "timing": timing })),
        reply("hot", json!({ "hot": 1500 })),
        reply("throttle", json!({ "throttle": 200 })),
        reply("every one of an answer", json!({ "timing": timing, "hot": 1500, "throttle": 200 })),
    ]
}

/// Messages cut into pieces that are far smaller than a sender's, so that they can be read.
fn fragments() -> Vec<Value> {
    let get = json!({
        "type": "RES", "op": "cache.GET", "stream": 8, "epoch": 7, "status": "OK",
        "result": { "entry": { "VALUE": "abcdef" } },
    });
    let put = json!({
        "type": "REQ", "op": "cache.PUT", "stream": 9, "epoch": 7, "ext": { "idem": "1" },
        "timeout_ms": 0, "object": 42, "body": { "key": "k", "value": "abcdef", "write": {} },
    });
    vec![cut("a hit in two frames", &get, 6), cut("a put in many frames", &put, 5)]
}

fn cut(name: &str, told: &Value, len_max: usize) -> Value {
    let mut whole = frame(name, told.clone());
    let bytes = isogrid_wire::native::dynamic::from_hex(whole["hex"].as_str().unwrap()).unwrap();
    let one = Frame::decode(&bytes, &Limits::default()).unwrap().unwrap();
    let mut cut = Vec::new();
    put_fragments(one.header, one.payload, len_max, &mut cut);
    let (mut rest, mut frames) = (cut.as_slice(), Vec::new());
    while let Some(frame) = Frame::decode(rest, &Limits::default()).unwrap() {
        let (front, behind) = rest.split_at(frame.encoded_len());
        frames.push(to_hex(front));
        rest = behind;
    }
    whole["hex"] = frames.into();
    whole
}

fn segments() -> Vec<Value> {
    let keys =
        ["", "a", "abc", "k1", "user:1234", "session:0123456789abcdef0123456789abcdef", "ключ"];
    let vector = |key: &str| {
        let hash = xxh64(key.as_bytes(), 0);
        json!({ "key": key, "xxh64": format!("{hash:016x}"), "segment": hash % 1024 })
    };
    keys.map(vector).to_vec()
}
