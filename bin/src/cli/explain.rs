//! `isogrid explain`: what an error means and what to do about it.

use std::process::ExitCode;

use clap::Args;
use isogrid_wire::native::schema::Type;
use isogrid_wire::native::{Codec, ErrorCode, Retry};
use serde_json::{Value, json};

use super::output::{OutputArgs, fail};
use super::{NOT_FOUND, table::table};
use crate::config::nearest;

const EXAMPLES: &str = "\
Examples:
  isogrid explain                # every error
  isogrid explain E4003
  isogrid explain no_quorum -o json

Exit codes: 0 ok, 3 there is no such error.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// The error's number or name: E4003, 4003, NO_QUORUM; without it all are listed
    code: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `isogrid explain`.
pub fn main(args: &ExplainArgs) -> ExitCode {
    let Some(text) = &args.code else {
        return args.output.say(list, || json!({ "errors": all() }));
    };
    match ErrorCode::find(text) {
        Some(code) => args.output.say(|| explained(code), || of(code)),
        None => fail(&unknown(text), NOT_FOUND),
    }
}

fn all() -> Vec<Value> {
    ErrorCode::ALL.iter().map(|code| of(*code)).collect()
}

fn of(code: ErrorCode) -> Value {
    let info = code.info();
    json!({
        "code": code as u16, "name": info.name, "reason": info.reason,
        "retry": retry_word(info.retry), "help": info.help,
    })
}

fn list() -> String {
    let head = ["CODE", "NAME", "RETRY", "WHAT HAPPENED"].map(str::to_owned);
    let rows = ErrorCode::ALL.iter().map(|code| {
        let info = code.info();
        let number = format!("E{}", *code as u16);
        [number, info.name.into(), retry_word(info.retry).into(), info.reason.into()]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn explained(code: ErrorCode) -> String {
    let info = code.info();
    let (word, means) = (retry_word(info.retry), retry_means(info.retry));
    format!(
        "E{} {}: {}\n\nretry  {word}: {means}\nhelp   {}\n",
        code as u16, info.name, info.reason, info.help
    )
}

fn unknown(text: &str) -> String {
    let upper = text.to_uppercase();
    let near = nearest(&upper, ErrorCode::ALL.iter().map(|code| code.name()));
    let help = match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => "`isogrid explain` lists them all".to_owned(),
    };
    format!("there is no error {text}\n  help: {help}")
}

fn retry_word(retry: Retry) -> &'static str {
    choice(retry).map_or("", |(name, _)| name)
}

/// What the protocol's own description says of it.
fn retry_means(retry: Retry) -> String {
    let doc = choice(retry).map_or("", |(_, doc)| doc);
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn choice(retry: Retry) -> Option<(&'static str, &'static str)> {
    let Type::Choice(choices) = Retry::TYPE else { return None };
    let found = choices.choices.iter().find(|choice| choice.number == retry as u8);
    found.map(|choice| (choice.name, choice.doc))
}
