//! What may come next on a command line: commands, flags, and the names that a server knows now.
//! The shells ask for it, and so does the REPL.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory as _;
use clap_complete::CompletionCandidate;
use clap_complete::engine::complete;
use isogrid_wire::native::catalog::ObjectKind;

use super::Cli;
use super::remote::{context, kept};

/// Names of caches that begin with `current`.
pub fn caches(current: &OsStr) -> Vec<CompletionCandidate> {
    objects(ObjectKind::Cache, current)
}

/// Names of queues that begin with `current`.
pub fn queues(current: &OsStr) -> Vec<CompletionCandidate> {
    objects(ObjectKind::Queue, current)
}

/// Names of topics that begin with `current`.
pub fn topics(current: &OsStr) -> Vec<CompletionCandidate> {
    objects(ObjectKind::Topic, current)
}

fn objects(kind: ObjectKind, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begin) = current.to_str() else { return Vec::new() };
    let found = kept::soon(async |client| Ok(client.catalog().list(kind, "").await?));
    let found = found.unwrap_or_default();
    let names = found.iter().filter_map(|object| object.get("name")?.as_str());
    names.filter(|name| name.starts_with(begin)).map(CompletionCandidate::new).collect()
}

/// Names of contexts that begin with `current`.
pub fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begin) = current.to_str() else { return Vec::new() };
    let names = context::names();
    names.into_iter().filter(|name| name.starts_with(begin)).map(CompletionCandidate::new).collect()
}

/// What may stand in the place of the last word of `text`, which begins without the program's
/// name; and where that word begins.
pub fn line(text: &str) -> (usize, Vec<String>) {
    let start = text.trim_end_matches(|letter: char| !letter.is_whitespace()).len();
    let (before, last) = text.split_at(start);
    let words = std::iter::once("isogrid").chain(before.split_whitespace()).chain([last]);
    let words: Vec<OsString> = words.map(OsString::from).collect();
    let index = words.len() - 1;
    let found = complete(&mut Cli::command(), words, index, None).unwrap_or_default();
    let flags_too = last.starts_with('-');
    let shown = found.iter().filter_map(|one| one.get_value().to_str());
    let fits = |word: &&str| flags_too || !word.starts_with('-');
    (start, shown.filter(fits).map(str::to_owned).collect())
}
