//! Messages and receipts as they go over the wire.

use isogrid_grid::structure::queue::Receipt;
use isogrid_grid::structure::topic::Start;
use isogrid_grid::structures::queues::{Given as Handed, Read as Seen};
use isogrid_wire::native::queue::{
    Content, Delivery, LogMessage, PullReply, Read, ReadFrom, ReadReply,
};
use isogrid_wire::native::{Codec, ErrorCode, Limits, List, Reader};

use crate::server::native::failure::Failure;

/// Headers of a message at the most.
const HEADERS_MAX: usize = 64;

/// What a message carries, as bytes.
pub(super) fn bytes_of(content: &Content<'_>, limits: &Limits) -> Result<Vec<u8>, Failure> {
    if content.headers.len() > HEADERS_MAX {
        return Err(Failure::invalid(format!("a message has at most {HEADERS_MAX} headers")));
    }
    let (len, limit) = (content.encoded_len(), limits.value_len_max);
    if len > limit {
        let why = format!("a message of {len} bytes, at most {limit} are allowed");
        let failure = Failure::new(ErrorCode::ValueTooLarge, why);
        return Err(failure.with("limit", limit.to_string()));
    }
    let mut bytes = Vec::with_capacity(len);
    content.encode(&mut bytes);
    Ok(bytes)
}

/// What a message carries, out of its bytes.
pub(super) fn content(bytes: &[u8]) -> Content<'_> {
    const EMPTY: Content<'_> =
        Content { headers: List::of(&[]), body: isogrid_wire::native::Value::Inline(&[]) };
    let limits = Limits { value_len_max: usize::MAX, ..Limits::default() };
    Content::decode(&mut Reader::new(bytes, &limits)).unwrap_or(EMPTY)
}

/// A message that is handed out.
pub fn delivery<'a>(handed: &'a Handed, receipt: &'a [u8]) -> Delivery<'a> {
    let Handed { delivery, payload } = handed;
    Delivery {
        receipt,
        id: delivery.receipt.id,
        attempt: u16::try_from(delivery.attempt).unwrap_or(u16::MAX),
        published_ms: delivery.published,
        content: content(payload),
    }
}

/// The receipt of a delivery, which names its queue.
pub fn receipt(object: u32, Receipt { id, attempt }: Receipt) -> Vec<u8> {
    [&object.to_be_bytes()[..], &id.to_be_bytes(), &attempt.to_be_bytes()].concat()
}

/// The delivery that a receipt of this queue is of.
///
/// # Errors
/// It is of another queue, or none.
pub(super) fn receipt_of(bytes: &[u8], object: u32) -> Result<Receipt, Failure> {
    let parts = bytes.split_first_chunk().and_then(|(of, rest)| {
        let (id, attempt) = rest.split_first_chunk()?;
        let attempt = u32::from_be_bytes(attempt.try_into().ok()?);
        Some((u32::from_be_bytes(*of), Receipt { id: u64::from_be_bytes(*id), attempt }))
    });
    match parts {
        Some((of, receipt)) if of == object => Ok(receipt),
        Some(_) => Err(Failure::invalid("the receipt is of another queue")),
        None => Err(Failure::invalid("the receipt is none that this server has given")),
    }
}

/// Where reading begins.
pub fn start_of(read: &Read) -> Start {
    match read.from {
        ReadFrom::New => Start::New,
        ReadFrom::First => Start::First,
        ReadFrom::Position => Start::Position(read.at),
        ReadFrom::Time => Start::Time(read.at),
    }
}

/// Says messages that were read.
pub fn say_read<R>(seen: &Seen, say: impl FnOnce(&ReadReply<'_>) -> R) -> R {
    let all: Vec<_> = seen.given.iter().map(log_message).collect();
    say(&ReadReply::Ok { lost: seen.lost, next: seen.next, messages: List::of(&all) })
}

fn log_message(Handed { delivery, payload }: &Handed) -> LogMessage<'_> {
    let (id, published_ms) = (delivery.receipt.id, delivery.published);
    LogMessage { id, published_ms, content: content(payload) }
}

/// Says messages that are handed out.
pub fn say_pulled<R>(object: u32, given: &[Handed], say: impl FnOnce(&PullReply<'_>) -> R) -> R {
    let receipts = given.iter().map(|one| receipt(object, one.delivery.receipt));
    let receipts: Vec<_> = receipts.collect();
    let all = given.iter().zip(&receipts).map(|(one, receipt)| delivery(one, receipt));
    let all: Vec<_> = all.collect();
    say(&PullReply::Ok { deliveries: List::of(&all) })
}
