//! What must be refused. The frames are in `refused.txt`, written down byte by byte.

use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::dynamic::{from_hex, to_hex};
use serde_json::{Value, json};

pub(super) const ABOUT: &str = "What must be refused. `scope` request: an ERR of the code on the \
    stream, nothing is executed, and the connection goes on. `scope` connection: an ERR on stream \
    0, then the connection is closed; `preface`: closed without a word. A client that gets one of \
    these from a server closes the connection.";

pub(super) const MISUSE: &str = "What a client must not send on a connection that is open, each frame \
    right by itself: `hex` has them in order. The server answers with an ERR of the code on stream 0 \
    and closes.";

/// What is wrong only because of what came before; the frames are in `misuse.txt`.
pub(super) fn misuse() -> Vec<Value> {
    let written = include_str!("misuse.txt").lines().filter(|line| !line.starts_with('#'));
    written.map(conversation).collect()
}

/// A vector of a line `name | error | frame / frame`.
fn conversation(line: &str) -> Value {
    let columns: Vec<_> = line.split(" | ").collect();
    let [name, error, frames] = columns[..] else { panic!("{line}") };
    let code = ErrorCode::find(error).unwrap_or_else(|| panic!("{line}"));
    let expect = json!({ "scope": "connection", "code": code as u16, "error": code.name() });
    let hex = |frame| to_hex(&from_hex(frame).unwrap_or_else(|| panic!("{line}")));
    let frames: Vec<_> = frames.split(" / ").map(hex).collect();
    json!({ "name": name, "since": 1, "dir": "c2s", "hex": frames, "expect": expect })
}

pub(super) fn vectors() -> Vec<Value> {
    let prefaces = [
        ("preface/of TLS", "c2s", "1603010200"),
        ("preface/one wrong byte", "c2s", "f7475245"),
        ("preface/the answer of an HTTP server", "s2c", "485454502f312e31"),
    ];
    let prefaces = prefaces.map(|(name, dir, hex)| {
        let expect = json!({ "scope": "preface" });
        json!({ "name": name, "since": 1, "dir": dir, "hex": hex, "expect": expect })
    });
    let written = include_str!("refused.txt").lines().filter(|line| !line.starts_with('#'));
    prefaces.into_iter().chain(written.map(vector)).chain([deep_json(33)]).collect()
}

/// A vector of a line `name | direction | scope | error | hex`.
fn vector(line: &str) -> Value {
    let columns: Vec<_> = line.split(" | ").collect();
    let [name, dir, scope, error, hex] = columns[..] else { panic!("{line}") };
    let code = ErrorCode::find(error).unwrap_or_else(|| panic!("{line}"));
    let expect = json!({ "scope": scope, "code": code as u16, "error": code.name() });
    let hex = to_hex(&from_hex(hex).unwrap_or_else(|| panic!("{line}")));
    json!({ "name": name, "since": 1, "dir": dir, "hex": hex, "expect": expect })
}

/// `conn.SET_INFO` with a document of so many levels.
fn deep_json(levels: usize) -> Value {
    let text = format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let len = 12 + 8 + 1 + text.len();
    let head = "01 00 0005 00000001 00000000 00000000 00000000";
    let (text_len, text) = (text.len(), to_hex(text.as_bytes()));
    let name = format!("body/a json that is {levels} deep");
    vector(&format!(
        "{name} | c2s | request | BAD_ENCODING | {len:08x} {head} {text_len:02x} {text}"
    ))
}
