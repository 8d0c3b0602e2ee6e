//! `tls`: what TLS costs. One server of ours speaks both; plain connections and connections over
//! TLS take turns under the same requests.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::Result;
use super::bars::TLS_CPU_DEPTH_32;
use super::cli::{KvArgs, LoadArgs};
use super::folder::Folder;
use super::lab::{Lab, progress};
use super::load::Load;
use super::product::Product;
use super::server::Server;
use super::statistics::median;
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

const COLUMNS: [&str; 7] =
    ["load", "plain_cpu_us", "tls_cpu_us", "tls_ratio", "bar", "goal", "verdict"];
/// Requests a batch while loading.
const PRELOAD_DEPTH: usize = 64;
/// The depth that the bar is about.
const BAR_DEPTH: usize = 32;

/// Runs every depth over both.
pub fn run(lab: &Lab, arguments: &KvArgs) -> Result<Table> {
    let folder = Folder::new()?;
    let config = certificate(&folder)?;
    let path = folder.path().display();
    let added = format!(
        "--set tls.mode=optional --set tls.cert={path}/cert.pem --set tls.key={path}/key.pem"
    );
    let server = lab.start_adding(Product::Isogrid, arguments.load.limit_mib, &added)?;
    let protocol = Product::Isogrid.protocol();
    let connect = |tls| Load::connect_over(tls, server.address, protocol, arguments.connections);
    let (mut plain, mut over_tls) = (connect(None)?, connect(Some(&config))?);
    let mut preload =
        Traffic::preload(arguments.load.keys, Sizes::Fixed(arguments.load.value_size));
    plain.run(&mut preload, PRELOAD_DEPTH, None)?;
    let LoadArgs { keys, zipf, value_size, .. } = arguments.load;
    let mut table = Table::new(
        format!("tls: {} connections, {keys} keys, {value_size} B values", arguments.connections),
        &COLUMNS,
    );
    for &depth in &arguments.depths {
        let traffic = Traffic::mix(keys, zipf, arguments.sets, 1, value_size);
        let mut rounds = Vec::new();
        for round in 1..=arguments.load.rounds {
            progress(&format!("tls: depth {depth}, round {round} of {}", arguments.load.rounds));
            let time = Duration::from_secs_f64(arguments.load.seconds);
            let cpu = |load: &mut Load| cpu_us(&server, load, traffic.clone(), depth, time);
            rounds.push((cpu(&mut plain)?, cpu(&mut over_tls)?));
        }
        report(depth, &rounds, arguments.has_bars(), &mut table);
    }
    Ok(table)
}

/// Server CPU per request of one turn.
fn cpu_us(
    server: &Server,
    load: &mut Load,
    mut traffic: Traffic,
    depth: usize,
    time: Duration,
) -> Result<f64> {
    let before = server.cpu_ns()?;
    let outcome = load.run(&mut traffic, depth, Some(time))?;
    Ok((server.cpu_ns()? - before) as f64 / outcome.requests as f64 / 1e3)
}

fn report(depth: usize, rounds: &[(f64, f64)], has_bars: bool, table: &mut Table) {
    let ratio = median(rounds.iter().map(|(plain, tls)| tls / plain));
    let bar = (has_bars && depth == BAR_DEPTH).then_some(TLS_CPU_DEPTH_32);
    let verdict = bar.zip(ratio).map(|(bar, ratio)| Cell::Verdict(bar.judge(ratio)));
    table.push([
        format!("depth {depth}").into(),
        Cell::number(median(rounds.iter().map(|round| round.0)), 3),
        Cell::number(median(rounds.iter().map(|round| round.1)), 3),
        Cell::number(ratio, 3),
        Cell::number(bar.map(|bar| bar.bar), 2),
        Cell::number(bar.map(|bar| bar.goal), 2),
        verdict.unwrap_or(Cell::Empty),
    ]);
}

/// A certificate in the folder, and a client that trusts it.
fn certificate(folder: &Folder) -> Result<Arc<ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem())?;
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    Ok(Arc::new(builder.with_no_client_auth()))
}
