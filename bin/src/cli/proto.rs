//! `isogrid proto`: the native protocol by hand.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use isogrid_wire::native::dynamic::{decode_frame, encode_frame, from_hex, to_hex};
use isogrid_wire::native::schema::{Field, Operation};
use isogrid_wire::native::{Assembled, ErrorCode, Frame, GROUPS, Header, Limits, Reassembly};
use serde_json::{Value, json};

use super::output::{OutputArgs, fail, say};
use super::{NOT_FOUND, USAGE, table::table};
use crate::config::nearest;

const EXAMPLES: &str = "\
Examples:
  isogrid proto decode 0000000d 02 00 0101 00000003 00000000 01
  xxd -p capture | isogrid proto decode
  isogrid proto decode 0000000d020001010000000300000000 01 | isogrid proto encode
  isogrid proto op                # every operation
  isogrid proto op cache.PUT      # or 0x0102

See also: docs/PROTOCOL.md, isogrid explain";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ProtoArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Frames as JSON, one document a line; fragments are put together, prefaces are shown.
    #[command(after_help = examples!(
        "isogrid proto decode 0000000d 02 00 0101 00000003 00000000 01",
        "xxd -p capture | isogrid proto decode",
    ))]
    Decode {
        /// Hexadecimal digits, with white space as you like; without them stdin is read.
        hex: Vec<String>,
    },
    /// JSON documents as `decode` prints them, one a line on stdin, as hexadecimal digits.
    #[command(after_help = examples!(
        "isogrid proto decode 0000000d020001010000000300000000 01 | isogrid proto encode",
    ))]
    Encode,
    /// What an operation takes and answers.
    #[command(after_help = examples!("isogrid proto op", "isogrid proto op cache.PUT"))]
    Op {
        /// Its name or number: cache.PUT, 0x0102; without it all are listed.
        op: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs `isogrid proto ...`.
pub fn main(args: &ProtoArgs) -> ExitCode {
    match &args.command {
        Command::Decode { hex } => decode(hex),
        Command::Encode => encode(),
        Command::Op { op: None, output } => output.say(list, || json!({ "ops": all_names() })),
        Command::Op { op: Some(text), output } => match find(text) {
            Some(found) => output.say(|| told(found), || described(found)),
            None => fail(&unknown(text), NOT_FOUND),
        },
    }
}

fn decode(hex: &[String]) -> ExitCode {
    let text = if hex.is_empty() { stdin() } else { Ok(hex.concat()) };
    let bytes = match text.map(|text| from_hex(&text)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return fail("these are not pairs of hexadecimal digits", USAGE),
        Err(error) => return fail(&format!("cannot read stdin: {error}"), 1),
    };
    let (lines, error) = messages(&bytes);
    let said = say(&lines);
    error.map_or(said, |why| fail(&why, 1))
}

fn stdin() -> std::io::Result<String> {
    if std::io::stdin().is_terminal() {
        eprintln!("reading stdin; end with Ctrl-D");
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// A line for each message, and what stopped it before the end.
fn messages(bytes: &[u8]) -> (String, Option<String>) {
    let limits = Limits::default();
    let mut parts = Reassembly::new(&limits);
    let (mut lines, mut rest) = (String::new(), bytes);
    while !rest.is_empty() {
        match next(rest, &limits, &mut parts) {
            Ok((line, taken)) => {
                lines += &line.map_or(String::new(), |line| format!("{line}\n"));
                rest = rest.get(taken..).unwrap_or_default();
            }
            Err(why) => {
                let at = bytes.len() - rest.len();
                return (lines, Some(format!("at byte {at}: {why}")));
            }
        }
    }
    let unfinished = parts.buffered_len();
    let why = format!("a message is not whole: its last fragment is missing ({unfinished} bytes)");
    (lines, (unfinished > 0).then_some(why))
}

/// The first thing in the input, and how many bytes it takes; no line for a fragment.
fn next(
    input: &[u8],
    limits: &Limits,
    parts: &mut Reassembly,
) -> Result<(Option<Value>, usize), String> {
    if let Some((preface, _)) = input.split_first_chunk::<8>()
        && preface.starts_with(b"\xf7GRD")
    {
        return Ok((Some(json!({ "preface": to_hex(preface) })), preface.len()));
    }
    let frame = Frame::decode(input, limits).map_err(|error| error.to_string())?;
    let cut = || format!("the input ends within a frame of {} bytes", Frame::needed(input));
    let frame = frame.ok_or_else(cut)?;
    let taken = frame.encoded_len();
    let message = match parts.push(frame) {
        Assembled::Frame(frame) => decode_frame(&frame, limits),
        Assembled::Message(header, payload) => {
            decode_frame(&Frame { header, payload: &payload }, limits)
        }
        Assembled::Incomplete => return Ok((None, taken)),
        Assembled::Refused(Header { stream, .. }, code) => {
            return Err(format!("stream {stream}: {}", reason(code)));
        }
        Assembled::Broken(code) => return Err(reason(code)),
    };
    message.map(|value| (Some(value), taken)).map_err(|refused| refused.to_string())
}

fn reason(code: ErrorCode) -> String {
    format!("E{} {}", code as u16, code.info().reason)
}

fn encode() -> ExitCode {
    let text = match stdin() {
        Ok(text) => text,
        Err(error) => return fail(&format!("cannot read stdin: {error}"), 1),
    };
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let frame = serde_json::from_str(line).map_err(|error| error.to_string());
        let none = "this is no frame as `isogrid proto decode` prints it".to_owned();
        let mut bytes = Vec::new();
        match frame.and_then(|told: Value| encode_frame(&told, &mut bytes).ok_or(none)) {
            Ok(()) => say(&format!("{}\n", to_hex(&bytes))),
            Err(why) => return fail(&format!("line {number}: {why}"), 1),
        };
    }
    ExitCode::SUCCESS
}

fn operations() -> impl Iterator<Item = &'static Operation> {
    GROUPS.iter().flat_map(|group| group.operations.iter().copied())
}

fn name(operation: &Operation) -> String {
    format!("{}.{}", operation.group, operation.name)
}

fn find(text: &str) -> Option<&'static Operation> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let number = u16::from_str_radix(digits, 16).ok();
    let is = |operation: &&Operation| {
        name(operation).eq_ignore_ascii_case(text) || Some(operation.code) == number
    };
    operations().find(is)
}

fn unknown(text: &str) -> String {
    let names: Vec<String> = operations().map(name).collect();
    let help = match nearest(text, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`isogrid proto op` lists them all".to_owned(),
    };
    format!("there is no operation {text}\n  help: {help}")
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list() -> String {
    let head = ["OP", "NAME", "REPEAT", "WHAT IT DOES"].map(str::to_owned);
    let rows = operations().map(|one| {
        let first = one_line(one.doc).split_inclusive(". ").next().unwrap_or_default().to_owned();
        [format!("{:04x}", one.code), name(one), one.repeat.letter().to_owned(), first]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn all_names() -> Vec<Value> {
    operations().map(|one| json!({ "op": one.code, "name": name(one) })).collect()
}

fn told(one: &Operation) -> String {
    let mut text = format!("{:04x} {}: {}\n", one.code, name(one), one_line(one.doc));
    let (repeat, permission) = (one.repeat.letter(), one.permission.word());
    let _ = writeln!(text, "repeat {repeat}, permission {permission}\n");
    fields(&mut text, "request", one.request.fields);
    for reply in one.replies {
        let head = format!("{}: {}", reply.status.word(), one_line(reply.doc));
        fields(&mut text, &head, reply.fields);
    }
    if let Some(item) = one.item {
        let _ = writeln!(text, "each item: {item}");
    }
    text
}

fn fields(text: &mut String, head: &str, fields: &[Field]) {
    let _ = writeln!(text, "{head}");
    for Field { name, kind, doc } in fields {
        let _ = writeln!(text, "  {name} {}: {}", kind, one_line(doc));
    }
}

fn described(one: &Operation) -> Value {
    let of = |fields: &[Field]| -> Vec<Value> {
        let field = |field: &Field| json!({ "name": field.name, "type": field.kind.to_string() });
        fields.iter().map(field).collect()
    };
    let replies = one.replies.iter();
    let replies: Vec<_> = replies
        .map(|reply| json!({ "status": reply.status.word(), "fields": of(reply.fields) }))
        .collect();
    json!({
        "op": one.code, "name": name(one), "doc": one_line(one.doc),
        "repeat": one.repeat.letter(), "permission": one.permission.word(),
        "request": of(one.request.fields), "replies": replies,
        "item": one.item.map(|item| item.to_string()),
    })
}
