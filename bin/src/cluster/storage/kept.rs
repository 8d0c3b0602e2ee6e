//! What is in the folder, for one thread: each call ends when it is on the disk.
//!
//! The order of steps is what makes a crash between any two of them harmless. Nobody is told
//! anything of a start before its number is durable. A process becomes a member with the identity
//! that says so, and that is written when its log has its first record: so a member without a log
//! has lost it, and the log of a process that is no member was never used. Being forgotten begins
//! with the identity for the same reason.

use std::path::Path;
use std::sync::Arc;

use isogrid_engine::disk::{Disk, FileDisk, FolderLock};
use isogrid_grid::founding::Founded;
use isogrid_grid::id::{Boot, NodeId, StorageId};
use isogrid_grid::metadata::Settings;
use isogrid_grid::raft::{Log, Save};

use super::identity::{Identity, IdentityFile};
use super::log::{self, RaftLog};
use super::promise::PromiseFile;
use super::{Opened, StorageError, new_storage};

const FOLDER: &str = "cluster";
const RAFT: &str = "raft";

/// The folder, and the one of the Raft log in it.
#[derive(Debug)]
pub(super) struct Folder {
    pub disk: Arc<dyn Disk>,
    pub raft: Arc<dyn Disk>,
    pub _lock: Option<FolderLock>,
}

impl Folder {
    /// The one in this data directory, made if it is not there, and for this process alone.
    pub fn open(data_dir: &Path) -> Result<Self, StorageError> {
        let path = data_dir.join(FOLDER);
        let disk = open(&path)?;
        let _lock = Some(FolderLock::acquire(&path)?);
        Ok(Folder { disk, raft: open(&path.join(RAFT))?, _lock })
    }
}

fn open(path: &Path) -> Result<Arc<dyn Disk>, StorageError> {
    let place = || path.display().to_string();
    match FileDisk::open(path) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(source) => Err(StorageError::Io { place: place(), action: "make the folder", source }),
    }
}

/// What is in it.
#[derive(Debug)]
pub(super) struct Kept {
    folder: Folder,
    identity_file: IdentityFile,
    promise_file: PromiseFile,
    identity: Identity,
    /// A member's.
    log: Option<RaftLog>,
}

impl Kept {
    /// Reads all there is, and counts this start.
    pub fn open(
        folder: Folder,
        data: Option<[u8; 16]>,
        cluster: &str,
    ) -> Result<(Self, Opened), StorageError> {
        let identity_file = IdentityFile::new(&folder.disk);
        let promise_file = PromiseFile::new(&folder.disk);
        let known = identity_file.read()?;
        // What a member had promised before it was one is of no use to anybody.
        let is_member = known.as_ref().is_some_and(|identity| identity.member.is_some());
        let promise = if is_member { None } else { promise_file.read()? };
        if known.is_none() && (promise.is_some() || log::is_there(&*folder.raft)?) {
            return Err(lost(
                identity_file.place(),
                "it is missing beside a promise or a Raft log",
            ));
        }
        let identity = known.unwrap_or_else(|| Identity::new(new_storage()));
        let mut kept = Kept { folder, identity_file, promise_file, identity, log: None };
        kept.check_cluster(promise.as_deref(), cluster)?;
        kept.check_data(data.map(u128::from_be_bytes))?;
        let log = kept.open_log()?;
        kept.count_start()?;
        let Identity { storage, boot, ref member, .. } = kept.identity;
        let opened = Opened { storage, boot, member: member.clone(), promise, log };
        Ok((kept, opened))
    }

    /// Refuses what belongs to another cluster, or has promised to.
    fn check_cluster(&self, promise: Option<&[u8]>, cluster: &str) -> Result<(), StorageError> {
        let promised = promise.and_then(Founded::decode).map(|founded| founded.settings.name);
        let (place, kept) = match (&self.identity.member, promised) {
            (Some((_, settings)), _) => (self.identity_file.place(), settings.name.clone()),
            (None, Some(name)) => (self.promise_file.place(), name),
            (None, None) => return Ok(()),
        };
        if kept == cluster {
            return Ok(());
        }
        Err(StorageError::OtherCluster { place, kept, configured: cluster.to_owned() })
    }

    /// Refuses an identity whose data were exchanged: its copies count as in-sync.
    fn check_data(&mut self, data: Option<u128>) -> Result<(), StorageError> {
        match (self.identity.data, data) {
            (Some(kept), Some(found)) if kept != found => Err(StorageError::OtherData {
                place: self.identity_file.place(),
                kept: format!("{kept:032x}"),
                found: format!("{found:032x}"),
            }),
            (kept, found) => {
                self.identity.data = kept.or(found);
                Ok(())
            }
        }
    }

    /// A member's log as it is on the disk; anybody else's is empty.
    fn open_log(&mut self) -> Result<Log, StorageError> {
        let raft = &self.folder.raft;
        let is_there = log::is_there(&**raft)?;
        if self.identity.member.is_none() {
            if is_there {
                log::clear(&**raft)?;
            }
            return Ok(Log::default());
        }
        if !is_there {
            return Err(lost(raft.place(""), "the Raft log of a member is missing"));
        }
        let (kept, log) = RaftLog::open(raft, self.identity.storage)?;
        let (known, next) = (self.identity.raft, kept.next());
        if next < known {
            let found = format!("the log ends before record {next}; it had got to {known}");
            return Err(lost(raft.place(""), &found));
        }
        self.log = Some(kept);
        Ok(log)
    }

    fn count_start(&mut self) -> Result<(), StorageError> {
        self.identity.boot = Boot(self.identity.boot.0.saturating_add(1));
        self.identity.raft = self.log.as_ref().map_or(0, RaftLog::next);
        self.identity_file.write(&self.identity)
    }

    /// Appends what is to be saved, in memory.
    pub fn append(&mut self, save: &Save) -> Result<(), StorageError> {
        self.log.as_mut().ok_or(NO_MEMBER)?.append(save)
    }

    /// Writes what was appended, and makes it durable if it has to be.
    pub fn settle(&mut self, must_sync: bool) -> Result<(), StorageError> {
        self.log.as_mut().map_or(Ok(()), |log| log.settle(must_sync))
    }

    /// Nothing is to be done for now.
    pub fn rest(&mut self) -> Result<(), StorageError> {
        self.log.as_mut().map_or(Ok(()), RaftLog::rest)
    }

    /// Promises this and nothing else.
    pub fn promise(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.promise_file.write(bytes)
    }

    /// Becomes a member, with a log of this first record.
    pub fn become_member(
        &mut self,
        member: (NodeId, Settings),
        first: Option<&Save>,
    ) -> Result<(), StorageError> {
        if self.identity.member.is_some() {
            return Err(StorageError::Misused("the process is a member already"));
        }
        let log = RaftLog::begin(&self.folder.raft, self.identity.storage, first)?;
        (self.identity.raft, self.identity.member) = (log.next(), Some(member));
        self.identity_file.write(&self.identity)?;
        self.log = Some(log);
        self.promise_file.write(&[])
    }

    /// Is nobody any more: the next start is that of a new storage.
    pub fn forget(&mut self) -> Result<(), StorageError> {
        let data = self.identity.data;
        self.identity = Identity { data, ..Identity::new(new_storage()) };
        // A promise would be taken for one of the new storage.
        self.promise_file.write(&[])?;
        self.identity_file.write(&self.identity)?;
        self.log = None;
        log::clear(&*self.folder.raft)
    }
}

const NO_MEMBER: StorageError = StorageError::Misused("only members have a Raft log");

fn lost(place: String, found: &str) -> StorageError {
    StorageError::Lost { place, found: found.to_owned() }
}

impl Opened {
    /// A process without a disk: there was nothing before it.
    pub(super) fn in_memory(storage: StorageId) -> Self {
        Opened { storage, boot: Boot(1), member: None, promise: None, log: Log::default() }
    }
}
