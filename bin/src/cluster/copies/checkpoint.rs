//! A file with what copies are: records as in the log, each with its length and checksum, between a
//! first one that says whose it is and where the log goes on, and an empty one at the end. It gets
//! its name when it is whole and durable, so there is one at most, and it is whole or damaged.
//!
//! Writes go on meanwhile: a copy is written down a chunk at a time, and the log from where the
//! checkpoint began has what its chunks may lack.

use std::io;
use std::sync::Arc;

use isogrid_engine::disk::{Disk, DiskFile};
use isogrid_engine::wal::{Log, Lsn};
use isogrid_grid::id::StorageId;
use isogrid_grid::membership::Now;

use super::{Caches, CopiesError, CopyDisk, record};

const NAME: &str = "checkpoint";
const UNFINISHED: &str = "checkpoint.unfinished";
const HEAD: &[u8] = b"isogrid copies 2";
/// Length and checksum.
const FRAME_BYTES: usize = 8;
/// The longest record, here and in the log, bytes.
pub(super) const RECORD_BYTES_MAX: u32 = 1 << 30;
/// What is gathered before it is written.
const BUFFER_BYTES: usize = 1 << 20;

/// A checkpoint that is being written.
pub(super) struct Writing {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    at: u64,
}

impl Writing {
    pub fn begin(disk: &Arc<dyn Disk>, id: StorageId, from: Lsn) -> io::Result<Writing> {
        match disk.remove(UNFINISHED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(UNFINISHED)?;
        let mut writing = Writing { disk: Arc::clone(disk), file, buffer: Vec::new(), at: 0 };
        writing.record(|out| {
            out.extend_from_slice(HEAD);
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&from.0.to_le_bytes());
        })?;
        Ok(writing)
    }

    pub fn record(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_BYTES]);
        encode(&mut self.buffer);
        let (_, frame) = self.buffer.split_at_mut(start);
        let Some((head, bytes)) = frame.split_first_chunk_mut::<FRAME_BYTES>() else {
            return Ok(());
        };
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        *head = frame_head(len, crc32c::crc32c(bytes));
        if self.buffer.len() >= BUFFER_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Puts it in the place of the one before, durably; its bytes.
    pub fn end(mut self) -> io::Result<u64> {
        self.record(|_| {})?;
        self.write()?;
        self.file.sync_all()?;
        self.disk.rename(UNFINISHED, NAME)?;
        self.disk.sync_folder()?;
        Ok(self.at)
    }
}

fn frame_head(len: u32, sum: u32) -> [u8; FRAME_BYTES] {
    (u64::from(sum) << 32 | u64::from(len)).to_le_bytes()
}

/// Reads the checkpoint: where the log goes on; `visit` gets its records.
pub(super) fn read(
    disk: &Arc<dyn Disk>,
    id: StorageId,
    mut visit: impl FnMut(&[u8]) -> Result<(), CopiesError>,
) -> Result<Lsn, CopiesError> {
    let (mut at, mut from) = (0, None);
    let unreadable = |source| failed(disk, "read the checkpoint", source);
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(disk, "it is missing"));
        }
        opened => opened.map_err(unreadable)?,
    };
    loop {
        let Some(bytes) = frame(&*file, &mut at).map_err(unreadable)? else {
            return Err(damaged(disk, "a record is cut off, or not as it was written"));
        };
        match (from, bytes.is_empty()) {
            (None, _) => {
                let of_other = || damaged(disk, "it is that of another disk");
                from = Some(head(&bytes, id).ok_or_else(of_other)?);
            }
            (Some(from), true) => return Ok(from),
            (Some(_), false) => visit(&bytes)?,
        }
    }
}

fn damaged(disk: &Arc<dyn Disk>, found: &str) -> CopiesError {
    CopiesError::Damaged { place: disk.place(NAME), found: found.to_owned() }
}

fn failed(disk: &Arc<dyn Disk>, action: &'static str, source: io::Error) -> CopiesError {
    CopiesError::Io { place: disk.place(NAME), action, source }
}

fn head(bytes: &[u8], id: StorageId) -> Option<Lsn> {
    let rest = bytes.strip_prefix(HEAD)?.strip_prefix(&id.0.to_be_bytes())?;
    rest.try_into().ok().map(|from| Lsn(u64::from_le_bytes(from)))
}

/// The next record's bytes, if they are whole.
fn frame(file: &dyn DiskFile, at: &mut u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; FRAME_BYTES];
    if file.read_at(*at, &mut head)? < FRAME_BYTES {
        return Ok(None);
    }
    let [a, b, c, d, sum @ ..] = head;
    let len = u32::from_le_bytes([a, b, c, d]);
    let end = *at + FRAME_BYTES as u64 + u64::from(len);
    if end > file.len()? {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = file.read_at(*at + FRAME_BYTES as u64, &mut bytes)?;
    *at = end;
    let is_whole = read == bytes.len() && crc32c::crc32c(&bytes) == u32::from_le_bytes(sum);
    Ok(is_whole.then_some(bytes))
}

/// Writes down what all copies are, and lets go of the log before that; the checkpoint's bytes.
/// `None`: a copy is being filled. What was removed from it meanwhile its chunks may have still, and
/// only the log from the beginning of its filling on tells.
pub(super) fn write(
    of: &CopyDisk,
    log: &Log,
    caches: &Caches,
    now: Now,
) -> Result<Option<u64>, CopiesError> {
    // Before looking at them: one that begins to be filled from here on says so in the log.
    let from = log.next();
    let copies = caches.iter().filter_map(|(group, copies)| Some((*group, copies.upgrade()?)));
    let copies: Vec<_> = copies.filter(|(_, copies)| copies.is_kept()).collect();
    if copies.iter().any(|(_, copies)| !copies.segments().all(|at| copies.is_whole(now, at))) {
        return Ok(None);
    }
    let failed = |source| failed(&of.disk, "write a checkpoint", source);
    let mut writing = Writing::begin(&of.disk, of.id, from).map_err(failed)?;
    for (group, copies) in &copies {
        for at in copies.segments() {
            let record = |kept| writing.record(|out| record::encode(*group, at, &kept, out));
            copies.write_down(now, at, record).map_err(failed)?;
        }
    }
    // The log must not end before the place where it goes on.
    log.wait_durable(from.previous())?;
    let bytes = writing.end().map_err(failed)?;
    log.truncate_below(from)?;
    Ok(Some(bytes))
}
