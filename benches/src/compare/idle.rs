//! `idle`: memory of connections that say nothing, over memcached's text protocol and over GNP.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Result;
use super::bars::{Bar, IDLE_GNP_KIB};
use super::cli::IdleArgs;
use super::clock::pause;
use super::gnp;
use super::lab::{Lab, progress};
use super::product::Product;
use super::server::{Server, free_address};
use super::table::{Cell, Table};

const COLUMNS: [&str; 6] =
    ["protocol", "connections", "rss_grown_mib", "kib_per_connection", "bar", "verdict"];
const LIMIT_MIB: u64 = 64;
/// Until a server has done what it does then.
const SETTLE: Duration = Duration::from_millis(500);

/// Opens the connections to a server of each protocol's own.
pub fn run(lab: &Lab, arguments: &IdleArgs) -> Result<Table> {
    let connections = arguments.connections;
    let mut table = Table::new(format!("idle: {connections} connections"), &COLUMNS);
    for (name, bar) in [("text", None), ("gnp", Some(IDLE_GNP_KIB))] {
        progress(&format!("idle: {connections} connections, {name}"));
        let native = free_address()?;
        let max = connections + 100;
        let added = format!("--native {native} --max-connections {max}");
        let server = lab.start_adding(Product::Isogrid, LIMIT_MIB, &added)?;
        let open = |server: &Server| match bar {
            Some(_) => greet(native),
            None => server.greet(),
        };
        // What the first one brings into memory is not its own.
        let first = open(&server)?;
        pause(SETTLE);
        let before = server.rss_bytes()?;
        let all: Vec<_> = (0..connections).map(|_| open(&server)).collect::<Result<_>>()?;
        pause(SETTLE);
        let grown = server.rss_bytes()?.saturating_sub(before);
        drop((first, all));
        push(&mut table, name, connections, grown, bar);
    }
    Ok(table)
}

/// A connection that has been welcomed.
fn greet(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    gnp::introduce(&mut stream)?;
    Ok(stream)
}

fn push(table: &mut Table, name: &str, connections: usize, grown: u64, bar: Option<Bar>) {
    let kib = grown as f64 / 1024.0;
    let each = kib / connections as f64;
    table.push([
        name.into(),
        Cell::Number(connections as f64, 0),
        Cell::Number(kib / 1024.0, 1),
        Cell::Number(each, 2),
        Cell::number(bar.map(|bar| bar.bar), 0),
        bar.map_or(Cell::Empty, |bar| Cell::Verdict(bar.judge(each))),
    ]);
}
