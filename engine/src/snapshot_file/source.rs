//! Where the bytes of a snapshot file come from.

use std::borrow::Cow;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;

/// Bytes that do not change while they are read, from as many threads as like.
pub trait Source: Send + Sync + Debug {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes from `offset` on; fewer only where the file ends.
    ///
    /// # Errors
    /// The disk's own.
    fn read(&self, offset: u64, len: u64) -> io::Result<Cow<'_, [u8]>>;
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read(&self, offset: u64, len: u64) -> io::Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(cut(self, offset, len)))
    }
}

/// The bytes from `offset` on, as far as there are so many.
pub(super) fn cut(bytes: &[u8], offset: u64, len: u64) -> &[u8] {
    let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(position(offset)..position(offset.saturating_add(len))).unwrap_or_default()
}

/// A file that is read by calls: each read is a copy.
#[derive(Debug)]
pub(super) struct DiskSource {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl DiskSource {
    pub fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(DiskSource { file, len })
    }
}

impl Source for DiskSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: u64) -> io::Result<Cow<'_, [u8]>> {
        // A length that came from a damaged place asks for no more memory than the file has bytes.
        let len = len.min(self.len.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = self.file.read_at(offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(Cow::Owned(bytes))
    }
}
