//! The file `promise`: the founding that a process has accepted. It accepts one in its life, so
//! one that was promised must not be forgotten.

use std::sync::Arc;

use isogrid_engine::disk::Disk;
use isogrid_grid::founding::Founded;

use super::StorageError;
use super::file::SmallFile;

const NAME: &str = "promise";
const HEAD: &str = "cluster promise 1";

/// The file in its folder.
#[derive(Debug)]
pub(super) struct PromiseFile(SmallFile);

impl PromiseFile {
    pub fn new(disk: &Arc<dyn Disk>) -> Self {
        PromiseFile(SmallFile::new(disk, NAME, HEAD))
    }

    pub fn place(&self) -> String {
        self.0.place()
    }

    /// What was promised; `None` when nothing was, or it was withdrawn.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(body) = self.0.read()? else { return Ok(None) };
        let bytes = parse(&body).filter(|bytes| Founded::decode(bytes).is_some());
        bytes.map(Some).ok_or_else(|| self.0.damaged("it is no founding"))
    }

    /// Puts this in place of what was promised before; nothing takes the file away.
    pub fn write(&self, bytes: &[u8]) -> Result<(), StorageError> {
        if bytes.is_empty() {
            return self.0.remove();
        }
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.write(&format!("founding {digits}\n"))
    }
}

fn parse(body: &str) -> Option<Vec<u8>> {
    let digits = body.strip_prefix("founding ")?.strip_suffix('\n')?.as_bytes();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
