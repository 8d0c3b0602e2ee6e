//! `isogrid cache`, of entries; `isogrid counter`.

use std::fs;
use std::process::{Command, Stdio};

use isogrid_tests::harness::isogrid;
use serde_json::json;

use crate::Place;

#[test]
fn entries_are_written_under_conditions_and_read() {
    let place = Place::new();
    let put = |more: &str| place.said(&format!("cache put default k one{more} -o json"));
    let version = put("").json()["version"].as_u64().unwrap();
    place.holds(&[
        ("cache get default k", 0, "one", ""),
        ("cache get default none", 3, "", "there is no entry \"none\" in default"),
        ("cache get defualt k", 3, "", "did you mean \"default\"?"),
        ("cache put default k two --if-absent", 4, "", &format!("has the version {version}")),
        ("cache put default none x --if-present", 4, "", "not stored: there is no \"none\""),
        ("cache put default k two --if-version 1", 4, "", &format!("the version {version}")),
        ("cache put default k x --if-absent --if-present", 2, "", "cannot be used with"),
        ("cache rm default k --if-version 1", 4, "", &format!("the version {version}")),
        ("cache touch default k --ttl 1h", 0, "touched\n", ""),
        ("cache touch default none --ttl 1h", 3, "", "no entry"),
        ("cache touch default k --ttl soon", 2, "", "a time looks like 500ms, 30s"),
        ("cache incr default k", 4, "", "error[E3007 NOT_A_NUMBER]"),
    ]);
    let told = place.said("cache get default k -o json").json();
    assert_eq!((&told["value"], &told["version"]), (&json!("one"), &json!(version)));
    let ttl = told["ttl_ms"].as_u64().unwrap();
    assert!(ttl <= 3_600_000 && ttl > 1_800_000, "{told}");
    assert!(put(" --ttl 1m --max-idle 30s --flags 7").json()["version"].as_u64() > Some(version));
    let told = place.said("cache get default k -o json").json();
    assert_eq!((&told["max_idle_ms"], &told["flags"]), (&json!(30_000), &json!(7)));
    place.holds(&[
        ("cache rm default k", 0, "removed\n", ""),
        ("cache rm default k", 3, "", "there is no entry \"k\""),
    ]);
}

#[test]
fn fields_of_a_map_are_set_printed_and_removed() {
    let place = Place::new();
    place.holds(&[
        ("cache map get default m", 3, "", "there is no entry \"m\" in default"),
        ("cache map del default m a", 3, "", "there is no entry \"m\" in default"),
        ("cache map set default m colour", 2, "", "KEY=VALUE"),
    ]);
    let set = place.said("cache map set default m colour=red size=10 -o json").json();
    let version = set["version"].as_u64().unwrap();
    place.holds(&[
        ("cache map get default m", 0, "colour  red\nsize     10\n", ""),
        ("cache map get default m size", 0, "size  10\n", ""),
        ("cache map get default m size none", 3, "", "there is no field \"none\""),
        ("cache map set default m size=1 --if-version 1", 4, "", "changed since: colour, size"),
    ]);
    for stores in [
        &format!("cache map set default m size=11 --if-version {version}"),
        "cache map del default m size",
        "cache put default k plain",
    ] {
        let said = place.said(stores);
        assert!(said.code == Some(0) && said.out.starts_with("stored, version"), "{said:?}");
    }
    place.holds(&[
        ("cache map get default m", 0, "colour  red\n", ""),
        ("cache map get default k", 2, "", "error[E3003 WRONG_TYPE]"),
    ]);
    let told = place.said("cache map get default m -o json").json();
    let colour = json!({"value": "red", "version": version});
    assert_eq!(told["fields"], json!({"colour": colour}), "{told}");
}

#[test]
fn any_bytes_come_back_from_stdin_and_to_stdout() {
    let place = Place::new();
    let value: Vec<u8> = (0..=255).chain(*b"\r\nEND\n").collect();
    assert_eq!(place.fed("cache put default picture", &[], &value).code, Some(0));
    assert_eq!(place.said("cache get default picture").bytes, value);
    let told = place.said("cache get default picture -o json").json();
    assert!(told["value_hex"].as_str().unwrap().starts_with("000102"), "{told}");
    assert_eq!(place.fed("cache put default empty", &[""], b"no").code, Some(0));
    assert_eq!(place.said("cache get default empty").bytes, b"");
}

#[test]
fn keys_are_listed_one_a_line() {
    let place = Place::new();
    for key in ["user:1", "user:2", "cart:1", "a\nb"] {
        assert_eq!(place.fed("cache put default", &[key, "x"], b"").code, Some(0));
    }
    let keys = |words: &str| {
        let mut lines: Vec<String> = place.said(words).out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(keys("cache keys default"), [r"a\nb", "cart:1", "user:1", "user:2"]);
    assert_eq!(keys("cache keys default --glob user:*"), ["user:1", "user:2"]);
    assert_eq!(keys("cache keys default --limit 3").len(), 3);
    assert_eq!(keys("cache scan default --glob user:* --values"), ["user:1  x", "user:2  x"]);
    for (words, value) in [("", None), (" --values", Some(&json!("x")))] {
        for line in keys(&format!("cache keys default -o json{words}")) {
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(told["key"].is_string() && told["version"].is_u64(), "{line}");
            assert_eq!(told.get("value"), value);
        }
    }
}

#[test]
fn a_cache_is_counted() {
    let place = Place::new();
    for words in ["put default a x", "put default b x", "get default a", "get default none"] {
        place.said(&format!("cache {words}"));
    }
    place.holds(&[
        ("cache size default", 0, "2\n", ""),
        ("cache size default --exact", 0, "2\n", ""),
        ("cache size defualt", 3, "", "did you mean \"default\"?"),
        ("cache stats defualt", 3, "", "did you mean \"default\"?"),
    ]);
    assert_eq!(place.said("cache size default -o json").json(), json!({"entries": 2}));
    let told = place.said("cache stats default -o json").json();
    assert_eq!((&told["entries"], told.get("config")), (&json!(2), None));
    for (name, count) in [("sets", 2), ("hits", 1), ("misses", 1), ("evicted", 0)] {
        assert_eq!(told["stats"][name], json!(count), "{name}: {told}");
    }
    assert!(place.said("cache stats default").out.contains("\nstats.hits"), "{told}");
}

#[test]
fn numbers_are_counted() {
    let place = Place::new();
    place.holds(&[
        ("cache incr default n", 3, "", "say what to begin with: --initial 1"),
        ("cache incr default n --initial 5", 0, "5\n", ""),
        ("cache incr default n 37", 0, "42\n", ""),
        ("cache incr default n -2", 0, "40\n", ""),
        ("counter get visits", 3, "", "`isogrid counter add visits` begins at 1"),
        ("counter add visits", 0, "1\n", ""),
        ("counter add visits -5", 0, "-4\n", ""),
        ("counter get visits", 0, "-4\n", ""),
        ("counter set visits -9223372036854775808", 0, "-9223372036854775808\n", ""),
        ("counter add visits -1", 4, "", "would go beyond -9223372036854775808"),
        ("counter reset visits", 0, "0\n", ""),
        ("counter get visits", 3, "", "never written"),
        ("counter get visits x", 2, "", "unexpected argument"),
    ]);
    let told = place.said("counter set visits 7 -o json").json();
    assert_eq!(told, json!({"value": 7, "prev": 0}));
}

/// Where the disk was full, a value was gone and the exit code said that all was well.
#[test]
fn data_that_cannot_be_written_is_a_failure_and_a_reader_that_has_gone_is_none() {
    let place = Place::new();
    assert_eq!(place.said("cache put default k apples").code, Some(0));
    let ended = |words: &str, stdout: Stdio| {
        let mut command = Command::new(isogrid());
        command.args(words.split(' ')).env_clear().env("ISOGRID_SERVER", &place.address);
        let output = command.stdout(stdout).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for words in [
        "cache get default k",
        "cache get default k -o json",
        "cache keys default",
        "cache ls",
        "version",
        "explain E3002",
        "config show --config /dev/null",
        "admin",
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, error) = ended(words, full.into());
        assert_eq!(code, Some(1), "{words}: {error}");
        assert!(error.contains("cannot write to stdout: No space left"), "{words}: {error}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(ended(words, writer.into()), (Some(0), String::new()), "{words}");
    }
}
