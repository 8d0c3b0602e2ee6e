//! What is generated from the declarations of GNP/1 in `wire/src/native`: `protocol.json`, the
//! tables of `docs/PROTOCOL.md` and `docs/OPERATIONS.md`, and the vectors.
//!
//! `cargo run -p isogrid-tests --bin protocol` writes them; a test compares.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a generator that fails has to stop"
)]

mod by_hand;
mod describe;
mod refused;
mod samples;
mod tables;
mod vectors;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::tidy::root;

/// With the keys of objects in alphabetical order, whatever map serde_json was built with.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> = object.iter().collect();
            Value::Object(sorted.into_iter().map(|(k, v)| (k.clone(), canonical(v))).collect())
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// The specification, whose tables are generated between markers.
const PAGES: [&str; 2] = ["docs/PROTOCOL.md", "docs/OPERATIONS.md"];

/// Each generated file: its path from the root, and what it should hold.
pub fn generated() -> Vec<(String, String)> {
    let mut files = vec![("docs/protocol/protocol.json".to_owned(), describe::protocol())];
    for (name, file) in vectors::files() {
        files.push((format!("docs/protocol/vectors/{name}.json"), file));
    }
    let pages = PAGES.map(|page| fs::read_to_string(root().join(page)).unwrap());
    files.extend(PAGES.map(str::to_owned).into_iter().zip(tables::filled(&pages)));
    files
}

/// The generated files that are not what they should be.
pub fn drifted() -> Vec<String> {
    let mut expected: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for (path, text) in generated() {
        if fs::read_to_string(root().join(&path)).ok().as_ref() != Some(&text) {
            wrong.push(path.clone());
        }
        expected.push(path);
    }
    let folder = root().join("docs/protocol/vectors");
    for file in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let path = format!("docs/protocol/vectors/{}", file.file_name().to_string_lossy());
        if !expected.contains(&path) {
            wrong.push(path);
        }
    }
    wrong
}

/// Writes what is generated.
pub fn write() {
    fs::create_dir_all(root().join("docs/protocol/vectors")).unwrap();
    for (path, text) in generated() {
        fs::write(root().join(path), text).unwrap();
    }
}
