//! The command line: arguments to configuration to run to exit code.

#[macro_use]
mod examples;

mod audit;
mod bench;
mod complete;
mod config;
mod dev;
mod doctor;
mod explain;
mod log;
mod memcached;
mod output;
mod pages;
mod proto;
mod remote;
mod repl;
mod secret;
mod serve;
mod snapshot;
mod table;
mod user;
mod verify;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches as _, Parser, Subcommand};
use clap_complete::CompleteEnv;
use isogrid_engine::persist::PersistError;

use crate::cluster::ClusterError;
use crate::config::{Loaded, Problems};

/// The exit code of a refused configuration (`EX_CONFIG`).
pub const REFUSED: u8 = 78;

/// The exit code of a wrong use of the command line.
pub const USAGE: u8 = 2;

/// The exit code when what is asked for is not there.
pub const NOT_FOUND: u8 = 3;

/// The exit code when something was to be so, and is not.
pub const CONDITION: u8 = 4;

/// The exit code when no server does it now.
pub const UNAVAILABLE: u8 = 5;

/// The exit code when the caller may not.
pub const UNAUTHORIZED: u8 = 6;

/// The exit code when there was no answer in time.
pub const TIMED_OUT: u8 = 7;

/// Exit code of `lock hold` when the lock was lost while the command ran.
pub const LOCK_LOST: u8 = 8;

/// What `isogrid --help` says after the commands.
const EXAMPLES: &str = "\
Examples:
  isogrid serve                                  # memcached on 127.0.0.1:11211, 256MiB
  isogrid serve --memory 4GiB --eviction s3-fifo
  isogrid memcached -m 1024 -c 4096 -p 11211     # memcached's own flags
  isogrid config init && isogrid serve -c isogrid.toml
  isogrid doctor                                 # is this machine fit for it?
  isogrid cache create orders --ttl 10m          # on the server that runs here
  isogrid cache put orders 42 'two apples'
  isogrid repl                                   # the same, line by line
  isogrid dev --nodes 3                          # a cluster of three, on this machine
  isogrid cluster status

Exit codes: 0 ok, 1 failed, 2 wrong use, 3 not found, 4 a condition does not hold, 5 unavailable,
6 not allowed, 7 timeout, 78 configuration or data directory refused.";

#[derive(Parser)]
#[command(name = "isogrid", version, about = "A data grid that speaks memcached.")]
#[command(after_help = EXAMPLES, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    manner: output::Manner,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server.
    Serve(Box<serve::ServeArgs>),
    /// Run a server with memcached's own flags (`isogrid memcached -h` lists them).
    #[command(disable_help_flag = true, disable_version_flag = true)]
    #[command(after_help = examples!(
        "isogrid memcached -m 1024 -c 4096",
        "isogrid memcached -s /run/memcached.sock -a 0770",
    ))]
    Memcached {
        /// memcached's flags.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Make, show, change and drop caches of a server; read and write entries.
    Cache(Box<remote::cache::CacheArgs>),
    /// Read and change counters of a server.
    Counter(remote::counter::CounterArgs),
    /// Publish, consume and show messages of queues of a server.
    Queue(Box<remote::queue::QueueArgs>),
    /// Show, find and end web sessions of a server.
    Session(remote::session::SessionArgs),
    /// Publish, consume and read messages of topics of a server.
    Topic(Box<remote::topic::TopicArgs>),
    /// Run a command while holding a lock; show who holds one.
    Lock(remote::lock::LockArgs),
    /// Run a whole cluster on this machine, to try things out.
    Dev(Box<dev::DevArgs>),
    /// Show the cluster of a server, and have the server leave it.
    Cluster(remote::cluster::ClusterArgs),
    /// Show and drain a server.
    Node(remote::admin::NodeArgs),
    /// Call a method of administration of a server.
    Admin(remote::admin::AdminArgs),
    /// Note servers under names, and choose one.
    Context(remote::context::ContextArgs),
    /// Run commands without the program's name, one after the other.
    Repl(repl::ReplArgs),
    /// Show, check and explain the configuration.
    Config(config::ConfigArgs),
    /// Check and repair the log of a data directory.
    Log(log::LogArgs),
    /// Save, load and check snapshot files.
    Snapshot(snapshot::SnapshotArgs),
    /// Add, change, remove and list users.
    User(user::UserArgs),
    /// Check audit logs.
    Audit(audit::AuditArgs),
    /// Put load on a server, and measure it.
    Bench(bench::BenchArgs),
    /// Check on this machine that a cluster keeps what it acknowledges while its nodes are killed.
    Verify(verify::VerifyArgs),
    /// Check whether this machine and the configuration are fit for a server.
    Doctor(doctor::DoctorArgs),
    /// Say what an error means and what to do about it.
    Explain(explain::ExplainArgs),
    /// Decode and encode frames of the native protocol, and show its operations.
    Proto(proto::ProtoArgs),
    /// Print a script that completes commands and flags in a shell.
    Completion(pages::CompletionArgs),
    /// Print the manual page, or write all of them.
    Man(pages::ManArgs),
    /// Print the version.
    #[command(after_help = examples!("isogrid version"))]
    Version,
}

/// Runs the program with its arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if called_memcached(&args) {
        return memcached::main(args.into_iter().skip(1));
    }
    let completion = CompleteEnv::with_factory(Cli::command).var(pages::COMPLETE);
    match completion.try_complete(&args, std::env::current_dir().ok().as_deref()) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => error.exit(),
    }
    if args.len() < 2 && repl::is_wanted() {
        return repl::begin();
    }
    parse(args).run()
}

/// Reads the command line; what is said of one that is wrong has colours or not, as it asks itself.
fn parse(args: Vec<OsString>) -> Cli {
    let is_plain = args.iter().any(|word| word == "--no-color");
    let colours = if is_plain { ColorChoice::Never } else { ColorChoice::Auto };
    let matches = Cli::command().color(colours).get_matches_from(args);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

impl Cli {
    fn run(self) -> ExitCode {
        self.manner.during(|| execute(self.command))
    }
}

/// Runs one command.
fn execute(command: Command) -> ExitCode {
    match command {
        Command::Serve(args) => serve::main(&args),
        Command::Memcached { args } => memcached::main(args),
        Command::Cache(args) => remote::cache::main(&args),
        Command::Counter(args) => remote::counter::main(&args),
        Command::Queue(args) => remote::queue::main(&args),
        Command::Session(args) => remote::session::main(&args),
        Command::Topic(args) => remote::topic::main(&args),
        Command::Lock(args) => remote::lock::main(&args),
        Command::Dev(args) => dev::main(&args),
        Command::Cluster(args) => remote::cluster::main(&args),
        Command::Node(args) => remote::admin::node(&args),
        Command::Admin(args) => remote::admin::main(&args),
        Command::Context(args) => remote::context::main(&args),
        Command::Repl(args) => repl::main(&args),
        Command::Config(args) => config::main(&args),
        Command::Log(args) => log::main(&args),
        Command::Snapshot(args) => snapshot::main(&args),
        Command::User(args) => user::main(&args),
        Command::Audit(args) => audit::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Explain(args) => explain::main(&args),
        Command::Proto(args) => proto::main(&args),
        Command::Completion(args) => pages::completion(&args),
        Command::Man(args) => pages::man(&args),
        Command::Version => output::say(concat!("isogrid ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

/// Whether the program was started under memcached's name, as a link that replaces it.
fn called_memcached(args: &[OsString]) -> bool {
    args.first().and_then(|name| Path::new(name).file_name()).is_some_and(|n| n == "memcached")
}

/// Runs the server until it is told to stop.
fn run(loaded: impl Into<Loaded>) -> ExitCode {
    match crate::server::run(loaded.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error {
                // A directory that is not to be touched is as good as a refused configuration.
                crate::server::Error::Data { .. }
                | crate::server::Error::Catalog(_)
                | crate::server::Error::Users(_)
                | crate::server::Error::Cluster(
                    ClusterError::Tls(_) | ClusterError::OtherRole { .. },
                )
                | crate::server::Error::Tls(_) => ExitCode::from(REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Says why a data directory could not be used.
fn failed(dir: &Path, error: &PersistError) -> ExitCode {
    eprintln!("error: {error}{}", crate::server::data::help(dir, error));
    if error.is_refusal() { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
}

/// Says why a configuration is refused.
fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_link_called_memcached_is_memcached() {
        for (name, memcached) in
            [("isogrid", false), ("/usr/bin/memcached", true), ("memcached", true), ("", false)]
        {
            assert_eq!(called_memcached(&[OsString::from(name)]), memcached, "{name}");
        }
    }

    #[test]
    fn memcached_flags_reach_memcached_untouched() {
        let cli = Cli::parse_from(["isogrid", "memcached", "-h", "-vv", "--port=0", "-V"]);
        let Command::Memcached { args } = cli.command else { panic!("not memcached") };
        assert_eq!(args, ["-h", "-vv", "--port=0", "-V"]);
    }
}
