//! `isogrid explain`.

use isogrid_wire::native::ErrorCode;
use serde_json::Value;

use crate::said;

#[test]
fn an_error_is_found_by_number_and_by_name() {
    for text in ["E4003", "e4003", "4003", "NO_QUORUM", "no_quorum"] {
        let (code, out, error) = said(&["explain", text]);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{text}");
        assert!(out.starts_with("E4003 NO_QUORUM: "), "{text}: {out}");
        assert!(out.contains("retry  OTHER: Again, at another member."), "{text}: {out}");
        assert!(out.contains(ErrorCode::NoQuorum.info().help), "{text}: {out}");
    }
}

#[test]
fn every_error_is_listed_and_explained() {
    let (_, out, _) = said(&["explain"]);
    assert_eq!(out.lines().count(), ErrorCode::ALL.len() + 1);
    let (_, out, _) = said(&["explain", "-o", "json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    let listed = listed["errors"].as_array().unwrap();
    assert_eq!(listed.len(), ErrorCode::ALL.len());
    for (code, told) in ErrorCode::ALL.iter().zip(listed) {
        let info = code.info();
        assert_eq!(told["code"], *code as u16);
        assert_eq!((&told["name"], &told["reason"]), (&info.name.into(), &info.reason.into()));
        assert_eq!(told["help"], info.help);
        assert!(!told["retry"].as_str().unwrap().is_empty(), "{told}");
    }
    let (_, one, _) = said(&["explain", "1001", "--output", "json"]);
    assert_eq!(&serde_json::from_str::<Value>(&one).unwrap(), &listed[0]);
}

#[test]
fn an_unknown_error_has_an_exit_code_and_a_suggestion() {
    for (text, help) in
        [("NO_QUORM", "did you mean `NO_QUORUM`?"), ("4999", "`isogrid explain` lists them all")]
    {
        let (code, out, error) = said(&["explain", text]);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{text}");
        assert!(error.contains(help), "{text}: {error}");
    }
}
