//! What the kernel tells about a process. Linux only.

use std::io::ErrorKind;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Result;

/// Nanoseconds of CPU that the threads of a process have used that run now.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        total += task_cpu_ns(task?.path().join("schedstat"))?;
    }
    Ok(total)
}

/// The first field of `schedstat` is the time on a CPU; utime and stime count in ticks of 10 ms.
/// A thread that ended after it was listed counts like one that ended before: not at all.
fn task_cpu_ns(schedstat: PathBuf) -> Result<u64> {
    let text = match std::fs::read_to_string(&schedstat) {
        Err(error) if has_ended(&error) => return Ok(0),
        text => text?,
    };
    let field = text.split_whitespace().next().unwrap_or_default();
    field.parse().map_err(|_| format!("{} says {text:?}", schedstat.display()).into())
}

/// No such file when it is opened, no such process when it is read.
fn has_ended(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Bytes of a process that are in memory.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let text = status_line(&pid.to_string(), "VmRSS:")?;
    let kib: u64 = text.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// The cores that this process may use.
pub fn allowed_cores() -> Result<Vec<usize>> {
    let list = status_line("self", "Cpus_allowed_list:")?;
    let mut cores = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(cores)
}

/// How many tasks of the whole machine wanted to run in the last minute, on average.
pub fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

fn status_line(pid: &str, label: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    Ok(line.ok_or_else(|| format!("/proc/{pid}/status has no {label}"))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once, a thread of another test ended between the listing and the reading: the measurement
    /// failed.
    #[test]
    fn threads_that_end_meanwhile_do_not_matter() {
        let pid = std::process::id();
        let come_and_go =
            || (0..2_000).for_each(|_| std::thread::spawn(|| ()).join().expect("join"));
        let others = std::thread::spawn(come_and_go);
        while !others.is_finished() {
            cpu_ns(pid).expect("time of this process");
        }
    }

    #[test]
    fn this_process_is_known() {
        let pid = std::process::id();
        assert!(rss_bytes(pid).expect("rss") > 100_000);
        assert!(cpu_ns(pid).is_ok());
        assert!(cpu_ns(u32::MAX).is_err(), "no such process");
        assert!(load_average().expect("load") >= 0.0);
        assert!(!allowed_cores().expect("cores").is_empty());
    }
}
