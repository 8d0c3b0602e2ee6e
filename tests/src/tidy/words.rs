//! Words, and the lines and manifests that hold them.

use super::source::File;

/// Whether `word` stands in `line` by itself.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let ends = word.ends_with(is_part) && after.starts_with(is_part);
        !before.ends_with(is_part) && !ends
    })
}

/// Each code line of `files` for which `breaks` holds.
pub fn lines(files: &[File], breaks: impl Fn(&File, &str) -> bool) -> Vec<String> {
    let each = files.iter().flat_map(|file| file.code().map(move |line| (file, line)));
    let broken = each.filter(|(file, (_, line))| breaks(file, line));
    broken.map(|(file, (n, line))| format!("{}:{n}: {}", file.path, line.trim())).collect()
}

/// What a manifest depends on outside its tests.
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && !line.contains("dev-");
        } else if let Some((name, _)) = line.split_once(['.', ' ', '=']).filter(|_| inside) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_by_itself() {
        for (line, found) in [
            ("use tokio::net;", true),
            ("use my_tokio::net;", false),
            ("fn tokio_like()", false),
            ("(tokio)", true),
        ] {
            assert_eq!(has_word(line, "tokio"), found, "{line}");
        }
    }

    #[test]
    fn a_breach_is_told_with_its_place_and_comments_are_no_code() {
        let text = "// bad\nfn a() {\n    bad();\n}\n".to_owned();
        let file = File { path: "x.rs".to_owned(), text };
        assert_eq!(lines(&[file], |_, line| has_word(line, "bad")), ["x.rs:3: bad();"]);
    }

    #[test]
    fn what_only_tests_need_is_no_dependency() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = \"1\"\n\
                        [target.'cfg(x)'.dependencies]\nd = { version = \"1\" }\n\
                        [dev-dependencies]\ne.workspace = true\n[lints]\nworkspace = true\n";
        assert_eq!(dependencies(manifest), ["b", "c", "d"]);
    }
}
