//! The bytes of one file: as they are read, as a power cut leaves them, and all between.

use std::collections::BTreeMap;

use crate::env::split_mix;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, new) => {
                let end = offset + new.len();
                bytes.resize(bytes.len().max(end), 0);
                if let Some(place) = bytes.get_mut(*offset..end) {
                    place.copy_from_slice(new);
                }
            }
            Change::Length(len) => bytes.resize(*len, 0),
        }
    }

    /// The sectors that this changes, in a file of `len` bytes.
    fn sectors(&self, len: usize) -> std::ops::Range<usize> {
        let (from, to) = match self {
            Change::Write(offset, new) => (*offset.min(&len), offset + new.len()),
            Change::Length(new) => (*new.min(&len), *new.max(&len)),
        };
        from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES)
    }
}

/// One file.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    current: Vec<u8>,
    synced: Vec<u8>,
    /// What was done since the last sync. A failed sync forgets it: it is read, and never synced.
    changes: Vec<Change>,
}

impl Image {
    /// A file whose bytes are all synced.
    pub fn of(bytes: Vec<u8>) -> Self {
        Image { current: bytes.clone(), synced: bytes, changes: Vec::new() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.change(Change::Write(position(offset), bytes.to_vec()));
    }

    pub fn set_len(&mut self, bytes: u64) {
        self.change(Change::Length(position(bytes)));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.changes.push(change);
    }

    pub fn sync(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        changes.iter().for_each(|change| change.apply(&mut self.synced));
    }

    /// A sync that failed.
    pub fn lose(&mut self) {
        self.changes.clear();
    }

    pub fn flip(&mut self, bit: u64) -> bool {
        let (at, mask) = (position(bit / 8), 1u8 << (bit % 8));
        let images = [&mut self.current, &mut self.synced].into_iter();
        let found = images.filter_map(|bytes| bytes.get_mut(at));
        found.map(|byte| *byte ^= mask).count() > 0
    }

    /// A power cut that loses all that it can.
    pub fn synced(&self) -> Vec<u8> {
        self.synced.clone()
    }

    /// A power cut after everything went to the medium.
    pub fn last(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        self.changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    }

    /// A power cut that leaves each sector, and the length, at any moment since the last sync.
    pub fn torn(&self, rng: &mut u64) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mut lengths = vec![bytes.len()];
        let mut sectors: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        for change in &self.changes {
            let changed = change.sectors(bytes.len());
            for sector in changed.clone() {
                sectors.entry(sector).or_insert_with(|| vec![content(&bytes, sector)]);
            }
            change.apply(&mut bytes);
            lengths.push(bytes.len());
            for sector in changed {
                sectors.entry(sector).or_default().push(content(&bytes, sector));
            }
        }
        for (sector, states) in &sectors {
            let from = sector * SECTOR_BYTES;
            bytes.resize(bytes.len().max(from + SECTOR_BYTES), 0);
            let place = bytes.get_mut(from..from + SECTOR_BYTES);
            if let Some((place, state)) = place.zip(draw(states, rng)) {
                place.copy_from_slice(state);
            }
        }
        bytes.resize(draw(&lengths, rng).copied().unwrap_or(0), 0);
        bytes
    }
}

fn draw<'a, T>(of: &'a [T], rng: &mut u64) -> Option<&'a T> {
    let at = split_mix(rng) % (of.len() as u64).max(1);
    of.get(position(at))
}

/// One sector, zeros past the end of the file.
fn content(bytes: &[u8], sector: usize) -> Vec<u8> {
    let there = bytes.iter().skip(sector * SECTOR_BYTES).copied();
    there.chain(std::iter::repeat(0)).take(SECTOR_BYTES).collect()
}

/// Memory holds the files, so their offsets fit.
fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
