//! A cluster of real servers on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::health::is_whole;
use super::namespaces::Namespaces;
use super::network::Network;
use super::ports::free_address;
use super::process::Process;
use super::small_disk::SmallDisk;
use crate::checker::{Ask, Told};
use crate::harness::{isogrid, temporary};

/// How long a cluster may take until every node answers for every key.
pub const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// How long copies may take to be filled.
const FILLED_WITHIN: Duration = Duration::from_secs(180);
/// How long they are given by a server that does not say.
const FILLED_UNSEEN: Duration = Duration::from_secs(14);
/// Keys that are asked for to see whether all segments are served.
const PROBES: usize = 64;

/// Where entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At two owners each.
    Distributed,
    /// Everywhere.
    Replicated,
    /// On each node those that it has cached.
    Invalidated,
}

impl Mode {
    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Distributed => "distributed",
            Mode::Replicated => "replicated",
            Mode::Invalidated => "invalidated",
        }
    }
}

/// What cluster to start.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// How many nodes.
    pub nodes: usize,
    /// Where entries are.
    pub mode: Mode,
    /// Whether they are there after a restart of all (`persist = sync`).
    pub kept: bool,
    /// Whether they get to the disks a moment after they are acknowledged (`persist = async`).
    pub behind: bool,
    /// How many of them are witnesses: the last ones.
    pub witnesses: usize,
    /// Whether writes are acknowledged before the copies have them (`ack = async`).
    pub at_once: bool,
    /// Whether what a failover loses of them is written to files (`cluster.discarded_dir = auto`).
    pub keeps_lost: bool,
    /// Whether reads are confirmed by the other copies (`read_mode = confirm`).
    pub confirm: bool,
    /// Whether each node has a small disk of its own, which can be full. That takes a user who may
    /// mount, see [`super::may_mount`].
    pub small_disks: bool,
    /// How long a member may serve without hearing from the others (`cluster.lease`), ms.
    pub lease_ms: u64,
    /// Whether each node is in a network namespace of its own, and peers speak TLS. That takes a user
    /// who may make them, see [`super::may_make_namespaces`].
    pub namespaces: bool,
}

impl Setup {
    /// Three nodes, a distributed cache in memory, and nothing more.
    pub const PLAIN: Setup = Setup {
        nodes: 3,
        mode: Mode::Distributed,
        kept: false,
        behind: false,
        witnesses: 0,
        at_once: false,
        keeps_lost: false,
        confirm: false,
        small_disks: false,
        lease_ms: 1_500,
        namespaces: false,
    };

    /// Its name.
    #[must_use]
    pub fn persist(self) -> &'static str {
        match (self.kept, self.behind) {
            (true, _) => "sync",
            (false, true) => "async",
            (false, false) => "none",
        }
    }
}

/// A cluster; dropped, its processes are killed, and its folder is removed unless it is to stay.
pub struct Cluster {
    processes: Vec<Process>,
    clients: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    network: Arc<Network>,
    folder: PathBuf,
    setup: Setup,
    disks: Vec<SmallDisk>,
    stays: bool,
}

impl Cluster {
    /// Starts one, and waits for nothing.
    pub fn begin(setup: Setup) -> Cluster {
        let folder = temporary("cluster");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let disk = |_| SmallDisk::mount().expect("a user who may mount");
        let disks: Vec<SmallDisk> =
            (0..setup.nodes).filter(|_| setup.small_disks).map(disk).collect();
        let (network, places) = connect(setup);
        let [clients, https] = [0, 1].map(|of| places.iter().map(|place| place[of]).collect());
        let process = |node: usize| {
            let mut command = Vec::new();
            command.extend(network.namespaces().into_iter().flat_map(|one| one.enter(node)));
            command.push(isogrid().to_string_lossy().into_owned());
            let data = data_of(node, &folder, &disks);
            command.extend(arguments(setup, node, &data, places[node], &network));
            Process::new(command, folder.join(format!("n{node}.log")))
        };
        let processes = (0..setup.nodes).map(process).collect();
        let stays = false;
        let mut cluster =
            Cluster { processes, clients, https, network, folder, setup, disks, stays };
        (0..setup.nodes).for_each(|node| cluster.start(node));
        cluster
    }

    /// Starts one, and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start_all(setup: Setup) -> Result<Cluster, String> {
        let mut cluster = Cluster::begin(setup);
        cluster.settle().inspect_err(|_| cluster.stays = true)?;
        Ok(cluster)
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// What it is.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Where clients reach the nodes.
    pub fn clients(&self) -> &[SocketAddr] {
        &self.clients
    }

    /// Where the others reach a node: its address as a member.
    pub fn peer(&self, node: usize) -> String {
        self.network.address(node).to_string()
    }

    /// Waits until each node can be asked over HTTP.
    pub fn wait_reached(&self) {
        let begin = Instant::now();
        for address in &self.https {
            while std::net::TcpStream::connect(address).is_err() {
                assert!(begin.elapsed() < SERVES_WITHIN, "{address} is not there");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// What a node answers to a call of administration.
    pub fn admin(&self, node: usize, method: &str) -> String {
        let (status, text) = self.admin_with(node, method, "{}");
        assert_eq!(status, 200, "{method}: {text}");
        text
    }

    /// The same with parameters, and with the status of the answer.
    pub fn admin_with(&self, node: usize, method: &str, params: &str) -> (u16, String) {
        let mut client = crate::harness::Client::tcp(self.https[node]);
        let path = format!("/v1/admin/{method}");
        let answer = client.http("POST", &path, &[], params.as_bytes());
        (answer.status, answer.text())
    }

    /// Waits until each node that runs has ended by itself, and well.
    ///
    /// # Errors
    /// Which has not in time, or not well.
    pub fn wait_ended(&mut self) -> Result<(), String> {
        self.processes.iter_mut().try_for_each(Process::wait_ended)
    }

    /// The value of a series of a node's `/metrics`.
    pub fn metric(&self, node: usize, series: &str) -> u64 {
        let text =
            crate::harness::Client::tcp(self.https[node]).http("GET", "/metrics", &[], b"").text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    /// The network between them.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where their logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder is left where it is.
    pub fn keep_folder(&mut self) {
        self.stays = true;
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, node: usize) {
        self.processes[node].start();
    }

    /// Why a node that does not run is not started with these arguments behind its own.
    pub fn refuses_to_start(&self, node: usize, arguments: &[&str]) -> String {
        self.processes[node].refuses_to_start(arguments)
    }

    /// Kills a node.
    pub fn kill(&mut self, node: usize) {
        self.processes[node].kill();
    }

    /// Stops a node as its operator does, and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub fn stop(&mut self, node: usize) -> Result<(), String> {
        self.processes[node].stop()
    }

    /// Removes everything that a node which does not run has on its disk.
    pub fn wipe(&self, node: usize) {
        std::fs::remove_dir_all(data_of(node, &self.folder, &self.disks)).unwrap();
    }

    /// Turns a bit in the middle of each file of copies of a node that does not run.
    pub fn damage(&self, node: usize) {
        let folder = data_of(node, &self.folder, &self.disks).join("cluster");
        let is_copies = |path: &PathBuf| path.to_string_lossy().contains("/copies-");
        let inside = |path: &Path| std::fs::read_dir(path).unwrap().map(|one| one.unwrap().path());
        let files = inside(&folder).filter(is_copies).flat_map(|path| inside(&path));
        for file in files {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }

    /// Leaves no room on a node's disk.
    pub fn fill_disk(&mut self, node: usize) {
        self.processes[node].may_end();
        self.disks[node].fill();
    }

    /// Makes room on it again.
    pub fn free_disk(&self, node: usize) {
        self.disks[node].free();
    }

    /// Sends a node a signal.
    pub fn signal(&self, node: usize, name: &str) {
        self.processes[node].signal(name);
    }

    /// That no node has ended by itself.
    ///
    /// # Errors
    /// Which has, and how.
    pub fn check(&mut self) -> Result<(), String> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Waits until every node that runs answers for every key.
    ///
    /// # Errors
    /// When one does not in time.
    pub fn wait_served(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        for node in 0..self.len() {
            while self.processes[node].runs() && !self.serves_all(node) {
                self.check()?;
                if begin.elapsed() > SERVES_WITHIN {
                    return Err(format!("node {node} does not serve within {SERVES_WITHIN:?}"));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The same, and until all copies are filled: then any one node may be killed.
    ///
    /// # Errors
    /// When that is not so in time.
    pub fn settle(&mut self) -> Result<(), String> {
        self.wait_served()?;
        let begin = Instant::now();
        for node in 0..self.len() {
            while self.processes[node].runs() && !self.is_filled(node, begin) {
                self.check()?;
                if begin.elapsed() > FILLED_WITHIN {
                    return Err(format!("copies are not filled within {FILLED_WITHIN:?}"));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Each node is asked: one that has just come back has no lease before the others know that
    /// its copies are gone.
    fn is_filled(&self, node: usize, since: Instant) -> bool {
        is_whole(self.https[node]).unwrap_or_else(|| since.elapsed() > FILLED_UNSEEN)
    }

    fn serves_all(&self, node: usize) -> bool {
        let mut client = Client::new(self.clients[node], Duration::from_secs(6));
        (0..PROBES).all(|number| {
            let told = client.perform(&format!("probe{number}"), Ask::Put(1), false);
            matches!(told, Told::Done(_))
        })
    }
}

/// The network between the nodes, and where clients, HTTP and peers reach each of them.
fn connect(setup: Setup) -> (Arc<Network>, Vec<[SocketAddr; 3]>) {
    let nodes = 0..setup.nodes;
    if setup.namespaces {
        let network = Network::of_namespaces(setup.nodes).expect("a user who may make namespaces");
        let places = nodes.filter_map(|node| Some(network.namespaces()?.places(node))).collect();
        return (network, places);
    }
    let places: Vec<_> = nodes.map(|_| [(); 3].map(|()| free_address())).collect();
    let peers: Vec<_> = places.iter().map(|[_, _, peer]| *peer).collect();
    (Network::new(&peers), places)
}

/// Where a node keeps what it has.
fn data_of(node: usize, folder: &Path, disks: &[SmallDisk]) -> PathBuf {
    disks.get(node).map_or_else(|| folder.join(format!("d{node}")), |disk| disk.path().to_owned())
}

fn arguments(
    setup: Setup,
    node: usize,
    data: &Path,
    [client, http, peer]: [SocketAddr; 3],
    network: &Network,
) -> Vec<String> {
    let advertise = format!("cluster.advertise={}", network.address(node));
    let name = format!("chaos{node}");
    let count = setup.nodes.to_string();
    let role = if node + setup.witnesses < setup.nodes { "data" } else { "witness" };
    let pairs = [
        ("--config", "/dev/null".into()),
        ("--set", format!("cluster.role={role}")),
        ("--set", format!("cluster.lease={}ms", setup.lease_ms)),
        ("--name", name),
        ("--log-format", "json".into()),
        ("--data-dir", data.to_string_lossy().into_owned()),
        ("--memcached", client.to_string()),
        ("--native", "off".into()),
        ("--http", http.to_string()),
        ("--peer", peer.to_string()),
        ("--set", advertise),
        ("--join", network.addresses().join(",")),
        ("--bootstrap-expect", count),
        ("--mode", setup.mode.name().into()),
        ("--ack", if setup.at_once { "async" } else { "sync" }.into()),
        (
            "--set",
            format!("cache.default.read_mode={}", if setup.confirm { "confirm" } else { "lease" }),
        ),
        (
            "--set",
            format!("cluster.discarded_dir={}", if setup.keeps_lost { "auto" } else { "off" }),
        ),
        ("--persist", setup.persist().into()),
        // So small that checkpoints are written.
        ("--set", "node.log_size=1MiB".into()),
        ("--threads", "1".into()),
        ("--memory", "64MiB".into()),
    ];
    let all = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let more = network.namespaces().into_iter().flat_map(Namespaces::settings);
    ["serve".to_owned()].into_iter().chain(all).chain(more).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(Process::kill);
        if self.stays || std::thread::panicking() {
            eprintln!("logs and history are left in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
