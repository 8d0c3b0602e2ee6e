//! What a request and its answers have in common, whatever they ask for.

use super::reader::{Malformed, Reader};
use super::schema::Operation;
use super::sink::Sink;
use super::status::Status;

/// The body of a request.
pub trait Call {
    /// What it asks for.
    const OPERATION: &'static Operation;
    /// The opcode in the frame's header.
    const CODE: u16 = Self::OPERATION.code;
    /// Its answers.
    type Reply<'r>: Answer<'r>;
}

/// A status, and the result that goes with it.
pub trait Answer<'a>: Sized {
    /// The first byte.
    fn status(&self) -> Status;

    /// How many bytes [`Answer::encode`] writes.
    fn encoded_len(&self) -> usize;

    /// Appends status and result.
    fn encode<S: Sink>(&self, out: &mut S);

    /// Takes status and result off the front of the input.
    ///
    /// # Errors
    ///
    /// As [`super::Codec::decode`], and [`Malformed::Status`] for a status that the operation does not
    /// have.
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed>;

    /// Decodes the whole payload of a `RES`, extensions apart.
    ///
    /// # Errors
    ///
    /// As [`Answer::decode`], and [`Malformed::Trailing`].
    #[inline]
    fn decode_all(mut input: Reader<'a>) -> Result<Self, Malformed> {
        let answer = Self::decode(&mut input)?;
        input.end()?;
        Ok(answer)
    }
}
