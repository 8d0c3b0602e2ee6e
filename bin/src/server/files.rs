//! The files that tell others about the process: memcached's pid file (`-P`) and its file of
//! ports (`MEMCACHED_PORT_FILENAME`). Both appear whole, under a name of their own first, and
//! only when the server listens. As in memcached, trouble with them is said and survived.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use super::listener::Listener;

/// The file that holds the process id; gone when the server stops.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the id of this process over whatever was there.
    pub fn write(path: &Path) -> Self {
        if let Some(pid) = read_pid(path).filter(|pid| is_running(*pid)) {
            tracing::warn!(
                event = "pid_file_taken",
                path = %path.display(),
                pid,
                "the pid file named a process that is running; it is written over"
            );
        }
        put(path, "tmp", &format!("{}\n", std::process::id()));
        Self(path.to_owned())
    }
}

impl Drop for PidFile {
    /// Leaves it alone when another server has written its own id meanwhile.
    fn drop(&mut self) {
        if read_pid(&self.0) == Some(std::process::id()) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Writes a line for each TCP port; no file when there is none. It stays, as memcached's does.
pub fn write_ports(path: &Path, listeners: &[Listener]) {
    let mut lines = String::new();
    for listener in listeners {
        let family = if listener.address.starts_with('[') { "INET6" } else { "INET" };
        if let Some(port) = listener.port {
            let _ = writeln!(lines, "TCP {family}: {port}");
        }
    }
    if !lines.is_empty() {
        put(path, "lck", &lines);
    }
}

/// Puts `text` in the place of a file in one step: who reads it sees the old or the new text.
fn put(path: &Path, suffix: &str, text: &str) {
    if let Err(error) = replace(path, suffix, text) {
        tracing::warn!(
            event = "file_not_written",
            path = %path.display(),
            %error,
            "cannot write the file; serving without it"
        );
    }
}

fn replace(path: &Path, suffix: &str, text: &str) -> io::Result<()> {
    let mut temporary = OsString::from(path);
    temporary.push(".");
    temporary.push(suffix);
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_running(pid: u32) -> bool {
    pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("isogrid-{name}-{}", std::process::id()))
    }

    #[test]
    fn the_pid_file_lives_as_long_as_its_owner() {
        let path = path("pid");
        std::fs::write(&path, "1\n").unwrap();
        let file = PidFile::write(&path);
        assert_eq!(read_pid(&path), Some(std::process::id()));
        assert!(!Path::new(&format!("{}.tmp", path.display())).exists());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn the_pid_file_of_a_successor_stays() {
        let path = path("successor");
        let file = PidFile::write(&path);
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(read_pid(&path), Some(1));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = path("folder");
        std::fs::create_dir_all(folder.join("full")).unwrap();
        assert!(replace(&folder, "tmp", "x").is_err());
        assert!(!Path::new(&format!("{}.tmp", folder.display())).exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
