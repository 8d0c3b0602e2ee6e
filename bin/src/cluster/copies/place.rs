//! The folder of the copies: `copies-<id>` beside what the node knows of its cluster. The id is what
//! others know the copies by (R2), so what is not the same any more gets another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use isogrid_engine::disk::{Disk, FileDisk};
use isogrid_engine::wal::{self, Wal, WalConfig, WalKind};
use isogrid_grid::id::StorageId;

use super::checkpoint::{self, Writing};
use super::{CopiesError, record};

const NAME: &str = "copies-";

/// A folder of copies.
pub(in crate::cluster) struct Place {
    /// Which copies those are.
    pub id: StorageId,
    pub(super) disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Place {
    /// The copies that a member has here, if it has any.
    ///
    /// # Errors
    /// The folder cannot be read, or it cannot be told which of several they are.
    pub fn find(folder: &Path) -> Result<Option<Place>, CopiesError> {
        let failed = failed(folder, "read the folder");
        let mut found = names(folder).map_err(failed)?.into_iter();
        let Some(id) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            let found =
                "there are copies of several disks: leave those that belong here".to_owned();
            return Err(CopiesError::Damaged { place: folder.display().to_string(), found });
        }
        Place::at(folder, id).map(Some)
    }

    /// Begins one, durably: no copy is there.
    ///
    /// # Errors
    /// The disk's own.
    pub fn begin(folder: &Path, id: StorageId) -> Result<Place, CopiesError> {
        let place = Place::at(folder, id)?;
        let (mut wal, _) = Wal::open(Arc::clone(&place.disk), &config(id), &mut |_, _| Ok(()))?;
        wal.append(|out| out.extend_from_slice(record::BEGINS))?;
        wal.sync()?;
        Writing::begin(&place.disk, id, wal.next())
            .and_then(Writing::end)
            .map_err(failed(&place.path, "write the first checkpoint"))?;
        Ok(place)
    }

    /// Whether all of it is as it was written.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> Result<(), CopiesError> {
        let from = checkpoint::read(&self.disk, self.id, |_| Ok(()))?;
        let config = WalConfig { from, ..config(self.id) };
        wal::read(&*self.disk, &config, &mut |_, _| Ok(()))?;
        Ok(())
    }

    /// Puts it aside: it is not what others know by its id, or belongs to nobody.
    ///
    /// # Errors
    /// The disk's own.
    pub fn put_aside(self, now: u64) -> Result<PathBuf, CopiesError> {
        let aside = self.path.with_file_name(format!("quarantine-{now}-{NAME}{:032x}", self.id.0));
        let failed = failed(&self.path, "put the folder aside");
        let renamed = fs::rename(&self.path, &aside)
            .and_then(|()| fs::File::open(aside.parent().unwrap_or(&aside))?.sync_all());
        renamed.map_err(failed)?;
        Ok(aside)
    }

    fn at(folder: &Path, id: StorageId) -> Result<Place, CopiesError> {
        let path = folder.join(format!("{NAME}{:032x}", id.0));
        let disk = FileDisk::open(&path).map_err(failed(&path, "make the folder"))?;
        Ok(Place { id, disk: Arc::new(disk), path })
    }
}

/// Their log, whatever it begins with.
pub(super) fn config(id: StorageId) -> WalConfig {
    let config = WalConfig::new(id.0.to_be_bytes(), WalKind::Data);
    WalConfig { record_bytes_max: checkpoint::RECORD_BYTES_MAX, ..config }
}

fn names(folder: &Path) -> io::Result<Vec<StorageId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(NAME));
        let id = id.filter(|id| id.len() == 32).and_then(|id| u128::from_str_radix(id, 16).ok());
        found.extend(id.map(StorageId));
    }
    Ok(found)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> CopiesError {
    let place = path.display().to_string();
    move |source| CopiesError::Io { place, action, source }
}
