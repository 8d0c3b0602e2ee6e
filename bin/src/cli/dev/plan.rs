//! The nodes of a cluster on one machine: ports, folders, arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use super::DevArgs;
use crate::cli::table::table;

/// The ports of the first node, those of `isogrid serve`. memcached's follow one another; the
/// others are ten apart, so that there is room for up to seven nodes.
const FIRST: Ports = Ports { memcached: 11_211, native: 7_400, peer: 7_401, http: 7_480 };
const APART: u16 = 10;

/// Where a node listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    memcached: u16,
    native: u16,
    peer: u16,
    http: u16,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    ports: Ports,
    /// The arguments of its process.
    pub arguments: Vec<OsString>,
}

/// A cluster.
#[derive(Debug)]
pub struct Plan {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Whether a node is started again that died.
    pub restart: bool,
    /// The program of every node: this one.
    pub program: PathBuf,
    mode: String,
    data_dir: PathBuf,
    is_temporary: bool,
}

impl Ports {
    /// Those of the node `at`; `None` when there are no such ports.
    fn of(at: u16, offset: u16) -> Option<Ports> {
        let port = |first: u16, apart: u16| first.checked_add(offset)?.checked_add(at * apart);
        Some(Ports {
            memcached: port(FIRST.memcached, 1)?,
            native: port(FIRST.native, APART)?,
            peer: port(FIRST.peer, APART)?,
            http: port(FIRST.http, APART)?,
        })
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Node {
    /// Where it speaks HTTP.
    pub fn http(&self) -> String {
        local(self.ports.http)
    }
}

impl Plan {
    /// What `args` ask for; the folder is there when this returns.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn new(args: &DevArgs) -> Result<Plan, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot tell where this program is: {error}"))?;
        if args.witness >= args.nodes {
            return Err("all nodes would be witnesses, which have no data: lower --witness".into());
        }
        let ports = (0..args.nodes).map(|at| Ports::of(at, args.port_offset));
        let ports: Option<Vec<Ports>> = ports.collect();
        let ports = ports.ok_or("there are no ports above 65535: lower --port-offset")?;
        let temporary = || format!("isogrid-dev-{}", std::process::id());
        let is_temporary = args.data_dir.is_none();
        let data_dir =
            args.data_dir.clone().unwrap_or_else(|| std::env::temp_dir().join(temporary()));
        std::fs::create_dir_all(&data_dir)
            .map_err(|error| format!("cannot make the folder {}: {error}", data_dir.display()))?;
        let peers: Vec<String> = ports.iter().map(|ports| local(ports.peer)).collect();
        let node = |(at, ports): (usize, &Ports)| {
            let name = format!("dev{}", at + 1);
            let folder = data_dir.join(&name);
            let own = own_arguments(&name, *ports, folder.into());
            let is_witness = at >= usize::from(args.nodes - args.witness);
            let role = is_witness.then_some(["--role", "witness"]).into_iter().flatten();
            let own = own.into_iter().chain(role.map(OsString::from));
            let arguments = own.chain(common_arguments(args, &peers)).collect();
            Node { name, ports: *ports, arguments }
        };
        let nodes = ports.iter().enumerate().map(node).collect();
        let (restart, mode) = (!args.no_restart, args.mode.clone());
        Ok(Plan { nodes, restart, program, mode, data_dir, is_temporary })
    }

    /// What is said when all nodes serve.
    pub fn announcement(&self, took_ms: u64) -> String {
        let head = ["NODE", "MEMCACHED", "NATIVE", "HTTP", "PEER"].map(str::to_owned);
        let row = |node: &Node| {
            let Ports { memcached, native, peer, http } = node.ports;
            [node.name.clone(), local(memcached), local(native), local(http), local(peer)]
        };
        let rows: Vec<_> = std::iter::once(head).chain(self.nodes.iter().map(row)).collect();
        let (count, mode) = (self.nodes.len(), &self.mode);
        let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
        let (seconds, tenths) = (took_ms / 1_000, took_ms % 1_000 / 100);
        let kept = if self.is_temporary { "removed at the end" } else { "kept" };
        let folder = self.data_dir.display();
        let table = table(&rows);
        let hints = self.hints();
        format!(
            "\nready in {seconds}.{tenths} s: {nodes}, the cache `default` is {mode}\n\n{table}\n\
             {hints}\ndata in {folder} ({kept}); Ctrl-C stops all\n\n"
        )
    }

    /// Lines to copy: what is put on the first node is got from the last one.
    fn hints(&self) -> String {
        let (Some(first), Some(last)) = (self.nodes.first(), self.nodes.last()) else {
            return String::new();
        };
        let (native, other, memcached) =
            (local(first.ports.native), local(last.ports.native), last.ports.memcached);
        format!(
            "put, get and look:\n  \
             isogrid cache put default greeting hello --server {native}\n  \
             isogrid cache get default greeting --server {other}\n  \
             printf 'get greeting\\r\\nquit\\r\\n' | nc 127.0.0.1 {memcached}\n  \
             isogrid cache locate greeting --server {native}\n  \
             isogrid cluster status --server {native}\n"
        )
    }

    /// Removes what is not to be kept.
    pub fn clean_up(&self) {
        if !self.is_temporary {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.data_dir) {
            eprintln!("warning: cannot remove {}: {error}", self.data_dir.display());
        }
    }
}

/// What each node is told of itself.
fn own_arguments(name: &str, ports: Ports, folder: OsString) -> Vec<OsString> {
    let Ports { memcached, native, peer, http } = ports;
    let flags = [("--memcached", memcached), ("--native", native), ("--http", http)];
    let mut all: Vec<OsString> = vec!["serve".into(), "--name".into(), name.into()];
    for (flag, port) in flags.into_iter().chain([("--peer", peer)]) {
        all.extend([flag.into(), local(port).into()]);
    }
    all.extend(["--data-dir".into(), folder]);
    all
}

/// What all nodes are told.
fn common_arguments(args: &DevArgs, peers: &[String]) -> Vec<OsString> {
    let file = args.config.clone().map_or("/dev/null".into(), PathBuf::into_os_string);
    let mut all: Vec<OsString> = vec!["--until-eof".into(), "--config".into(), file];
    for (flag, value) in [
        ("--join", peers.join(",")),
        ("--bootstrap-expect", peers.len().to_string()),
        ("--mode", args.mode.clone()),
        ("--log-level", args.log_level.clone()),
        ("--log-format", "pretty".to_owned()),
    ] {
        all.extend([flag.into(), value.into()]);
    }
    let memory = args.memory.iter().flat_map(|memory| ["--memory", memory]);
    let set = args.set.iter().flat_map(|set| ["--set", set]);
    all.extend(memory.chain(set).map(OsString::from));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_nodes_have_a_port_in_common() {
        for offset in [0, 10_000] {
            let all = (0..7).map(|at| Ports::of(at, offset).unwrap());
            let ports = all.flat_map(|ports| {
                let Ports { memcached, native, peer, http } = ports;
                [memcached, native, peer, http]
            });
            assert_eq!(ports.collect::<BTreeSet<_>>().len(), 7 * 4);
        }
        assert_eq!(Ports::of(0, 0), Some(FIRST));
        assert_eq!(Ports::of(6, u16::MAX - 11_216), None);
    }
}
