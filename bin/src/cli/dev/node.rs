//! One node: a process that is started, started again when it dies, and stopped.

use std::io::IsTerminal as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};

use super::plan::{Node, Plan};
use crate::colour;

/// How long after it died a node is started again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a node may take to stop; longer than `node.drain_timeout` is unless configured.
const GRACE: Duration = Duration::from_secs(15);
/// Colours of the nodes' names on a terminal, one after the other.
const COLOURS: [u8; 7] = [36, 33, 35, 32, 34, 31, 37];

/// How far the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not every node serves yet.
    Starting,
    /// Every node has served.
    Serving,
    /// All are to stop.
    Stopping,
    /// All are to be gone.
    Killing,
}

impl Phase {
    /// All serve; not when they are to stop already.
    pub fn serve(&mut self) -> bool {
        let is_first = *self == Phase::Starting;
        if is_first {
            *self = Phase::Serving;
        }
        is_first
    }

    /// Somebody asks for the end: the second time at once.
    pub fn stop(&mut self) {
        *self = if *self < Phase::Stopping { Phase::Stopping } else { Phase::Killing };
    }
}

/// Why a node is not kept running any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was to stop, or has ended as a server does that was told to or has left the cluster.
    Done,
    /// It could not go on, and said so by this exit code.
    Failed(u8),
}

/// Runs a node until all are to stop, or it ends for good.
pub async fn keep(plan: Arc<Plan>, at: usize, mut phase: Receiver<Phase>) -> Ended {
    let Some(node) = plan.nodes.get(at) else { return Ended::Done };
    let prefix = prefix(&node.name, at);
    loop {
        let (mut child, input) = match start(&plan, node, &prefix) {
            Ok(started) => started,
            Err(error) => {
                eprintln!("{prefix}cannot be started: {error}");
                return Ended::Failed(1);
            }
        };
        let status = tokio::select! {
            biased;
            status = child.wait() => status,
            () = reaches(&mut phase, Phase::Stopping) => {
                stop(&mut child, input, &mut phase).await;
                return Ended::Done;
            }
        };
        drop(input);
        let Some(status) = status.ok().filter(|status| !status.success()) else {
            eprintln!("{prefix}has ended, and is not started again");
            return Ended::Done;
        };
        let is_early = *phase.borrow() == Phase::Starting && status.code().is_some();
        if is_early || !plan.restart {
            eprintln!("{prefix}died: {status}");
            return Ended::Failed(code(status));
        }
        eprintln!("{prefix}died: {status}; started again in a second");
        let _ = timeout(AGAIN, reaches(&mut phase, Phase::Stopping)).await;
        if *phase.borrow() >= Phase::Stopping {
            return Ended::Done;
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Waits until the cluster is so far.
async fn reaches(phase: &mut Receiver<Phase>, at_least: Phase) {
    if phase.wait_for(|phase| *phase >= at_least).await.is_err() {
        std::future::pending().await
    }
}

/// Starts the process. It stops when the other end of its stdin is closed: by us, or because this
/// process is gone, however that came.
fn start(plan: &Plan, node: &Node, prefix: &str) -> std::io::Result<(Child, Option<ChildStdin>)> {
    let mut command = Command::new(&plan.program);
    command.args(&node.arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // To wait for a process closes its stdin, if it is still its own.
    let input = child.stdin.take();
    child.stdout.take().map(|lines| tokio::spawn(copy(lines, prefix.to_owned())));
    child.stderr.take().map(|lines| tokio::spawn(copy(lines, prefix.to_owned())));
    Ok((child, input))
}

/// Stops the process, and kills it when that takes too long or somebody asks again.
async fn stop(child: &mut Child, input: Option<ChildStdin>, phase: &mut Receiver<Phase>) {
    drop(input);
    tokio::select! {
        biased;
        _ = child.wait() => return,
        () = reaches(phase, Phase::Killing) => {}
        () = sleep(GRACE) => {}
    }
    // One that has ended meanwhile needs no end.
    let _ = child.kill().await;
}

/// What stands before each line of a node.
fn prefix(name: &str, at: usize) -> String {
    let is_plain = !std::io::stderr().is_terminal() || !colour::is_wanted();
    match COLOURS.get(at % COLOURS.len()) {
        Some(colour) if !is_plain => format!("\x1b[{colour}m{name} |\x1b[0m "),
        _ => format!("{name} | "),
    }
}

/// Says what a node says, each line with its name.
async fn copy(from: impl AsyncRead + Unpin, prefix: String) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{prefix}{line}");
    }
}
