//! The vectors: what is made from the schema, and what is written by hand.

use isogrid_wire::native::dynamic::{encode_frame, to_hex};
use isogrid_wire::native::schema::Operation;
use isogrid_wire::native::{ErrorCode, GROUPS, Retry};
use serde_json::{Value, json};

use super::samples::Sample;
use super::{by_hand, canonical, refused};

/// The object of sample requests.
const OBJECT: u32 = 42;
/// The topology epoch of sample frames.
const EPOCH: u32 = 7;

/// The name and the text of each file.
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for group in GROUPS {
        let about = format!(
            "Group 0x{:02x}, {}: each request, each status and each item, with the least and with \
             all that can be set. They show bytes; not all of them make sense together.",
            group.number, group.name
        );
        let vectors = group.operations.iter().flat_map(|operation| of_operation(operation));
        files.push((format!("group-{}", group.name), text(&about, &vectors.collect::<Vec<_>>())));
    }
    let errors: Vec<_> = ErrorCode::ALL.iter().map(|code| of_error(*code)).collect();
    files.push(("errors".to_owned(), text("An ERR frame of each code.", &errors)));
    for (name, about, vectors) in by_hand::files() {
        files.push((name.to_owned(), text(about, &vectors)));
    }
    files.push(("refused".to_owned(), text(refused::ABOUT, &refused::vectors())));
    files.push(("misuse".to_owned(), text(refused::MISUSE, &refused::misuse())));
    files
}

/// One vector a line, so that a change shows in a diff.
fn text(about: &str, vectors: &[Value]) -> String {
    let lines: Vec<_> = vectors.iter().map(|vector| format!("  {}", canonical(vector))).collect();
    let about = Value::from(about);
    format!("{{\"protocol\":1,\"about\":{about},\"vectors\":[\n{}\n]}}\n", lines.join(",\n"))
}

/// A vector of one frame.
pub(super) fn frame(name: &str, told: Value) -> Value {
    let mut bytes = Vec::new();
    let encoded = encode_frame(&told, &mut bytes);
    assert!(encoded.is_some(), "{name}: {told} is no frame");
    let dir = match told["type"].as_str().unwrap() {
        "REQ" | "CREDIT" | "CANCEL" | "HELLO" => "c2s",
        "PING" | "PONG" | "AUTH" => "both",
        _ => "s2c",
    };
    json!({ "name": name, "since": 1, "dir": dir, "hex": to_hex(&bytes), "decoded": told })
}

fn of_operation(operation: &Operation) -> Vec<Value> {
    let op = format!("{}.{}", operation.group, operation.name);
    let groups = ["cache", "counter", "lease", "queue", "session"];
    let object = if groups.contains(&operation.group) { OBJECT } else { 0 };
    let mut vectors = Vec::new();
    for sample in Sample::BOTH {
        let timeout_ms = if sample == Sample::Full { 250 } else { 0 };
        let told = json!({
            "type": "REQ", "op": op, "stream": 1, "epoch": EPOCH, "timeout_ms": timeout_ms,
            "object": object, "body": sample.fields(operation.request.fields),
        });
        vectors.push(frame(&format!("{op} {}", sample.word()), told));
    }
    for reply in operation.replies {
        let both = Sample::BOTH.into_iter().take(if reply.fields.is_empty() { 1 } else { 2 });
        for sample in both {
            let told = json!({
                "type": "RES", "op": op, "stream": 1, "epoch": EPOCH,
                "status": reply.status.word(), "result": sample.fields(reply.fields),
            });
            vectors.push(frame(&format!("{op} {} {}", reply.status.word(), sample.word()), told));
        }
    }
    if let Some(item) = operation.item {
        for sample in Sample::BOTH {
            let mut items = vec![Sample::Minimal.value(&item)];
            if sample == Sample::Full {
                items.insert(0, Sample::Full.value(&item));
            }
            let mut told = json!({
                "type": "ITEM", "op": op, "stream": 1, "epoch": EPOCH, "items": items,
            });
            if let Some(trailer) = operation.trailer {
                told["trailer"] = sample.value(&trailer);
            }
            vectors.push(frame(&format!("{op} items {}", sample.word()), told));
        }
    }
    vectors
}

fn of_error(code: ErrorCode) -> Value {
    let info = code.info();
    let retry_after_ms = if info.retry == Retry::Same { 100 } else { 0 };
    let told = json!({
        "type": "ERR", "op": 0x0101, "stream": 5, "epoch": 9,
        "payload": {
            "code": code as u16, "retry": info.retry.word(), "retry_after_ms": retry_after_ms,
            "message": info.reason, "details": [{ "name": "node", "value": "n3" }],
        },
    });
    frame(&format!("error {} {}", code as u16, info.name), told)
}
