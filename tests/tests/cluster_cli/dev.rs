//! A cluster of `isogrid dev`, stopped when dropped.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "several tests use it, none all of it, and it waits for real processes"
)]

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isogrid_tests::harness::{Answer, Client, Native, Server, isogrid, run, send_signal};
use serde_json::Value;

/// How long anything may take: copies of all segments are made anew in that time.
const PATIENCE: Duration = Duration::from_secs(180);
/// Ports that are not given out to whoever asks for any begin here.
const EPHEMERAL: u16 = 32_768;

/// What a command ended with.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// `isogrid` with these arguments.
pub fn asked(args: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(isogrid());
    command.args(args).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    let output = run(&mut command);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

/// Asks again and again until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running cluster.
pub struct Dev {
    child: Child,
    offset: u16,
    out: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
}

impl Dev {
    /// `isogrid dev` with `args`, on free ports unless they say where, once it serves.
    pub fn start(args: &[&str]) -> Dev {
        let said = args.iter().position(|arg| *arg == "--port-offset").map(|at| args[at + 1]);
        let offset = said.map_or_else(free_offset, |said| said.parse().unwrap());
        let mut command = Command::new(isogrid());
        command.arg("dev").args(args).env_clear().stdin(Stdio::null());
        if said.is_none() {
            command.args(["--port-offset", &offset.to_string()]);
        }
        command.args(["--memory", "64MiB", "--set", "node.threads=1"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, log) =
            (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let mut dev = Dev { child, offset, out, log };
        until("the cluster serves", || {
            assert_eq!(dev.child.try_wait().unwrap(), None, "{}", dev.log());
            dev.out.lock().unwrap().contains("Ctrl-C stops all")
        });
        dev
    }

    /// Three nodes, once everything is where it should be. A member whose first lease comes late is
    /// at first served for by the others, though no copy is missing: what tests expected of its part
    /// failed on a busy machine.
    pub fn three(args: &[&str]) -> Dev {
        let dev = Dev::start(&[&["--nodes", "3"], args].concat());
        dev.settles(&[0, 1, 2]);
        let is_whole = |node: usize| dev.http(node, "/health/cluster").status == 200;
        until("every copy is there", || (0..3).all(is_whole));
        dev
    }

    /// Waits until every copy is where it should be, as these nodes see it.
    pub fn settles(&self, nodes: &[usize]) {
        for node in nodes {
            let said = self.said(*node, "cluster rebalance --wait --timeout 180s");
            assert_eq!(said.code, Some(0), "{said:?}");
        }
    }

    /// What was added to the ports.
    pub fn offset(&self) -> String {
        self.offset.to_string()
    }

    /// What it and its nodes have written.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The commands of this program that it shows, without its name.
    pub fn hints(&self) -> Vec<String> {
        let out = self.out.lock().unwrap();
        let hints = out.lines().filter_map(|line| line.strip_prefix("  isogrid "));
        hints.map(str::to_owned).collect()
    }

    /// The address of a node in a column of the table.
    fn address(&self, node: usize, column: usize) -> String {
        let out = self.out.lock().unwrap();
        let name = format!("dev{} ", node + 1);
        let row = out.lines().find(|line| line.starts_with(&name)).unwrap();
        row.split_whitespace().nth(column).unwrap().to_owned()
    }

    /// Where its peers reach a node.
    pub fn peer(&self, node: usize) -> String {
        self.address(node, 4)
    }

    /// Where a node speaks the native protocol.
    pub fn native_address(&self, node: usize) -> String {
        self.address(node, 2)
    }

    /// A connection for memcached's protocol.
    pub fn client(&self, node: usize) -> Client {
        Server::connect_to(&self.address(node, 1))
    }

    /// A connection for the native protocol.
    pub fn native(&self, node: usize) -> Native {
        self.native_with(node, &serde_json::json!({}))
    }

    /// The same of a client that says this of itself.
    pub fn native_with(&self, node: usize, hello: &Value) -> Native {
        Native::begin(Server::connect_to(&self.address(node, 2)), hello)
    }

    /// A request over HTTP.
    pub fn asks(
        &self,
        node: usize,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        Server::connect_to(&self.address(node, 3)).http(method, path, headers, body)
    }

    /// A GET.
    pub fn http(&self, node: usize, path: &str) -> Answer {
        self.asks(node, "GET", path, &[], b"")
    }

    /// Whether load balancers are to send clients to a node.
    pub fn is_ready(&self, node: usize) -> bool {
        self.http(node, "/health/ready").status == 200
    }

    /// The value of a series of `/metrics`.
    pub fn metric(&self, node: usize, series: &str) -> u64 {
        let text = self.http(node, "/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    /// `isogrid` with these words, asking a node.
    pub fn said(&self, node: usize, words: &str) -> Said {
        let args: Vec<&str> = words.split(' ').collect();
        asked(&args, &[("ISOGRID_SERVER", &self.address(node, 2))])
    }

    /// A command that a node does not do.
    pub fn refuses(&self, node: usize, words: &str, code: i32, why: &str) {
        let said = self.said(node, words);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{words}: {said:?}");
        assert!(said.error.contains(why), "{words}: {said:?}");
    }

    /// The process of a node: the last one that was ready.
    pub fn pid(&self, node: usize) -> u32 {
        self.pids(&format!("dev{} | ", node + 1)).pop().unwrap()
    }

    /// The processes that said that they are ready.
    fn pids(&self, prefix: &str) -> Vec<u32> {
        let log = self.log();
        let ready = log.lines().filter(|line| line.starts_with(prefix));
        let pid = |line: &str| line.split_once(" pid=")?.1.split(' ').next()?.parse().ok();
        ready.filter(|line| line.contains("event=\"ready\"")).filter_map(pid).collect()
    }

    /// Kills the process of a node.
    pub fn kill(&self, node: usize) {
        send_signal(self.pid(node), "KILL");
    }

    /// How many processes of nodes there are, of all that there ever were.
    pub fn alive(&self) -> usize {
        let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}/exe")).exists();
        self.pids("dev").iter().filter(|pid| is_there(pid)).count()
    }

    /// Where it keeps what its nodes know.
    pub fn folder(&self) -> PathBuf {
        let out = self.out.lock().unwrap();
        let line = out.lines().find_map(|line| line.strip_prefix("data in ")).unwrap();
        line.split(' ').next().unwrap().into()
    }

    /// Sends it a signal, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("it has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its nodes end with it.
        self.signal("TERM");
        self.wait();
        if std::thread::panicking() {
            eprintln!("the cluster's log:\n{}", self.log());
        }
    }
}

/// What a pipe brings, in the background.
fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = copy.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

/// Something to add to the ports of seven nodes so that nobody has any of them.
fn free_offset() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(797);
    loop {
        let drawn = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed) * 201);
        let offset = 100 + u16::try_from(drawn % u32::from(EPHEMERAL - 11_400)).unwrap();
        let native = (0..7).flat_map(|at| [7_400, 7_401, 7_480].map(|port| port + 10 * at));
        let ports = native.chain((0..7).map(|at| 11_211 + at)).map(|port| port + offset);
        if ports.into_iter().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return offset;
        }
    }
}
