//! What the machine says of itself, in the files of `/proc` and `/sys`.

use std::fs;
use std::path::{Path, PathBuf};

/// A machine, by the root of its file system.
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        Self::at("/")
    }

    /// One whose files are below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A small file, without white space at its ends; `None` where it cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// A line of `/proc/meminfo` in bytes.
    pub fn meminfo(&self, name: &str) -> Option<u64> {
        let text = self.read("proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }

    /// The memory that this process may have: the machine's, or less where its control group or
    /// one above it says so.
    pub fn memory(&self) -> Option<u64> {
        let whole = self.meminfo("MemTotal")?;
        let group = self.control_group();
        let above = Path::new(&group).ancestors();
        let limits = above.filter_map(|group| {
            let file = Path::new("sys/fs/cgroup").join(group).join("memory.max");
            self.read(file.to_str()?)?.parse().ok()
        });
        let first_version = self.read("sys/fs/cgroup/memory/memory.limit_in_bytes");
        let first_version = first_version.and_then(|text| text.parse().ok());
        limits.chain(first_version).chain([whole]).min()
    }

    /// The path of this process's control group (version 2), without the first slash.
    fn control_group(&self) -> String {
        let text = self.read("proc/self/cgroup").unwrap_or_default();
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        path.unwrap_or_default().to_owned()
    }

    /// The word in brackets of a file that lists choices, such as `always [madvise] never`.
    pub fn chosen(&self, path: &str) -> Option<String> {
        let text = self.read(path)?;
        let (_, behind) = text.split_once('[')?;
        Some(behind.split_once(']')?.0.to_owned())
    }
}
