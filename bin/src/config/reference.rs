//! The table of keys as text: explanations, documentation, a file to begin with.

use std::fmt::Write;

use super::field::{Form, Raw};
use super::key::Key;
use super::show::{assignment, table_header};
use super::suggest::nearest;
use super::table::{CACHE, LISTENER, REGION, ROOT};

/// One key, in words.
struct Row {
    section: &'static str,
    name: &'static str,
    alias: &'static str,
    form: Form,
    doc: &'static str,
    default: String,
    example: Raw,
}

impl Row {
    fn of<T: Default>(header: &'static str, key: &'static Key<T>) -> Self {
        let (section, name) = match key.name.split_once('.') {
            Some((section, name)) => (section, name),
            None => (header, key.name),
        };
        let Key { alias, form, doc, .. } = *key;
        let example = key.read(&T::default());
        Self { section, name, alias, form, doc, default: key.default(), example }
    }

    fn path(&self) -> String {
        if self.section.is_empty() {
            return self.name.to_owned();
        }
        format!("{}.{}", self.section, self.name)
    }

    fn environment(&self) -> String {
        match self.section {
            "listener" | "cache.region" => "none: written in the file".to_owned(),
            "cache" => format!("ISOGRID__CACHE__NAME__{}", self.name.to_ascii_uppercase()),
            _ => format!("ISOGRID__{}", self.path().replace('.', "__").to_ascii_uppercase()),
        }
    }

    /// A line of TOML that says the default, or something of the right form.
    fn example_line(&self) -> String {
        let nothing = self.example == Raw::One(String::new());
        let value = match self.form {
            Form::Choice([first, ..]) if nothing => Raw::One((*first).to_owned()),
            _ if nothing => Raw::One("...".to_owned()),
            _ => self.example.clone(),
        };
        assignment(self.name, &value, &self.form)
    }
}

/// Every key, in the order in which a file has them.
fn rows() -> Vec<Row> {
    let root = ROOT.iter().map(|key| Row::of("", key));
    let listener = LISTENER.iter().map(|key| Row::of("listener", key));
    let cache = CACHE.iter().map(|key| Row::of("cache", key));
    let region = REGION.iter().map(|key| Row::of("cache.region", key));
    let mut rows: Vec<Row> = root.chain(listener).chain(cache).chain(region).collect();
    // TOML wants the keys without a section first.
    rows.sort_by_key(|row| !row.section.is_empty());
    rows
}

/// What a key does, its bounds, its default and its variable.
pub fn explain(key: &str) -> Result<String, String> {
    let rows = rows();
    let asked = without_name(key);
    let row = rows.iter().find(|row| row.path() == asked || aliased(row) == asked);
    row.map(explain_row).ok_or_else(|| {
        let paths: Vec<String> = rows.iter().map(Row::path).collect();
        let near = nearest(&asked, paths.iter().map(String::as_str));
        match near {
            Some(near) => format!("unknown key `{key}`: did you mean `{near}`?"),
            None => format!("unknown key `{key}`: `isogrid config explain all` lists every key"),
        }
    })
}

/// Every key.
pub fn explain_all() -> String {
    rows().iter().map(explain_row).collect::<Vec<_>>().join("\n")
}

/// `cache.NAME.memory` is explained as `cache.memory`.
fn without_name(key: &str) -> String {
    match key.strip_prefix("cache.").and_then(|rest| rest.rsplit_once('.')) {
        Some(("region", name)) => format!("cache.region.{name}"),
        Some((_, name)) => format!("cache.{name}"),
        None => key.to_owned(),
    }
}

fn aliased(row: &Row) -> String {
    format!("{}.{}", row.section, row.alias)
}

fn explain_row(row: &Row) -> String {
    let mut text = format!("{}\n  {}\n", row.path(), row.doc);
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "  {what:<9} {value}");
    };
    line("allowed:", &row.form.words());
    line("default:", &row.default);
    line("env:", &row.environment());
    if !row.alias.is_empty() {
        line("also:", row.alias);
    }
    text
}

/// The reference of all keys, as `docs/CONFIGURATION.md`.
pub fn markdown() -> String {
    let mut text = MARKDOWN_INTRO.to_owned();
    let mut section = None;
    for row in rows() {
        if section.replace(row.section) != Some(row.section) {
            text.push_str(&markdown_header(row.section));
        }
        let cells = [
            format!("`{}`", row.name),
            row.doc.to_owned(),
            row.form.words(),
            row.default.clone(),
            row.environment(),
        ];
        let _ = writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    text
}

fn markdown_header(section: &str) -> String {
    let title = match section {
        "" => "Top of the file".to_owned(),
        section => format!("`{}`", table_header(section)),
    };
    format!(
        "\n## {title}\n\n| key | what | allowed | default | environment |\n|---|---|---|---|---|\n"
    )
}

const MARKDOWN_INTRO: &str = "\
<!-- Generated: `cargo run -- config explain all --markdown > docs/CONFIGURATION.md` -->
# Configuration

A value is taken from the first place that says it: flags (`--set key=value` and the named ones),
the environment, the TOML file, the default. The file is the one given with `-c`, else
`$ISOGRID_CONFIG`, else `./isogrid.toml`, else `/etc/isogrid/isogrid.toml`, else none.

Sizes are written `512MiB`, `64k` or `1000000` (units are powers of 1,024), durations `500ms`,
`10s`, `2h`. In the environment a double underscore stands for a dot:
`ISOGRID__LIMITS__MAX_CONNECTIONS=2000`, `ISOGRID__CACHE__DEFAULT__MEMORY=2GiB`; the same keys
are `--set limits.max_connections=2000` and `--set cache.default.memory=2GiB`. An unknown key or
a value out of bounds stops the start with exit code 78 and says what to do.

`isogrid config init` writes a commented file, `config check FILE` checks one,
`config show --origin` prints every value in force and where it was said, and
`config explain KEY` tells what this page tells.

An example with two caches, one of them with a region of its own limit:

```toml
memcached = [\"127.0.0.1:11211\"]

[[listener]]
address = \"127.0.0.1:11212\"
cache = \"sessions\"
flush = false

[[cache]]
name = \"default\"
memory = \"1GiB\"

[[cache.region]]
prefix = \"/org/jboss/data\"
max_entries = 1000

[[cache]]
name = \"sessions\"
memory = \"256MiB\"
eviction = \"none\"
ttl = \"30m\"
```
";

/// A commented file that says nothing but the defaults.
pub fn template() -> String {
    let mut text = TEMPLATE_INTRO.to_owned();
    let mut section = "";
    for row in rows() {
        if row.section != section {
            section = row.section;
            let _ = writeln!(text, "\n#{}", table_header(section));
        }
        let _ = writeln!(text, "\n# {}\n# {}.", row.doc, row.form.words());
        let _ = writeln!(text, "#{}", row.example_line());
    }
    text
}

const TEMPLATE_INTRO: &str = "\
# Isogrid's configuration. Every line is a comment that shows a default: take the # away from
# a [section] and from the keys below it that you want to change. `isogrid config check FILE`
# checks the file, `isogrid config explain KEY` tells more.
";

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
