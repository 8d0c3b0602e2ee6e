//! `isogrid node` and `isogrid admin`: the methods of administration.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{RemoteArgs, object, pair, show};
use crate::cli::output::{Format, OutputArgs};
use crate::cli::table::table;
use crate::server::admin::{METHODS, Method};

const NODE_EXAMPLES: &str = "\
Examples:
  isogrid node info
  isogrid node stats -o json
  isogrid node drain            # load balancers send new clients elsewhere
  isogrid node undrain
  isogrid node diagnose > node.json

See also: isogrid admin";

const ADMIN_EXAMPLES: &str = "\
Examples:
  isogrid admin                                  # every method that there is
  isogrid admin log.level level=warn,isogrid=debug
  isogrid admin caches.describe cache=default -o json

The same methods are at /v1/admin over HTTP. Exit codes: as `isogrid cache --help`.";

#[derive(Args)]
#[command(after_help = NODE_EXAMPLES)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: Node,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Node {
    /// Show what the node is: name, version, process, listeners.
    #[command(after_help = examples!(
        "isogrid node info",
        "isogrid node info --server 127.0.0.1:7410 -o json",
    ))]
    Info,
    /// Show what the node has counted: connections and operations.
    #[command(after_help = examples!("isogrid node stats", "isogrid node stats -o json"))]
    Stats,
    /// Say not ready from now on, so that load balancers send new clients elsewhere.
    #[command(after_help = examples!("isogrid node drain"))]
    Drain,
    /// Take `drain` back.
    #[command(after_help = examples!("isogrid node undrain"))]
    Undrain,
    /// Print all that the node knows about itself, as JSON, for whoever looks into a problem: no
    /// keys, no values, no secrets.
    #[command(after_help = examples!("isogrid node diagnose > node.json"))]
    Diagnose,
}

#[derive(Args)]
#[command(after_help = ADMIN_EXAMPLES)]
pub struct AdminArgs {
    /// The method; without it all are listed.
    method: Option<String>,
    /// Its parameters.
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs `isogrid node`.
pub fn node(args: &NodeArgs) -> ExitCode {
    let method = match args.command {
        Node::Info => "node.info",
        Node::Stats => "node.stats",
        Node::Drain => "node.drain",
        Node::Undrain => "node.undrain",
        Node::Diagnose => return diagnose(&args.remote),
    };
    call(&args.remote, method, &[])
}

/// Runs `isogrid admin`.
pub fn main(args: &AdminArgs) -> ExitCode {
    match &args.method {
        Some(method) => call(&args.remote, method, &args.params),
        None => args.remote.out().say(list, || {
            let of = |method: &Method| json!({ "name": method.name, "doc": method.doc });
            json!({ "methods": METHODS.iter().map(of).collect::<Vec<_>>() })
        }),
    }
}

/// A document for a file, whatever way of printing is asked for.
fn diagnose(remote: &RemoteArgs) -> ExitCode {
    remote.run(async |client| {
        let told = client.admin("node.diagnose", &json!({})).await?;
        Ok(OutputArgs { output: Format::Json }.say(String::new, || told.clone()))
    })
}

fn call(remote: &RemoteArgs, method: &str, params: &[(String, String)]) -> ExitCode {
    let params = object(params.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    remote.run(async |client| {
        let told = client.admin(method, &params).await?;
        Ok(remote.out().say(|| show::lines(&told), || told.clone()))
    })
}

/// The methods of this release, which is the server's where both are of one.
fn list() -> String {
    let head = ["METHOD", "PARAMETERS", "WHAT IT DOES"].map(str::to_owned);
    let row = |method: &Method| {
        let names = method.params.iter();
        let names =
            names.map(|p| if p.required { p.name.to_owned() } else { format!("[{}]", p.name) });
        [method.name.to_owned(), names.collect::<Vec<_>>().join(" "), method.doc.to_owned()]
    };
    table(&std::iter::once(head).chain(METHODS.iter().map(row)).collect::<Vec<_>>())
}
