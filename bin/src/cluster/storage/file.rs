//! Small files of text that are replaced as a whole: the first line says what it is and of which
//! format, the last one has the checksum of all before it. Both keep their places in every later
//! format.

use std::io;
use std::sync::Arc;

use isogrid_engine::disk::Disk;

use super::StorageError;

/// More than any of them ever is; a longer one is not one of ours. Bytes.
const BYTES_MAX: u64 = 16 << 20;

/// One such file, there or not.
#[derive(Debug)]
pub(super) struct SmallFile {
    disk: Arc<dyn Disk>,
    name: &'static str,
    /// The first line.
    head: &'static str,
}

impl SmallFile {
    pub fn new(disk: &Arc<dyn Disk>, name: &'static str, head: &'static str) -> Self {
        SmallFile { disk: Arc::clone(disk), name, head }
    }

    /// The file as an operator finds it.
    pub fn place(&self) -> String {
        self.disk.place(self.name)
    }

    /// What stands between the first line and the last; `None` when there is no file.
    pub fn read(&self) -> Result<Option<String>, StorageError> {
        let Some(bytes) = self.bytes().map_err(self.failed("read it"))? else { return Ok(None) };
        // Bytes that are no text are not what was written, as the checksum says.
        let text = String::from_utf8_lossy(&bytes);
        let Some(checked) = checked(&text) else {
            return Err(self.damaged("its checksum is not that of its lines"));
        };
        let (head, body) = checked.split_once('\n').unwrap_or((checked, ""));
        if head == self.head {
            return Ok(Some(body.to_owned()));
        }
        let (place, found) = (self.place(), head.to_owned());
        Err(StorageError::Format { place, found, known: self.head })
    }

    fn bytes(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.disk.open(self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let len = file.len()?.min(BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Puts a new one in its place, of these lines; durable when this returns. After an error it
    /// is the old one or the new one.
    pub fn write(&self, body: &str) -> Result<(), StorageError> {
        let checked = format!("{}\n{body}", self.head);
        let sum = crc32c::crc32c(checked.as_bytes());
        let text = format!("{checked}crc32c {sum:08x}\n");
        self.replace(text.as_bytes()).map_err(self.failed("write it"))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = format!("{}.unfinished", self.name);
        remove(&*self.disk, &unfinished)?;
        let file = self.disk.create(&unfinished)?;
        file.write_at(0, bytes)?;
        file.sync_all()?;
        self.disk.rename(&unfinished, self.name)?;
        self.disk.sync_folder()
    }

    /// Removes it for good.
    pub fn remove(&self) -> Result<(), StorageError> {
        let removed = remove(&*self.disk, self.name).and_then(|()| self.disk.sync_folder());
        removed.map_err(self.failed("remove it"))
    }

    pub fn damaged(&self, found: &str) -> StorageError {
        StorageError::Damaged { place: self.place(), found: found.to_owned() }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> StorageError {
        let place = self.place();
        move |source| StorageError::Io { place, action, source }
    }
}

/// The lines ahead of the checksum, if it is theirs.
fn checked(text: &str) -> Option<&str> {
    let (checked, sum) = text.split_at(text.rfind("crc32c ")?);
    (sum == format!("crc32c {:08x}\n", crc32c::crc32c(checked.as_bytes()))).then_some(checked)
}

fn remove(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
