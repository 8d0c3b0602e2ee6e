//! What waits to be written to a peer on one lane: bounded, in order, and in one piece, so that
//! everything that is there goes with one write.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::NotSent;
use super::config::Bounds;
use super::frame::{self, HEADER_LEN};
use super::lane::Lane;

/// What the buffers of an idle link are cut down to, bytes.
const BUFFER_KEPT_MAX: usize = 64 << 10;

/// Encoded frames, one after the other.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the first frame begins that has not gone as a whole.
    first: usize,
    /// How much of that one has gone.
    begun: usize,
}

impl Batch {
    /// What has not gone as a whole.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.first..).unwrap_or_default()
    }

    /// Whether all of it has gone.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// How many bytes may go when `credit` bytes may: whole frames; `one_more` permits a frame that
    /// is longer than that to go alone.
    pub fn due(&self, credit: usize, one_more: bool) -> usize {
        let all = self.rest();
        if all.len() <= credit {
            return all.len();
        }
        let mut due = 0;
        loop {
            let len = frame::first_len(all.get(due..).unwrap_or_default());
            match due + len {
                sum if sum <= credit => due = sum,
                sum if due == 0 && one_more => return sum,
                _ => return due,
            }
        }
    }

    /// The next `len` bytes to write.
    pub fn next(&self, len: usize) -> &[u8] {
        let from = self.first + self.begun;
        self.bytes.get(from..from + len).unwrap_or_default()
    }

    /// Notes that `len` bytes have gone; how many frames have now gone as a whole.
    pub fn advance(&mut self, len: usize) -> usize {
        self.begun += len;
        let mut frames = 0;
        while let len @ 1.. = frame::first_len(self.rest())
            && self.begun >= len
        {
            self.first += len;
            self.begun -= len;
            frames += 1;
        }
        frames
    }

    fn push(&mut self, header: &[u8], payload: &[u8]) {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(payload);
    }

    fn drop_first(&mut self) {
        self.first += frame::first_len(self.rest());
        if self.first > self.bytes.len() / 2 {
            self.bytes.drain(..self.first);
            self.first = 0;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.first, self.begun) = (0, 0);
    }
}

/// A queue, and the bell of the task that empties it.
pub struct Queue {
    lane: Lane,
    bounds: Bounds,
    inside: Mutex<Inside>,
    filled: Notify,
}

#[derive(Default)]
struct Inside {
    waiting: Batch,
    /// Bytes that were taken and are not written yet.
    taken: usize,
    connected: bool,
}

impl Queue {
    /// An empty one.
    pub fn new(lane: Lane, bounds: &Bounds) -> Self {
        let inside = Mutex::default();
        Queue { lane, bounds: bounds.clone(), inside, filled: Notify::new() }
    }

    /// Puts a frame at the end; says how many older ones were dropped for it.
    ///
    /// # Errors
    /// [`NotSent`]; nothing is queued then.
    pub fn push(&self, payload: &[u8]) -> Result<usize, NotSent> {
        if payload.len() > self.bounds.frame_len_max {
            return Err(NotSent::TooLong);
        }
        let (header, len) = (frame::header(payload), HEADER_LEN + payload.len());
        let mut inside = self.inside.lock();
        let mut dropped = 0;
        if self.lane == Lane::Control {
            dropped = self.make_room(&mut inside, len);
        } else {
            let waiting = inside.len();
            if waiting > 0 && waiting + len > self.bounds.queue_len_max {
                return Err(NotSent::Full);
            }
        }
        let was_empty = inside.waiting.is_empty();
        inside.waiting.push(&header, payload);
        drop(inside);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(dropped)
    }

    /// Drops the oldest frames until `len` bytes more are within the bound.
    fn make_room(&self, inside: &mut Inside, len: usize) -> usize {
        let max = match inside.connected {
            true => self.bounds.queue_len_max,
            false => self.bounds.control_waiting_max,
        };
        let mut dropped = 0;
        while !inside.waiting.is_empty() && inside.len() + len > max {
            inside.waiting.drop_first();
            dropped += 1;
        }
        dropped
    }

    /// Returns when something waits.
    pub async fn filled(&self) {
        while self.inside.lock().waiting.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Takes everything that waits; `batch` must be empty, its buffer is used again.
    pub fn take(&self, batch: &mut Batch) {
        batch.clear();
        let mut inside = self.inside.lock();
        std::mem::swap(&mut inside.waiting, batch);
        inside.taken = batch.rest().len();
    }

    /// Notes that `len` bytes of what was taken are written.
    pub fn written(&self, len: usize) {
        let mut inside = self.inside.lock();
        inside.taken = inside.taken.saturating_sub(len);
    }

    /// From now on there is a connection.
    pub fn connected(&self) {
        self.inside.lock().connected = true;
    }

    /// From now on there is no connection. What has not gone as a whole is first in the queue
    /// again: of a frame that was cut off the peer took nothing. Says how many frames were dropped.
    pub fn disconnected(&self, batch: &mut Batch) -> usize {
        let mut inside = self.inside.lock();
        (inside.connected, inside.taken, batch.begun) = (false, 0, 0);
        if !batch.is_empty() {
            batch.bytes.extend_from_slice(inside.waiting.rest());
            std::mem::swap(&mut inside.waiting, batch);
        }
        batch.clear();
        if self.lane == Lane::Control { self.make_room(&mut inside, 0) } else { 0 }
    }

    /// Gives memory back while nothing is to be done.
    pub fn shrink(&self, batch: &mut Batch) {
        let mut inside = self.inside.lock();
        if inside.waiting.is_empty() && batch.is_empty() {
            inside.waiting.clear();
            inside.waiting.bytes.shrink_to(BUFFER_KEPT_MAX);
            batch.clear();
            batch.bytes.shrink_to(BUFFER_KEPT_MAX);
        }
    }
}

impl Inside {
    fn len(&self) -> usize {
        self.waiting.rest().len() + self.taken
    }
}

#[cfg(test)]
mod tests;
