//! Frames by the types of the codec, not by the schema.

use isogrid_wire::native::control::{Credit, GoAway, Ping};
use isogrid_wire::native::frame::EXT;
use isogrid_wire::native::{
    Codec, ErrorBody, Frame, Json, Kind, Limits, Malformed, Nothing, Reader, Refused, Request,
    RequestFrame, decode_all, operation, reply_ext,
};

/// Decodes a whole frame by its types, and encodes it again.
///
/// # Errors
///
/// What is wrong with it.
pub fn by_types(frame: &Frame<'_>, limits: &Limits) -> Result<Vec<u8>, Refused> {
    let mut payload = Vec::new();
    match frame.header.kind {
        Kind::Req => request(frame, limits, &mut payload)?,
        Kind::Res | Kind::Item => answer(frame, limits, &mut payload)?,
        _ => control(frame, limits, &mut payload).map_err(Refused::Malformed)?,
    }
    let mut out = Vec::new();
    Frame { header: frame.header, payload: &payload }.encode(&mut out);
    Ok(out)
}

fn request(frame: &Frame<'_>, limits: &Limits, out: &mut Vec<u8>) -> Result<(), Refused> {
    let request = RequestFrame::decode(frame, limits).map_err(Refused::Malformed)?;
    let body = Request::decode(frame.header.op, request.body)?;
    assert_eq!(body.operation().code, frame.header.op);
    request.ext.encode(out);
    empty_block(frame, out);
    request.timeout_ms.encode(out);
    request.object.encode(out);
    body.encode(out);
    Ok(())
}

fn answer(frame: &Frame<'_>, limits: &Limits, out: &mut Vec<u8>) -> Result<(), Refused> {
    let (ext, body) = reply_ext(frame, limits).map_err(Refused::Malformed)?;
    ext.encode(out);
    empty_block(frame, out);
    let op = frame.header.op;
    let operation = operation(op).ok_or(Refused::UnknownOp(op))?;
    if frame.header.kind == Kind::Item && operation.item.is_none() {
        return Err(Refused::Malformed(Malformed::Status));
    }
    let is_reply = frame.header.kind == Kind::Res;
    let recode = if is_reply { operation.recode_reply } else { operation.recode_items };
    recode(body, out).map_err(Refused::Malformed)
}

fn control(frame: &Frame<'_>, limits: &Limits, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (ext, body) = reply_ext(frame, limits)?;
    ext.encode(out);
    empty_block(frame, out);
    match frame.header.kind {
        Kind::Err => recode::<ErrorBody<'_>>(body, out),
        Kind::Credit => recode::<Credit>(body, out),
        Kind::Ping | Kind::Pong => recode::<Ping>(body, out),
        Kind::GoAway => recode::<GoAway<'_>>(body, out),
        Kind::Hello | Kind::Welcome | Kind::Auth => recode::<Json<'_>>(body, out),
        Kind::Cancel | Kind::Req | Kind::Res | Kind::Item => recode::<Nothing>(body, out),
    }
}

/// The codec writes no block that has nothing in it; but one may have come.
fn empty_block(frame: &Frame<'_>, out: &mut Vec<u8>) {
    if frame.header.has(EXT) && out.is_empty() {
        out.push(0);
    }
}

fn recode<'a, T: Codec<'a>>(body: Reader<'a>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let value = decode_all::<T>(body)?;
    let before = out.len();
    value.encode(out);
    assert_eq!(out.len() - before, value.encoded_len());
    Ok(())
}
