//! `protocol.json`: everything that is declared, for generators of clients and decoders.

use std::collections::BTreeMap;

use isogrid_wire::native::control::{GoAway, GoAwayReason};
use isogrid_wire::native::ext::{ReplyExt, RequestExt};
use isogrid_wire::native::schema::{Choices, Field, Group, Operation, Options, Record, Type};
use isogrid_wire::native::{
    Codec, ErrorBody, ErrorCode, GROUPS, JSON_DEPTH_MAX, JSON_LEN_MAX, Kind, Limits,
    RESERVED_GROUPS, Status, handshake,
};
use serde_json::{Map, Value, json};

use super::canonical;

/// The document, one line an operation or type, so that a change shows in a diff.
pub(super) fn protocol() -> String {
    let mut types = Map::new();
    let groups: Vec<_> = GROUPS.iter().map(|group| of_group(group, &mut types)).collect();
    let tags = |tags: &[(u8, &str, &str, Type)], types: &mut Map<String, Value>| -> Vec<Value> {
        let one = |(tag, name, doc, kind): &(u8, &str, &str, Type)| {
            json!({
                "tag": tag, "name": name, "doc": text(doc), "type": spell(kind, types),
                "critical": *tag >= 0x80,
            })
        };
        tags.iter().map(one).collect()
    };
    let request_tags = tags(RequestExt::TAGS, &mut types);
    let reply_tags = tags(ReplyExt::TAGS, &mut types);
    let untold = [ErrorBody::TYPE, Status::TYPE, GoAwayReason::TYPE, GoAway::TYPE];
    for kind in untold {
        spell(&kind, &mut types);
    }
    let frames = Kind::ALL.iter().map(
        |kind| json!({ "type": *kind as u8, "name": kind.word(), "payload": payload_of(*kind) }),
    );
    let errors = ErrorCode::ALL.iter().map(|code| {
        let info = code.info();
        json!({
            "code": *code as u16, "name": info.name, "retry": info.retry.word(),
            "reason": info.reason, "help": info.help,
        })
    });
    let reserved =
        RESERVED_GROUPS.iter().map(|(number, name)| json!({ "group": number, "name": name }));
    let limits = handshake::AnnouncedLimits::from(Limits::default());
    let limits =
        json!({ "announced": limits, "json_len": JSON_LEN_MAX, "json_depth": JSON_DEPTH_MAX });
    let sections = [
        ("frames", lines(frames)),
        ("limits", canonical(&limits).to_string()),
        ("request_tags", lines(request_tags)),
        ("reply_tags", lines(reply_tags)),
        ("reserved_groups", lines(reserved)),
        ("groups", format!("[\n{}\n]", groups.join(",\n"))),
        ("types", object_lines(&types)),
        ("errors", lines(errors)),
    ];
    let sections: Vec<_> = sections.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
    format!("{{\n\"protocol\": \"GNP\",\n\"version\": 1,\n{}\n}}\n", sections.join(",\n"))
}

fn lines(values: impl IntoIterator<Item = Value>) -> String {
    let lines: Vec<_> =
        values.into_iter().map(|value| format!("  {}", canonical(&value))).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}

fn object_lines(object: &Map<String, Value>) -> String {
    let sorted: BTreeMap<_, _> = object.iter().collect();
    let line = |(key, value): (&String, &Value)| format!("  \"{key}\": {}", canonical(value));
    let lines: Vec<_> = sorted.into_iter().map(line).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// What a frame carries that belongs to no operation: a type, or fields; null where the operation
/// says it.
fn payload_of(kind: Kind) -> Value {
    match kind {
        Kind::Req | Kind::Res | Kind::Item => Value::Null,
        Kind::Err => "ErrorBody".into(),
        Kind::GoAway => "GoAway".into(),
        Kind::Hello | Kind::Welcome | Kind::Auth => "json".into(),
        Kind::Credit => json!([{ "name": "items", "type": "u32" }]),
        Kind::Cancel => json!([]),
        Kind::Ping | Kind::Pong => json!([{ "name": "opaque", "type": "u64" }]),
    }
}

/// A doc comment as one line.
pub(super) fn text(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn of_group(group: &Group, types: &mut Map<String, Value>) -> String {
    let reserved = group.reserved.iter().map(|(code, name)| json!({ "op": code, "name": name }));
    let operations = lines(group.operations.iter().map(|one| of_operation(one, types)));
    format!(
        "{{\"group\": {}, \"name\": \"{}\", \"doc\": {}, \"reserved\": {}, \"ops\": {operations}}}",
        group.number,
        group.name,
        Value::from(text(group.doc)),
        canonical(&Value::Array(reserved.collect())),
    )
}

fn of_operation(operation: &Operation, types: &mut Map<String, Value>) -> Value {
    let replies: Vec<_> = operation
        .replies
        .iter()
        .map(|reply| {
            json!({
                "status": reply.status.word(), "doc": text(reply.doc),
                "fields": of_fields(reply.fields, types),
            })
        })
        .collect();
    let mut told = json!({
        "op": operation.code, "name": operation.name, "doc": text(operation.doc),
        "since": operation.since, "repeat": operation.repeat.letter(),
        "permission": operation.permission.word(), "route": operation.route,
        "request": of_fields(operation.request.fields, types), "replies": replies,
    });
    if let Some(item) = operation.item {
        told["item"] = spell(&item, types);
    }
    if let Some(trailer) = operation.trailer {
        told["trailer"] = spell(&trailer, types);
    }
    told
}

fn of_fields(fields: &[Field], types: &mut Map<String, Value>) -> Value {
    let one = |field: &Field| json!({ "name": field.name, "type": spell(&field.kind, types), "doc": text(field.doc) });
    fields.iter().map(one).collect()
}

/// The type as it is written in documents; what it is made of goes into `types`.
fn spell(kind: &Type, types: &mut Map<String, Value>) -> Value {
    match kind {
        Type::List(item) | Type::Opt(item) => drop(spell(item, types)),
        Type::Record(Record { name, doc, fields }) if !types.contains_key(*name) => {
            let fields = of_fields(fields, types);
            let told = json!({ "kind": "record", "doc": text(doc), "fields": fields });
            types.insert((*name).to_owned(), told);
        }
        Type::Choice(Choices { name, doc, choices }) => {
            let choices = choices.iter().map(|choice| {
                json!({ "number": choice.number, "name": choice.name, "doc": text(choice.doc) })
            });
            let choices: Value = choices.collect();
            let told = json!({ "kind": "choice", "doc": text(doc), "choices": choices });
            types.insert((*name).to_owned(), told);
        }
        Type::Options(options) => {
            let told = of_options(options, types);
            types.insert(options.name.to_owned(), told);
        }
        _ => {}
    }
    kind.to_string().into()
}

fn of_options(options: &Options, types: &mut Map<String, Value>) -> Value {
    let bits = options.bits.iter().map(|bit| {
        let operand = bit.operand.map(|kind| spell(&kind, types));
        json!({ "bit": bit.bit, "name": bit.name, "operand": operand, "doc": text(bit.doc) })
    });
    let bits: Value = bits.collect();
    json!({
        "kind": "options", "doc": text(options.doc), "width": options.width,
        "open": options.open, "bits": bits,
    })
}
