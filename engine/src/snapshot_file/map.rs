//! A snapshot file mapped into memory: blocks are read where the kernel has them.
#![expect(unsafe_code, reason = "a mapping is bytes that another process could change")]

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Advice, Mmap};

use super::source::{Source, cut};

/// A file that is not changed any more.
///
/// When somebody else cuts it while it is mapped, reading what is gone ends this process with
/// `SIGBUS`; when he writes into it, checksums fail that fitted before, or an entry that was being
/// copied is torn. Who cannot exclude that reads the file by
/// [`SnapshotFile::open_on`](super::SnapshotFile::open_on), which copies.
#[derive(Debug)]
pub(super) struct Mapped(Mmap);

impl Mapped {
    pub fn open(path: &Path) -> io::Result<Mapped> {
        let file = File::open(path)?;
        // SAFETY: a snapshot file is written under another name, synced, and renamed into its
        // place; nothing of ours opens it for writing after that, and a newer one of the same name
        // is another file, which leaves this mapping as it is. What an outsider may do to it is
        // said above.
        let map = unsafe { Mmap::map(&file) }?;
        // Only a hint: a kernel that does not take it reads ahead less.
        let _ = map.advise(Advice::Sequential);
        Ok(Mapped(map))
    }
}

impl Source for Mapped {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, len: u64) -> io::Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(cut(&self.0, offset, len)))
    }
}
