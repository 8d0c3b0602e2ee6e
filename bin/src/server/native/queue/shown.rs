//! BROWSE: messages as they are shown.

use isogrid_grid::structure::queue::{Cause, Place, QueueOp, QueueReply, Shown};
use isogrid_wire::native::List;
use isogrid_wire::native::queue::{
    Browse, BrowseReply, FailedDelivery, MessageState, ShownMessage,
};

use super::answer::{Served, unexpected, which};
use super::message::content;
use super::{Failure, Reply};
use crate::server::queues;

/// Bytes at which no more messages are shown at once.
const SAID_MAX: usize = 1 << 20;
/// Messages that are shown at once, at the most.
const SHOWN_MAX: u16 = 256;

impl<P: queues::Place> Served<'_, P> {
    pub(super) fn browse(&self, browse: &Browse<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        if !(1..=SHOWN_MAX).contains(&browse.n) {
            return Err(Failure::invalid(format!("`n` is 1 to {SHOWN_MAX}")));
        }
        let behind = match browse.cursor.map(<[u8; 8]>::try_from) {
            None => 0,
            Some(Ok(cursor)) => u64::from_be_bytes(cursor),
            Some(Err(_)) => return Err(Failure::invalid("`cursor` is none that BROWSE answered")),
        };
        let (most, which) = (browse.n.into(), which(browse.state));
        let op = QueueOp::Browse { behind, most, which };
        let (found, payloads) = self.place.with(|turn| {
            let done = turn.apply(self.name, op)?.reply;
            let payload = |one: &Shown| turn.payload(self.name, one.id).unwrap_or_default();
            let payloads: Vec<Vec<u8>> = match &done {
                QueueReply::Shown(shown, _) => shown.iter().map(payload).collect(),
                _ => Vec::new(),
            };
            Ok((done, payloads))
        })?;
        let QueueReply::Shown(mut shown, mut more) = found else { return Err(unexpected(&found)) };
        let mut said = 0;
        let fits = |payload: &&Vec<u8>| {
            let is_room = said < SAID_MAX;
            said += payload.len();
            is_room
        };
        let count = payloads.iter().take_while(fits).count();
        more |= count < shown.len();
        shown.truncate(count);
        let causes: Vec<Vec<FailedDelivery<'_>>> = shown.iter().map(failures).collect();
        let all = shown.iter().zip(&payloads).zip(&causes);
        let messages = all.map(|((one, payload), causes)| message(one, payload, causes));
        let messages: Vec<_> = messages.collect();
        let cursor = shown.last().filter(|_| more).map(|last| last.id.to_be_bytes());
        let cursor = cursor.as_ref().map(<[u8; 8]>::as_slice);
        reply.say(&BrowseReply::Ok { messages: List::of(&messages), cursor });
        Ok(())
    }
}

fn message<'a>(
    shown: &'a Shown,
    payload: &'a [u8],
    causes: &'a [FailedDelivery<'a>],
) -> ShownMessage<'a> {
    let state = match shown.state.place {
        Place::Ready => MessageState::Ready,
        Place::Delayed { .. } => MessageState::Delayed,
        Place::InFlight { .. } => MessageState::InFlight,
        Place::Dead { .. } => MessageState::Dead,
    };
    ShownMessage {
        id: shown.id,
        state,
        attempts: u16::try_from(shown.state.attempts).unwrap_or(u16::MAX),
        priority: shown.head.priority,
        group: shown.head.group.as_deref(),
        published_ms: shown.head.published,
        causes: List::of(causes),
        content: content(payload),
    }
}

fn failures(shown: &Shown) -> Vec<FailedDelivery<'_>> {
    let failure = |cause: &'_ Cause| (u16::try_from(cause.attempt).unwrap_or(u16::MAX), cause.at);
    let causes = shown.state.causes.iter();
    causes
        .map(|cause| {
            let (attempt, at_ms) = failure(cause);
            FailedDelivery { attempt, at_ms, reason: &cause.reason }
        })
        .collect()
}
