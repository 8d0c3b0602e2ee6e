//! What a log is made from.

use std::time::Duration;

use super::Lsn;

/// What a log is for. One folder holds one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalKind {
    /// Writes to tables.
    Data,
    /// Entries of a Raft log.
    Raft,
}

impl WalKind {
    /// The number in file headers; numbers are never given out anew.
    pub(crate) fn code(self) -> u32 {
        match self {
            WalKind::Data => 1,
            WalKind::Raft => 2,
        }
    }
}

/// The configuration of one log.
#[derive(Debug, Clone)]
pub struct WalConfig {
    /// Whose log it is: random, made once per data directory.
    pub storage_id: [u8; 16],
    /// What it is for.
    pub kind: WalKind,
    /// A new file is begun before one gets longer than this, unless a single write is. Bytes;
    /// default: 64 MiB.
    pub file_bytes: u64,
    /// The longest payload. Bytes; default: 64 MiB, at most 1 GiB.
    pub record_bytes_max: u32,
    /// The first record that the owner needs. Opening refuses a log that begins after it or that
    /// ends before the record ahead of it. [`Lsn::NONE`] (default): whatever is there.
    pub from: Lsn,
}

/// The longest payload that the format allows to write.
pub(crate) const RECORD_BYTES_LIMIT: u32 = 1 << 30;

impl WalConfig {
    /// A log with the usual sizes.
    #[must_use]
    pub fn new(storage_id: [u8; 16], kind: WalKind) -> Self {
        WalConfig {
            storage_id,
            kind,
            file_bytes: 64 << 20,
            record_bytes_max: 64 << 20,
            from: Lsn::NONE,
        }
    }

    pub(crate) fn payload_max(&self) -> usize {
        usize::try_from(self.record_bytes_max.min(RECORD_BYTES_LIMIT)).unwrap_or(usize::MAX)
    }
}

/// The configuration of a log with group commit.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The files.
    pub wal: WalConfig,
    /// What was written is synced so long after at the latest, though nobody waits for it.
    /// Default: 100 ms.
    pub sync_interval: Duration,
    /// Records that wait to be written: past this many bytes [`Log::make_room`] waits, past twice
    /// as many appending is refused. Default: 8 MiB.
    ///
    /// [`Log::make_room`]: super::Log::make_room
    pub buffer_bytes: usize,
}

impl LogConfig {
    /// The usual times and sizes.
    #[must_use]
    pub fn new(wal: WalConfig) -> Self {
        LogConfig { wal, sync_interval: Duration::from_millis(100), buffer_bytes: 8 << 20 }
    }
}
