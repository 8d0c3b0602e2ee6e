//! `cluster`: sets that more than one process has when they are answered. Three nodes of ours, of
//! which any is asked, beside three pairs of Redis, each asked for its own keys and to WAIT for
//! its replica; and one node of ours alone, which tells what the copies cost.

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
    load: Load,
    /// What is promised of its CPU over that of one node.
    bar: Option<Bar>,
    /// CPU a set in us, and sets a second, of the rounds at the depth that is measured.
    rounds: Vec<(f64, f64)>,
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
    let mut add = |name, servers: Vec<Server>, asked: usize, protocol, bar| -> Result<()> {
        progress(&format!("cluster: {name} is filled"));
        let addresses: Vec<_> = servers.iter().take(asked).map(|server| server.address).collect();
        let mut load = Load::connect_to_each(&addresses, protocol, connections)?;
        let sizes = Sizes::Fixed(arguments.load.value_size);
        load.run(&mut Traffic::preload(arguments.load.keys, sizes), PRELOAD_DEPTH, None)?;
        setups.push(Setup { name, servers, load, bar, rounds: Vec::new() });
        Ok(())
    };
    let text = Protocol::MemcachedText;
    if lab.products().any(|product| product == Product::Isogrid) {
        add("isogrid local", vec![lab.start(Product::Isogrid, limit)?], 1, text, None)?;
        let bar = Some(DISTRIBUTED_CPU_OVER_LOCAL);
        let nodes = nodes(lab, limit, "distributed")?;
        add("isogrid distributed, 2 owners", nodes, NODES, text, bar)?;
        let nodes = self::nodes(lab, limit, "replicated")?;
        add("isogrid replicated, 3 owners", nodes, NODES, text, None)?;
    }
    if lab.products().any(|product| product == Product::Redis) {
        let pairs = redis_pairs(lab, limit)?;
        add("redis, 1 replica each, WAIT 1", pairs, NODES, Protocol::RespWait, None)?;
    }
    Ok(setups)
}

/// The nodes of a cluster that serves every key.
fn nodes(lab: &Lab, limit_mib: u64, mode: &str) -> Result<Vec<Server>> {
    let peers: Vec<SocketAddr> = (0..NODES).map(|_| free_address()).collect::<Result<_>>()?;
    let join: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
    let start = |peer: &SocketAddr| {
        let added = format!(
            "--data-dir data --peer {peer} --join {} --bootstrap-expect {NODES} --mode {mode}",
            join.join(",")
        );
        lab.start_adding(Product::Isogrid, limit_mib, &added)
    };
    let servers: Vec<Server> = peers.iter().map(start).collect::<Result<_>>()?;
    for server in &servers {
        until_true("a cluster does not take sets", || takes_sets(server.address))?;
    }
    Ok(servers)
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
        let outcome = self.load.run(&mut traffic.clone(), depth, Some(time))?;
        let sets = outcome.requests as f64;
        let cpu_us = (self.cpu_ns()? - before) as f64 / sets / 1e3;
        self.rounds.push((cpu_us, sets / outcome.elapsed.as_secs_f64()));
        Ok(())
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
