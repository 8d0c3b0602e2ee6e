//! What is asked of the member that serves a queue by who waits for its messages, and what it answers.

use isogrid_engine::Timestamp;
use isogrid_grid::structure::queue::{Delivery, Puller, Receipt};
use isogrid_grid::structure::topic::Start;
use isogrid_grid::structures::queues::{Given as Handed, Read};

use super::super::{pack, unknown, unpack};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;

/// The first byte of a request for messages that is passed on.
pub const QUEUES: u8 = 5;
/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// To hand out messages.
    Pull,
    /// Nobody waits for the request of this name any more.
    GiveUp,
    /// A consumer is gone.
    Leave,
    /// To read messages of a topic from there on.
    Read(Start),
}

impl What {
    /// Its number, and with which one it goes.
    fn number(self) -> (u8, u64) {
        match self {
            What::Pull => (0, 0),
            What::GiveUp => (1, 0),
            What::Leave => (2, 0),
            What::Read(Start::New) => (3, 0),
            What::Read(Start::First) => (4, 0),
            What::Read(Start::Position(id)) => (5, id),
            What::Read(Start::Time(time)) => (6, time),
        }
    }

    fn of((what, with): (u8, u64)) -> Option<What> {
        Some(match what {
            0 => What::Pull,
            1 => What::GiveUp,
            2 => What::Leave,
            3 => What::Read(Start::New),
            4 => What::Read(Start::First),
            5 => What::Read(Start::Position(with)),
            6 => What::Read(Start::Time(with)),
            _ => return None,
        })
    }
}

/// What is asked of the member that serves a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// What.
    pub what: What,
    /// The name of the request.
    pub name: u64,
    /// Who asks.
    pub puller: Puller,
    /// How long it waits, ms.
    pub wait: u64,
    /// The queue.
    pub queue: String,
}

impl Errand {
    /// As it is passed on.
    pub fn encode(&self) -> Vec<u8> {
        let Puller { consumer, most, visible, auto, place } = self.puller;
        let (what, with) = self.what.number();
        let mut out = vec![QUEUES, what, auto.into()];
        out.extend_from_slice(&with.to_le_bytes());
        out.extend_from_slice(&u16::try_from(most).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.name.to_le_bytes());
        out.extend_from_slice(&consumer.to_le_bytes());
        out.extend_from_slice(&visible.to_le_bytes());
        out.extend_from_slice(&place.to_le_bytes());
        out.extend_from_slice(&self.wait.to_le_bytes());
        out.extend_from_slice(self.queue.as_bytes());
        out
    }

    /// One that was passed on.
    pub fn decode(bytes: &[u8]) -> Option<Errand> {
        let ([what, auto], rest) = bytes.strip_prefix(&[QUEUES])?.split_first_chunk()?;
        let (with, rest) = rest.split_first_chunk()?;
        let (most, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let (consumer, rest) = rest.split_first_chunk()?;
        let (visible, rest) = rest.split_first_chunk()?;
        let (place, rest) = rest.split_first_chunk()?;
        let (wait, queue) = rest.split_first_chunk()?;
        let puller = Puller {
            consumer: u128::from_le_bytes(*consumer),
            most: u16::from_le_bytes(*most).into(),
            visible: u64::from_le_bytes(*visible),
            auto: *auto == 1,
            place: u64::from_le_bytes(*place),
        };
        Some(Errand {
            what: What::of((*what, u64::from_le_bytes(*with)))?,
            name: u64::from_le_bytes(*name),
            puller,
            wait: u64::from_le_bytes(*wait),
            queue: str::from_utf8(queue).ok()?.to_owned(),
        })
    }
}

/// Messages as they are passed back, behind the place of who asks among those who wait.
pub fn encode_handed(place: u64, all: &[Handed]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&place.to_le_bytes());
    put_handed(&mut out, all);
    out
}

/// Messages that were read, as they are passed back.
pub fn encode_read(Read { lost, next, given }: &Read) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&lost.to_le_bytes());
    out.extend_from_slice(&next.to_le_bytes());
    put_handed(&mut out, given);
    out
}

fn put_handed(out: &mut Vec<u8>, all: &[Handed]) {
    for Handed { delivery, payload } in all {
        let Delivery { receipt, attempt, published } = delivery;
        out.extend_from_slice(&receipt.id.to_le_bytes());
        out.extend_from_slice(&receipt.attempt.to_le_bytes());
        out.extend_from_slice(&attempt.to_le_bytes());
        out.extend_from_slice(&published.to_le_bytes());
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(payload);
    }
}

fn decode_handed(mut bytes: &[u8]) -> Option<Vec<Handed>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (id, rest) = bytes.split_first_chunk()?;
        let (given, rest) = rest.split_first_chunk()?;
        let (attempt, rest) = rest.split_first_chunk()?;
        let (published, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (payload, rest) = rest.split_at_checked(len)?;
        let receipt = Receipt { id: u64::from_le_bytes(*id), attempt: u32::from_le_bytes(*given) };
        let (attempt, published) =
            (u32::from_le_bytes(*attempt), Timestamp::from_le_bytes(*published));
        let delivery = Delivery { receipt, attempt, published };
        all.push(Handed { delivery, payload: payload.to_vec() });
        bytes = rest;
    }
    Some(all)
}

/// Why there are none, as it is passed back.
pub fn encode_failure(failure: &Failure) -> Vec<u8> {
    [&[1], &*pack(&Given::failure(failure))].concat()
}

/// The place of who asks and messages, or why there are none.
pub fn unpacked(bytes: &[u8]) -> Result<(u64, Vec<Handed>), Failure> {
    said(bytes, |bytes| {
        let (place, all) = bytes.split_first_chunk()?;
        Some((u64::from_le_bytes(*place), decode_handed(all)?))
    })
}

/// Messages that were read, or why there are none.
pub fn unpacked_read(bytes: &[u8]) -> Result<Read, Failure> {
    said(bytes, |bytes| {
        let (lost, rest) = bytes.split_first_chunk()?;
        let (next, all) = rest.split_first_chunk()?;
        let (lost, next) = (u64::from_le_bytes(*lost), u64::from_le_bytes(*next));
        Some(Read { lost, next, given: decode_handed(all)? })
    })
}

fn said<T>(bytes: &[u8], decode: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Failure> {
    match bytes.split_first() {
        Some((0, rest)) => decode(rest).ok_or_else(unknown),
        Some((_, failed)) => {
            Err(unpack(failed).map_or_else(unknown, |given| Failure::of_given(&given)))
        }
        None => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::nowhere;
    use super::*;

    #[test]
    fn errands_and_messages_come_as_they_went() {
        let read = |start| (What::Read(start), 5);
        for (what, at) in [
            (What::Pull, 0),
            (What::GiveUp, 1),
            (What::Leave, 64),
            read(Start::New),
            read(Start::First),
            read(Start::Position(1 << 41)),
            read(Start::Time(7)),
        ] {
            let puller =
                Puller { consumer: 7 << 90, most: at, visible: 9 << 40, auto: at == 1, place: 3 };
            let errand = Errand { what, name: u64::MAX, puller, wait: 5, queue: "jobs".to_owned() };
            let bytes = errand.encode();
            assert_eq!(Errand::decode(&bytes), Some(errand));
            assert_eq!(Errand::decode(&bytes[..60]), None, "it is cut");
        }
        let one = |id, payload: &[u8]| {
            let receipt = Receipt { id, attempt: 3 };
            let delivery = Delivery { receipt, attempt: 2, published: 1 << 41 };
            Handed { delivery, payload: payload.to_vec() }
        };
        let all = vec![one(1 << 40, b""), one(u64::MAX, b"body")];
        let bytes = encode_handed(9, &all);
        assert_eq!(unpacked(&bytes), Ok((9, all.clone())));
        let read = Read { lost: 3, next: 1 << 42, given: all };
        assert_eq!(unpacked_read(&encode_read(&read)), Ok(read));
        assert!(unpacked(&bytes[..bytes.len() - 1]).is_err(), "it is cut");
        let failed = encode_failure(&nowhere());
        assert_eq!(unpacked(&failed).map_err(|why| why.code), Err(nowhere().code));
    }
}
