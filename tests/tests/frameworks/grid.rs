//! Three nodes with a cache for sessions, each with a memcached listener of its own for it, as
//! `docs/FRAMEWORKS.md` has it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isogrid_tests::cluster::free_address;
use isogrid_tests::harness::{Client, Server, temporary};

use super::table::Framework;

/// How long copies may take to be filled, on a busy machine.
const FILLED_WITHIN: Duration = Duration::from_secs(180);

/// What the nodes have, beside where they are.
const CACHES: &str = r#"
[[cache]]
name = "default"
mode = "distributed"
memory = "16MiB"

[[cache]]
name = "sessions"
mode = "distributed"
owners = 2
eviction = "none"
memory = "16MiB"
"#;

/// A node's place, and its process.
struct Node {
    sessions: SocketAddr,
    native: SocketAddr,
    default: SocketAddr,
    http: SocketAddr,
    folder: PathBuf,
    server: Option<Server>,
}

/// The cluster; gone when this is.
pub struct Grid(Vec<Node>);

impl Grid {
    /// One whose nodes stay: no busy machine makes them doubt that.
    pub fn start() -> Grid {
        Grid::with_lease("10s")
    }

    /// One whose nodes are to be killed.
    pub fn start_to_fail() -> Grid {
        Grid::with_lease("1500ms")
    }

    /// Starts it, and waits until every copy is there.
    fn with_lease(lease: &str) -> Grid {
        let peers = [(); 3].map(|()| free_address());
        let join = peers.map(|peer| peer.to_string()).join(",");
        let mut grid = Grid(peers.iter().map(|peer| Node::new(*peer, &join, lease)).collect());
        grid.0.iter_mut().for_each(Node::begin);
        grid.settle();
        grid
    }

    /// Where a framework reaches its sessions.
    pub fn servers(&self, framework: &Framework) -> Vec<String> {
        let of = |node: &Node| if framework.merges() { node.native } else { node.sessions };
        self.0.iter().map(|node| of(node).to_string()).collect()
    }

    /// A connection to the sessions of a node.
    pub fn sessions(&self, node: usize) -> Client {
        Client::tcp(self.0[node].sessions)
    }

    /// A connection to its cache `default`.
    pub fn default(&self, node: usize) -> Client {
        Client::tcp(self.0[node].default)
    }

    /// Kills a node as `kill -9` does.
    pub fn kill(&mut self, node: usize) {
        self.0[node].server = None;
    }

    /// Starts a killed node again, and waits until every copy is there.
    pub fn restart(&mut self, node: usize) {
        self.0[node].begin();
        self.settle();
    }

    fn settle(&mut self) {
        for node in &mut self.0 {
            node.server.as_mut().unwrap().until_ready().unwrap();
        }
        let is_whole = |node: &Node| {
            let answer = Client::tcp(node.http).http("GET", "/health/cluster", &[], b"");
            answer.status == 200
        };
        let begin = Instant::now();
        while !self.0.iter().all(is_whole) {
            assert!(begin.elapsed() < FILLED_WITHIN, "copies are not filled in time");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Node {
    fn new(peer: SocketAddr, join: &str, lease: &str) -> Node {
        let [sessions, native, default, http] = [(); 4].map(|()| free_address());
        let folder = temporary("frameworks").with_extension(peer.port().to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let own = format!(
            "[node]\nthreads = 1\ndata_dir = '{}'\n\
             [cluster]\npeer = '{peer}'\njoin = '{join}'\nbootstrap_expect = 3\nlease = '{lease}'\n\
             [[listener]]\naddress = '{default}'\n\
             [[listener]]\naddress = '{sessions}'\ncache = 'sessions'\nflush = false\n",
            folder.join("data").display()
        );
        std::fs::write(folder.join("isogrid.toml"), own + CACHES).unwrap();
        Node { sessions, native, default, http, folder, server: None }
    }

    fn begin(&mut self) {
        let [file, data] = ["isogrid.toml", "data"].map(|name| self.folder.join(name));
        let [http, native] = [self.http, self.native].map(|address| address.to_string());
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let files = ["--config", &path(&file), "--data-dir", &path(&data)];
        let args = [&files[..], &["--http", &http, "--native", &native]].concat();
        self.server = Some(Server::begin_isogrid(&args));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
