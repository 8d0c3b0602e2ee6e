//! A client of the native protocol whose frames are JSON, as in the protocol's vectors.

use std::collections::VecDeque;

use isogrid_wire::native::dynamic::{decode_frame, encode_frame, from_hex, to_hex};
use isogrid_wire::native::handshake::{from_payload, to_payload};
use isogrid_wire::native::preface::{ClientPreface, PREFACE_LEN, ServerPreface};
use isogrid_wire::native::schema::Group;
use isogrid_wire::native::{
    Assembled, ErrorBody, ErrorCode, Frame, GROUPS, HEADER_LEN, Header, Kind, Limits, Reassembly,
};
use serde_json::{Map, Value, json};

use super::{Client, Server};

/// The space of counters and the space of locks that every server has.
pub const COUNTERS: u64 = 1;
/// See [`COUNTERS`].
pub const LOCKS: u64 = 2;

/// A connection that has shaken hands.
pub struct Native {
    /// What it stands on.
    pub raw: Client,
    /// What the server said of itself.
    pub welcome: Value,
    limits: Limits,
    reassembly: Reassembly,
    next: u64,
    /// Frames of other streams than the one that was waited for.
    aside: VecDeque<Value>,
}

impl Native {
    /// Shakes hands on a connection.
    pub fn begin(raw: Client, hello: &Value) -> Native {
        let mut client = Native::greet(raw, hello);
        let answer = client.hello(hello);
        assert_eq!(answer[0], "WELCOME", "{answer}");
        client
    }

    /// Exchanges the prefaces alone; `hello` says what is to be sent next.
    pub fn greet(raw: Client, hello: &Value) -> Native {
        // The server keeps to what the client says that it takes.
        let frame_len_max = hello["max_frame"].as_u64().map_or(1 << 20, |max| max as usize);
        let (message_len_max, value_len_max) = (32 << 20, 32 << 20);
        let limits = Limits { frame_len_max, message_len_max, value_len_max, ..Limits::default() };
        let (welcome, aside) = (Value::Null, VecDeque::new());
        let reassembly = Reassembly::new(&limits);
        let mut client = Native { raw, welcome, limits, reassembly, next: 1, aside };
        client.raw.send(ClientPreface::OURS.encode());
        let answer = client.raw.bytes(PREFACE_LEN);
        assert_eq!(ServerPreface::decode(&answer).unwrap().unwrap().chosen, 1);
        client
    }

    /// Sends a `HELLO`; `["WELCOME", {..}]`, or `["ERR", "CODE"]`.
    pub fn hello(&mut self, hello: &Value) -> Value {
        self.raw.send(hello_frame(hello));
        let answer = self.handshake();
        if answer[0] == "WELCOME" {
            self.welcome = answer[1].clone();
        }
        answer
    }

    /// Begins to log in: the `HELLO` of a mechanism.
    pub fn log_in(&mut self, mech: &str, data: &str) -> Value {
        self.hello(&json!({"auth": {"mech": mech, "data": data}}))
    }

    /// Goes on with logging in; `["AUTH", {..}]`, or `["ERR", "CODE"]`.
    pub fn go_on(&mut self, data: &str) -> Value {
        let payload = to_payload(&json!({ "data": data }));
        let mut bytes = Vec::new();
        Frame { header: Header::control(Kind::Auth, 0, 0), payload: &payload }.encode(&mut bytes);
        self.raw.send(bytes);
        self.handshake()
    }

    /// Logs in by SCRAM, with `binding` by its mechanism that is bound to TLS; what came last. A
    /// server that cannot prove that it knows the password fails the test.
    pub fn scram(&mut self, user: &str, password: &str, binding: Option<&[u8]>) -> Value {
        use isogrid_wire::scram;
        let password = password.as_bytes();
        let mut login = scram::Client::new(user, password, &[7; 18], binding, false);
        let mech = if binding.is_some() { scram::MECHANISM_PLUS } else { scram::MECHANISM };
        let answer = self.log_in(mech, &login.first());
        if answer[0] != "WELCOME" {
            return answer;
        }
        let auth = &answer[1]["auth"];
        assert_eq!(auth["state"], "continue", "{answer}");
        let proof = login.prove(auth["data"].as_str().unwrap().as_bytes()).unwrap();
        let answer = self.go_on(&proof);
        if answer[0] == "AUTH" {
            login.verify(answer[1]["data"].as_str().unwrap().as_bytes()).unwrap();
        }
        answer
    }

    /// What the handshake is answered with.
    fn handshake(&mut self) -> Value {
        let (header, payload) = self.message();
        match header.kind {
            Kind::Welcome => json!(["WELCOME", from_payload::<Value>(&payload).unwrap()]),
            Kind::Auth => json!(["AUTH", from_payload::<Value>(&payload).unwrap()]),
            _ => {
                let frame = decode_frame(&Frame { header, payload: &payload }, &self.limits);
                json!(["ERR", error_name(&frame.unwrap())])
            }
        }
    }

    /// The next message as it came.
    fn message(&mut self) -> (Header, Vec<u8>) {
        loop {
            let mut bytes = self.raw.bytes(HEADER_LEN);
            let needed = Frame::needed(&bytes);
            bytes.extend(self.raw.bytes(needed - HEADER_LEN));
            let frame = Frame::decode(&bytes, &self.limits).unwrap().unwrap();
            match self.reassembly.push(frame) {
                Assembled::Frame(frame) => return (frame.header, frame.payload.to_vec()),
                Assembled::Message(header, payload) => return (header, payload),
                Assembled::Incomplete => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame that comes.
    pub fn receive(&mut self) -> Value {
        let (header, payload) = self.message();
        decode_frame(&Frame { header, payload: &payload }, &self.limits).unwrap()
    }

    /// The stream and the name of the next frame, which is an error of any operation.
    pub fn receive_any(&mut self) -> (u64, String) {
        let (header, payload) = self.message();
        let frame = Frame { header: Header { op: 0, ..header }, payload: &payload };
        let error = decode_frame(&frame, &self.limits).unwrap();
        (header.stream.into(), error_name(&error).to_owned())
    }

    /// The next frame of a stream; others are put aside.
    pub fn next_of(&mut self, stream: u64) -> Value {
        let of = |frame: &Value| frame["stream"] == stream;
        if let Some(at) = self.aside.iter().position(of) {
            return self.aside.remove(at).unwrap();
        }
        loop {
            let frame = self.receive();
            if of(&frame) {
                return frame;
            }
            self.aside.push_back(frame);
        }
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Value) {
        self.raw.send(bytes_of(frame));
    }

    /// Sends a request; its stream.
    pub fn ask(&mut self, op: &str, object: u64, body: Value) -> u64 {
        self.ask_with(op, object, body, &json!({}))
    }

    /// The same, with other fields of the frame: `ext`, `timeout_ms`, `flags`.
    pub fn ask_with(&mut self, op: &str, object: u64, body: Value, fields: &Value) -> u64 {
        let stream = self.next;
        self.next += 1;
        self.send(&request(op, object, stream, body, fields));
        stream
    }

    /// Sends a request as fragments of the largest size that the server takes; its stream.
    pub fn ask_in_pieces(&mut self, op: &str, object: u64, body: Value) -> u64 {
        let stream = self.next;
        self.next += 1;
        let whole = bytes_of(&request(op, object, stream, body, &json!({})));
        let (header, payload) = whole.split_first_chunk::<HEADER_LEN>().unwrap();
        let mut pieces = payload.chunks(1 << 20).peekable();
        while let Some(piece) = pieces.next() {
            let mut header = *header;
            let len = u32::try_from(HEADER_LEN - 4 + piece.len()).unwrap();
            header[..4].copy_from_slice(&len.to_be_bytes());
            header[5] = u8::from(pieces.peek().is_some());
            self.raw.send([&header[..], piece].concat());
        }
        stream
    }

    /// Sends a request and waits for its answer: `["OK", {..}]` or `["ERR", "CODE"]`.
    pub fn call(&mut self, op: &str, object: u64, body: Value) -> Value {
        let stream = self.ask(op, object, body);
        self.answer(stream)
    }

    /// The same with other fields.
    pub fn call_with(&mut self, op: &str, object: u64, body: Value, fields: &Value) -> Value {
        let stream = self.ask_with(op, object, body, fields);
        self.answer(stream)
    }

    /// Waits for the answer on a stream.
    pub fn answer(&mut self, stream: u64) -> Value {
        let frame = self.next_of(stream);
        said(&frame)
    }

    /// The number of a cache.
    pub fn cache(&mut self, name: &str) -> u64 {
        let body = json!({"kind": "CACHE", "name": name, "create": false});
        let answer = self.call("catalog.RESOLVE", 0, body);
        answer[1]["id"].as_u64().unwrap_or_else(|| panic!("{name}: {answer}"))
    }

    /// Lets a stream send more items.
    pub fn credit(&mut self, stream: u64, items: u32) {
        self.control("CREDIT", stream, json!({ "items": items }));
    }

    /// Gives a stream up.
    pub fn cancel(&mut self, stream: u64) {
        self.control("CANCEL", stream, json!({}));
    }

    /// Sends a frame that belongs to no operation.
    pub fn control(&mut self, kind: &str, stream: u64, payload: Value) {
        let frame = json!({"type": kind, "stream": stream, "epoch": 0, "payload": payload});
        self.send(&frame);
    }
}

impl Server {
    /// A connection that speaks the native protocol, where the server was started with `--native`.
    pub fn native(&self) -> Native {
        Native::begin(self.native_raw(), &json!({}))
    }

    /// A connection whose user has logged in by PLAIN.
    pub fn native_as(&self, user: &str, password: &str) -> Native {
        let auth = json!({"mech": "PLAIN", "data": format!("\0{user}\0{password}")});
        Native::begin(self.native_raw(), &json!({ "auth": auth }))
    }

    /// A connection of which only the prefaces are done.
    pub fn native_newcomer(&self) -> Native {
        Native::greet(self.native_raw(), &json!({}))
    }

    /// A connection to the same address that has not said anything.
    pub fn native_raw(&self) -> Client {
        Server::connect_to(&self.bound_for("native")[0])
    }
}

/// The bytes of a `HELLO`.
pub fn hello_frame(hello: &Value) -> Vec<u8> {
    let payload = to_payload(hello);
    let mut bytes = Vec::new();
    Frame { header: Header::control(Kind::Hello, 0, 0), payload: &payload }.encode(&mut bytes);
    bytes
}

/// The JSON of a request.
pub fn request(op: &str, object: u64, stream: u64, body: Value, fields: &Value) -> Value {
    let mut frame = json!({
        "type": "REQ", "op": op, "stream": stream, "epoch": 0,
        "timeout_ms": 0, "object": object, "body": body,
    });
    let all: &mut Map<String, Value> = frame.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    frame
}

/// The bytes of a frame.
pub fn bytes_of(frame: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(frame, &mut bytes).unwrap_or_else(|| panic!("no frame: {frame}"));
    bytes
}

/// An answer as `["OK", {..}]` or `["ERR", "CODE"]`.
pub fn said(frame: &Value) -> Value {
    match frame["type"].as_str() {
        Some("RES") => json!([frame["status"], frame["result"]]),
        Some("ERR") => json!(["ERR", error_name(frame)]),
        _ => panic!("no answer: {frame}"),
    }
}

/// A request within another one.
pub fn sub_request(op: &str, object: u64, body: Value) -> Value {
    let whole = bytes_of(&request(op, object, 1, body, &json!({})));
    let code = u16::from_be_bytes([whole[6], whole[7]]);
    json!({"op": code, "object": object, "body": {"hex": to_hex(&whole[HEADER_LEN + 8..])}})
}

/// The answer to a request within another one, as [`said`] has it.
pub fn sub_answer(op: &str, reply: &Value) -> Value {
    let kind = if reply["kind"] == "RES" { Kind::Res } else { Kind::Err };
    let payload = match &reply["payload"] {
        Value::String(text) => text.clone().into_bytes(),
        other => from_hex(other["hex"].as_str().unwrap()).unwrap(),
    };
    let group = |group: &&Group| op.starts_with(&format!("{}.", group.name));
    let operations = GROUPS.iter().find(|one| group(one)).unwrap().operations;
    let code = operations.iter().find(|one| op.ends_with(&format!(".{}", one.name))).unwrap().code;
    let frame = Frame { header: Header::new(kind, code, 1, 0), payload: &payload };
    let limits = Limits::default();
    said(&decode_frame(&frame, &limits).unwrap())
}

/// The name of the code of an `ERR`.
pub fn error_name(frame: &Value) -> &'static str {
    let code = frame["payload"]["code"].as_u64().unwrap_or_else(|| panic!("{frame}"));
    ErrorCode::of(u16::try_from(code).unwrap()).unwrap().name()
}

/// The error of the last frame of bytes.
pub fn last_error(bytes: &[u8]) -> Option<ErrorCode> {
    let limits = Limits::default();
    let (mut rest, mut last) = (bytes, None);
    while let Ok(Some(frame)) = Frame::decode(rest, &limits) {
        rest = &rest[frame.encoded_len()..];
        if frame.header.kind == Kind::Err {
            let (_, body) = isogrid_wire::native::decode_error(&frame, &limits).ok()?;
            last = ErrorBody::known(&body);
        }
    }
    last
}
