//! `lru_crawler`, `lru` and `slabs`: memcached's own machinery. What has no counterpart here is
//! checked as memcached checks it and accepted.

use super::{BAD_LINE, Line, Text, refuse_arguments, signed, unsigned, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::{DumpFormat, Refusal, Request};

/// memcached has slab classes 1 to 63.
const CLASS_MAX: i64 = 63;

/// The most of the cache that `lru tune` gives to its hot and warm parts.
const HOT_AND_WARM_PERCENT_MAX: u64 = 80;

type Checked<'a> = Result<Request<'a>, Refusal>;

/// `lru_crawler enable|disable|crawl|metadump|mgdump|tocrawl|sleep [argument]`
pub(super) fn lru_crawler(line: Line<'_>) -> Parsed<'_> {
    answer(line, false, |words| match words {
        [b"enable" | b"disable"] => Ok(Request::Accepted),
        [b"crawl", classes] => check_classes(classes).map(|()| Request::Accepted),
        [b"metadump", classes] => dump(classes, DumpFormat::Meta),
        [b"mgdump", classes] => dump(classes, DumpFormat::MetaGet),
        [b"tocrawl", number] => unsigned(number).map(|_| Request::Accepted).ok_or(BAD_LINE),
        [b"sleep", micros] => match unsigned(micros).ok_or(BAD_LINE)? {
            0..=1_000_000 => Ok(Request::Accepted),
            _ => Err(Refusal::Client("sleep must be one second or less")),
        },
        _ => Err(Refusal::Unknown),
    })
}

/// `lru tune|mode|temp_ttl <arguments>`
pub(super) fn lru(line: Line<'_>) -> Parsed<'_> {
    answer(line, true, |words| match words {
        [b"mode", b"flat" | b"segmented"] => Ok(Request::Accepted),
        [b"temp_ttl", seconds] => {
            signed(seconds).ok_or(Refusal::Unknown).map(|_| Request::Accepted)
        }
        [b"tune", hot, warm, hot_age, warm_age, ..] => tune([hot, warm], [hot_age, warm_age]),
        _ => Err(Refusal::Unknown),
    })
}

/// `slabs reassign <from> <to>`, `slabs automove <level>|ratio|freeratio|window <argument>`
pub(super) fn slabs(line: Line<'_>) -> Parsed<'_> {
    let knows_noreply = line.words.clone().next() == Some(b"automove");
    answer(line, knows_noreply, |words| match words {
        [b"reassign", from, to] => reassign(from, to),
        [b"automove", b"ratio" | b"freeratio" | b"window", number, ..] => {
            decimal(number).map(|_| Request::Accepted).ok_or(Refusal::Unknown)
        }
        [b"automove", b"ratio" | b"freeratio"] => Err(Refusal::Unknown),
        [b"automove", level] => match unsigned(level).ok_or(BAD_LINE)? {
            0..=2 => Ok(Request::Accepted),
            _ => Err(Refusal::Unknown),
        },
        _ => Err(Refusal::Unknown),
    })
}

/// Checks the words behind the command, `noreply` taken off where the command knows it, and
/// answers.
fn answer<'a>(
    line: Line<'a>,
    knows_noreply: bool,
    check: impl Fn(&[&'a [u8]]) -> Checked<'a>,
) -> Parsed<'a> {
    let noreply = knows_noreply && line.words.end_in_noreply();
    let mut words = [&[][..]; 6];
    let count = line.words.count() - usize::from(noreply);
    for (slot, word) in words.iter_mut().zip(line.words) {
        *slot = word;
    }
    let text = Text::reply_unless(noreply);
    match check(words.get(..count).unwrap_or_default()) {
        Ok(request) => whole(request, text),
        Err(refusal) => refuse_arguments(refusal, text),
    }
}

fn dump<'a>(classes: &[u8], format: DumpFormat) -> Checked<'a> {
    if classes != b"hash" {
        check_classes(classes)?;
    }
    Ok(Request::Dump { format })
}

/// `all`, or slab classes with commas between them.
fn check_classes(classes: &[u8]) -> Result<(), Refusal> {
    let is_class = |word: &[u8]| signed(word).is_some_and(|class| (1..=CLASS_MAX).contains(&class));
    if classes == b"all" || classes.split(|byte| *byte == b',').all(is_class) {
        Ok(())
    } else {
        Err(Refusal::Line("BADCLASS invalid class id"))
    }
}

fn reassign<'a>(from: &[u8], to: &[u8]) -> Checked<'a> {
    let (from, to) = signed(from).zip(signed(to)).ok_or(BAD_LINE)?;
    if from == to {
        return Err(Refusal::Line("SAME src and dst class are identical"));
    }
    // From -1 means from wherever a page can be spared.
    let from_valid = from == -1 || (1..=CLASS_MAX).contains(&from);
    if !from_valid || !(0..=CLASS_MAX).contains(&to) {
        return Err(Refusal::Line("BADCLASS invalid src or dst class id"));
    }
    Ok(Request::Accepted)
}

fn tune<'a>(percents: [&[u8]; 2], ages: [&[u8]; 2]) -> Checked<'a> {
    let [hot, warm] = percents.map(unsigned);
    let [hot_age, warm_age] = ages.map(decimal);
    let percent = hot.zip(warm).ok_or(Refusal::Unknown)?;
    let age = hot_age.zip(warm_age).ok_or(Refusal::Unknown)?;
    if percent.0.saturating_add(percent.1) > HOT_AND_WARM_PERCENT_MAX {
        return Err(Refusal::Line("ERROR hot and warm pcts must not exceed 80"));
    }
    if age.0 <= 0.0 || age.1 <= 0.0 {
        return Err(Refusal::Line("ERROR hot/warm age factors must be greater than 0"));
    }
    Ok(Request::Accepted)
}

fn decimal(word: &[u8]) -> Option<f64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}
