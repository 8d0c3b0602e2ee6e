//! BROWSE: messages as they are shown.

use isogrid_grid::structure::queue::{Cause, Place, QueueOp, QueueReply, Shown};
use isogrid_wire::native::List;
use isogrid_wire::native::queue::{
    Browse, BrowseReply, FailedDelivery, MessageState, ShownMessage,
};

use super::{Failure, Reply, Session, content, unexpected, which};

/// Messages that are shown at once, at the most.
const SHOWN_MAX: u16 = 256;

impl Session {
    pub(super) fn browse(
        &self,
        name: &str,
        browse: &Browse<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
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
        let (shown, more) = match self.node.queues.apply_now(self.now, name, op)? {
            QueueReply::Shown(shown, more) => (shown, more),
            other => return Err(unexpected(&other)),
        };
        let mut payloads = Vec::with_capacity(shown.len());
        for one in &shown {
            payloads.push(self.node.queues.payload(self.now, name, one.id).unwrap_or_default());
        }
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
