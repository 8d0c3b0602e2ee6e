//! What a request and its answers have in common, whatever they ask for.

use super::codec::{Codec, decode_all};
use super::declare::record;
use super::list::List;
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
    type Reply<'a>: Answer<'a>;
    /// The items of its stream; [`Nothing`] if it has none.
    type Item<'a>: Codec<'a> + Copy;
    /// What stands behind the items of each frame; [`Nothing`] for most.
    type Trailer<'a>: Codec<'a>;
}

record! {
    /// No fields: what most operations add behind the items of a frame.
    Nothing {}
}

/// Decodes the payload of a `RES` as the replies of `T`, and encodes it again: how documents and
/// vectors are held to the types.
pub(super) fn recode_reply<T: Call + 'static>(
    input: Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    <T::Reply<'_>>::decode_all(input).map(|reply| reply.encode(out))
}

/// As [`recode_reply`], for the payload of an `ITEM`.
pub(super) fn recode_items<T: Call + 'static>(
    mut input: Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    List::<T::Item<'_>>::decode(&mut input)?.encode(out);
    decode_all::<T::Trailer<'_>>(input).map(|trailer| trailer.encode(out))
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
