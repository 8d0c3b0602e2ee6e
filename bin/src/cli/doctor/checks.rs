//! The checks, each a function of the machine and the configuration.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

use isogrid_engine::persist::PersistMode;
use isogrid_engine::{Clock as _, SystemClock};
use isogrid_grid::unit::show_size;

use super::disk::{Place, look};
use super::machine::Machine;
use super::{Finding, State, tls};
use crate::config::{Address, Exposure, ServerConfig, refuse_exposure};
use crate::server::open_files;

/// A synced write that takes longer makes `persist = sync` slow, microseconds.
const SLOW_SYNC_US: u64 = 10_000;

/// Clocks that a processor reads without asking the chipset, as the kernel calls them.
const FAST_CLOCKS: [&str; 5] = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv", "xen"];

/// Every check, in the order of their codes.
pub fn all(machine: &Machine, config: &ServerConfig) -> Vec<Finding> {
    let place = data_dir(config).map(|dir| look(Path::new(dir)));
    let running = place.as_ref().is_some_and(|place| place.in_use.is_some());
    let mut findings = vec![
        open_files_of(config, open_files::hard_limit()),
        memory(machine, config),
        ports(config, running),
        exposure(config),
    ];
    match &place {
        Some(place) => findings.extend([writable(place), free(place, config), sync(place, config)]),
        None => findings.push(skip("D05", "data directory", "nothing is kept on disk")),
    }
    findings.push(accept_queue(machine, config.limits.backlog));
    findings.extend(of_machine(machine));
    findings.extend([tls::files(config, SystemClock::new().now()), tls::mode(config)]);
    findings
}

/// The checks that need no configuration.
pub fn of_machine(machine: &Machine) -> Vec<Finding> {
    vec![huge_pages(machine), swap(machine), clock(machine)]
}

/// Where data is kept, if any of the caches is.
fn data_dir(config: &ServerConfig) -> Option<&str> {
    let mut modes = config.caches.iter().map(|cache| PersistMode::parse(&cache.persist));
    let kept = modes.any(|mode| mode != Some(PersistMode::None));
    config.node.data_dir.as_deref().filter(|_| kept)
}

/// A check that does not apply.
pub fn skip(code: &'static str, check: &'static str, found: &str) -> Finding {
    Finding { code, check, state: State::Skip, found: found.to_owned(), help: String::new() }
}

/// A finding; the help is only for those that are not OK.
pub fn found(
    code: &'static str,
    check: &'static str,
    state: State,
    text: String,
    help: &str,
) -> Finding {
    let help = if state > State::Ok { help.to_owned() } else { String::new() };
    Finding { code, check, state, found: text, help }
}

/// A size without the digits that nobody reads.
fn about(bytes: u64) -> String {
    show_size(if bytes < 1 << 20 { bytes } else { bytes >> 20 << 20 })
}

fn open_files_of(config: &ServerConfig, limit: u64) -> Finding {
    let wanted = config.limits.max_connections;
    let places = open_files::places(limit);
    let state = if places < wanted as u64 { State::Warn } else { State::Ok };
    let limit = if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    let text = format!("at most {limit}, for {wanted} connections");
    let help = format!(
        "only {places} connections will be accepted: raise the hard limit (`ulimit -Hn`, or \
         LimitNOFILE= in a systemd unit), or lower limits.max_connections"
    );
    found("D01", "open files", state, text, &help)
}

fn memory(machine: &Machine, config: &ServerConfig) -> Finding {
    let (code, check) = ("D02", "memory");
    let (Some(may), Some(free)) = (machine.memory(), machine.meminfo("MemAvailable")) else {
        return skip(code, check, "unknown");
    };
    let caches: u64 = config.caches.iter().map(|cache| cache.limits.max_bytes).sum();
    let wanted = caches.max(config.node.memory.unwrap_or(0));
    // Connections, indexes of other structures and the log need some too.
    let room = may - may / 5;
    let state = match wanted {
        wanted if wanted > may => State::Fail,
        wanted if wanted > room || wanted > free => State::Warn,
        _ => State::Ok,
    };
    let [wanted, may, free] = [wanted, may, free].map(about);
    let text = format!("caches may take {wanted} of {may}, {free} are available now");
    let help = "the kernel would end the server: give the caches less (--memory, node.memory), or \
                the machine or its container more";
    found(code, check, state, text, help)
}

/// A server that runs with this configuration has the ports: that is as it should be.
fn ports(config: &ServerConfig, running: bool) -> Finding {
    let addresses: Vec<_> = config.listeners().into_iter().map(|one| one.address).collect();
    let taken = addresses.iter().filter_map(|address| Some((address, taken(address)?)));
    let taken: Vec<_> = taken.map(|(address, why)| format!("{address}: {why}")).collect();
    let (state, text) = match (taken.is_empty(), running) {
        (true, _) => (State::Ok, format!("{} can be listened on", addresses.len())),
        (false, true) => (State::Ok, "in use by the server that runs".to_owned()),
        (false, false) => (State::Fail, taken.join("; ")),
    };
    let help = "`ss -ltnp` says who listens there: stop it, or take another address (--memcached, \
                --native, --http, --port-offset)";
    found("D03", "addresses", state, text, help)
}

/// Why an address cannot be listened on.
fn taken(address: &Address) -> Option<String> {
    match address {
        Address::Tcp(tcp) => TcpListener::bind(tcp).err().map(|error| error.to_string()),
        Address::Unix(path, _) => {
            UnixStream::connect(path).ok().map(|_| "a process listens there".to_owned())
        }
    }
}

fn exposure(config: &ServerConfig) -> Finding {
    let (code, check) = ("D04", "reachable from");
    match refuse_exposure(config, Exposure::new(false)) {
        Ok(()) => found(code, check, State::Ok, "this machine only".to_owned(), ""),
        Err(problem) => found(code, check, State::Fail, problem.what, &problem.help),
    }
}

fn writable(place: &Place) -> Finding {
    let path = place.path.display();
    let (state, text) = match (&place.sync_us, &place.in_use) {
        (Err(why), _) => (State::Fail, format!("{path}: {why}")),
        (Ok(_), Some(holder)) => (State::Ok, holder.clone()),
        (Ok(_), None) => (State::Ok, format!("{path} can be written")),
    };
    let help = "make it writable for the user that the server runs as, or name another one \
                (--data-dir DIR)";
    found("D05", "data directory", state, text, help)
}

/// A snapshot of everything and the log of the meantime must fit beside the snapshot before it.
fn free(place: &Place, config: &ServerConfig) -> Finding {
    let (code, check) = ("D06", "disk space");
    let Some(free) = place.free else { return skip(code, check, "unknown") };
    let caches: u64 = config.caches.iter().map(|cache| cache.limits.max_bytes).sum();
    let wanted = 2 * (caches + config.node.log_size);
    let state = match free {
        free if free < config.node.log_size => State::Fail,
        free if free < wanted => State::Warn,
        _ => State::Ok,
    };
    let text = format!("{} are free, up to {} are needed", about(free), about(wanted));
    let help = "when the disk is full writes are refused: make room, or keep less (--memory)";
    found(code, check, state, text, help)
}

fn sync(place: &Place, config: &ServerConfig) -> Finding {
    let (code, check) = ("D07", "synced write");
    let Ok(mean_us) = place.sync_us else { return skip(code, check, "nothing can be written") };
    if place.in_memory {
        let text = "the file system is in memory".to_owned();
        let help = "nothing there survives a power cut: name a directory on a disk (--data-dir)";
        return found(code, check, State::Warn, text, help);
    }
    let waits = config.caches.iter().any(|cache| cache.persist == "sync");
    let class = match mean_us {
        0..1_000 => "fast",
        1_000..SLOW_SYNC_US => "as a solid-state disk",
        _ => "slow",
    };
    let state = if waits && mean_us >= SLOW_SYNC_US { State::Warn } else { State::Ok };
    let text = format!("{class}, about {}.{:02} ms", mean_us / 1000, mean_us % 1000 / 10);
    let help = "a cache with persist = \"sync\" waits for it with each group of writes: take a \
                faster disk, or persist = \"async\"";
    found(code, check, state, text, help)
}

fn accept_queue(machine: &Machine, backlog: u32) -> Finding {
    let (code, check) = ("D08", "accept queue");
    let most = machine.read("proc/sys/net/core/somaxconn").and_then(|text| text.parse().ok());
    let Some(most) = most else { return skip(code, check, "unknown") };
    let state = if backlog > most { State::Warn } else { State::Ok };
    let text = format!("limits.backlog is {backlog}, the kernel allows {most}");
    let help = format!("`sysctl -w net.core.somaxconn={backlog}`");
    found(code, check, state, text, &help)
}

fn huge_pages(machine: &Machine) -> Finding {
    let (code, check) = ("D09", "transparent huge pages");
    let mode = machine.chosen("sys/kernel/mm/transparent_hugepage/enabled");
    let Some(mode) = mode else { return skip(code, check, "unknown") };
    let state = if mode == "always" { State::Warn } else { State::Ok };
    let help = "the process may take more memory than its caches are given: `echo madvise > \
                /sys/kernel/mm/transparent_hugepage/enabled`";
    found(code, check, state, mode, help)
}

fn swap(machine: &Machine) -> Finding {
    let (code, check) = ("D10", "swap");
    let Some(swap) = machine.meminfo("SwapTotal") else { return skip(code, check, "unknown") };
    let swappiness = machine.read("proc/sys/vm/swappiness").and_then(|text| text.parse().ok());
    let swappiness: u32 = swappiness.unwrap_or(60);
    if swap == 0 {
        return found(code, check, State::Ok, "off".to_owned(), "");
    }
    let state = if swappiness > 1 { State::Warn } else { State::Ok };
    let text = format!("{}, vm.swappiness is {swappiness}", about(swap));
    let help = "values that are swapped out take milliseconds to read: `swapoff -a`, or `sysctl \
                -w vm.swappiness=1`";
    found(code, check, state, text, help)
}

fn clock(machine: &Machine) -> Finding {
    let (code, check) = ("D11", "clock source");
    let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    let Some(source) = machine.read(path) else { return skip(code, check, "unknown") };
    let fast = FAST_CLOCKS.iter().any(|name| source.starts_with(name));
    let state = if fast { State::Ok } else { State::Warn };
    let help = "reading the time is slow with it: see available_clocksource beside \
                /sys/devices/system/clocksource/clocksource0/current_clocksource";
    found(code, check, state, source, help)
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
