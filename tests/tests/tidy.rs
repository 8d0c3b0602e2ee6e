//! The house rules that a compiler does not check. Each rule is a table, and every breach is
//! listed at once.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates a crate may name: engine and wire do not know each other, and nobody
/// imports tests or benches.
const FLOORS: [(&str, &[&str]); 6] = [
    ("engine", &["isogrid_engine"]),
    ("wire", &["isogrid_wire"]),
    ("grid", &["isogrid_engine", "isogrid_grid"]),
    ("bin", &["isogrid_engine", "isogrid_wire", "isogrid_grid", "isogrid"]),
    ("tests", &["isogrid_engine", "isogrid_wire", "isogrid_grid", "isogrid", "isogrid_tests"]),
    ("benches", &["isogrid_engine", "isogrid_wire", "isogrid_grid", "isogrid", "isogrid_benches"]),
];

/// Words that have a home, and where that is (prefixes of paths).
const WORDS: [(&str, &[&str]); 9] = [
    ("unsafe", &["engine/src/table/", "tests/tests/account.rs"]),
    ("Instant::now", &["engine/src/env.rs", "benches/", "tests/", "bin/src/server/mod.rs"]),
    ("SystemTime::now", &["engine/src/env.rs"]),
    ("thread::sleep", &["benches/", "tests/"]),
    ("thread_rng", &[]),
    ("tokio::", &["bin/src/"]),
    (
        "crossbeam_epoch",
        &["engine/src/table/", "engine/src/store/sled.rs", "tests/tests/account.rs"],
    ),
    ("sled::", &["engine/src/store/", "benches/benches/store.rs"]),
    ("memcached", &["wire/", "bin/", "tests/", "benches/", "grid/src/", "engine/src/"]),
];

/// `unsafe` within the engine's table: the lock-free index and the versions that it points to.
const UNSAFE_FILES: [&str; 8] = [
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
const LONG_FILES: [(&str, &str); 1] =
    [("engine/src/table/segment.rs", "one invariant: every order of a segment changes together")];

const BLOB_BYTES_MAX: u64 = 100 << 10;
const TAGS: [&str; 4] = ["[feat] ", "[fix] ", "[perf] ", "[api] "];

/// A file of the workspace, by its path from the root.
struct File {
    path: String,
    text: String,
}

impl File {
    /// Lines that are code, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with("//"))
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    fn is_tidy(&self) -> bool {
        self.path == "tests/tests/tidy.rs"
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `at`, without build output and hidden ones.
fn walk(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" || name == "isogrid-data" {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn paths() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

fn rust_files() -> Vec<File> {
    let rust = paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| File {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
    })
    .collect()
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let ends = word.ends_with(is_part) && after.starts_with(is_part);
        !before.ends_with(is_part) && !ends
    })
}

/// Fails with every breach of a rule.
fn none(rule: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Each code line of `files` for which `breaks` holds.
fn lines(files: &[File], breaks: impl Fn(&File, &str) -> bool) -> Vec<String> {
    let each = files.iter().flat_map(|file| file.code().map(move |line| (file, line)));
    let broken = each.filter(|(file, (_, line))| breaks(file, line));
    broken.map(|(file, (n, line))| format!("{}:{n}: {}", file.path, line.trim())).collect()
}

#[test]
fn crates_import_only_what_is_below_them() {
    let files = rust_files();
    let ours: Vec<&str> = FLOORS[5].1.iter().chain(&["isogrid_tests"]).copied().collect();
    for (name, may) in FLOORS {
        let inside = format!("{name}/");
        let breaches = lines(&files, |file, line| {
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
    none("`unsafe` is for the index and its versions", unsafe_code);
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

#[test]
fn files_are_short_or_say_why() {
    let mut breaches = Vec::new();
    for file in rust_files() {
        let (lines, path) = (file.code().count(), file.path.as_str());
        let listed = LONG_FILES.iter().any(|(long, _)| *long == path);
        if (lines > CODE_LINES_MAX) != listed {
            breaches.push(format!("{path}: {lines} code lines"));
        }
    }
    none("over 600 code lines a file is listed in LONG_FILES, and only then", breaches);
}

#[test]
fn every_file_is_a_module() {
    let files = rust_files();
    let is_root = |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        let entry = ["lib.rs", "main.rs", "build.rs"].contains(&name);
        let alone = path.contains("/tests/") && path.matches('/').count() == 2
            || path.contains("/benches/") && path.matches('/').count() == 2
            || path.contains("/src/bin/");
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
fn dependencies() -> Vec<String> {
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
    let used = dependencies().into_iter().filter(|name| used.contains(&format!("\n{name}.work")));
    let missing = used.filter(|name| !page.contains(&format!("| {name} |")));
    none("a dependency has a line in docs/DEPENDENCIES.md", missing.collect());
}
