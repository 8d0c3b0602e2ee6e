//! What the next requests will look at is fetched from memory while those before them are answered:
//! one miss of the processor's caches after the other would be a quarter of what a request costs.

use isogrid_engine::{Hint, KeyHash};
use isogrid_grid::Batch;
use isogrid_grid::catalog::Index;
use isogrid_wire::native::{Codec as _, Frame, Key, Kind, Limits, RequestFrame};

/// Requests that are looked at together.
const AHEAD: usize = 32;
/// The group of caches, and its first operations that have a key of their own in front.
const OF_ONE_KEY: std::ops::RangeInclusive<u16> = 0x0101..=0x010d;

/// How many requests were looked at, and the moment at which they are done: whatever they find is
/// pinned once for all of them.
#[derive(Default)]
pub struct Ahead<'i> {
    frames: usize,
    _pinned: Option<Batch<'i>>,
}

impl<'i> Ahead<'i> {
    /// Looks at the requests that the input begins with, as far as they are for one cache.
    pub fn look(index: &'i Index, input: &[u8], limits: &Limits, now: u64) -> Ahead<'i> {
        let mut frames = Frames { rest: input, limits };
        let (Some(first), false) = (frames.next(), frames.rest.is_empty()) else {
            return Ahead::default();
        };
        let object = first.1;
        let cache = index.by_id(object).and_then(|object| object.cache.as_deref());
        let Some(cache) = cache else { return Ahead::default() };
        let batch = cache.batch(now);
        let mut hashes = [None; AHEAD];
        let asked = std::iter::once(first).chain(frames).filter(|(_, of)| *of == object);
        let mut len = 0;
        for (place, (key, _)) in hashes.iter_mut().zip(asked) {
            let hash = cache.hash(key);
            batch.prefetch_line(hash);
            *place = Some(hash);
            len += 1;
        }
        fetch(&batch, &hashes);
        Ahead { frames: len, _pinned: Some(batch) }
    }

    /// One of them is done; whether it was the last.
    pub fn step(&mut self) -> bool {
        self.frames = self.frames.saturating_sub(1);
        self.frames == 0
    }
}

/// The second and the third step: entries, and what reads leave traces on.
fn fetch(batch: &Batch<'_>, hashes: &[Option<KeyHash>; AHEAD]) {
    let mut hints = [Hint::NONE; AHEAD];
    for (hint, hash) in hints.iter_mut().zip(hashes.iter().flatten()) {
        *hint = batch.hint(*hash);
    }
    for (hint, hash) in hints.iter().zip(hashes.iter().flatten()) {
        batch.prefetch_access(*hash, *hint);
    }
}

/// The keys of the requests of an input, and their objects, up to the first that has none.
struct Frames<'i> {
    rest: &'i [u8],
    limits: &'i Limits,
}

impl<'i> Iterator for Frames<'i> {
    type Item = (&'i [u8], u32);

    fn next(&mut self) -> Option<Self::Item> {
        let frame = Frame::decode(self.rest, self.limits).ok()??;
        let header = frame.header;
        if header.kind != Kind::Req || !OF_ONE_KEY.contains(&header.op) {
            return None;
        }
        let RequestFrame { object, mut body, .. } =
            RequestFrame::decode(&frame, self.limits).ok()?;
        let Key(key) = Key::decode(&mut body).ok()?;
        self.rest = self.rest.get(frame.encoded_len()..)?;
        Some((key, object))
    }
}
