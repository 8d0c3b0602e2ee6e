//! Reads the frames of one file in order, and judges what stands where none can be read.

use std::collections::VecDeque;
use std::io;

use super::Lsn;
use super::file::RECORDS_AT;
use super::frame::{FRAME_BYTES, Head};
use super::window::Window;

/// Numbers that marks may leave out, at most: a larger jump is not one of ours.
const JUMP_MAX: u64 = 1 << 40;
/// Bytes that may be checked in search of one whole frame. Only a file that is made to look like
/// many frames comes to this; it is treated as damaged.
const SEARCH_BYTES_MAX: u64 = 4 << 30;

/// What the chain of frames of a file came to.
#[derive(Debug)]
pub(crate) struct Chain {
    /// The number that comes next.
    pub next: Lsn,
    /// Where the chain ends; the file's length when all of it is whole.
    pub end: u64,
    /// The first frame that is not known to be durable by a later one; `end` when there is none.
    pub unproven_from: u64,
    /// The last frame is a mark that everything before it is durable.
    pub at_rest: bool,
}

/// What a bad frame means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody was ever told that it is durable: a write that did not come to its end.
    Torn,
    /// A whole frame further on says that it had been durable.
    Damaged(String),
}

/// Follows the chain from the first frame of a file that begins with record `first`.
///
/// `visit` gets each record: where it begins, its number and its payload.
pub(crate) fn follow<E: From<io::Error>>(
    window: &mut Window<'_>,
    first: Lsn,
    mut visit: impl FnMut(u64, Lsn, &[u8]) -> Result<(), E>,
) -> Result<Chain, E> {
    let mut unproven = VecDeque::new();
    let mut chain =
        Chain { next: first, end: RECORDS_AT, unproven_from: RECORDS_AT, at_rest: true };
    while let Some((head, frame)) = window.frame(chain.end, chain.next)? {
        if !continues(&head, chain.next) {
            break;
        }
        while unproven.front().is_some_and(|(lsn, _)| *lsn <= head.durable) {
            unproven.pop_front();
        }
        chain.at_rest = head.is_mark() && unproven.is_empty();
        // A mark is proven by the record that follows it.
        unproven.push_back((head.lsn, chain.end));
        chain.next = if head.is_mark() {
            head.lsn
        } else {
            visit(chain.end, head.lsn, frame.get(FRAME_BYTES..).unwrap_or_default())?;
            head.lsn.next()
        };
        chain.end += head.frame_bytes();
    }
    chain.unproven_from = unproven.front().map_or(chain.end, |(_, at)| *at);
    Ok(chain)
}

/// Whether a frame may stand where the number `next` is due.
fn continues(head: &Head, next: Lsn) -> bool {
    head.lsn == next || head.is_mark() && head.lsn.0 - next.0 < JUMP_MAX
}

/// The first whole frame at or after `at` whose number is `floor` or above, and for which `wanted`
/// holds. `Err(None)`: given up.
pub(crate) fn search(
    window: &mut Window<'_>,
    mut at: u64,
    floor: Lsn,
    wanted: impl Fn(&Head) -> bool,
) -> Result<Option<(u64, Head)>, Option<io::Error>> {
    let mut budget = SEARCH_BYTES_MAX;
    while at < window.len() {
        let head = window.get(at, FRAME_BYTES as u64).map_err(Some)?.and_then(Head::parse);
        let near = |head: &Head| head.lsn >= floor && head.lsn.0 - floor.0 < JUMP_MAX;
        if let Some(head) = head.filter(|head| near(head) && wanted(head)) {
            let cost = head.frame_bytes().min(window.len() - at);
            budget = budget.checked_sub(cost).ok_or(None)?;
            if window.frame(at, floor).map_err(Some)?.is_some() {
                return Ok(Some((at, head)));
            }
        }
        at += 1;
    }
    Ok(None)
}

/// What it means that no frame of record `next` stands at `at`, in the last file.
pub(crate) fn judge(window: &mut Window<'_>, at: u64, next: Lsn) -> io::Result<Verdict> {
    match search(window, at, next, |head| head.durable >= next) {
        Ok(None) => Ok(Verdict::Torn),
        Ok(Some((later, head))) => Ok(Verdict::Damaged(format!(
            "no whole record, though record {} at byte {later} says that all up to {} were durable",
            head.lsn, head.durable
        ))),
        Err(None) => Ok(Verdict::Damaged("bytes that are made to look like records".to_owned())),
        Err(Some(error)) => Err(error),
    }
}
