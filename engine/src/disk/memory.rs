//! A disk in memory that keeps no promise a real one does not keep.

mod image;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use image::Image;
use parking_lot::Mutex;

use super::{Disk, DiskFile};
use crate::env::split_mix;

/// What the n-th call on a [`MemoryDisk`] does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room (ENOSPC). A write puts down half of its bytes first.
    Space,
    /// An input/output error (EIO). A sync that fails has lost what it should have synced: it is
    /// still read, and the next sync says nothing.
    Io,
    /// A write puts down half of its bytes, then an input/output error.
    Short,
}

/// What is about to be done to a file of a [`MemoryDisk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync_data`].
    SyncData,
    /// [`DiskFile::sync_all`].
    SyncAll,
}

/// Who is told ahead of each access.
#[derive(Clone)]
struct Watch(Arc<dyn Fn(Access) + Send + Sync>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Space => ErrorKind::StorageFull.into(),
            Fault::Io | Fault::Short => io::Error::other("injected input/output error"),
        }
    }
}

/// A folder in memory: an honest twin of [`FileDisk`](super::FileDisk).
///
/// Clones are the same disk. It keeps what was written apart from what was synced, for each file
/// and for the folder's names, so that [`MemoryDisk::crash`] can lose what a power cut may lose.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Image>,
    next_file: u64,
    /// Names as they are read.
    names: BTreeMap<String, u64>,
    /// Names that a power cut leaves.
    synced_names: BTreeMap<String, u64>,
    /// What was done to names since the folder was synced.
    changes: Vec<Change>,
    capacity: Option<u64>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    watch: Option<Watch>,
}

#[derive(Debug, Clone)]
enum Change {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Create(name, file) => {
                names.insert(name.clone(), *file);
            }
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl MemoryDisk {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a power cut now could leave, on a disk of its own: any of the states of each sector
    /// (512 bytes) since the last sync, any length since then, any of the changes to names.
    #[must_use]
    pub fn crash(&self, seed: u64) -> MemoryDisk {
        let mut rng = seed;
        let state = self.0.lock();
        let mut names = state.synced_names.clone();
        // One in four cuts loses nothing, one in four everything that can be lost.
        let mode = split_mix(&mut rng) % 4;
        for change in &state.changes {
            if mode == 0 || mode != 1 && split_mix(&mut rng).is_multiple_of(2) {
                change.apply(&mut names);
            }
        }
        let kept = |image: &Image, rng: &mut u64| match mode {
            0 => image.last(),
            1 => image.synced(),
            _ => image.torn(rng),
        };
        let all = state.files.iter().map(|(id, image)| (*id, Image::of(kept(image, &mut rng))));
        let files = all.filter(|(id, _)| names.values().any(|named| named == id)).collect();
        let (synced_names, next_file) = (names.clone(), state.next_file);
        let after = State { files, names, synced_names, next_file, ..State::default() };
        MemoryDisk(Arc::new(Mutex::new(after)))
    }

    /// The same bytes on a disk of its own, without faults: what another process would find.
    #[must_use]
    pub fn copy(&self) -> MemoryDisk {
        let state = self.0.lock();
        let copy = State {
            files: state.files.clone(),
            next_file: state.next_file,
            names: state.names.clone(),
            synced_names: state.synced_names.clone(),
            changes: state.changes.clone(),
            ..State::default()
        };
        MemoryDisk(Arc::new(Mutex::new(copy)))
    }

    /// The call with this number (see [`MemoryDisk::calls`]) fails.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.0.lock().fault = Some((call, fault));
    }

    /// `act` is called ahead of each access to a file, on the thread that makes it, which waits as
    /// long as it takes; it may use the disk itself.
    pub fn watch(&self, act: impl Fn(Access) + Send + Sync + 'static) {
        self.0.lock().watch = Some(Watch(Arc::new(act)));
    }

    /// Nobody watches any more.
    pub fn unwatch(&self) {
        self.0.lock().watch = None;
    }

    fn announce(&self, access: Access) {
        let watch = self.0.lock().watch.clone();
        watch.into_iter().for_each(|Watch(act)| act(access));
    }

    /// Calls so far: each one of [`Disk`] and [`DiskFile`] counts.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Files may have so many bytes together; `None` = as many as they like.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Turns one bit of a file over, on the medium too. `false` when the file is not so long.
    #[must_use]
    pub fn flip(&self, name: &str, bit: u64) -> bool {
        let mut state = self.0.lock();
        let file = state.names.get(name).copied();
        file.and_then(|id| state.files.get_mut(&id)).is_some_and(|image| image.flip(bit))
    }
}

impl State {
    /// Counts a call and says what it should do instead.
    fn call(&mut self) -> Option<Fault> {
        self.calls += 1;
        self.fault.filter(|(call, _)| *call == self.calls).map(|(_, fault)| fault)
    }

    fn check(&mut self) -> io::Result<()> {
        self.call().map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn image(&mut self, id: u64) -> io::Result<&mut Image> {
        self.files.get_mut(&id).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        let named = self.names.values().filter_map(|id| self.files.get(id));
        named.map(|image| image.bytes().len() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// Writes as much of `bytes` as there is room for, or as the fault lets through.
    fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fault = self.call();
        let free = self.free();
        let image = self.image(id)?;
        let room = (image.bytes().len() as u64).saturating_add(free).saturating_sub(offset);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (len, error) = match fault {
            Some(Fault::Io) => (0, Some(Fault::Io.error())),
            Some(fault) => (bytes.len() / 2, Some(fault.error())),
            None if room < bytes.len() => (room, Some(Fault::Space.error())),
            None => (bytes.len(), None),
        };
        image.write(offset, bytes.get(..len.min(room)).unwrap_or(bytes));
        error.map_or(Ok(()), Err)
    }

    fn sync(&mut self, id: u64) -> io::Result<()> {
        let fault = self.call();
        let image = self.image(id)?;
        match fault {
            Some(fault) => {
                image.lose();
                Err(fault.error())
            }
            None => {
                image.sync();
                Ok(())
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.check()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.check()?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Image::default());
        state.change(Change::Create(name.to_owned(), id));
        Ok(Arc::new(MemoryFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.check()?;
        let id = state.id(name)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.check()?;
        state.id(from)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.check()?;
        state.id(name)?;
        state.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.check()?;
        let changes = std::mem::take(&mut state.changes);
        changes.iter().for_each(|change| change.apply(&mut state.synced_names));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut state = self.0.lock();
        state.check()?;
        Ok(state.free())
    }

    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    id: u64,
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.check()?;
        Ok(state.image(self.id)?.bytes().len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.disk.announce(Access::Read);
        let mut state = self.disk.0.lock();
        state.check()?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = state.image(self.id)?.bytes().get(from..).unwrap_or(&[]);
        let len = there.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(there) {
            *to = *from;
        }
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.announce(Access::Write);
        self.disk.0.lock().write(self.id, offset, bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.check()?;
        state.image(self.id)?.set_len(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.announce(Access::SyncData);
        self.disk.0.lock().sync(self.id)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.announce(Access::SyncAll);
        self.disk.0.lock().sync(self.id)
    }
}
