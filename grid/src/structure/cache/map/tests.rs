use isogrid_wire::native::Value;

use super::*;

fn change<'a>(name: &'a str, op: FieldOp, value: &'a [u8]) -> FieldChange<'a> {
    FieldChange { name, op, value: Value::Inline(value) }
}

fn field(version: u64, value: &[u8]) -> Field<'_> {
    Field { version, value: value.into() }
}

/// What one change makes of a field `f` with this value.
fn changed(before: Option<&[u8]>, op: FieldOp, value: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut map = Map::default();
    if let Some(before) = before {
        map.0.insert("f".into(), field(1, before));
    }
    let bytes = map.encode();
    let changes = [change("f", op, value)];
    let (changes, removals) = (List::of(&changes), List::of(&[]));
    let edit = MapEdit { mode: MapMode::Merge, changes, removals };
    let after = edit.apply(Some((&bytes, 9)))?;
    let after = Map::parse(&after, 10).ok_or(Refusal::WrongType)?;
    Ok(after.0.get("f").map(|field| field.value.to_vec()).unwrap_or_default())
}

/// The bytes of a map are on disks: they stay as they are.
#[test]
fn a_map_has_these_bytes() {
    let fields = [("a".into(), field(0, b"1")), ("bc".into(), field(258, b""))];
    let map = Map(fields.into_iter().collect());
    let bytes = map.encode();
    let expected: &[u8] = b"\xf7map\x01\0\0\0\x02\
        \0\0\0\x01a\0\0\0\0\0\0\0\0\0\0\0\x011\
        \0\0\0\x02bc\0\0\0\0\0\0\x01\x02\0\0\0\0";
    assert_eq!(bytes, expected);
    let read = Map::parse(expected, 7).unwrap();
    let versions: Vec<_> = read.0.iter().map(|(name, field)| (&**name, field.version)).collect();
    assert_eq!(versions, [("a", 7), ("bc", 258)]);
    for len in 0..bytes.len() {
        assert_eq!(Map::parse(&bytes[..len], 7), None, "cut after {len} bytes");
    }
}

#[test]
fn what_is_no_map_is_none() {
    let bytes = |names: &[&[u8]]| {
        let mut out = MAGIC.to_vec();
        put_len(names.len(), &mut out);
        for name in names {
            put_piece(name, &mut out);
            out.extend_from_slice(&[0; 8]);
            put_piece(b"v", &mut out);
        }
        out
    };
    assert!(Map::parse(&bytes(&[b"a", b"b"]), 1).is_some());
    for names in [&[&b"b"[..], b"a"][..], &[b"a", b"a"], &[b"\xff"]] {
        assert_eq!(Map::parse(&bytes(names), 1), None, "{names:?}");
    }
    let longer = [bytes(&[b"a"]), b"!".to_vec()].concat();
    assert_eq!(Map::parse(&longer, 1), None);
    let mut newer = bytes(&[b"a"]);
    newer[4] = 2;
    assert_eq!(Map::parse(&newer, 1), None);
    let mut lying = bytes(&[]);
    lying[5] = 0xff;
    assert_eq!(Map::parse(&lying, 1), None);
}

#[test]
fn each_operation_does_what_it_says() {
    use FieldOp::{Add, Append, JsonMerge, Set, SetIfAbsent};
    let number = |n: i64| n.to_be_bytes().to_vec();
    for (before, op, value, after) in [
        (None, Set, b"v".to_vec(), Ok(b"v".to_vec())),
        (Some(b"x".to_vec()), Set, vec![], Ok(vec![])),
        (None, SetIfAbsent, b"v".to_vec(), Ok(b"v".to_vec())),
        (Some(b"x".to_vec()), SetIfAbsent, b"v".to_vec(), Ok(b"x".to_vec())),
        (None, Append, b"v".to_vec(), Ok(b"v".to_vec())),
        (Some(b"x".to_vec()), Append, b"v".to_vec(), Ok(b"xv".to_vec())),
        (None, Add, number(-5), Ok(number(-5))),
        (Some(number(7)), Add, number(-9), Ok(number(-2))),
        (Some(number(i64::MAX)), Add, number(1), Err(Refusal::OutOfRange)),
        (Some(b"7".to_vec()), Add, number(1), Err(Refusal::NotANumber)),
        (None, JsonMerge, br#"{"a":1,"b":null}"#.to_vec(), Ok(br#"{"a":1}"#.to_vec())),
        (Some(b"no".to_vec()), JsonMerge, b"{}".to_vec(), Err(Refusal::NotJson)),
        (None, JsonMerge, b"no".to_vec(), Err(Refusal::NotJson)),
    ] {
        assert_eq!(changed(before.as_deref(), op, &value), after, "{before:?} {op:?} {value:?}");
    }
}

/// RFC 7396, appendix A.
#[test]
fn documents_merge_as_the_rfc_says() {
    for (before, patch, after) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let merged = changed(Some(before.as_bytes()), FieldOp::JsonMerge, patch.as_bytes());
        assert_eq!(merged, Ok(after.as_bytes().to_vec()), "{before} {patch}");
    }
}
