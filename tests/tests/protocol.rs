//! The conversations of `vectors/memcached/*.txt`, held with a live server over one connection
//! each. Cas uniques and seconds may be other numbers, as in the comparison with memcached.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::path::Path;

use isogrid_tests::differential::{Pairs, compare, escape, unescape};
use isogrid_tests::harness::Server;

/// Conversations that say a cas unique by its number, which only the codec's own cache gives out.
const SKIPPED: [&str; 5] = [
    "binary_store: cas",
    "cas: conditions",
    "md: cas",
    "mg: newest: the value only when the cas has changed",
    "ms: cas",
];

#[derive(Default)]
struct Conversation {
    title: String,
    asked: Vec<u8>,
    answer: Vec<u8>,
}

#[test]
fn a_live_server_holds_the_conversations() {
    let server = Server::isogrid(&[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/memcached");
    let mut wrong = Vec::new();
    let mut held = 0;
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for conversation in conversations(&fs::read_to_string(&file).unwrap()) {
            let title = format!("{name}: {}", conversation.title);
            if SKIPPED.contains(&title.as_str()) {
                continue;
            }
            held += 1;
            if let Err(why) = hold(&server, &conversation) {
                wrong.push(format!("{title}\n{why}"));
            }
        }
    }
    assert!(held > 100, "only {held} conversations");
    assert!(wrong.is_empty(), "{} of {held}:\n{}", wrong.len(), wrong.join("\n"));
}

fn hold(server: &Server, conversation: &Conversation) -> Result<(), String> {
    server.connect().ask("flush_all\r\n", "OK\r\n");
    let mut client = server.connect();
    // The server may close before it has taken all.
    let _ = client.try_send(&conversation.asked);
    client.finish();
    let answer = client.rest().ok_or("never closed")?;
    compare(&conversation.answer, &answer, b"", false, &mut Pairs::default()).map_err(|why| {
        let [expect, is] = [&conversation.answer, &answer].map(|answer| escape(answer));
        format!("  {why}\n  expect {expect}\n  is     {is}")
    })
}

fn conversations(text: &str) -> Vec<Conversation> {
    let mut conversations: Vec<Conversation> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            conversations.push(Conversation { title: title.to_owned(), ..Default::default() });
        }
        let Some(last) = conversations.last_mut() else { continue };
        if let Some(asked) = line.strip_prefix("> ") {
            last.asked.extend(unescape(asked));
        } else if let Some(answer) = line.strip_prefix("< ") {
            last.answer.extend(unescape(answer));
        }
    }
    conversations
}
