//! `isogrid lock`: runs a command while this process holds a lock, and shows who holds one.

use std::ffi::OsString;
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::{Args, Subcommand};
use isogrid_wire::client::Client;
use isogrid_wire::client::lock::{Guard, Taken};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command as Process;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::{Failure, Outcome, RemoteArgs, show, span};
use crate::cli::LOCK_LOST;
use crate::cli::output::OutputArgs;

const EXAMPLES: &str = "\
Examples:
  isogrid lock hold nightly -- ./report.sh
  isogrid lock hold deploy --wait 5m -- make deploy
  isogrid lock hold shard-3 --ttl 30s -- sh -c 'echo holds with token $ISOGRID_FENCE'
  isogrid lock info nightly              # who holds it, and how many wait

At most one of all who hold KEY runs its command at a time. When this process dies the lock is free
after --ttl. When the lock is lost this is said, the command gets SIGTERM, and SIGKILL if it is still
there after --grace. When this process is told to end, the command gets SIGTERM; the second time,
SIGKILL.

Exit codes: that of the command (128 + N when signal N ended it); 4 somebody else holds the lock,
8 the lock was lost, whatever the command did; others as `isogrid cache --help`.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LockArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command while holding a lock.
    #[command(after_help = EXAMPLES)]
    Hold(HoldArgs),
    /// Show who holds a lock, with what token, and how many wait for it.
    #[command(after_help = examples!(
        "isogrid lock info nightly",
        "isogrid lock info nightly -o json | jq .waiting",
    ))]
    Info {
        /// The lock's name.
        key: String,
    },
}

#[derive(Args)]
struct HoldArgs {
    /// The lock's name.
    key: String,
    /// How long to wait for it; without it, not at all.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s")]
    wait: Duration,
    /// So long after this process has died somebody else may have it: 1s to 1d.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s")]
    ttl: Duration,
    /// How long the command may take to end when the lock is lost.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s")]
    grace: Duration,
    /// The command, with its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl LockArgs {
    /// Whether a command runs beside this one, which heeds signals.
    pub fn holds(&self) -> bool {
        matches!(self.command, Command::Hold(_))
    }
}

/// Runs `isogrid lock`.
pub fn main(args: &LockArgs) -> ExitCode {
    args.remote.run(async |client| match &args.command {
        Command::Hold(args) => hold(&client, args).await,
        Command::Info { key } => info(&client, key, &args.remote.out()).await,
    })
}

/// Each holder with what it has said of itself.
async fn info(client: &Client, key: &str, out: &OutputArgs) -> Outcome {
    let locks = client.locks("default").await?;
    let Some(mut lock) = locks.info(key.as_bytes()).await? else {
        return Err(Failure::not_found(format!("nobody holds the lock {key:?}")));
    };
    let holders = lock.get_mut("holders").and_then(Value::as_array_mut);
    for holder in holders.into_iter().flatten() {
        let lease = holder.get("lease").and_then(|lease| lease.as_str()?.parse().ok());
        // One that has ended since says no more of itself.
        let told = match lease {
            Some(lease) => locks.lease(lease).await?,
            None => None,
        };
        if let (Some(Value::Object(told)), Some(holder)) = (told, holder.as_object_mut()) {
            let parts = told.into_iter().filter(|(name, _)| name != "locks");
            holder.extend(parts);
        }
    }
    Ok(out.say(|| show::lines(&lock), || lock.clone()))
}

async fn hold(client: &Client, args: &HoldArgs) -> Outcome {
    let HoldArgs { key, wait, ttl, grace, command } = args;
    let locks = client.locks("default").await?;
    let info = serde_json::json!({ "pid": std::process::id() }).to_string();
    let guard = match locks.lock(key.as_bytes()).wait(*wait).ttl(*ttl).info(&info).acquire().await?
    {
        Taken::Held(guard) => guard,
        Taken::Busy { holder } => {
            return Err(Failure::condition(format!("somebody else holds {key:?}: {holder}"))
                .help("wait for it: --wait 30s"));
        }
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("there is no command"));
    };
    let mut process = Process::new(program);
    process.args(arguments).env("ISOGRID_FENCE", guard.token().to_string());
    let status = run(process, &guard, key, *grace).await;
    let is_lost = guard.is_lost();
    // Whatever became of the command: a guard that is dropped would give the lock back later, and
    // this process is gone before that.
    let released = guard.release().await;
    let status = status?;
    if is_lost {
        return Err(Failure::new(format!("the lock {key:?} was lost"), LOCK_LOST)
            .help("somebody else may have had it: check what the command did"));
    }
    released?;
    Ok(ExitCode::from(exit(status)))
}

/// Runs the command to its end. It is told to end when the lock is lost, or this process is told;
/// a second time, or when it has not ended `grace` after the lock was lost, it is killed.
async fn run(
    mut process: Process,
    guard: &Guard,
    key: &str,
    grace: Duration,
) -> Result<ExitStatus, Failure> {
    let failed = |error: std::io::Error| Failure::general(format!("cannot wait: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut child = process.spawn().map_err(|error| {
        let program = process.as_std().get_program().to_string_lossy();
        Failure::not_found(format!("cannot run {program}: {error}"))
    })?;
    let (mut is_lost, mut is_killed, mut next) = (false, false, Signal::TERM);
    let mut is_over = pin!(sleep(Duration::ZERO));
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(failed),
            () = guard.lost(), if !is_lost => {
                eprintln!("warning: the lock {key:?} was lost: the command is told to end");
                is_lost = true;
                is_over.set(sleep(grace));
            }
            () = &mut is_over, if is_lost && !is_killed => {}
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // One that has ended needs no signal.
            let _ = kill_process(pid, next);
        }
        is_killed = next == Signal::KILL;
        next = Signal::KILL;
    }
}

/// As a shell tells it.
fn exit(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
