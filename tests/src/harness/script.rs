//! Tables of requests and their answers, one file a group in `tests/vectors/native`:
//!
//! ```text
//! # a comment
//! cache.PUT $cache {"key":"k","value":"v","write":{}} {}     request: op, object, body, more of the frame
//! = ["OK",{"version":"$v","prev":null}]                      its answer
//! ```
//!
//! `$name` in a request stands for what was bound before, in an answer it binds what is there and
//! must be the same from then on; `$_` is anything. A name alone in a string keeps the value's type.
//! Requests within a request are `{"sub":"cache.GET","object":..,"body":{..}}`, and their answers
//! `{"sub":"cache.GET","is":["OK",{..}]}`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Native;
use super::native::{COUNTERS, LOCKS, sub_answer, sub_request};

type Bound = BTreeMap<String, Value>;

/// Asks the requests of a table, each of the next one of these clients, and checks the answers.
///
/// # Panics
/// When an answer is not as expected.
pub fn play(script: &str, clients: &mut [Native]) {
    let mut bound = Bound::from([
        ("cache".to_owned(), json!(clients[0].cache("default"))),
        ("counters".to_owned(), json!(COUNTERS)),
        ("locks".to_owned(), json!(LOCKS)),
        ("none".to_owned(), json!(0)),
    ]);
    let (mut answer, mut asked) = (Value::Null, 0);
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(expected) = line.strip_prefix("= ") {
            let expected: Value = serde_json::from_str(expected).unwrap();
            let same = matches(&expected, &answer, &mut bound);
            assert!(same, "line {}: {line}\n  is {answer}\n  bound {bound:?}", number + 1);
        } else {
            let next = asked % clients.len();
            asked += 1;
            answer = ask(&mut clients[next], line, &bound);
        }
    }
}

fn ask(client: &mut Native, line: &str, bound: &Bound) -> Value {
    let (op, rest) = line.split_once(' ').unwrap();
    let (object, rest) = rest.split_once(' ').unwrap();
    let object = fill(&json!(object), bound).as_u64().unwrap();
    let mut documents = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    let mut next = || documents.next().map(|document| fill(&document.unwrap(), bound));
    let body = next().unwrap();
    let fields = next().unwrap_or_else(|| json!({}));
    client.call_with(op, object, body, &fields)
}

/// The document with what is bound in the place of names.
fn fill(document: &Value, bound: &Bound) -> Value {
    match document {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => bound.get(name).unwrap_or_else(|| panic!("${name}")).clone(),
            None => document.clone(),
        },
        Value::Array(all) => all.iter().map(|one| fill(one, bound)).collect(),
        Value::Object(all) if all.contains_key("sub") => {
            let (op, body) = (all["sub"].as_str().unwrap(), fill(&all["body"], bound));
            sub_request(op, fill(&all["object"], bound).as_u64().unwrap(), body)
        }
        Value::Object(all) => {
            all.iter().map(|(name, value)| (name.clone(), fill(value, bound))).collect()
        }
        _ => document.clone(),
    }
}

/// Whether the answer is as expected. Objects may have more keys than the expected one.
fn matches(expected: &Value, is: &Value, bound: &mut Bound) -> bool {
    match (expected, is) {
        (Value::String(text), is) if text == "$_" => !is.is_null(),
        (Value::String(text), is) if text.starts_with('$') => {
            let name = text.trim_start_matches('$').to_owned();
            bound.entry(name).or_insert_with(|| is.clone()) == is
        }
        // A document within the document.
        (Value::Object(_), Value::String(text)) => {
            serde_json::from_str(text).is_ok_and(|is: Value| matches(expected, &is, bound))
        }
        (Value::Object(all), is) if all.contains_key("sub") => {
            let answer = sub_answer(all["sub"].as_str().unwrap(), is);
            matches(&all["is"], &answer, bound) || {
                eprintln!("{answer}");
                false
            }
        }
        (Value::Array(expected), Value::Array(is)) => {
            expected.len() == is.len()
                && expected.iter().zip(is).all(|(expected, is)| matches(expected, is, bound))
        }
        (Value::Object(expected), Value::Object(is)) => expected
            .iter()
            .all(|(name, expected)| is.get(name).is_some_and(|is| matches(expected, is, bound))),
        (expected, is) => expected == is,
    }
}
