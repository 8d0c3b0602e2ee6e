//! Writes a link's frames to its connection: everything that waits with one write, as far as the
//! peer's credit goes.

use std::convert::Infallible;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::config::Bounds;
use super::frame::KEEP_ALIVE;
use super::queue::{Batch, Queue};
use super::stats::{Traffic, count};
use super::stream::{self, Stream};

/// A connection's credit. The receiver gives back what it has given to its sink, and keeps less
/// than a quarter of the window to itself.
struct Credit {
    window: usize,
    /// Bytes that went and were not given back.
    under_way: usize,
}

impl Credit {
    fn left(&self) -> usize {
        self.window.saturating_sub(self.under_way)
    }

    /// Whether a frame may go that is longer than what is left: otherwise one that is longer than
    /// the window would never go.
    fn one_more(&self) -> bool {
        self.under_way <= self.window / 2
    }
}

/// The writing end of a connection.
pub struct Writer<'a> {
    stream: Stream,
    credit: Credit,
    grants: Grants,
    ticks: u32,
    /// Ticks since the peer was heard.
    silent: u32,
    proven: bool,
    queue: &'a Queue,
    traffic: &'a Traffic,
    bounds: &'a Bounds,
}

impl<'a> Writer<'a> {
    /// For a connection whose handshake is done.
    pub fn new(
        stream: Stream,
        window: u32,
        queue: &'a Queue,
        traffic: &'a Traffic,
        bounds: &'a Bounds,
    ) -> Self {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        let (credit, grants) = (Credit { window, under_way: 0 }, Grants::default());
        Writer {
            stream,
            credit,
            grants,
            ticks: 0,
            silent: 0,
            proven: false,
            queue,
            traffic,
            bounds,
        }
    }

    /// Whether the peer still said something when the connection was no longer new.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Writes until the connection is lost. What `batch` then holds has not gone.
    pub async fn run(&mut self, batch: &mut Batch) -> Result<Infallible, io::Error> {
        let mut tick = ticks(self.bounds);
        loop {
            if batch.is_empty() {
                self.queue.take(batch);
            }
            let due = batch.due(self.credit.left(), self.credit.one_more());
            if due > 0 {
                self.write(batch, due).await?;
                continue;
            }
            // Here the connection is between two frames, and nothing is lost by not going on with
            // what did not come first.
            let (stream, grants) = (&mut self.stream, &mut self.grants);
            tokio::select! {
                biased;
                read = stream.read(&mut grants.buffer) => self.heard(read?)?,
                () = self.queue.filled(), if batch.is_empty() => {}
                _ = tick.tick() => self.tick(batch).await?,
            }
        }
    }

    async fn write(&mut self, batch: &mut Batch, due: usize) -> io::Result<()> {
        let mut left = due;
        while left > 0 {
            let patience = self.bounds.silence_max;
            let len = stream::write(&mut self.stream, batch.next(left), patience).await?;
            left -= len.min(left);
            self.queue.written(len);
            count(&self.traffic.frames_sent, batch.advance(len));
            count(&self.traffic.bytes_sent, len);
        }
        self.credit.under_way += due;
        timeout(self.bounds.silence_max, self.stream.flush()).await?
    }

    /// Takes what the peer gives back.
    fn heard(&mut self, len: usize) -> io::Result<()> {
        if len == 0 {
            let why = "the peer closed the connection";
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, why));
        }
        self.silent = 0;
        self.proven |= self.ticks > 1;
        let granted = self.grants.sum(len);
        self.credit.under_way = self.credit.under_way.saturating_sub(granted);
        Ok(())
    }

    /// Shows that we live, and sees whether the peer does.
    async fn tick(&mut self, batch: &mut Batch) -> io::Result<()> {
        if self.bounds.keep_alive.saturating_mul(self.silent) >= self.bounds.silence_max {
            let why = "the peer does not answer to signs of life";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        self.ticks = self.ticks.saturating_add(1);
        self.silent += 1;
        self.queue.shrink(batch);
        stream::write_all(&mut self.stream, &KEEP_ALIVE, self.bounds.silence_max).await
    }
}

fn ticks(bounds: &Bounds) -> Interval {
    let mut ticks = interval(bounds.keep_alive);
    // A process that was stopped for a while goes on where it was.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Grants as they come: 4 bytes each, a number of bytes.
#[derive(Default)]
struct Grants {
    buffer: [u8; 32],
    /// The beginning of one that is not all there.
    begun: u32,
    begun_len: u32,
}

impl Grants {
    /// The sum of those that end in the first `len` bytes of the buffer.
    fn sum(&mut self, len: usize) -> usize {
        let mut sum: usize = 0;
        for byte in self.buffer.iter().take(len) {
            self.begun |= u32::from(*byte) << (8 * self.begun_len);
            self.begun_len += 1;
            if self.begun_len == 4 {
                sum = sum.saturating_add(usize::try_from(self.begun).unwrap_or(usize::MAX));
                (self.begun, self.begun_len) = (0, 0);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_whole_however_they_are_cut() {
        let bytes: Vec<u8> =
            [0, 1, 258, 1 << 20].iter().flat_map(|grant: &u32| grant.to_le_bytes()).collect();
        for step in 1..=bytes.len() {
            let mut grants = Grants::default();
            let mut sum = 0;
            for piece in bytes.chunks(step) {
                grants.buffer[..piece.len()].copy_from_slice(piece);
                sum += grants.sum(piece.len());
            }
            assert_eq!(sum, 259 + (1 << 20), "step {step}");
        }
    }
}
