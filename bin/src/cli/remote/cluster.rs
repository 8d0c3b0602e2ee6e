//! `isogrid cluster` and `isogrid cache locate`: the cluster as a server of it sees it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::Client;
use serde_json::{Map, Value, json};

use super::confirm::confirm;
use super::show::{self, field};
use super::{Outcome, RemoteArgs, object};
use crate::cli::complete;
use crate::cli::output::{OutputArgs, note};
use crate::cli::table::table;

const EXAMPLES: &str = "\
Examples:
  isogrid cluster status
  isogrid cluster members --server 127.0.0.1:7410
  isogrid cluster topology --cache default -o json
  isogrid cluster rebalance --wait                # until every copy is where it should be
  isogrid cluster leave --server 127.0.0.1:7420   # waits until others have what it has
  isogrid cluster remove 3                        # its machine is gone, and does not come back
  isogrid cluster remove 10.0.0.3:7401 --accept-data-loss
  isogrid cluster force-promote --cache default --all-unserved    # says what would be lost
  isogrid cluster shutdown                        # ends all nodes; asks for the cluster's name

A server answers for itself: what it has not heard of it does not know. Exit codes: as
`isogrid cache --help`.

See also: isogrid cache locate, isogrid dev";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Show who leads, and what of the caches is served and has all its copies.
    #[command(after_help = examples!(
        "isogrid cluster status",
        "isogrid cluster status --server 127.0.0.1:7410 -o json",
    ))]
    Status,
    /// List the members: where they are, whether they vote, what they have.
    #[command(after_help = examples!(
        "isogrid cluster members",
        "isogrid cluster members -o json",
    ))]
    Members,
    /// Show who has which segment.
    #[command(after_help = examples!(
        "isogrid cluster topology --cache default",
        "isogrid cluster topology -o json",
    ))]
    Topology {
        /// Only of this cache.
        #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::caches))]
        cache: Option<String>,
    },
    /// Show what is left until every copy is where it should be, and when that will be. The cluster
    /// moves copies unasked when members come, go or are lost.
    #[command(after_help = examples!(
        "isogrid cluster rebalance",
        "isogrid cluster rebalance --wait",
    ))]
    Rebalance {
        /// Wait until nothing is left, and say how far it is.
        #[arg(long)]
        wait: bool,
    },
    /// Have the server hand what it has to others, leave the cluster and end.
    #[command(after_help = examples!("isogrid cluster leave --server 127.0.0.1:7420"))]
    Leave,
    /// Have the cluster forget a member that does not come back, with all that it had.
    #[command(after_help = examples!(
        "isogrid cluster remove 3",
        "isogrid cluster remove 10.0.0.3:7401 --accept-data-loss",
    ))]
    Remove {
        /// Its number or peer address.
        #[arg(value_name = "MEMBER")]
        member: String,
        /// Let segments of which only it has copies in sync begin anew, empty.
        #[arg(long)]
        accept_data_loss: bool,
    },
    /// Have copies serve that have fallen behind, where none in sync is left: what was acknowledged
    /// since is lost.
    #[command(group(clap::ArgGroup::new("which").required(true).args(["segment", "all_unserved"])))]
    #[command(after_help = examples!(
        "isogrid cluster force-promote --cache default --all-unserved    # says what would be lost",
        "isogrid cluster force-promote --cache default --segment 17 --to 2 --accept-data-loss",
    ))]
    ForcePromote {
        /// The cache.
        #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::caches))]
        cache: String,
        /// A segment that nobody serves.
        #[arg(long, value_name = "N")]
        segment: Option<u16>,
        /// All segments that nobody serves.
        #[arg(long)]
        all_unserved: bool,
        /// Only copies of this member, by its number or peer address.
        #[arg(long, value_name = "MEMBER")]
        to: Option<String>,
        /// Do it; without this flag it is said what would be lost.
        #[arg(long)]
        accept_data_loss: bool,
    },
    /// End all nodes of the cluster. Caches with `persist = sync` are there with all their copies
    /// when the nodes are started again, in any order; what is in memory alone is gone.
    #[command(after_help = examples!(
        "isogrid cluster shutdown                # asks for the cluster's name",
        "isogrid cluster shutdown --yes",
    ))]
    Shutdown {
        /// Do not ask for the cluster's name.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs `isogrid cluster`.
pub fn main(args: &ClusterArgs) -> ExitCode {
    args.remote.run(async |client| run(&args.command, &client, &args.remote.out()).await)
}

async fn run(command: &Command, client: &Client, out: &OutputArgs) -> Outcome {
    match command {
        Command::Status => {
            let told = client.admin("cluster.status", &json!({})).await?;
            Ok(out.say(|| status(&told), || told.clone()))
        }
        Command::Members => {
            let told = client.admin("cluster.status", &json!({})).await?;
            let document = || json!({ "members": told.get("members") });
            Ok(out.say(|| members(&told), document))
        }
        Command::Topology { cache } => {
            let named = object(cache.iter().map(|name| ("cache", name.as_str())));
            let told = client.admin("cluster.topology", &named).await?;
            Ok(out.say(|| topology(&told), || told.clone()))
        }
        Command::Rebalance { wait } => {
            let arguments = object(wait.then_some(("wait", "yes")));
            let tell = |step| tell_balance(&step);
            let told = client.admin_told("cluster.rebalance", &arguments, tell).await?;
            Ok(out.say(|| balance(&told), || told.clone()))
        }
        Command::Leave => {
            let told = client.admin_told("cluster.leave", &json!({}), |step| tell(&step)).await?;
            let text = || format!("the member {} has left\n", field(&told, "/member"));
            Ok(out.say(text, || told.clone()))
        }
        Command::Remove { member, accept_data_loss } => {
            let accepts = accept_data_loss.then_some(("accept_data_loss", "yes"));
            let arguments = object([("member", member.as_str())].into_iter().chain(accepts));
            let told = client.admin("cluster.remove", &arguments).await?;
            Ok(out.say(|| removed(&told), || told.clone()))
        }
        Command::ForcePromote { cache, segment, all_unserved, to, accept_data_loss } => {
            let segment = segment.map(|segment| segment.to_string());
            let flags = [("all_unserved", all_unserved), ("accept_data_loss", accept_data_loss)];
            let flags = flags.into_iter().filter(|(_, is_said)| **is_said);
            let given = [("segment", &segment), ("to", to)];
            let given = given.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
            let all = [("cache", cache.as_str())].into_iter().chain(given);
            let arguments = object(all.chain(flags.map(|(name, _)| (name, "yes"))));
            let told = client.admin("cluster.force_promote", &arguments).await?;
            Ok(out.say(|| promoted(&told), || told.clone()))
        }
        Command::Shutdown { yes } => {
            if !yes {
                let told = client.admin("cluster.status", &json!({})).await?;
                let count = list(&told, "members").count();
                let what = format!("all {count} nodes of the cluster will end");
                confirm(&what, &field(&told, "/cluster"))?;
            }
            let told = client.admin("cluster.shutdown", &json!({})).await?;
            let text = || {
                let [count, cluster] = ["/members", "/cluster"].map(|name| field(&told, name));
                format!("the {count} nodes of the cluster {cluster} end\n")
            };
            Ok(out.say(text, || told.clone()))
        }
    }
}

/// One step of a leave.
fn tell(step: &Value) {
    let left = step.pointer("/progress/segments_left").or(step.get("segments_left"));
    if let Some(left) = left {
        note(&format!("leaving: {left} segments left to hand over"));
    }
}

fn removed(told: &Value) -> String {
    let mut text = format!("the member {} is removed\n", field(told, "/member"));
    for cache in list(told, "lost") {
        let lost = list(cache, "segments").count();
        text += &format!("! {lost} segments of {} begin anew, empty\n", field(cache, "/cache"));
    }
    text
}

fn promoted(told: &Value) -> String {
    let names = ["segment", "member", "epoch", "copy_epoch", "copy_seq", "copy_age_ms"];
    let row = |one: &Value| names.map(|name| field(one, &format!("/{name}")));
    let head = ["SEGMENT", "MEMBER", "EPOCH", "COPY'S EPOCH", "LAST WRITE", "AGE MS"];
    let head = head.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(list(told, "promoted").map(row)).collect();
    match rows.len() - 1 {
        0 => format!("somebody serves every segment of {}\n", field(told, "/cache")),
        _ => table(&rows),
    }
}

/// How far a rebalance is that is waited for.
fn tell_balance(step: &Value) {
    note(&left(step.get("progress").unwrap_or(step)));
}

/// What is left, in a sentence.
fn left(told: &Value) -> String {
    let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or(0);
    if number("segments_left") == 0 {
        return "every copy is where it should be".to_owned();
    }
    let eta = match told.get("eta_ms").and_then(Value::as_u64) {
        Some(ms) => format!("filled in about {} s", ms.div_ceil(1_000)),
        None => "nothing was filled lately".to_owned(),
    };
    format!(
        "{} segments left: {} copies to fill ({} under way, about {} bytes, {} bytes/s, {eta}), {} to \
         drop, {} primaries to move",
        number("segments_left"),
        number("copies_to_fill"),
        number("filling"),
        number("bytes_left"),
        number("bytes_per_second"),
        number("copies_to_drop"),
        number("primaries_to_move"),
    )
}

fn balance(told: &Value) -> String {
    let names = [
        "member",
        "address",
        "state",
        "primaries",
        "primaries_wanted",
        "copies",
        "copies_wanted",
        "filling",
    ];
    let row = |member: &Value| names.map(|name| field(member, &format!("/{name}")));
    let head = names.map(|name| name.to_uppercase().replace("_WANTED", " WANTED"));
    let rows = std::iter::once(head).chain(list(told, "members").map(row));
    format!("{}\n\n{}", left(told), table(&rows.collect::<Vec<_>>()))
}

fn list<'v>(document: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn status(told: &Value) -> String {
    let facts = ["cluster", "id", "member", "leader", "term", "index", "has_lease", "peer_tls"];
    let facts = facts.map(|name| [name.to_owned(), field(told, &format!("/{name}"))]);
    let count = list(told, "members").count();
    let witnesses = list(told, "members").filter(|one| field(one, "/role") == "witness").count();
    let count = match witnesses {
        0 => count.to_string(),
        some => format!("{count}, {some} of them witnesses"),
    };
    let mut text = table(&facts) + &table(&[["members  ".to_owned(), count]]) + "\n";
    let names = ["cache", "segments", "served", "complete", "filling"];
    let row = |cache: &Value| names.map(|name| field(cache, &format!("/{name}")));
    let head = names.map(str::to_uppercase);
    text += &table(&std::iter::once(head).chain(list(told, "caches").map(row)).collect::<Vec<_>>());
    for trouble in list(told, "troubles") {
        text += &format!("! {}\n", show::text(trouble));
    }
    text
}

fn members(told: &Value) -> String {
    let names = ["member", "address", "role", "raft", "state", "primaries", "backups", "filling"];
    let leader = field(told, "/leader");
    let row = |member: &Value| {
        let number = field(member, "/member");
        let leads = if number == leader { "leads" } else { "" };
        let [_, address, role, raft, state, primaries, backups, filling] =
            names.map(|name| field(member, &format!("/{name}")));
        [number, address, role, raft, state, primaries, backups, filling, leads.to_owned()]
    };
    let head =
        ["MEMBER", "ADDRESS", "ROLE", "RAFT", "STATE", "PRIMARIES", "BACKUPS", "FILLING", ""];
    let rows = list(told, "members").map(row);
    table(&std::iter::once(head.map(str::to_owned)).chain(rows).collect::<Vec<_>>())
}

fn topology(told: &Value) -> String {
    let head = ["CACHE", "SEGMENT", "EPOCH", "PRIMARY", "IN SYNC", "FILLING", "STALE"];
    let head = head.map(str::to_owned);
    let mut rows = vec![head];
    for cache in list(told, "caches") {
        let name = field(cache, "/cache");
        for segment in list(cache, "segments") {
            let one = |name: &str| field(segment, &format!("/{name}"));
            let many =
                |name: &str| list(segment, name).map(show::text).collect::<Vec<_>>().join(" ");
            let (insync, syncing) = (many("insync"), many("syncing"));
            let is_served = segment.get("primary").is_some_and(|primary| !primary.is_null());
            let copies = list(segment, "stale").filter(|_| !is_served);
            let stale: Vec<String> = copies.map(stale).collect();
            rows.push([
                name.clone(),
                one("segment"),
                one("epoch"),
                one("primary"),
                insync,
                syncing,
                stale.join(", "),
            ]);
        }
    }
    table(&rows)
}

/// A stale copy: whose, of which epoch and write, and how old.
fn stale(copy: &Value) -> String {
    let [member, epoch, seq] = ["/member", "/epoch", "/seq"].map(|name| field(copy, name));
    let age = copy.get("age_ms").and_then(Value::as_u64).unwrap_or(0) / 1_000;
    format!("{member} (epoch {epoch}, write {seq}, {age} s)")
}

/// Runs `isogrid cache locate`.
///
/// # Errors
/// The server belongs to no cluster, there is no such cache, or it is no cache of the cluster.
pub async fn locate(client: &Client, cache: &str, key: &OsStr, out: &OutputArgs) -> Outcome {
    let mut arguments = Map::from_iter([("cache".to_owned(), json!(cache))]);
    show::put_bytes(&mut arguments, "key", key.as_bytes());
    let told = client.admin("cluster.locate", &arguments.into()).await?;
    Ok(out.say(|| located(&told), || told.clone()))
}

fn located(told: &Value) -> String {
    let place = |role: &str, member: &Value| {
        let [number, address, state] =
            ["/member", "/address", "/state"].map(|at| field(member, at));
        [role.to_owned(), number, address, state]
    };
    let head = ["ROLE", "MEMBER", "ADDRESS", "STATE"].map(str::to_owned);
    let primary = told.get("primary").filter(|primary| !primary.is_null());
    let rows = primary.into_iter().map(|member| place("primary", member));
    let rows = rows.chain(list(told, "backups").map(|member| place("backup", member)));
    let rows = rows.chain(list(told, "syncing").map(|member| place("filling", member)));
    let (segment, epoch) = (field(told, "/segment"), field(told, "/epoch"));
    let cache = field(told, "/cache");
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    format!("segment {segment} of {cache}, epoch {epoch}\n{}", table(&rows))
}
