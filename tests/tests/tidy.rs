//! The house rules that a compiler does not check. Each rule is a table, and every breach is
//! listed at once.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeSet;
use std::fs;

use isogrid_tests::tidy::{
    File, commands, dependencies, duplicates, functions, has_word, lines, native_opcodes, none,
    opcodes, paths, regiven, root, rust_files, without_line, without_native_vector, without_packet,
};

/// Which of our crates a crate may name: engine and wire do not know each other, and nobody
/// imports tests or benches.
const FLOORS: [(&str, &[&str]); 8] = [
    ("engine", &["isogrid_engine"]),
    ("wire", &["isogrid_wire"]),
    ("grid", &["isogrid_engine", "isogrid_wire", "isogrid_grid"]),
    ("bin", &["isogrid_engine", "isogrid_wire", "isogrid_grid", "isogrid"]),
    ("tests", &["isogrid_engine", "isogrid_wire", "isogrid_grid", "isogrid", "isogrid_tests"]),
    ("benches", &["isogrid_engine", "isogrid_wire", "isogrid_grid", "isogrid", "isogrid_benches"]),
    ("clients/tower-sessions", &["isogrid_wire", "isogrid_tower_sessions"]),
    ("clients/actix-session", &["isogrid_wire", "isogrid_actix_session"]),
];

/// What a crate may depend on from outside: the lower floors know no sockets, no runtime, no
/// configuration files and no command line, and what applications use brings little with it.
const OUTSIDE: [(&str, &[&str]); 5] = [
    (
        "engine",
        &[
            "crc32c",
            "crossbeam-epoch",
            "crossbeam-utils",
            "hashbrown",
            "loom",
            "memmap2",
            "parking_lot",
            "rapidhash",
            "rustix",
            "sha2",
            "sled",
            "thiserror",
            "xxhash-rust",
        ],
    ),
    (
        "wire",
        &[
            "hashbrown",
            "hmac",
            "memchr",
            "pbkdf2",
            "rustls",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "tokio",
            "tokio-rustls",
            "xxhash-rust",
        ],
    ),
    (
        "grid",
        &[
            "arc-swap",
            "crc32c",
            "isogrid-engine",
            "isogrid-wire",
            "parking_lot",
            "raft",
            "serde_json",
            "slog",
            "thiserror",
        ],
    ),
    (
        "clients/tower-sessions",
        &["async-trait", "isogrid-wire", "serde", "serde_json", "time", "tower-sessions-core"],
    ),
    (
        "clients/actix-session",
        &["actix-session", "actix-web", "anyhow", "isogrid-wire", "serde_json"],
    ),
];

/// Words of one protocol that a crate above or beside it must not speak, not even in a name.
const SILENT: [(&str, &[&str]); 3] = [
    ("grid/src/", &["memcached", "socket", "tokio"]),
    ("engine/src/", &["memcached", "socket", "tokio"]),
    ("wire/src/client/core/", &["tokio"]),
];

/// Words that have a home, and where that is (prefixes of paths).
const WORDS: [(&str, &[&str]); 9] = [
    ("unsafe", &["engine/src/table/", "engine/src/snapshot_file/map.rs", "tests/tests/account.rs"]),
    (
        "Instant::now",
        &[
            "engine/src/env.rs",
            "benches/",
            "tests/",
            "bin/src/server/mod.rs",
            "bin/src/cli/bench/clock.rs",
            "wire/src/client/",
            "wire/tests/common/fuzzing.rs",
        ],
    ),
    ("SystemTime::now", &["engine/src/env.rs", "tests/src/durability/"]),
    ("thread::sleep", &["benches/", "tests/"]),
    ("thread_rng", &[]),
    (
        "tokio::",
        &[
            "benches/src/compare/client.rs",
            "benches/src/compare/routed.rs",
            "bin/src/",
            "bin/examples/",
            "clients/tower-sessions/examples/",
            "wire/src/client/",
            "wire/tests/client",
            "tests/",
        ],
    ),
    (
        "crossbeam_epoch",
        &["engine/src/table/", "engine/src/store/sled.rs", "tests/tests/account.rs"],
    ),
    ("sled::", &["engine/src/store/", "benches/benches/store.rs"]),
    ("memcached", &["wire/", "bin/", "tests/", "benches/"]),
];

/// `unsafe` within the engine: the lock-free index and the versions that it points to, and the
/// mapping of a file into memory.
const UNSAFE_FILES: [&str; 9] = [
    "engine/src/snapshot_file/map.rs",
    "engine/src/table/bag.rs",
    "engine/src/table/entry.rs",
    "engine/src/table/index.rs",
    "engine/src/table/index/tests.rs",
    "engine/src/table/mod.rs",
    "engine/src/table/segment.rs",
    "engine/src/table/version.rs",
    "engine/src/table/version/tests.rs",
];

/// What is written only while one works on it.
const LEFTOVERS: [&str; 5] = ["todo!(", "dbg!(", "unimplemented!(", "FIXME", "XXX"];

/// More code lines than this need a reason, given here.
const CODE_LINES_MAX: usize = 600;
const LONG_FILES: [(&str, &str); 0] = [];

/// A longer function is split, or listed here with the reason why it stays whole.
const FUNCTION_LINES_MAX: usize = 70;
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];

const BLOB_BYTES_MAX: u64 = 100 << 10;
const TAGS: [&str; 4] = ["[feat] ", "[fix] ", "[perf] ", "[api] "];

#[test]
fn crates_import_only_what_is_below_them() {
    let files = rust_files();
    let ours: BTreeSet<&str> = FLOORS.iter().flat_map(|(_, may)| *may).copied().collect();
    for (name, may) in FLOORS {
        let inside = format!("{name}/");
        let breaches = lines(&files, |file, line| {
            // Addresses begin with the name of a crate, and so do names in sessions.
            let line = &line.replace("isogrid://", "").replace("\"isogrid.", "\"");
            let strange = |word: &&&str| !may.contains(word) && has_word(line, word);
            file.path.starts_with(&inside) && !file.is_tidy() && ours.iter().any(|w| strange(&w))
        });
        none(&format!("{name} may use {may:?} of ours"), breaches);
    }
}

#[test]
fn words_stay_in_their_places() {
    let files = rust_files();
    for (word, places) in WORDS {
        let breaches = lines(&files, |file, line| {
            has_word(line, word) && !file.is_in(places) && !file.is_tidy()
        });
        none(&format!("`{word}` belongs in {places:?}"), breaches);
    }
    let unsafe_code = lines(&files, |file, line| {
        let engine = file.path.starts_with("engine/");
        engine && has_word(line, "unsafe") && !UNSAFE_FILES.contains(&file.path.as_str())
    });
    none("`unsafe` is for the index, its versions and mapped files", unsafe_code);
}

#[test]
fn every_unsafe_block_says_why_it_is_safe() {
    let files = rust_files();
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| !file.is_tidy()) {
        let all: Vec<_> = file.text.lines().collect();
        for (at, line) in all.iter().enumerate().filter(|(_, line)| opens_unsafe(line)) {
            let above = &all[at.saturating_sub(8)..at];
            if !above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
                breaches.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    none("an unsafe block has a SAFETY comment above it", breaches);
}

fn opens_unsafe(line: &str) -> bool {
    let code = !line.trim().starts_with("//");
    code && (line.contains("unsafe {") || line.contains("unsafe impl"))
        && !line.contains("GlobalAlloc for")
}

#[test]
fn nothing_is_left_over() {
    let files = rust_files();
    let breaches = lines(&files, |file, line| {
        !file.is_tidy() && LEFTOVERS.iter().any(|word| line.contains(word))
    });
    none("left over from work", breaches);
    let allows = lines(&files, |file, line| {
        let product = file.is_in(&["engine/src/", "grid/src/", "wire/src/", "bin/src/"]);
        product && (line.contains("#[allow(") || line.contains("#![allow("))
    });
    none("#[expect(.., reason)] instead of #[allow]", allows);
}

/// The files whose length and whose place in `listed` disagree.
fn long_files(files: &[File], listed: &[(&str, &str)]) -> Vec<String> {
    let wrong = |(file, lines): &(&File, usize)| {
        (*lines > CODE_LINES_MAX) != listed.iter().any(|(long, _)| *long == file.path)
    };
    let sized = files.iter().map(|file| (file, file.code().count())).filter(wrong);
    sized.map(|(file, lines)| format!("{}: {lines} code lines", file.path)).collect()
}

#[test]
fn files_are_short_or_say_why() {
    let breaches = long_files(&rust_files(), &LONG_FILES);
    none("over 600 code lines a file is listed in LONG_FILES, and only then", breaches);
    let text = |lines: usize| "x();\n// no code\n".repeat(lines);
    let file = |path: &str, lines| File { path: path.to_owned(), text: text(lines) };
    let files = [file("ok.rs", 600), file("long.rs", 601), file("listed.rs", 601)];
    let listed = [("listed.rs", "a reason"), ("ok.rs", "no longer long")];
    assert_eq!(long_files(&files, &listed), ["ok.rs: 600 code lines", "long.rs: 601 code lines"]);
}

/// The functions whose length and whose place in `listed` disagree.
fn long_functions(files: &[File], listed: &[(&str, &str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        for function in functions(&file.text) {
            let is_listed =
                |(path, name, _): &(&str, &str, &str)| *path == file.path && *name == function.name;
            if (function.len > FUNCTION_LINES_MAX) != listed.iter().any(is_listed) {
                let (name, line, len) = (function.name, function.line, function.len);
                breaches.push(format!("{}:{line}: {name} has {len} lines", file.path));
            }
        }
    }
    breaches
}

#[test]
fn functions_are_short_or_say_why() {
    let breaches = long_functions(&rust_files(), &LONG_FUNCTIONS);
    none("over 70 lines a function is split, or listed in LONG_FUNCTIONS", breaches);
    let function = |name: &str, lines| format!("fn {name}() {{\n{}}}\n", "x();\n".repeat(lines));
    let text = ["ok", "listed"].map(|name| function(name, 68)).concat() + &function("long", 69);
    let files = [File { path: "a.rs".to_owned(), text }];
    let listed = [("a.rs", "listed", "no longer long")];
    let breaches = ["a.rs:71: listed has 70 lines", "a.rs:141: long has 71 lines"];
    assert_eq!(long_functions(&files, &listed), breaches);
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The vectors whose file name begins with `prefix`.
fn vectors(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/vectors/memcached")).unwrap().map(Result::unwrap);
    let ours = entries.filter(|file| file.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|file| fs::read_to_string(file.path()).unwrap()).collect()
}

#[test]
fn every_opcode_has_one_meaning_and_a_vector() {
    let codes = opcodes(&read("wire/src/memcached/binary/opcode.rs"));
    assert!(codes.len() >= 35, "the table of opcodes is somewhere else: {codes:?}");
    let twice = duplicates(&codes).iter().map(|code| format!("0x{code:02x}")).collect();
    none("a number means one thing", twice);
    none("a vector sends each opcode", without_packet(&codes, &vectors("binary_")));
}

#[test]
fn every_native_opcode_has_one_meaning_and_vectors() {
    let declared = native_opcodes(&rust_files());
    assert!(declared.len() >= 60, "the operations are declared somewhere else: {declared:?}");
    let codes: Vec<u16> = declared.iter().map(|(code, _)| *code).collect();
    let twice = duplicates(&codes).iter().map(|code| format!("0x{code:04x}")).collect();
    none("a number means one thing", twice);
    let folder = root().join("docs/protocol/vectors");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let vectors: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    none("vectors show each operation", without_native_vector(&declared, &vectors));
    let frozen = read("tests/vectors/native_opcodes.txt");
    none("a number that was given is never given again", regiven(&declared, &frozen));
}

#[test]
fn every_command_has_one_meaning_and_a_vector() {
    let commands = commands(&read("wire/src/memcached/text/mod.rs"));
    assert!(commands.len() >= 25, "the table of commands is somewhere else: {commands:?}");
    none("a command means one thing", duplicates(&commands));
    let silent = without_line(&commands, &vectors("")).into_iter().map(str::to_owned);
    none("a vector sends each command", silent.collect());
}

#[test]
fn lower_floors_know_nothing_of_the_outside() {
    let manifests = OUTSIDE.map(|(name, may)| (name, may, read(&format!("{name}/Cargo.toml"))));
    for (name, may, manifest) in &manifests {
        let strange = dependencies(manifest).into_iter().filter(|d| !may.contains(&d.as_str()));
        none(&format!("{name} may depend on {may:?}"), strange.collect());
    }
    let files = rust_files();
    for (place, words) in SILENT {
        let breaches = lines(&files, |file, line| {
            file.is_in(&[place]) && words.iter().any(|word| line.to_lowercase().contains(word))
        });
        none(&format!("{place} names none of {words:?}"), breaches);
    }
}

#[test]
fn every_file_is_a_module() {
    let files = rust_files();
    let is_root = |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        let entry = ["lib.rs", "main.rs", "build.rs"].contains(&name);
        let alone = path.contains("/tests/") && path.matches('/').count() == 2
            || path.contains("/benches/") && path.matches('/').count() == 2
            || path.contains("/src/bin/")
            || path.contains("/examples/");
        entry || alone
    };
    let dead = files.iter().filter(|file| !is_root(&file.path)).filter(|file| {
        let (name, given) = (module_name(&file.path), path_attribute(&file.path));
        let crate_name = file.path.split('/').next().unwrap();
        let of_crate = |other: &&File| other.path.split('/').next() == Some(crate_name);
        !files
            .iter()
            .filter(of_crate)
            .any(|other| declares(other, &name) || other.text.contains(&given))
    });
    none("no `mod` names this file", dead.map(|file| file.path.clone()).collect());
}

fn module_name(path: &str) -> String {
    let stem = path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
    stem.rsplit('/').next().unwrap().to_owned()
}

/// How a module of another name says where its file is.
fn path_attribute(path: &str) -> String {
    format!("#[path = \"{}\"]", path.rsplit('/').next().unwrap())
}

fn declares(file: &File, module: &str) -> bool {
    let declaration = format!("mod {module};");
    file.code().any(|(_, line)| line.trim().ends_with(&declaration))
}

#[test]
fn nothing_large_is_checked_in() {
    let large = paths().into_iter().filter(|path| {
        fs::metadata(path).unwrap().len() > BLOB_BYTES_MAX && !path.ends_with("Cargo.lock")
    });
    let large = large.map(|path| path.display().to_string());
    none("files have at most 100 KiB", large.collect());
}

#[test]
fn the_changelog_tells_effects_under_tags() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let entries = text.lines().filter_map(|line| line.strip_prefix("- "));
    let bare = entries.filter(|entry| !TAGS.iter().any(|tag| entry.starts_with(tag)));
    none("a changelog line begins with a tag", bare.map(str::to_owned).collect());
    let versions = text.lines().filter_map(|line| line.strip_prefix("## "));
    let odd = versions.filter(|version| {
        let numbers: Vec<_> = version.split(' ').next().unwrap_or_default().split('.').collect();
        numbers.len() != 3 || numbers.iter().any(|number| number.parse::<u32>().is_err())
    });
    none("a changelog section begins with x.y.z", odd.map(str::to_owned).collect());
}

/// Names in `[workspace.dependencies]` that are not ours.
fn known_dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once(" =").map(|(name, _)| name.to_owned()));
    names.filter(|name| !name.starts_with("isogrid")).collect()
}

#[test]
fn every_dependency_is_accounted_for() {
    let page = fs::read_to_string(root().join("docs/DEPENDENCIES.md")).unwrap();
    let manifests = FLOORS.map(|(name, _)| root().join(name).join("Cargo.toml"));
    let used: String = manifests.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let used =
        known_dependencies().into_iter().filter(|name| used.contains(&format!("\n{name}.work")));
    let missing = used.filter(|name| !page.contains(&format!("| {name} |")));
    none("a dependency has a line in docs/DEPENDENCIES.md", missing.collect());
}
