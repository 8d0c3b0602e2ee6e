//! `isogrid proto`, held to the vectors.

use std::fs;

use isogrid_tests::tidy::root;
use serde_json::Value;

use crate::{fed, said};

/// The vectors of a file.
fn vectors(name: &str) -> Vec<Value> {
    let file = root().join("docs/protocol/vectors").join(format!("{name}.json"));
    let file: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_vector_is_decoded_and_encoded() {
    let names = ["group-cache", "group-tx", "group-lease", "errors", "ext", "control"];
    let vectors: Vec<Value> = names.iter().flat_map(|name| vectors(name)).collect();
    let hex: Vec<&str> = vectors.iter().map(|vector| vector["hex"].as_str().unwrap()).collect();
    let (code, out, error) = fed(&["proto", "decode"], &hex.join("\n"));
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let decoded: Vec<Value> = vectors.iter().map(|vector| vector["decoded"].clone()).collect();
    assert_eq!(documents(&out), decoded);
    let (code, again, error) = fed(&["proto", "encode"], &out);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(again.lines().collect::<Vec<_>>(), hex);
}

#[test]
fn fragments_are_put_together_and_prefaces_shown() {
    for vector in vectors("fragments") {
        let hex = vector["hex"].as_array().unwrap();
        let hex: Vec<&str> = hex.iter().map(|frame| frame.as_str().unwrap()).collect();
        let args = [&["proto", "decode", "F7475244 01 01 0000"][..], &hex].concat();
        let (code, out, _) = said(&args);
        let told = documents(&out);
        assert_eq!((code, told.len()), (Some(0), 2), "{out}");
        assert_eq!(told[0]["preface"], "f747524401010000");
        assert_eq!(told[1], vector["decoded"]);
        let (code, _, error) = said(&args[..args.len() - 1]);
        assert_eq!(code, Some(1));
        assert!(error.contains("its last fragment is missing"), "{error}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let good = "0000000d020001010000000300000000 01";
    for (hex, code, says) in [
        (format!("{good} 0000000c0d0000000000000000000000"), 1, "at byte 17: there is no frame"),
        (format!("{good} 0000"), 1, "at byte 17: the input ends within a frame"),
        ("0000000d02000101000000010000000007".to_owned(), 1, "at byte 0: "),
        ("00000014010001ff0000000100000000000000000000002a".to_owned(), 1, "no operation 0x01ff"),
        ("0g".to_owned(), 2, "hexadecimal"),
        ("012".to_owned(), 2, "hexadecimal"),
    ] {
        let (found, out, error) = said(&["proto", "decode", &hex]);
        assert_eq!(found, Some(code), "{hex}: {error}");
        assert!(error.contains(says), "{hex}: {error}");
        assert_eq!(out.lines().count(), usize::from(hex.starts_with(good)), "{out}");
    }
    for line in ["x", "{}", r#"{"type":"REQ","stream":1,"epoch":0}"#] {
        let (code, out, error) = fed(&["proto", "encode"], &format!("\n{line}\n"));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{line}");
        assert!(error.contains("line 2: "), "{line}: {error}");
    }
}

#[test]
fn an_operation_is_shown_by_name_and_by_number() {
    let by_name = said(&["proto", "op", "cache.put"]);
    assert_eq!(by_name, said(&["proto", "op", "0x0102"]));
    let (code, out, _) = by_name;
    assert_eq!(code, Some(0));
    for part in ["0102 cache.PUT: ", "repeat I, permission write", "write wo: ", "NOT_STORED: "] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, out, _) = said(&["proto", "op", "cache.SCAN", "-o", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["op"], &told["item"]), (&0x120.into(), &"entry".into()));
    let declared = fs::read_to_string(root().join("docs/protocol/protocol.json")).unwrap();
    let declared: Value = serde_json::from_str(&declared).unwrap();
    let groups = declared["groups"].as_array().unwrap();
    let count: usize = groups.iter().map(|group| group["ops"].as_array().unwrap().len()).sum();
    assert_eq!(said(&["proto", "op"]).1.lines().count(), count + 1);
    let (code, _, error) = said(&["proto", "op", "cache.PTU"]);
    assert_eq!(code, Some(3));
    assert!(error.contains("did you mean `cache.PUT`?"), "{error}");
}
