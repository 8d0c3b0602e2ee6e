//! Whole frames as JSON.
//!
//! Every frame has `type`, `stream` and `epoch`, and `flags` if any but EXT is set; those of an
//! operation have `op`. A `REQ` has `timeout_ms`, `object` and `body`, a `RES` `status` and
//! `result`, an `ITEM` `items` and maybe `trailer`; the other types have `payload`. `ext` is there
//! if the frame has extensions.

use serde_json::{Map, Value, json};

use super::{decode, decode_fields, decode_list, encode, encode_fields, encode_list};
use crate::native::codec::{Codec, put_bytes};
use crate::native::control::{Credit, GoAway, Ping};
use crate::native::error::ErrorBody;
use crate::native::ext::{ReplyExt, RequestExt, Trace};
use crate::native::frame::{COMPRESSED, EXT, Frame, Header, Kind, MORE, NO_REPLY};
use crate::native::operation::Nothing;
use crate::native::reader::{Malformed, Reader};
use crate::native::request::{Refused, operation};
use crate::native::schema::{Operation, Type};
use crate::native::{Json, Limits, Status};

const FLAGS: [(u8, &str); 3] = [(MORE, "MORE"), (COMPRESSED, "COMPRESSED"), (NO_REPLY, "NO_REPLY")];

type Tags = [(u8, &'static str, &'static str, Type)];

/// A frame that is a whole message, as JSON.
///
/// # Errors
///
/// As for the request: an operation that there is not, or what is wrong with the payload.
pub fn decode_frame(frame: &Frame<'_>, limits: &Limits) -> Result<Value, Refused> {
    let Header { kind, flags, op, stream, epoch } = frame.header;
    let mut all = Map::new();
    all.insert("type".into(), kind.word().into());
    let named = FLAGS.iter().filter(|(flag, _)| flags & flag != 0);
    let flags: Vec<Value> = named.map(|(_, name)| (*name).into()).collect();
    if !flags.is_empty() {
        all.insert("flags".into(), flags.into());
    }
    all.insert("stream".into(), stream.into());
    all.insert("epoch".into(), epoch.into());
    let mut input = Reader::new(frame.payload, limits);
    if frame.header.has(EXT) {
        let ext = decode_ext(kind, &mut input).map_err(Refused::Malformed)?;
        all.insert("ext".into(), ext);
    }
    if matches!(kind, Kind::Req | Kind::Res | Kind::Item) {
        if kind == Kind::Req {
            for name in ["timeout_ms", "object"] {
                let number = u32::decode(&mut input).map_err(Refused::Malformed)?;
                all.insert(name.into(), number.into());
            }
        }
        let operation = operation(op).ok_or(Refused::UnknownOp(op))?;
        all.insert("op".into(), format!("{}.{}", operation.group, operation.name).into());
        decode_operation(kind, operation, &mut input, &mut all).map_err(Refused::Malformed)?;
    } else {
        if op != 0 {
            all.insert("op".into(), op.into());
        }
        let payload = decode(&payload_type(kind), &mut input).map_err(Refused::Malformed)?;
        all.insert("payload".into(), payload);
    }
    // What stands behind the items of a frame may grow.
    if kind != Kind::Item {
        input.end().map_err(Refused::Malformed)?;
    }
    Ok(Value::Object(all))
}

/// The payload of frames that belong to no operation.
fn payload_type(kind: Kind) -> Type {
    match kind {
        Kind::Err => ErrorBody::TYPE,
        Kind::Credit => Credit::TYPE,
        Kind::Ping | Kind::Pong => Ping::TYPE,
        Kind::GoAway => GoAway::TYPE,
        Kind::Hello | Kind::Welcome | Kind::Auth => Json::TYPE,
        Kind::Cancel | Kind::Req | Kind::Res | Kind::Item => Nothing::TYPE,
    }
}

fn tags(kind: Kind) -> &'static Tags {
    if kind == Kind::Req { RequestExt::TAGS } else { ReplyExt::TAGS }
}

fn decode_ext(kind: Kind, input: &mut Reader<'_>) -> Result<Value, Malformed> {
    let bytes = input.bytes()?;
    let mut block = input.within(bytes);
    let mut all = Map::new();
    while !block.rest().is_empty() {
        let tag = u8::decode(&mut block)?;
        let bytes = block.bytes()?;
        let mut value = block.within(bytes);
        let Some((_, name, _, kind)) = tags(kind).iter().find(|(known, ..)| *known == tag) else {
            if tag >= 0x80 {
                return Err(Malformed::UnknownTag(tag));
            }
            continue;
        };
        // A trace, which has no length before its first part, is told as its bytes.
        let decoded = match kind {
            Type::Bytes => {
                Trace::decode(&mut value)?;
                super::shown(bytes)
            }
            kind => decode(kind, &mut value)?,
        };
        value.end()?;
        if all.insert((*name).to_owned(), decoded).is_some() {
            return Err(Malformed::TagTwice);
        }
    }
    Ok(Value::Object(all))
}

fn decode_operation(
    kind: Kind,
    operation: &Operation,
    input: &mut Reader<'_>,
    all: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    match kind {
        Kind::Req => {
            all.insert("body".into(), decode(&Type::Record(operation.request), input)?);
        }
        Kind::Res => {
            let status = Status::decode(input)?;
            let reply = operation.replies.iter().find(|reply| reply.status == status);
            let fields = reply.ok_or(Malformed::Status)?.fields;
            all.insert("status".into(), status.word().into());
            all.insert("result".into(), decode_fields(fields, input)?.into());
        }
        _ => {
            let item = operation.item.ok_or(Malformed::Status)?;
            all.insert("items".into(), decode_list(&item, input)?);
            if let Some(trailer) = operation.trailer {
                all.insert("trailer".into(), decode(&trailer, input)?);
            }
        }
    }
    Ok(())
}

/// Appends the frame that [`decode_frame`] tells so. `None`: it is no such frame.
pub fn encode_frame(told: &Value, out: &mut Vec<u8>) -> Option<()> {
    let word = told.get("type")?.as_str()?;
    let kind = *Kind::ALL.iter().find(|kind| kind.word() == word)?;
    let number = |name| u32::try_from(told.get(name)?.as_u64()?).ok();
    let mut header = Header::control(kind, number("stream")?, number("epoch")?);
    for flag in told.get("flags").and_then(Value::as_array).into_iter().flatten() {
        header.flags |= FLAGS.iter().find(|(_, name)| flag == name)?.0;
    }
    let mut payload = Vec::new();
    if let Some(ext) = told.get("ext") {
        header.flags |= EXT;
        encode_ext(kind, ext, &mut payload)?;
    }
    if matches!(kind, Kind::Req | Kind::Res | Kind::Item) {
        let operation = by_name(told.get("op")?.as_str()?)?;
        header.op = operation.code;
        encode_operation(kind, operation, told, &mut payload)?;
    } else {
        header.op = told.get("op").map_or(Some(0), |op| u16::try_from(op.as_u64()?).ok())?;
        encode(&payload_type(kind), told.get("payload").unwrap_or(&json!({})), &mut payload)?;
    }
    Frame { header, payload: &payload }.encode(out);
    Some(())
}

fn by_name(name: &str) -> Option<&'static Operation> {
    let (group, name) = name.split_once('.')?;
    let groups = crate::native::GROUPS.iter();
    let group = groups.copied().find(|known| known.name == group)?;
    group.operations.iter().find(|operation| operation.name == name).copied()
}

fn encode_ext(kind: Kind, ext: &Value, out: &mut Vec<u8>) -> Option<()> {
    let ext = ext.as_object()?;
    let mut block = Vec::new();
    for (tag, name, _, kind) in tags(kind) {
        let Some(value) = ext.get(*name) else { continue };
        let mut bytes = Vec::new();
        match kind {
            Type::Bytes => bytes = super::unshown(value)?,
            kind => encode(kind, value, &mut bytes)?,
        }
        block.push(*tag);
        put_bytes(&bytes, &mut block);
    }
    put_bytes(&block, out);
    Some(())
}

fn encode_operation(
    kind: Kind,
    operation: &Operation,
    told: &Value,
    out: &mut Vec<u8>,
) -> Option<()> {
    match kind {
        Kind::Req => {
            encode(&Type::U32, told.get("timeout_ms")?, out)?;
            encode(&Type::U32, told.get("object")?, out)?;
            encode(&Type::Record(operation.request), told.get("body")?, out)
        }
        Kind::Res => {
            let word = told.get("status")?.as_str()?;
            let reply = operation.replies.iter().find(|reply| reply.status.word() == word)?;
            out.push(reply.status as u8);
            encode_fields(reply.fields, told.get("result")?, out)
        }
        _ => {
            encode_list(&operation.item?, told.get("items")?, out)?;
            operation.trailer.map_or(Some(()), |kind| encode(&kind, told.get("trailer")?, out))
        }
    }
}
