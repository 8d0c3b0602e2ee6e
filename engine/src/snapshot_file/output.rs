//! A snapshot file while it is written: under another name, in order, in bounded memory.

use std::io;
use std::sync::Arc;

use super::block::{BlockKind, Head};
use super::footer::{BlockInfo, CacheSection, Footer, encode_end};
use super::header::{self, SnapshotHeader};
use crate::disk::{Disk, DiskFile};

/// What the name of a file ends with until it is whole.
const UNFINISHED: &str = ".unfinished";
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of one write.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes written between two syncs: a single one at the end would hold up the syncs of logs on
/// the same disk for as long as it takes.
const SYNC_BYTES: u64 = 32 << 20;

/// The name of a file until it is whole.
pub(super) fn unfinished(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// Removes the files that writing them did not come to the end of. Nobody may be writing one in
/// this folder. Gives their number.
///
/// # Errors
/// The disk's own; some may be gone.
pub fn remove_unfinished(disk: &dyn Disk) -> io::Result<usize> {
    let mut names = disk.list()?;
    names.retain(|name| name.ends_with(UNFINISHED));
    for name in &names {
        disk.remove(name)?;
    }
    if !names.is_empty() {
        disk.sync_folder()?;
    }
    Ok(names.len())
}

pub(super) struct Output<'d> {
    disk: &'d dyn Disk,
    name: &'d str,
    file: Arc<dyn DiskFile>,
    header: [u8; header::HEADER_BYTES],
    seed: u32,
    buffer: Vec<u8>,
    /// Bytes that are in the file.
    written: u64,
    /// Those of them that are not synced.
    unsynced: u64,
    footer: Footer,
}

impl<'d> Output<'d> {
    pub fn create(
        disk: &'d dyn Disk,
        name: &'d str,
        header: &SnapshotHeader,
        caches: u32,
    ) -> io::Result<Output<'d>> {
        let unfinished = unfinished(name);
        if disk.list()?.contains(&unfinished) {
            disk.remove(&unfinished)?;
        }
        let file = disk.create(&unfinished)?;
        let header = header::encode(header, caches);
        let seed = header::seed(&header);
        let (buffer, footer) = (header.to_vec(), Footer::default());
        Ok(Output { disk, name, file, header, seed, buffer, written: 0, unsynced: 0, footer })
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Begins a cache.
    pub fn section(&mut self, mut section: CacheSection) -> io::Result<()> {
        let mut payload = Vec::new();
        section.encode(&mut payload);
        self.block(BlockKind::Section, self.cache(1), 0, &[&payload])?;
        let next = self.next_block();
        section.blocks = next..next;
        self.footer.caches.push(section);
        Ok(())
    }

    /// Adds a block of entries, given in pieces, to the cache that was begun last. `bytes` are
    /// those of their keys and values.
    pub fn entries(&mut self, entries: u32, bytes: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.block(BlockKind::Entries, self.cache(0), entries, pieces)?;
        let next = self.next_block();
        if let Some(cache) = self.footer.caches.last_mut() {
            cache.entries += u64::from(entries);
            cache.bytes += bytes;
            cache.blocks.end = next;
        }
        Ok(())
    }

    /// The number of the last cache, or of one after it.
    fn cache(&self, after: usize) -> u32 {
        u32::try_from((self.footer.caches.len() + after).saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn next_block(&self) -> u32 {
        u32::try_from(self.footer.blocks.len()).unwrap_or(u32::MAX)
    }

    fn block(
        &mut self,
        kind: BlockKind,
        cache: u32,
        entries: u32,
        pieces: &[&[u8]],
    ) -> io::Result<()> {
        let number = self.next_block();
        if number == u32::MAX {
            return Err(io::Error::other("more than 2^32 - 1 blocks"));
        }
        let crc = pieces.iter().fold(self.seed, |crc, piece| crc32c::crc32c_append(crc, piece));
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let offset = self.bytes();
        let head = Head { kind, number, cache, entries, len, crc };
        self.append(&head.encode(self.seed))?;
        pieces.iter().try_for_each(|piece| self.append(piece))?;
        self.footer.blocks.push(BlockInfo { kind, cache, entries, offset, len });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() > BUFFER_BYTES {
            return bytes.chunks(WRITE_BYTES).try_for_each(|chunk| self.write(chunk));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.written, bytes)?;
        self.written += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Writes what the file ends with and gives it its name: it is whole and durable when this
    /// returns. Gives what is in it.
    pub fn finish(mut self) -> io::Result<(u64, Footer)> {
        let (offset, payload) = (self.bytes(), self.footer.encode());
        self.block(BlockKind::Footer, 0, 0, &[&payload])?;
        self.footer.blocks.pop();
        let header = self.header;
        self.append(&header)?;
        let bytes = self.bytes() + super::footer::END_BYTES as u64;
        self.append(&encode_end(offset, bytes, self.seed))?;
        self.flush()?;
        self.file.sync_all()?;
        // The unfinished name first: else a power cut could leave the new name to what had the
        // unfinished one before.
        self.disk.sync_folder()?;
        self.disk.rename(&unfinished(self.name), self.name)?;
        self.disk.sync_folder()?;
        Ok((bytes, self.footer))
    }
}
