//! Documents of a server for people, and bytes of which nobody knows what they are.

use serde_json::{Map, Value, json};

use crate::cli::table::table;
use isogrid_wire::native::dynamic::to_hex;

/// A line for each value, named by its way through the document: `props.ttl  10m`.
pub fn lines(document: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", document, &mut rows);
    table(&rows)
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten(&below(name), value, rows));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, item)| flatten(&below(&at.to_string()), item, rows));
        }
        Value::Array(items) => {
            rows.push([path.to_owned(), items.iter().map(text).collect::<Vec<_>>().join(", ")]);
        }
        one => rows.push([path.to_owned(), text(one)]),
    }
}

/// A plain value without quotes; `-` where there is none.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// A field of a document by its way, as [`text`].
pub fn field(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).map_or_else(|| "-".to_owned(), text)
}

/// Adds bytes to a document: as text under `name` where they are text, else in hexadecimal under
/// `name_hex`.
pub fn put_bytes(document: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => document.insert(name.to_owned(), json!(text)),
        Err(_) => document.insert(format!("{name}_hex"), json!(to_hex(bytes))),
    };
}

/// Bytes on a line: as they are where they are text without control characters, else escaped.
pub fn line(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_lines_with_ways() {
        let document = json!({"a": {"b": 1, "c": null}, "d": ["x", "y"], "e": [{"f": true}]});
        assert_eq!(lines(&document), "a.b    1\na.c    -\nd      x, y\ne.0.f  true\n");
    }

    #[test]
    fn bytes_are_never_lost() {
        let mut document = Map::new();
        put_bytes(&mut document, "a", "ä\n".as_bytes());
        put_bytes(&mut document, "b", b"\xff\x00");
        assert_eq!(Value::from(document), json!({"a": "ä\n", "b_hex": "ff00"}));
        assert_eq!(
            (line("ä b".as_bytes()), line(b"a\n\xff")),
            ("ä b".to_owned(), r"a\n\xff".to_owned())
        );
    }
}
