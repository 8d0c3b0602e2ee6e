//! What the kernel says about the process, under the names that every exporter uses.

use std::fs;

/// Clock ticks a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;
/// Bytes of a page where `/proc` counts in pages.
const PAGE_BYTES: u64 = 4096;

/// Figures of the process; 0 where the kernel does not say.
#[derive(Debug, Default)]
pub struct Process {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Address space, bytes.
    pub virtual_bytes: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub open_fds: u64,
    /// How many it may open.
    pub max_fds: u64,
}

impl Process {
    /// The figures now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut process = parse(&stat);
        process.open_fds = fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        process.max_fds = open_files(&limits);
        process
    }
}

/// The figures of `/proc/self/stat`.
#[expect(clippy::cast_precision_loss, reason = "2^52 ticks are a million years")]
fn parse(stat: &str) -> Process {
    // Behind the command in parentheses, which may hold blanks; the first field there is the third.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<u64> =
        rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    Process {
        cpu_seconds: (field(14) + field(15)) as f64 / TICKS,
        threads: field(20),
        virtual_bytes: field(23),
        resident_bytes: field(24) * PAGE_BYTES,
        ..Process::default()
    }
}

fn open_files(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next());
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_where_the_kernel_puts_them() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 97 0 0 0 150 50 0 0 20 0 3 0 100 9000 25 0";
        let process = parse(stat);
        assert!((process.cpu_seconds - 2.0).abs() < 1e-9);
        assert_eq!((process.threads, process.virtual_bytes), (3, 9000));
        assert_eq!(process.resident_bytes, 25 * 4096);
        assert_eq!(open_files("Max open files            1024         4096         files"), 1024);
        assert_eq!(parse("").threads, 0);
        let now = Process::now();
        assert!(now.resident_bytes > 1 << 20 && now.open_fds > 2 && now.max_fds > 2, "{now:?}");
    }
}
