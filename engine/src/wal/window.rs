//! Reading one log file through a window, so that no file is held in memory whole.

use std::io;

use super::Lsn;
use super::frame::{FRAME_BYTES, Head};
use crate::disk::DiskFile;

/// Bytes that are read at once, if no frame is longer.
const WINDOW_BYTES: usize = 1 << 20;

/// A file and the part of it that was read last.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    seed: u32,
    len: u64,
    from: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub fn new(file: &'a dyn DiskFile, seed: u32) -> io::Result<Self> {
        Ok(Window { file, seed, len: file.len()?, from: 0, bytes: Vec::new() })
    }

    /// The length of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// These bytes of the file; `None` when it ends before them.
    pub fn get(&mut self, at: u64, len: u64) -> io::Result<Option<&[u8]>> {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        if at < self.from || at + len > self.from + self.bytes.len() as u64 {
            self.read(at, len)?;
        }
        let skip = usize::try_from(at - self.from).unwrap_or(usize::MAX);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).and_then(|rest| rest.get(..len)))
    }

    fn read(&mut self, at: u64, len: u64) -> io::Result<()> {
        let wanted = len.max(WINDOW_BYTES as u64).min(self.len - at);
        self.bytes.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
        let read = self.file.read_at(at, &mut self.bytes)?;
        self.bytes.truncate(read);
        self.from = at;
        Ok(())
    }

    /// The frame at `at` with its bytes, if there is a whole one whose number is `floor` or above.
    pub fn frame(&mut self, at: u64, floor: Lsn) -> io::Result<Option<(Head, &[u8])>> {
        let head = self.get(at, FRAME_BYTES as u64)?.and_then(Head::parse);
        let Some(head) = head.filter(|head| head.lsn >= floor && head.durable < head.lsn) else {
            return Ok(None);
        };
        let seed = self.seed;
        let frame = self.get(at, head.frame_bytes())?;
        Ok(frame.filter(|frame| head.fits(seed, frame)).map(|frame| (head, frame)))
    }
}
