//! The tables of `docs/PROTOCOL.md` and `docs/OPERATIONS.md`, between `<!-- generated: name -->` and `<!-- end -->`.

use std::collections::BTreeMap;
use std::fmt::Write;

use isogrid_wire::native::ext::{ReplyExt, RequestExt};
use isogrid_wire::native::schema::{Choices, Field, Group, Operation, Options, Record, Type};
use isogrid_wire::native::{ErrorCode, GROUPS, Kind, RESERVED_GROUPS, Status};

use super::describe::text;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// The pages with their tables written anew. A marker that no table belongs to stops the generator,
/// and so does a table that no page shows.
pub(super) fn filled(pages: &[String]) -> Vec<String> {
    let mut tables = tables();
    let filled = pages.iter().map(|page| page_filled(page, &mut tables)).collect();
    assert!(tables.is_empty(), "no page shows {:?}", tables.keys());
    filled
}

fn page_filled(page: &str, tables: &mut BTreeMap<&str, String>) -> String {
    let mut pieces = page.split(BEGIN);
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once(" -->").expect("a marker ends");
        let (_, behind) = rest.split_once(END).expect("a table ends");
        let table =
            tables.remove(name).unwrap_or_else(|| panic!("no table {name}, or shown twice"));
        write!(filled, "{BEGIN}{name} -->\n\n{table}\n{END}{behind}").unwrap();
    }
    filled
}

fn tables() -> BTreeMap<&'static str, String> {
    let mut tables = BTreeMap::from([
        ("frames", choices_rows(Kind::ALL.iter().map(|kind| (*kind as u8, kind.word())), &kinds())),
        ("statuses", table(&["#", "status", "meaning"], statuses())),
        ("errors", table(&["code", "name", "retry", "what happened"], errors())),
        ("request tags", table(&["tag", "name", "type", "meaning"], tags(RequestExt::TAGS))),
        ("answer tags", table(&["tag", "name", "type", "meaning"], tags(ReplyExt::TAGS))),
        ("opcodes", table(&["op", "name", "repeat", "permission", "routed by"], opcodes())),
        ("operations", GROUPS.iter().map(|group| of_group(group)).collect()),
    ]);
    tables.insert("types", types());
    tables
}

/// Rows of a Markdown table.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        writeln!(out, "| {} |", row.join(" | ").trim_end()).unwrap();
    }
    out
}

fn kinds() -> Vec<String> {
    match <Kind as isogrid_wire::native::Codec>::TYPE {
        Type::Choice(choices) => choices.choices.iter().map(|one| text(one.doc)).collect(),
        other => panic!("{other:?}"),
    }
}

fn choices_rows<'a>(all: impl Iterator<Item = (u8, &'a str)>, docs: &[String]) -> String {
    let rows = all
        .zip(docs)
        .map(|((number, name), doc)| vec![number.to_string(), format!("`{name}`"), doc.clone()]);
    table(&["#", "type", "payload"], rows.collect())
}

fn statuses() -> Vec<Vec<String>> {
    let Type::Choice(choices) = <Status as isogrid_wire::native::Codec>::TYPE else {
        panic!("a status is a choice")
    };
    let row = |one: &isogrid_wire::native::schema::Choice| {
        vec![one.number.to_string(), format!("`{}`", one.name), text(one.doc)]
    };
    choices.choices.iter().map(row).collect()
}

fn errors() -> Vec<Vec<String>> {
    let row = |code: &ErrorCode| {
        let info = code.info();
        let number = (*code as u16).to_string();
        vec![number, format!("`{}`", info.name), info.retry.word().to_owned(), info.reason.into()]
    };
    ErrorCode::ALL.iter().map(row).collect()
}

fn tags(tags: &[(u8, &str, &str, Type)]) -> Vec<Vec<String>> {
    let row = |(tag, name, doc, kind): &(u8, &str, &str, Type)| {
        vec![format!("0x{tag:02x}"), format!("`{name}`"), format!("`{kind}`"), text(doc)]
    };
    tags.iter().map(row).collect()
}

fn opcodes() -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for group in GROUPS {
        for one in group.operations {
            rows.push(vec![
                format!("{:04x}", one.code),
                format!("`{}.{}`", group.name, one.name),
                one.repeat.letter().to_owned(),
                one.permission.word().to_owned(),
                one.route.map_or("", |route| route).to_owned(),
            ]);
        }
        for (code, name) in group.reserved {
            let name = format!("`{}.{name}`, reserved", group.name);
            rows.push(vec![
                format!("{code:04x}"),
                name,
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
    }
    for (number, name) in RESERVED_GROUPS {
        let name = format!("group `{name}`, reserved");
        let row = [format!("{number:02x}00 to {number:02x}ff"), name];
        rows.push(row.into_iter().chain(vec![String::new(); 3]).collect());
    }
    rows
}

fn of_group(group: &Group) -> String {
    let mut out =
        format!("## Group 0x{:02x}: {}\n\n{}\n\n", group.number, group.name, text(group.doc));
    for operation in group.operations {
        out += &of_operation(operation);
    }
    out
}

fn of_operation(operation: &Operation) -> String {
    let Operation { code, group, name, .. } = operation;
    let mut out = format!("### {code:04x} {group}.{name}\n\n{}", text(operation.doc));
    let (repeat, permission) = (operation.repeat.letter(), operation.permission.word());
    write!(out, " ({repeat}, {permission})\n\n").unwrap();
    let mut rows = fields_rows("request", operation.request.fields);
    for reply in operation.replies {
        let part = format!("`{}`: {}", reply.status.word(), text(reply.doc));
        rows.extend(fields_rows(&part, reply.fields));
    }
    if let Some(item) = operation.item {
        rows.push(vec!["each item".into(), String::new(), format!("`{item}`"), String::new()]);
    }
    if let Some(trailer) = operation.trailer {
        let kind = format!("`{trailer}`");
        rows.push(vec!["behind the items".into(), String::new(), kind, String::new()]);
    }
    out += &table(&["", "field", "type", "meaning"], rows);
    out + "\n"
}

/// A row a field, in the order of the bytes; what they belong to stands in the first one.
fn fields_rows(part: &str, fields: &[Field]) -> Vec<Vec<String>> {
    let part = part.replace('|', "\\|");
    if fields.is_empty() {
        return vec![vec![part, "none".to_owned(), String::new(), String::new()]];
    }
    let row = |(at, field): (usize, &Field)| {
        let part = if at == 0 { part.clone() } else { String::new() };
        vec![part, format!("`{}`", field.name), format!("`{}`", field.kind), text(field.doc)]
    };
    fields.iter().enumerate().map(row).collect()
}

/// Every type that has a name, in alphabetical order.
fn types() -> String {
    let mut found = BTreeMap::new();
    for operation in GROUPS.iter().flat_map(|group| group.operations) {
        let replies = operation.replies.iter().flat_map(|reply| reply.fields);
        let fields = operation.request.fields.iter().chain(replies).map(|field| &field.kind);
        for kind in fields.chain(&operation.item).chain(&operation.trailer) {
            collect(kind, &mut found);
        }
    }
    for (.., kind) in RequestExt::TAGS.iter().chain(ReplyExt::TAGS) {
        collect(kind, &mut found);
    }
    for kind in [
        <isogrid_wire::native::ErrorBody<'_> as isogrid_wire::native::Codec>::TYPE,
        <isogrid_wire::native::control::GoAwayReason as isogrid_wire::native::Codec>::TYPE,
        <isogrid_wire::native::control::GoAway<'_> as isogrid_wire::native::Codec>::TYPE,
    ] {
        collect(&kind, &mut found);
    }
    found.remove("Status");
    found.into_values().collect()
}

fn collect(kind: &Type, found: &mut BTreeMap<String, String>) {
    match kind {
        Type::List(item) | Type::Opt(item) => collect(item, found),
        Type::Record(Record { name, doc, fields }) => {
            fields.iter().for_each(|field| collect(&field.kind, found));
            let row = |field: &Field| {
                vec![format!("`{}`", field.name), format!("`{}`", field.kind), text(field.doc)]
            };
            let rows = table(&["field", "type", "meaning"], fields.iter().map(row).collect());
            found.insert((*name).to_owned(), format!("### {name}\n\n{}\n\n{rows}\n", text(doc)));
        }
        Type::Choice(Choices { name, doc, choices }) => {
            let row = |one: &isogrid_wire::native::schema::Choice| {
                vec![one.number.to_string(), format!("`{}`", one.name), text(one.doc)]
            };
            let rows = table(&["u8", "name", "meaning"], choices.iter().map(row).collect());
            found.insert((*name).to_owned(), format!("### {name}\n\n{}\n\n{rows}\n", text(doc)));
        }
        Type::Options(options) => {
            let page = of_options(options, found);
            found.insert(options.name.to_owned(), page);
        }
        _ => {}
    }
}

fn of_options(options: &Options, found: &mut BTreeMap<String, String>) -> String {
    let Options { name, doc, width, open, bits } = options;
    let mut rows = Vec::new();
    for bit in *bits {
        bit.operand.iter().for_each(|kind| collect(kind, found));
        let operand = bit.operand.map_or(String::new(), |kind| format!("`{kind}`"));
        let number = format!("0x{:0digits$x}", bit.bit, digits = width * 2);
        rows.push(vec![number, format!("`{}`", bit.name), operand, text(bit.doc)]);
    }
    let others = if *open { "Other bits are ignored." } else { "Other bits are refused." };
    let rows = table(&["bit", "name", "operand", "meaning"], rows);
    format!("### {name}\n\n{} {others}\n\n{rows}\n", text(doc))
}
