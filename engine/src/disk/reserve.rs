//! Room that is kept for the moment when there is none.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Disk;

const NAME: &str = "reserve";
const CHUNK_BYTES: usize = 1 << 20;

/// A file that does nothing but hold space (R60): a disk that is full has this much left for the
/// last checkpoint, which then lets go of old log files.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    bytes: u64,
    held: Mutex<bool>,
}

impl Reserve {
    /// Usual size: 16 MiB.
    pub const BYTES: u64 = 16 << 20;

    /// A reserve of `bytes` on `disk`, filled if there is room; 0 = none. A disk that is full
    /// already is no error: see [`Reserve::is_held`].
    ///
    /// # Errors
    /// The disk's own, out of space excepted.
    pub fn open(disk: Arc<dyn Disk>, bytes: u64) -> io::Result<Self> {
        let reserve = Reserve { disk, bytes, held: Mutex::new(false) };
        reserve.refill()?;
        Ok(reserve)
    }

    /// Whether all of it is there to be released.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.held.lock()
    }

    /// Gives the space back to the disk.
    ///
    /// # Errors
    /// The disk's own; the space is still held.
    pub fn release(&self) -> io::Result<()> {
        let mut held = self.held.lock();
        if *held {
            self.disk.remove(NAME)?;
            *held = false;
        }
        Ok(())
    }

    /// Takes the space again; says whether there was enough. To be called when there is clearly
    /// more than the reserve free.
    ///
    /// # Errors
    /// The disk's own, out of space excepted.
    pub fn refill(&self) -> io::Result<bool> {
        let mut held = self.held.lock();
        if !*held {
            *held = match self.fill() {
                Ok(()) => true,
                Err(error) if super::is_out_of_space(&error) => {
                    let _ = self.disk.remove(NAME);
                    false
                }
                Err(error) => return Err(error),
            };
        }
        Ok(*held)
    }

    fn fill(&self) -> io::Result<()> {
        let there = self.disk.list()?.iter().any(|name| name == NAME);
        if self.bytes == 0 {
            return if there { self.disk.remove(NAME) } else { Ok(()) };
        }
        let file = if there { self.disk.open(NAME)? } else { self.disk.create(NAME)? };
        file.set_len(file.len()?.min(self.bytes))?;
        // Written, not only lengthened: a hole holds no space.
        let chunk = vec![0xa5; CHUNK_BYTES];
        let mut at = file.len()?;
        while at < self.bytes {
            let len = (self.bytes - at).min(CHUNK_BYTES as u64);
            let part = usize::try_from(len).ok().and_then(|len| chunk.get(..len));
            file.write_at(at, part.unwrap_or(&chunk))?;
            at += len;
        }
        file.sync_all()
    }
}
