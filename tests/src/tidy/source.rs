//! The files of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the workspace, by its path from the root.
pub struct File {
    /// With `/` between the folders.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl File {
    /// Lines that are code, with their numbers.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with("//"))
    }

    /// Whether its path begins with one of `places`.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Whether it is part of these checks, which have to name what they forbid.
    pub fn is_tidy(&self) -> bool {
        self.is_in(&["tests/tests/tidy.rs", "tests/src/tidy/"])
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files, without build output and what an editor or a server leaves.
pub fn paths() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

fn walk(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
        if hidden || name == "target" || name == "isogrid-data" {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// All Rust files.
pub fn rust_files() -> Vec<File> {
    let rust = paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| File {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
    })
    .collect()
}

/// Fails with every breach of a rule.
pub fn none(rule: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}
