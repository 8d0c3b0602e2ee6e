//! Requests that may come twice, and the first answer to each (R34).
//!
//! Whoever asks gives a request an [`OpId`] and, when it has heard nothing, asks again under the
//! same one, at whatever member serves the segment by then. The answer is a part of the record of
//! what was done, so every copy that has the one has the other: in its log, in the chunks that it
//! is filled with and on its disk.
//!
//! An answer is kept for [`WINDOW_MS`], and of each client the last [`ANSWERS_MAX`] of a segment.
//! What was forgotten is told from what is new by its number: a client's numbers rise, the lowest
//! are forgotten first, and what is not above all that was forgotten is refused, not done again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::Record;
use crate::bytes::{Input, put_bytes, put_many, put_option, put_u64, whole};
use crate::mutant::is_planted;

/// Answers to one client that a segment keeps.
pub const ANSWERS_MAX: usize = 64;
/// How long an answer is kept, ms.
pub const WINDOW_MS: u64 = 300_000;
/// How long it is known which numbers of a client that asks no more were forgotten, ms.
const CLIENT_MS: u64 = 3_600_000;
/// How exactly it is known when a client asked last, ms: most of its requests change nothing then.
const USED_MS: u64 = 1_000;
/// Clients that a segment knows; of more, those go that have not asked for the longest time.
const CLIENTS_MAX: usize = 10_000;
/// Bytes of all that a segment keeps of clients and their answers: of 256 segments 256 MiB.
const BYTES_MAX: usize = 1 << 20;
/// What a longer answer said is not kept, only that it was given, bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// What a client, and an answer beside its bytes, takes.
const CLIENT_BYTES: usize = 128;
const ENTRY_BYTES: usize = 64;

/// The first byte of a record that has more to it than one change of entries.
const ANSWERED: u8 = 255;

/// Under what a request may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId {
    /// Who asks.
    pub client: [u8; 16],
    /// Which of its requests; they rise.
    pub number: u64,
}

/// What was answered; `None` when that was too long to be kept.
pub type Answer = Option<Arc<[u8]>>;

/// What is known of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it is to be done.
    New,
    /// It was answered so.
    Answered(Answer),
    /// It is older than what is remembered: it must not be done, since it may have been.
    Forgotten,
}

/// An answer with what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The request.
    pub id: OpId,
    /// When it was done.
    pub at: Timestamp,
    /// What was answered.
    pub answer: Answer,
}

/// The answers that one copy of a segment keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    clients: BTreeMap<[u8; 16], Client>,
    /// By when they asked last.
    idle: BTreeSet<(Timestamp, [u8; 16])>,
    bytes: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Client {
    /// By number, which rise as a rule; all of them above `forgotten`.
    answers: VecDeque<Kept>,
    /// The highest number that was forgotten.
    forgotten: u64,
    used: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    number: u64,
    at: Timestamp,
    answer: Answer,
}

impl Answered {
    /// The answer to a request that was done now.
    #[must_use]
    pub fn new(id: OpId, at: Timestamp, answer: &[u8]) -> Self {
        let fits = answer.len() <= ANSWER_BYTES_MAX;
        Answered { id, at, answer: fits.then(|| answer.into()) }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.client);
        put_u64(out, self.id.number);
        put_u64(out, self.at);
        put_option(out, self.answer.as_deref(), put_bytes);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let client = input.u128()?.to_le_bytes();
        let (id, at) = (OpId { client, number: input.u64()? }, input.u64()?);
        let answer = input.option(|input| input.bytes().map(Arc::from))?;
        Some(Answered { id, at, answer })
    }
}

/// A record of several changes, of one or of none, and of the answer that goes with them.
#[must_use]
pub fn join(answered: Option<&Answered>, changes: &[Record]) -> Record {
    let mut out = vec![ANSWERED];
    let answered = answered.filter(|_| !is_planted("answer-not-replicated"));
    put_option(&mut out, answered, |out, answered| answered.encode(out));
    changes.iter().for_each(|change| put_bytes(&mut out, change));
    out.into()
}

/// The changes of a record, and the answer that goes with them; `None` when it is none.
pub fn split(record: &[u8], mut visit: impl FnMut(&[u8])) -> Option<Option<Answered>> {
    if record.first() != Some(&ANSWERED) {
        visit(record);
        return Some(None);
    }
    let mut input = Input(record);
    input.u8()?;
    let answered = input.option(Answered::decode)?;
    while !input.is_empty() {
        visit(input.bytes()?);
    }
    Some(answered)
}

impl Answers {
    /// What is known of a request.
    #[must_use]
    pub fn seen(&self, now: Timestamp, id: OpId) -> Seen {
        let Some(client) = self.clients.get(&id.client) else { return Seen::New };
        match client.find(id.number) {
            Ok(Kept { at, answer, .. }) if now <= at.saturating_add(WINDOW_MS) => {
                Seen::Answered(answer.clone())
            }
            Ok(_) => Seen::Forgotten,
            Err(_) if id.number <= client.forgotten => Seen::Forgotten,
            Err(_) => Seen::New,
        }
    }

    /// A request was answered. Told twice it is the same.
    pub fn note(&mut self, Answered { id, at, answer }: Answered) {
        let client = self.touch(id.client, at);
        let Err(place) = client.find(id.number) else { return };
        if id.number <= client.forgotten {
            return;
        }
        let added = ENTRY_BYTES + len(&answer);
        client.answers.insert(place, Kept { number: id.number, at, answer });
        let is_old = |kept: &Kept| kept.at + WINDOW_MS < at;
        let mut freed = 0;
        while client.answers.len() > ANSWERS_MAX || client.answers.front().is_some_and(is_old) {
            freed += client.forget_lowest();
        }
        self.bytes = self.bytes + added - freed;
        self.shrink(at);
    }

    fn touch(&mut self, id: [u8; 16], at: Timestamp) -> &mut Client {
        let bytes = &mut self.bytes;
        let client = self.clients.entry(id).or_insert_with(|| {
            *bytes += CLIENT_BYTES;
            Client::default()
        });
        let used = client.used.max(at - at % USED_MS);
        if used > client.used || used == 0 {
            self.idle.remove(&(client.used, id));
            client.used = used;
            self.idle.insert((used, id));
        }
        client
    }

    /// Forgets those that have not asked for the longest time, as far as there is too much.
    fn shrink(&mut self, now: Timestamp) {
        while let Some((used, id)) = self.idle.first().copied() {
            let is_over = used + CLIENT_MS < now || self.clients.len() > CLIENTS_MAX;
            if !is_over && self.bytes <= BYTES_MAX {
                return;
            }
            let Some(client) = self.clients.get_mut(&id) else { return };
            if is_over || client.answers.is_empty() {
                let freed = client.answers.iter().map(|kept| ENTRY_BYTES + len(&kept.answer));
                self.bytes -= CLIENT_BYTES + freed.sum::<usize>();
                self.clients.remove(&id);
                self.idle.remove(&(used, id));
            } else {
                self.bytes -= client.forget_lowest();
            }
        }
    }

    /// Whether no client is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// All of it as bytes, behind `out`: for a copy that is filled.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_many(out, self.clients.iter(), |out, (id, client)| {
            out.extend_from_slice(id);
            put_u64(out, client.forgotten);
            put_u64(out, client.used);
            put_many(out, client.answers.iter(), |out, kept| {
                put_u64(out, kept.number);
                put_u64(out, kept.at);
                put_option(out, kept.answer.as_deref(), put_bytes);
            });
        });
    }

    /// Adds what another copy knows; `None` when the bytes are none of [`Answers::encode`].
    pub fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        if is_planted("answers-not-filled") {
            return Some(());
        }
        whole(bytes, |input| input.many(|input| self.merge_client(input))).map(|_| ())
    }

    fn merge_client(&mut self, input: &mut Input<'_>) -> Option<()> {
        let id = input.u128()?.to_le_bytes();
        let (forgotten, used) = (input.u64()?, input.u64()?);
        let mut freed = 0;
        let client = self.touch(id, used);
        client.forgotten = client.forgotten.max(forgotten);
        while client.answers.front().is_some_and(|kept| kept.number <= forgotten) {
            freed += client.forget_lowest();
        }
        self.bytes -= freed;
        for answered in input.many(|input| {
            let (number, at) = (input.u64()?, input.u64()?);
            let answer = input.option(|input| input.bytes().map(Arc::from))?;
            Some(Answered { id: OpId { client: id, number }, at, answer })
        })? {
            self.note(answered);
        }
        Some(())
    }
}

impl Client {
    /// The answer of this number, or its place.
    fn find(&self, number: u64) -> Result<&Kept, usize> {
        let is_behind = self.answers.back().is_none_or(|last| last.number < number);
        let place = match is_behind {
            true => self.answers.len(),
            false => self.answers.partition_point(|kept| kept.number < number),
        };
        self.answers.get(place).filter(|kept| kept.number == number).ok_or(place)
    }

    /// The bytes of what was forgotten.
    fn forget_lowest(&mut self) -> usize {
        let Some(Kept { number, answer, .. }) = self.answers.pop_front() else { return 0 };
        self.forgotten = self.forgotten.max(number);
        ENTRY_BYTES + len(&answer)
    }
}

fn len(answer: &Answer) -> usize {
    answer.as_ref().map_or(0, |answer| answer.len())
}

#[cfg(test)]
mod tests;
