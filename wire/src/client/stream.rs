//! A stream that is read at the reader's own pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::core::{Life, LinkId, Reply, Request};
use super::error::{Cause, Error, Outcome};
use super::handle::Interest;
use super::object::{Object, life_of};
use super::shell::Consumer;
use crate::native::ErrorCode;

/// Between two attempts to open a stream again.
const PAUSE: Duration = Duration::from_millis(20);

/// What comes of a stream.
#[derive(Debug)]
pub enum Piece {
    /// Its request is sent.
    Opened,
    /// The payload of an `ITEM`.
    Items(Vec<u8>),
    /// Its end.
    Ended(Result<Reply, Error>),
}

/// An open stream; it is cancelled when it is dropped.
#[derive(Debug)]
pub struct Stream {
    object: Arc<Object>,
    number: (Life, u32),
    interest: Interest,
    pieces: mpsc::UnboundedReceiver<Piece>,
}

impl Stream {
    /// Sends a request about this object as soon as there is a connection.
    pub async fn open(
        object: &Arc<Object>,
        deadline: Instant,
        mut request: Request,
    ) -> Result<Self, Error> {
        let number = object.number(deadline).await?;
        (request.life, request.object) = (life_of(number), number.1);
        // Credit bounds what may wait here.
        let (to, pieces) = mpsc::unbounded_channel();
        let interest = object.handle.stream(request, Box::new(Forward(to)))?;
        Ok(Stream { object: Arc::clone(object), number, interest, pieces })
    }

    pub async fn next(&mut self) -> Piece {
        let piece = self.pieces.recv().await;
        self.look(piece.unwrap_or(Piece::Ended(Err(Error::failed(Cause::Closed)))))
    }

    /// What has come already.
    pub fn now(&mut self) -> Option<Piece> {
        let piece = self.pieces.try_recv().ok()?;
        Some(self.look(piece))
    }

    fn look(&self, piece: Piece) -> Piece {
        if let Piece::Ended(Err(error)) = &piece {
            let unknown = error.code() == Some(ErrorCode::NoSuchObject);
            if unknown || error.cause == Cause::OtherLife {
                self.object.forget(self.number);
            }
        }
        piece
    }

    pub fn credit(&self, items: usize) {
        self.interest.credit(u32::try_from(items).unwrap_or(u32::MAX));
    }
}

/// What the end of a stream means that goes on as long as its object is there: an error if that is
/// gone, or who asks may not; otherwise it is to be opened again.
pub fn over(end: Result<Reply, Error>, name: &str) -> Result<(), Error> {
    match end {
        Ok(_) => Err(Error::failed(Cause::NoSuchObject(name.to_owned()))),
        Err(Error { cause: Cause::Disconnected | Cause::OtherLife, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens such a stream again. That nobody is reached is no error: it is tried for ever.
pub async fn again(open: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::time::sleep(PAUSE).await;
    let unreached = |error: &Error| {
        matches!(error.cause, Cause::Timeout | Cause::Disconnected)
            && error.outcome == Outcome::Failed
    };
    open.await.or_else(|error| if unreached(&error) { Ok(()) } else { Err(error) })
}

/// Hands pieces to the reader; one that has gone needs none.
pub struct Forward(pub mpsc::UnboundedSender<Piece>);

impl Consumer for Forward {
    fn opened(&mut self, _: LinkId) {
        drop(self.0.send(Piece::Opened));
    }

    fn items(&mut self, payload: Vec<u8>) {
        drop(self.0.send(Piece::Items(payload)));
    }

    fn ended(&mut self, end: Result<Reply, Error>) {
        drop(self.0.send(Piece::Ended(end)));
    }
}
