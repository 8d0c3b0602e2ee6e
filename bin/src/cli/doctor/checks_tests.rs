//! The checks against machines that a test makes up.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A machine of files in a folder of its own.
struct Made(PathBuf);

impl Made {
    fn new(name: &str, files: &[(&str, &str)]) -> Made {
        let root =
            std::env::temp_dir().join(format!("isogrid-doctor-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Made(root)
    }

    fn machine(&self) -> Machine {
        Machine::at(&self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MEMINFO: (&str, &str) =
    ("proc/meminfo", "MemTotal:  1048576 kB\nMemAvailable:  921600 kB\nSwapTotal: 0 kB\n");

fn config_with(memory: u64) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.caches[0].limits.max_bytes = memory;
    config
}

#[test]
fn memory_is_that_of_the_machine_or_of_the_control_group() {
    let group = ("proc/self/cgroup", "0::/system.slice/isogrid.service\n");
    let limit = ("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
    let free = ("sys/fs/cgroup/system.slice/isogrid.service/memory.max", "max\n");
    let old = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
    for (name, files, mib, state) in [
        ("small", vec![MEMINFO], 256, State::Ok),
        ("most", vec![MEMINFO], 850, State::Warn),
        ("more", vec![MEMINFO], 1100, State::Fail),
        ("group", vec![MEMINFO, group, limit, free], 400, State::Ok),
        ("group-most", vec![MEMINFO, group, limit, free], 450, State::Warn),
        ("group-more", vec![MEMINFO, group, limit, free], 600, State::Fail),
        ("group-1", vec![MEMINFO, old], 300, State::Fail),
        ("nothing", vec![], 256, State::Skip),
    ] {
        let made = Made::new(name, &files);
        let finding = memory(&made.machine(), &config_with(mib << 20));
        assert_eq!(finding.state, state, "{name}: {finding:?}");
        assert_eq!(finding.help.is_empty(), state <= State::Ok, "{name}: {finding:?}");
    }
}

#[test]
fn the_kernel_is_read_as_it_writes() {
    let swap_on = ("proc/meminfo", "SwapTotal: 2048 kB\n");
    let calm = ("proc/sys/vm/swappiness", "1\n");
    let queue = ("proc/sys/net/core/somaxconn", "128\n");
    let pages = "sys/kernel/mm/transparent_hugepage/enabled";
    let source = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], fn(&Machine) -> Finding, State);
    let cases: [Case; 12] = [
        ("pages-always", &[(pages, "[always] madvise never\n")], huge_pages, State::Warn),
        ("pages-madvise", &[(pages, "always [madvise] never\n")], huge_pages, State::Ok),
        ("pages-none", &[], huge_pages, State::Skip),
        ("swap-off", &[MEMINFO], swap, State::Ok),
        ("swap-on", &[swap_on], swap, State::Warn),
        ("swap-calm", &[swap_on, calm], swap, State::Ok),
        ("clock-tsc", &[(source, "tsc\n")], clock, State::Ok),
        ("clock-hyperv", &[(source, "hyperv_clocksource_tsc_page\n")], clock, State::Ok),
        ("clock-hpet", &[(source, "hpet\n")], clock, State::Warn),
        ("clock-none", &[], clock, State::Skip),
        ("queue-short", &[queue], |machine| accept_queue(machine, 1024), State::Warn),
        ("queue-long", &[queue], |machine| accept_queue(machine, 128), State::Ok),
    ];
    for (name, files, check, state) in cases {
        let made = Made::new(name, files);
        let finding = check(&made.machine());
        assert_eq!(finding.state, state, "{name}: {finding:?}");
    }
}

#[test]
fn open_files_bound_the_connections() {
    let config = ServerConfig::default();
    for (limit, state) in [(1_024, State::Warn), (10_512, State::Ok), (u64::MAX, State::Ok)] {
        let finding = open_files_of(&config, limit);
        assert_eq!(finding.state, state, "{finding:?}");
    }
}

#[test]
fn the_disk_must_hold_what_is_kept() {
    let place = |free, in_memory, sync_us| Place {
        path: PathBuf::from("/data"),
        free: Some(free),
        in_memory,
        sync_us,
        in_use: None,
    };
    let mut config = config_with(100 << 20);
    config.node.log_size = 50 << 20;
    for (mib, state) in [(49, State::Fail), (299, State::Warn), (300, State::Ok)] {
        assert_eq!(free(&place(mib << 20, false, Ok(0)), &config).state, state, "{mib}");
    }
    for (persist, in_memory, us, state) in [
        ("async", false, 50_000, State::Ok),
        ("sync", false, 50_000, State::Warn),
        ("sync", false, 900, State::Ok),
        ("async", true, 0, State::Warn),
    ] {
        config.caches[0].persist = persist.to_owned();
        let finding = sync(&place(1 << 40, in_memory, Ok(us)), &config);
        assert_eq!(finding.state, state, "{persist} {us}: {finding:?}");
    }
    assert_eq!(sync(&place(0, false, Err("no".into())), &config).state, State::Skip);
    assert_eq!(writable(&place(0, false, Err("no".into()))).state, State::Fail);
}

#[test]
fn every_check_has_a_code_of_its_own() {
    let machine = Machine::at("/nonexistent");
    let config =
        ServerConfig { memcached: vec![], native: vec![], http: vec![], ..ServerConfig::default() };
    let codes: Vec<_> = all(&machine, &config).iter().map(|finding| finding.code).collect();
    let expected: Vec<_> = (1..=13).map(|number| format!("D{number:02}")).collect();
    assert_eq!(codes, expected);
}
