//! Reads the frames of a connection, gives them to the sink, and gives back credit for them.

use std::convert::Infallible;
use std::io;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::Shared;
use super::frame::{BadFrame, Decoder, Taken};
use super::lane::Lane;
use super::stats::count;
use super::stream::{self, Stream};

/// Why nothing more is read from a connection.
#[derive(Debug, Error)]
pub enum Ended {
    /// The peer closed it, or it is lost.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// Not even a sign of life came.
    #[error("nothing came for too long, not even a sign of life")]
    Silent,
    /// What came is no frame.
    #[error("{0}")]
    Bad(#[from] BadFrame),
}

/// The reading end of a connection.
pub struct Receiver<'a> {
    stream: Stream,
    lane: Lane,
    from: &'a str,
    shared: &'a Shared,
    /// Bytes that the sink has and for which no credit was given back.
    owed: u32,
}

impl<'a> Receiver<'a> {
    /// For a connection that was welcomed.
    pub fn new(stream: Stream, lane: Lane, from: &'a str, shared: &'a Shared) -> Self {
        Receiver { stream, lane, from, shared, owed: 0 }
    }

    /// Reads until the connection ends.
    pub async fn run(&mut self) -> Result<Infallible, Ended> {
        let bounds = &self.shared.config.bounds;
        let mut decoder = Decoder::new(bounds.encoded_len_max());
        loop {
            let read = timeout(bounds.silence_max, self.stream.read(decoder.room()));
            let len = read.await.map_err(|_| Ended::Silent)??;
            if len == 0 {
                return Err(Ended::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            let taken = self.hand_over(&mut decoder, len);
            if let Some(bad) = taken.bad {
                count(&self.shared.stats.damaged, 1);
                return Err(bad.into());
            }
            self.give_back(&taken).await?;
        }
    }

    /// Gives the sink what is whole.
    fn hand_over(&self, decoder: &mut Decoder, len: usize) -> Taken {
        let mut frames = decoder.frames(len);
        let mut some = frames.by_ref().peekable();
        if some.peek().is_some() {
            self.shared.sink.received(self.lane, self.from, &mut some);
            // What the sink did not look at has gone by all the same.
            some.for_each(drop);
        }
        let taken = frames.taken;
        decoder.advance(&taken);
        let traffic = self.shared.stats.lane(self.lane);
        count(&traffic.frames_received, taken.frames);
        count(&traffic.bytes_received, taken.bytes);
        taken
    }

    /// Grants as many bytes as were taken: a quarter of the window at once, and whatever it is
    /// when the peer shows that it lives, which has to be answered.
    async fn give_back(&mut self, taken: &Taken) -> io::Result<()> {
        let bounds = &self.shared.config.bounds;
        let more = u32::try_from(taken.bytes).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_add(more);
        let is_much = self.owed > 0 && self.owed >= bounds.window / 4;
        if !is_much && !taken.keep_alive {
            return Ok(());
        }
        let grant = std::mem::take(&mut self.owed).to_le_bytes();
        stream::write_all(&mut self.stream, &grant, bounds.silence_max).await
    }
}
