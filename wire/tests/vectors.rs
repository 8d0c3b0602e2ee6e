//! Conversations in `tests/vectors/memcached/*.txt`, one file a command.
//!
//! `== title` starts a conversation: a new connection to an empty cache. A line `> bytes` is sent,
//! the lines `< bytes` behind it are the answer (none: nothing is answered), and `!` says that the
//! connection is closed. `#` starts a comment. Bytes are written as in `common/escape.rs`.
//!
//! Every conversation is also decoded in pieces, cut at every byte, and must be understood the
//! same. `ISOGRID_VECTORS_BLESS=1 cargo test -p isogrid-wire --test vectors` writes the answers
//! anew; the change is then to be read line by line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::escape::{escape, unescape};
use common::model::Model;
use common::{Event, Reader, decode_all};
use isogrid_wire::{Limits, Output};

/// Longer conversations are cut at fewer places.
const CUT_EVERYWHERE_MAX: usize = 4096;

#[test]
fn conversations_are_held_as_memcached_holds_them() {
    let bless = std::env::var_os("ISOGRID_VECTORS_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let held = hold(&text);
        if bless {
            fs::write(&path, &held).unwrap();
        }
        for (number, (expect, is)) in text.lines().zip(held.lines()).enumerate() {
            if expect != is {
                wrong.push(format!(
                    "{}:{}\n expect {expect}\n is     {is}",
                    path.display(),
                    number + 1
                ));
                break;
            }
        }
        if text.lines().count() != held.lines().count() {
            wrong.push(format!("{}: {} lines expected", path.display(), held.lines().count()));
        }
    }
    assert!(bless || wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn conversations_are_understood_in_all_pieces() {
    for path in files() {
        for (title, input) in conversations(&fs::read_to_string(&path).unwrap()) {
            let patient = || Reader::new(Limits::default());
            let whole = decode_all(patient(), [input.as_slice()]);
            let few = if input.len() <= CUT_EVERYWHERE_MAX { 1 } else { 1000 };
            let bytes = decode_all(patient(), input.chunks(few));
            assert_eq!(whole, bytes, "{} {title}: byte by byte", path.display());
            let bytes = decode_all(Reader::eager(Limits::default()), input.chunks(few));
            assert_eq!(whole, bytes, "{} {title}: asked at every byte", path.display());
            for at in cuts(input.len()) {
                let (front, back) = input.split_at(at);
                let halves = decode_all(patient(), [front, back]);
                assert_eq!(whole, halves, "{} {title}: cut at {at}", path.display());
            }
        }
    }
}

fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (0..=len).filter(move |at| {
        len <= CUT_EVERYWHERE_MAX || *at < 40 || len - at < 4 || at.is_multiple_of(len / 4)
    })
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/memcached");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The title and all input of each conversation.
fn conversations(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut conversations = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            conversations.push((title.to_owned(), Vec::new()));
        } else if let Some(input) = line.strip_prefix("> ") {
            conversations.last_mut().unwrap().1.extend(unescape(input));
        }
    }
    conversations
}

/// The text of a file with the answers that are really given.
fn hold(text: &str) -> String {
    let mut held = String::new();
    let (mut reader, mut model) = (Reader::new(Limits::default()), Model::default());
    for line in text.lines().filter(|line| !line.starts_with('<') && *line != "!") {
        held.push_str(line);
        held.push('\n');
        if line.starts_with("== ") {
            (reader, model) = (Reader::new(Limits::default()), Model::default());
        } else if let Some(input) = line.strip_prefix("> ") {
            say(&unescape(input), &mut reader, &mut model, &mut held);
        }
    }
    held
}

fn say(input: &[u8], reader: &mut Reader, model: &mut Model, held: &mut String) {
    assert!(!reader.is_closed(), "the connection is closed before {}", escape(input));
    let mut out = Output::new();
    reader.feed(input, |event| {
        if let Event::Request(request, framing) = event {
            model.execute(request, framing, &mut out);
        }
    });
    let mut answer = out.to_vec();
    while !answer.is_empty() {
        let behind = answer.split_off(first_len(&answer));
        held.push_str(&format!("< {}\n", escape(&answer)));
        answer = behind;
    }
    if reader.is_closed() {
        held.push_str("!\n");
    }
}

/// The length of the first line or packet.
fn first_len(answer: &[u8]) -> usize {
    match answer {
        [0x81, _, _, _, _, _, _, _, b0, b1, b2, b3, ..] => {
            24 + u32::from_be_bytes([*b0, *b1, *b2, *b3]) as usize
        }
        _ => answer.iter().position(|byte| *byte == b'\n').map_or(answer.len(), |end| end + 1),
    }
}
