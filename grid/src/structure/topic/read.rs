//! Reading from a position. Nothing is changed by it, and nothing is known of who reads.

use isogrid_engine::Timestamp;
use thiserror::Error;

use super::{Start, Topic};
use crate::structure::queue::{BATCH_MAX, Delivery, Receipt};

/// Whoever has so many bytes of messages gets no more of them at once.
const PAGE_BYTES: u64 = 1 << 20;

/// Messages that are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// So many between the asked position and the first one were taken by retention: exactly, if the
    /// topic was served by one member all along, else at the most.
    pub lost: u64,
    /// Where to read on.
    pub next: u64,
    /// The messages. Their receipts count for nothing.
    pub messages: Vec<Delivery>,
}

/// A position that the topic has not come to: it was not given by this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("position {asked} is ahead of the topic, whose next message is {next}")]
pub struct Ahead {
    /// The position that was asked for.
    pub asked: u64,
    /// The id of the next message.
    pub next: u64,
}

impl Topic {
    /// Up to so many messages from there on. One whose lifespan is over is passed over.
    ///
    /// # Errors
    /// [`Ahead`].
    pub fn read(&mut self, now: Timestamp, start: Start, most: usize) -> Result<Page, Ahead> {
        self.now = self.now.max(now);
        let (behind, lost) = self.begin(start)?;
        let mut page = Page { lost, next: behind + 1, messages: Vec::new() };
        let mut bytes = 0;
        for (id, head) in self.log.behind(behind) {
            if page.messages.len() >= most.min(BATCH_MAX) || bytes >= PAGE_BYTES {
                break;
            }
            page.next = id + 1;
            if !head.is_over(self.now) {
                bytes += u64::from(head.len);
                let (receipt, published) = (Receipt { id, attempt: 0 }, head.published);
                page.messages.push(Delivery { receipt, attempt: 1, published });
            }
        }
        Ok(page)
    }

    /// The id behind which that is, and how many messages that should have been there are gone.
    pub(super) fn begin(&self, start: Start) -> Result<(u64, u64), Ahead> {
        let (gone, next) = (self.log.gone(), self.next_id);
        Ok(match start {
            Start::New => (next - 1, 0),
            Start::First => (gone.last, 0),
            Start::Time(time) => (self.log.ahead_of(time), 0),
            Start::Position(asked) if asked > next => return Err(Ahead { asked, next }),
            Start::Position(asked) => {
                let asked = asked.max(1);
                let lost = (gone.last + 1).saturating_sub(asked).min(gone.count);
                (gone.last.max(asked - 1), lost)
            }
        })
    }
}
