//! `native`: what GNP costs beside memcached's text protocol. One server of ours speaks both.

use super::Result;
use super::bars::GNP_CPU_OVER_TEXT;
use super::cli::KvArgs;
use super::gnp;
use super::lab::Lab;
use super::load::Load;
use super::pair::Pair;
use super::product::Product;
use super::protocol::Protocol;
use super::server::free_address;
use super::table::Table;

/// Runs every depth over both.
pub fn run(lab: &Lab, arguments: &KvArgs) -> Result<Table> {
    let native = free_address()?;
    let added = format!("--native {native}");
    let server = lab.start_adding(Product::Isogrid, arguments.load.limit_mib, &added)?;
    let object = gnp::resolve(native)?;
    let connect = |address, protocol| Load::connect(address, protocol, arguments.connections);
    let mut pair = Pair {
        name: "native",
        columns: ["load", "text_cpu_us", "gnp_cpu_us", "gnp_ratio", "bar", "goal", "verdict"],
        first: connect(server.address, Product::Isogrid.protocol())?,
        second: connect(native, Protocol::Native { object })?,
        server,
        bar: |_| Some(GNP_CPU_OVER_TEXT),
    };
    pair.run(arguments)
}
