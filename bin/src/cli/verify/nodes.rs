//! Three processes of this program, and the folder that they live in.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{Round, name};
use crate::checker::Operation;
use crate::cli::dev::is_good;
use crate::cli::output::note;

/// How many there are.
const COUNT: usize = 3;
/// How long they may take until each answers for every key and every copy is there.
const WHOLE_WITHIN: Duration = Duration::from_secs(90);
/// How often that is looked at, and how long a node may take to answer.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(1);
/// Memory of each. What is written in a round is far below it: nothing is evicted.
const MEMORY: &str = "512MiB";

/// The nodes of a round; dropped, they are killed, and their folder is removed unless it is kept.
pub struct Nodes {
    nodes: Vec<Node>,
    program: PathBuf,
    folder: PathBuf,
    is_kept: bool,
}

struct Node {
    native: String,
    http: String,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Nodes {
    /// Starts them, and waits for nothing.
    ///
    /// # Errors
    /// Why they cannot be started.
    pub fn start(round: &Round) -> Result<Nodes, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot tell where this program is: {error}"))?;
        let folder = std::env::temp_dir().join(format!("isogrid-verify-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        let addresses = free_addresses(3 * COUNT)
            .map_err(|error| format!("there are no free ports on 127.0.0.1: {error}"))?;
        let peers: Vec<_> = addresses.iter().skip(2 * COUNT).cloned().collect();
        let columns = addresses.iter().zip(addresses.iter().skip(COUNT)).zip(&peers);
        let node = |(at, ((native, http), peer)): (usize, ((&String, &String), &String))| Node {
            native: native.clone(),
            http: http.clone(),
            arguments: arguments(round, &folder, at, [native, http, peer], &peers),
            child: None,
        };
        let nodes = columns.enumerate().map(node).collect();
        let mut all = Nodes { nodes, program, folder, is_kept: false };
        (0..COUNT).try_for_each(|node| all.run(node))?;
        Ok(all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where they speak the native protocol.
    pub fn natives(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.native.clone()).collect()
    }

    /// Where what they write is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says where they are.
    pub fn tell(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let pid = node.child.as_ref().and_then(Child::id).unwrap_or(0);
            note(&format!("node {}: {}, pid {pid}", at + 1, node.native));
        }
    }

    /// Starts one that does not run.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn run(&mut self, at: usize) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        let log = self.folder.join(format!("node{}.log", at + 1));
        let log = File::options().create(true).append(true).open(log);
        let started = log.and_then(|log| {
            let mut command = Command::new(&self.program);
            command.args(&node.arguments).kill_on_drop(true).stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log).spawn()
        });
        let cannot = |error| format!("the node {} cannot be started: {error}", at + 1);
        node.child = Some(started.map_err(cannot)?);
        Ok(())
    }

    /// Ends one as a power cut does.
    pub async fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.nodes.get_mut(at).and_then(|node| node.child.take()) {
            // One that has ended needs no end.
            let _ = child.kill().await;
        }
    }

    /// Sends one a signal.
    pub fn signal(&self, at: usize, signal: Signal) {
        let id = self.nodes.get(at).and_then(|node| node.child.as_ref()?.id());
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// Waits until every node answers for every key, and every copy is there: then any one may go.
    ///
    /// # Errors
    /// When that is not so in time, or a node has ended by itself.
    pub async fn whole(&mut self) -> Result<(), String> {
        let folder = self.folder.clone();
        let all = async {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                for path in ["/health/ready", "/health/cluster"] {
                    while !matches!(
                        timeout(PATIENCE, is_good(&node.http, path)).await,
                        Ok(Ok(true))
                    ) {
                        if let Some(child) = &mut node.child
                            && let Ok(Some(status)) = child.try_wait()
                        {
                            let log = folder.join(format!("node{}.log", at + 1));
                            let log = log.display();
                            return Err(format!("a node ended by itself: {status}; see {log}"));
                        }
                        sleep(LOOK).await;
                    }
                }
            }
            Ok(())
        };
        let late = || format!("not every copy is there within {} s", WHOLE_WITHIN.as_secs());
        timeout(WHOLE_WITHIN, all).await.unwrap_or_else(|_| Err(late()))
    }

    /// Leaves the folder where it is, with what clients were told; what to say of it.
    pub fn keep(&mut self, history: &[Operation], why: &str) -> String {
        self.is_kept = true;
        let lines: Vec<String> = history.iter().map(Operation::to_string).collect();
        let file = self.folder.join("history");
        match std::fs::write(&file, lines.join("\n")) {
            Ok(()) => format!("{why}\nhistory and logs: {}", self.folder.display()),
            Err(error) => format!("{why}\ncannot write {}: {error}", file.display()),
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // Killed first: what runs makes files.
        for node in &mut self.nodes {
            let _ = node.child.as_mut().map(Child::start_kill);
        }
        if !self.is_kept
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            eprintln!("warning: cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Addresses whose ports nobody has now.
fn free_addresses(count: usize) -> std::io::Result<Vec<String>> {
    let listeners: std::io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}

fn arguments(
    round: &Round,
    folder: &Path,
    at: usize,
    [native, http, peer]: [&String; 3],
    peers: &[String],
) -> Vec<String> {
    let data = folder.join(format!("data{}", at + 1)).to_string_lossy().into_owned();
    let pairs = [
        ("--config", "/dev/null".to_owned()),
        ("--name", format!("verify{}", at + 1)),
        ("--data-dir", data),
        ("--memcached", "off".to_owned()),
        ("--native", native.clone()),
        ("--http", http.clone()),
        ("--peer", peer.clone()),
        ("--join", peers.join(",")),
        ("--bootstrap-expect", peers.len().to_string()),
        ("--mode", name(round.mode)),
        ("--persist", name(round.persist)),
        ("--threads", "1".to_owned()),
        ("--memory", MEMORY.to_owned()),
    ];
    let pairs = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    ["serve".to_owned()].into_iter().chain(pairs).collect()
}
