//! A queue that is a group of a topic: it takes its messages from the topic's log, as many as somebody
//! waits for. What it has taken and is not done is kept by it; what it has not taken is behind its
//! cursor, so no message is kept twice and none is skipped.

use isogrid_engine::Timestamp;

use super::Queue;
use super::message::{Head, Place, State};
use super::options::QueueOptions;
use super::parts::Part;
use super::shelf::Message;

/// Messages that are taken and wait, at the most: those behind others of their group.
const AHEAD_MAX: u64 = 1_000;

impl Queue {
    /// Empty; it takes the messages behind an id.
    #[must_use]
    pub fn following(options: QueueOptions, now: Timestamp, cursor: u64) -> Self {
        let next = cursor.saturating_add(1);
        Queue { cursor: Some(cursor), ..Queue::new(options, now, next) }
    }

    /// The last message that it has taken, if it follows a topic.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// Whether it takes another message, if so many more are asked for than those who wait do.
    #[must_use]
    pub fn wants(&self, more: usize) -> bool {
        let waits = self.shelf.counts().ready;
        self.shelf.deliverable() < self.waiters.demand().saturating_add(more) && waits < AHEAD_MAX
    }

    /// Takes the next message of the topic. One whose lifespan is over is not taken along.
    pub fn take_next(&mut self, now: Timestamp, id: u64, head: &Head) {
        self.cursor = Some(id);
        self.next_id = self.next_id.max(id.saturating_add(1));
        self.changed.insert(Part::Cursor);
        if head.is_over(now) {
            self.went.expired += 1;
        } else if self.shelf.get(id).is_none() {
            // Its id of a publisher's is known to the topic.
            let (head, state) = (Head { dedup: None, ..head.clone() }, State::default());
            self.shelf.insert(id, Message { head, state });
            self.changed.insert(Part::State(id));
        }
    }

    /// Passes over messages up to this one, itself included, that it has not taken.
    pub fn pass_over(&mut self, id: u64) {
        self.cursor = self.cursor.map(|cursor| cursor.max(id));
        self.changed.insert(Part::Cursor);
    }

    /// The topic has a message no more; whether it was to be delivered here still.
    pub fn lose(&mut self, id: u64) {
        let is_ahead = self.cursor.is_some_and(|cursor| cursor < id);
        let place = self.shelf.get(id).map(|message| message.state.place);
        if place.is_some() {
            self.remove(id);
        }
        let is_lost = is_ahead || place.is_some_and(|place| !matches!(place, Place::Dead { .. }));
        self.went.lost += u64::from(is_lost);
    }

    /// So many messages were gone before it could take them.
    pub fn begins_behind(&mut self, lost: u64) {
        self.went.lost += lost;
    }
}
