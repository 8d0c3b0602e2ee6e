//! One log on a disk in memory, and what it has promised so far.

use std::collections::BTreeMap;

use isogrid_engine::disk::{Disk, Fault, MemoryDisk};
use isogrid_engine::wal::{Lsn, Wal, WalError, WalErrorKind};

use super::open;

#[derive(Debug, Clone)]
pub enum Op {
    /// Appends a record of so many bytes.
    Append(usize),
    Write,
    Sync,
    Roll,
    /// Removes files below the record that is so far (in 1/256) from the first to the last.
    Truncate(u8),
    /// The process is killed and started again.
    Kill,
    /// The power goes, with this seed.
    Crash(u64),
    Close,
    /// The call that is so many away fails.
    Fail(u64, Fault),
    /// Only so many more bytes fit on the disk.
    Fill(u64),
    Room,
}

/// A log and its promises.
pub struct Promise {
    disk: MemoryDisk,
    wal: Option<Wal>,
    /// What may be in the log: everything appended and not refused.
    records: BTreeMap<u64, Vec<u8>>,
    /// Survives the end of the process.
    written: u64,
    /// Survives the power.
    durable: u64,
    /// Files may be gone up to here.
    truncated: u64,
    appended: u64,
}

impl Promise {
    pub fn new(disk: MemoryDisk) -> Self {
        let mut new = Promise {
            disk,
            wal: None,
            records: BTreeMap::new(),
            written: 0,
            durable: 0,
            truncated: 0,
            appended: 0,
        };
        new.reopen();
        new
    }

    pub fn calls(&self) -> u64 {
        self.disk.calls()
    }

    pub fn play(&mut self, op: &Op) {
        match op {
            Op::Append(len) => self.append(*len),
            Op::Write => self.step(Wal::write),
            Op::Sync => self.sync(Wal::sync),
            Op::Roll => self.sync(|wal| wal.roll().map(|()| wal.durable())),
            Op::Truncate(share) => self.truncate(*share),
            Op::Kill => self.reopen(),
            Op::Crash(seed) => self.crash(*seed),
            Op::Close => self.close(),
            Op::Fail(away, fault) => self.disk.fail_at(self.disk.calls() + 1 + away, *fault),
            Op::Fill(bytes) => self.fill(*bytes),
            Op::Room => self.disk.set_capacity(None),
        }
    }

    fn append(&mut self, len: usize) {
        let wal = self.wal.as_mut().unwrap();
        self.appended += 1;
        let payload: Vec<u8> = self.appended.to_le_bytes().into_iter().cycle().take(len).collect();
        let lsn = wal.append(|buffer| buffer.extend(&payload)).unwrap();
        assert!(self.records.last_key_value().is_none_or(|(last, _)| *last < lsn.0));
        self.records.insert(lsn.0, payload);
    }

    /// Does something that ends with all records in the files, or with those refused that were
    /// not.
    fn step(&mut self, act: impl Fn(&mut Wal) -> Result<Lsn, WalError>) {
        let wal = self.wal.as_mut().unwrap();
        let result = act(wal);
        self.written = wal.written().0;
        self.durable = wal.durable().0;
        match result {
            Ok(_) => {
                let last = self.records.keys().next_back();
                assert!(last.is_none_or(|last| *last <= self.written), "written, but not all");
            }
            Err(error) if error.kind() == WalErrorKind::OutOfSpace => {
                let _refused = self.records.split_off(&(self.written + 1));
            }
            Err(error) => {
                assert_eq!(error.kind(), WalErrorKind::Failed, "{error}");
                let wal = self.wal.as_mut().unwrap();
                assert!(wal.append(|_| ()).is_err() && wal.write().is_err(), "it goes on");
                assert!(wal.sync().is_err(), "a failed log syncs");
                self.reopen();
            }
        }
    }

    fn sync(&mut self, act: impl Fn(&mut Wal) -> Result<Lsn, WalError>) {
        self.step(|wal| {
            let durable = act(wal)?;
            assert_eq!(durable, wal.written(), "synced, but not all is durable");
            Ok(durable)
        });
    }

    fn truncate(&mut self, share: u8) {
        let wal = self.wal.as_mut().unwrap();
        let (first, last) = (wal.first().0, wal.written().0 + 1);
        let lsn = first + (last - first) * u64::from(share) / 256;
        self.truncated = self.truncated.max(lsn);
        if let Err(error) = wal.truncate_below(Lsn(lsn)) {
            assert_eq!(error.kind(), WalErrorKind::Later, "{error}");
        }
    }

    fn crash(&mut self, seed: u64) {
        self.wal = None;
        self.disk = self.disk.crash(seed);
        self.written = self.durable;
        self.reopen();
    }

    fn close(&mut self) {
        self.sync(Wal::sync);
        let _ = self.wal.take().map(Wal::close);
        self.reopen();
    }

    fn fill(&mut self, bytes: u64) {
        self.disk.set_capacity(None);
        let names = self.disk.list().unwrap_or_default();
        let files = names.iter().filter_map(|name| self.disk.open(name).ok());
        let used: u64 = files.filter_map(|file| file.len().ok()).sum();
        self.disk.set_capacity(Some(used + bytes));
    }

    /// Opens the log anew and compares.
    pub fn reopen(&mut self) {
        self.wal = None;
        // A fault may hit the opening itself; the next try must do.
        let opened = open(&self.disk).or_else(|error| {
            assert_ne!(error.kind(), WalErrorKind::Damaged, "{error}");
            self.disk.set_capacity(None);
            open(&self.disk)
        });
        let opened = opened.unwrap();
        let (first, next) = (opened.recovery.first.0, opened.recovery.next.0);
        assert!(first <= self.truncated.max(1), "begins with {first}: too much was removed");
        assert!(next > self.written, "{next} comes next, {} were written", self.written);
        let promised: Vec<_> = self.records.range(first..next).collect();
        let found: Vec<_> = opened.records.iter().map(|(lsn, payload)| (lsn, payload)).collect();
        assert_eq!(found, promised, "the log is not what was appended");
        let _lost = self.records.split_off(&next);
        (self.written, self.durable) = (next - 1, next - 1);
        self.wal = Some(opened.wal);
    }
}
