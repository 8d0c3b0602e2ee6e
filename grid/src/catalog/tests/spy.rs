//! A disk that keeps an image of itself from before everything that is done to it.

use std::io;
use std::sync::Arc;

use isogrid_engine::disk::{Disk, DiskFile, MemoryDisk};
use parking_lot::Mutex;

/// Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Spy {
    disk: MemoryDisk,
    images: Arc<Mutex<Vec<MemoryDisk>>>,
}

#[derive(Debug)]
struct SpiedFile {
    file: Arc<dyn DiskFile>,
    spy: Spy,
}

impl Spy {
    pub fn on(disk: &MemoryDisk) -> Self {
        Spy { disk: disk.clone(), images: Arc::default() }
    }

    pub fn forget(&self) {
        self.images.lock().clear();
    }

    /// What a kill and what a power cut would have left, before each call and now.
    pub fn images(&self) -> Vec<MemoryDisk> {
        self.note();
        std::mem::take(&mut *self.images.lock())
    }

    fn note(&self) {
        let mut images = self.images.lock();
        let seed = images.len() as u64;
        images.push(self.disk.crash(seed));
        images.push(self.disk.copy());
    }

    fn spied(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SpiedFile { file, spy: self.clone() })
    }
}

impl Disk for Spy {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.note();
        self.disk.create(name).map(|file| self.spied(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.spied(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.note();
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.note();
        self.disk.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.note();
        self.disk.sync_folder()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn place(&self, name: &str) -> String {
        self.disk.place(name)
    }
}

impl DiskFile for SpiedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.spy.note();
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.spy.note();
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.spy.note();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.spy.note();
        self.file.sync_all()
    }
}
