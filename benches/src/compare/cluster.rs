//! `cluster`: sets that more than one process has when they are answered. Three nodes of ours, of
//! which any is asked, or through the Rust client who serves the key; beside three pairs of Redis,
//! each asked for its own keys and to WAIT for its replica; and one node of ours alone, which tells
//! what the copies cost.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Result;
use super::bars::{Bar, DISTRIBUTED_CPU_OVER_LOCAL};
use super::cli::{ClusterArgs, LoadArgs};
use super::clock::{now, pause};
use super::lab::{Lab, progress};
use super::load::Load;
use super::product::Product;
use super::protocol::Protocol;
use super::routed::Routed;
use super::server::{Server, free_address};
use super::statistics::median;
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

const COLUMNS: [&str; 8] =
    ["servers", "depth", "processes", "sets_per_s", "cpu_us", "over_local", "bar", "verdict"];
const NODES: usize = 3;
/// Requests a batch while loading.
const PRELOAD_DEPTH: usize = 64;
/// A cluster must take sets of all keys within this time.
const READY_MAX: Duration = Duration::from_secs(30);
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);
/// Keys that are set to see whether all are served.
const TRIED: u64 = 200;

/// Processes that together are one thing to clients.
struct Setup {
    name: &'static str,
    servers: Vec<Server>,
    asks: Asks,
    /// What is promised of its CPU over that of one node.
    bar: Option<Bar>,
    /// CPU a set in us, and sets a second, of the rounds at the depth that is measured.
    rounds: Vec<(f64, f64)>,
}

/// How sets get to them.
enum Asks {
    /// Over connections to each.
    Any(Load),
    /// Through clients, over so many connections.
    Routed(Routed, usize),
}

/// Measures every depth, all in turns.
pub fn run(lab: &Lab, arguments: &ClusterArgs) -> Result<Table> {
    let LoadArgs { keys, zipf, value_size, rounds, seconds, .. } = arguments.load;
    let mut setups = setups(lab, arguments)?;
    let connections = arguments.connections;
    let title = format!("cluster: {connections} connections, {keys} keys, {value_size} B values");
    let mut table = Table::new(title, &COLUMNS);
    for &depth in &arguments.depths {
        let traffic = Traffic::mix(keys, zipf, 100, 1, value_size);
        for round in 1..=rounds {
            progress(&format!("cluster: depth {depth}, round {round} of {rounds}"));
            let time = Duration::from_secs_f64(seconds);
            setups.iter_mut().try_for_each(|setup| setup.round(&traffic, depth, time))?;
        }
        report(&mut setups, depth, lab.is_plain(), &mut table);
    }
    table.note("CPU is that of all processes of a row together, kernel included");
    Ok(table)
}

fn setups(lab: &Lab, arguments: &ClusterArgs) -> Result<Vec<Setup>> {
    let (limit, connections) = (arguments.load.limit_mib, arguments.connections);
    let mut setups = Vec::new();
    let mut add = |name, servers, asks, bar| {
        progress(&format!("cluster: {name} is filled"));
        let mut setup = Setup { name, servers, asks, bar, rounds: Vec::new() };
        let sizes = Sizes::Fixed(arguments.load.value_size);
        setup.ask(&Traffic::preload(arguments.load.keys, sizes), PRELOAD_DEPTH, None)?;
        setups.push(setup);
        Ok::<(), Box<dyn Error>>(())
    };
    let any = |servers: &[Server], protocol| {
        let addresses: Vec<_> = servers.iter().take(NODES).map(|server| server.address).collect();
        Load::connect_to_each(&addresses, protocol, connections).map(Asks::Any)
    };
    let text = Protocol::MemcachedText;
    if lab.products().any(|product| product == Product::Isogrid) {
        let local = vec![lab.start(Product::Isogrid, limit)?];
        let asks = any(&local, text)?;
        add("isogrid local", local, asks, None)?;
        let bar = Some(DISTRIBUTED_CPU_OVER_LOCAL);
        let (nodes, _) = self::nodes(lab, limit, "distributed")?;
        let asks = any(&nodes, text)?;
        add("isogrid distributed, 2 owners, any node", nodes, asks, bar)?;
        let (nodes, natives) = self::nodes(lab, limit, "distributed")?;
        let routed = Routed::connect(&natives, connections.div_ceil(NODES))?;
        let asks = Asks::Routed(routed, connections);
        add("isogrid distributed, 2 owners, Rust client", nodes, asks, bar)?;
        let (nodes, _) = self::nodes(lab, limit, "replicated")?;
        let asks = any(&nodes, text)?;
        add("isogrid replicated, 3 owners, any node", nodes, asks, None)?;
    }
    if lab.products().any(|product| product == Product::Redis) {
        let pairs = redis_pairs(lab, limit)?;
        let asks = any(&pairs, Protocol::RespWait)?;
        add("redis, 1 replica each, WAIT 1", pairs, asks, None)?;
    }
    Ok(setups)
}

/// The nodes of a cluster that serves every key, and where they are asked over GNP.
fn nodes(lab: &Lab, limit_mib: u64, mode: &str) -> Result<(Vec<Server>, Vec<SocketAddr>)> {
    let addresses = || (0..NODES).map(|_| free_address()).collect::<Result<Vec<_>>>();
    let (peers, natives) = (addresses()?, addresses()?);
    let join: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
    let start = |(peer, native): (&SocketAddr, &SocketAddr)| {
        let added = format!(
            "--data-dir data --native {native} --peer {peer} --join {} \
             --bootstrap-expect {NODES} --mode {mode}",
            join.join(",")
        );
        lab.start_adding(Product::Isogrid, limit_mib, &added)
    };
    let servers: Vec<Server> = peers.iter().zip(&natives).map(start).collect::<Result<_>>()?;
    for server in &servers {
        until_true("a cluster does not take sets", || takes_sets(server.address))?;
    }
    Ok((servers, natives))
}

/// Whether a node has sets of keys in all places executed.
fn takes_sets(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READY_MAX))?;
    let sets: String = (0..TRIED).map(|key| format!("set ready{key} 0 0 1\r\nx\r\n")).collect();
    stream.write_all(format!("{sets}version\r\n").as_bytes())?;
    let (mut answers, mut buffer) = (Vec::new(), [0; 4096]);
    while !answers.windows(8).any(|word| word == b"VERSION ") {
        match stream.read(&mut buffer)? {
            0 => return Ok(false),
            len => answers.extend_from_slice(buffer.get(..len).unwrap_or_default()),
        }
    }
    Ok(!answers.windows(12).any(|word| word == b"SERVER_ERROR"))
}

/// Masters, then their replicas, which have what the masters have.
fn redis_pairs(lab: &Lab, limit_mib: u64) -> Result<Vec<Server>> {
    let master = |_| lab.start_adding(Product::Redis, limit_mib, "--repl-diskless-sync-delay 0");
    let mut servers: Vec<Server> = (0..NODES).map(master).collect::<Result<_>>()?;
    let ports: Vec<u16> = servers.iter().map(|server| server.address.port()).collect();
    for port in ports {
        let added = format!("--replicaof 127.0.0.1 {port}");
        servers.push(lab.start_adding(Product::Redis, limit_mib, &added)?);
    }
    for master in servers.iter().take(NODES) {
        until_true("a replica of Redis does not come up", || has_replica(master.address))?;
    }
    Ok(servers)
}

fn has_replica(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READY_MAX))?;
    stream.write_all(b"SET ready x\r\nWAIT 1 1000\r\n")?;
    let (mut answers, mut buffer) = (Vec::new(), [0; 64]);
    while answers.iter().filter(|&&byte| byte == b'\n').count() < 2 {
        let len = stream.read(&mut buffer)?;
        answers.extend_from_slice(buffer.get(..len).unwrap_or_default());
    }
    Ok(answers.ends_with(b":1\r\n"))
}

fn until_true(what: &str, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = now();
    while !is_true()? {
        if now() - started > READY_MAX {
            return Err(format!("{what} within {READY_MAX:?}").into());
        }
        pause(ATTEMPT_PAUSE);
    }
    Ok(())
}

impl Setup {
    fn cpu_ns(&self) -> Result<u64> {
        self.servers.iter().map(Server::cpu_ns).sum()
    }

    fn round(&mut self, traffic: &Traffic, depth: usize, time: Duration) -> Result<()> {
        let before = self.cpu_ns()?;
        let (sets, elapsed) = self.ask(traffic, depth, Some(time))?;
        let cpu_us = (self.cpu_ns()? - before) as f64 / sets / 1e3;
        self.rounds.push((cpu_us, sets / elapsed.as_secs_f64()));
        Ok(())
    }

    /// Sets until `traffic` ends or `time` is over: how many there were, and how long it took.
    fn ask(
        &mut self,
        traffic: &Traffic,
        depth: usize,
        time: Option<Duration>,
    ) -> Result<(f64, Duration)> {
        match &mut self.asks {
            Asks::Any(load) => {
                let outcome = load.run(&mut traffic.clone(), depth, time)?;
                Ok((outcome.requests as f64, outcome.elapsed))
            }
            Asks::Routed(routed, connections) => {
                let (sets, elapsed) = routed.run(traffic.clone(), depth * *connections, time)?;
                Ok((sets as f64, elapsed))
            }
        }
    }
}

/// Adds the rows of a depth; a ratio is that of the same round.
fn report(setups: &mut [Setup], depth: usize, is_plain: bool, table: &mut Table) {
    let is_local = |setup: &&Setup| setup.name == "isogrid local";
    let local = setups.iter().find(is_local).map(|setup| setup.rounds.clone()).unwrap_or_default();
    for setup in setups {
        let rounds = std::mem::take(&mut setup.rounds);
        let ratio = median(rounds.iter().zip(&local).map(|(own, local)| own.0 / local.0));
        let bar = setup.bar.filter(|_| is_plain && depth == 32);
        let verdict = bar.zip(ratio).map(|(bar, ratio)| Cell::Verdict(bar.judge(ratio)));
        table.push([
            setup.name.into(),
            Cell::Number(depth as f64, 0),
            Cell::Number(setup.servers.len() as f64, 0),
            Cell::number(median(rounds.iter().map(|round| round.1)), 0),
            Cell::number(median(rounds.iter().map(|round| round.0)), 3),
            Cell::number(ratio, 2),
            Cell::number(bar.map(|bar| bar.bar), 2),
            verdict.unwrap_or(Cell::Empty),
        ]);
    }
}
