//! A server in a process of its own, stopped when dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::{Client, isogrid, resident_kib, send_signal, wait_until};

/// A running server.
pub struct Server {
    child: Child,
    addresses: Vec<String>,
    log: Arc<Mutex<String>>,
}

/// A server that ended before it was ready.
#[derive(Debug)]
pub struct StartError {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote.
    pub log: String,
}

impl Server {
    /// `isogrid serve` with `args`. Without `--config` in them it listens on a free port and has
    /// one thread and 64 MiB, unless they say otherwise; without `--data-dir` it keeps nothing.
    /// It speaks HTTP and the native protocol only where they say so, by `--http` and `--native`.
    pub fn isogrid(args: &[&str]) -> Server {
        Server::try_isogrid(args).unwrap_or_else(|e| panic!("{args:?}: {e:?}"))
    }

    /// The same, for a server that may refuse to start.
    pub fn try_isogrid(args: &[&str]) -> Result<Server, StartError> {
        let mut server = Server::begin_isogrid(args);
        server.until_ready()?;
        Ok(server)
    }

    /// The same, for a server that need not live until it is ready.
    pub fn begin_isogrid(args: &[&str]) -> Server {
        let mut command = Command::new(isogrid());
        command.args(["serve", "--log-format", "json"]).args(args).env_clear();
        command.env("ISOGRID__HTTP", "off").env("ISOGRID__NATIVE", "off");
        if !args.contains(&"--data-dir") {
            command.env("ISOGRID__NODE__DATA_DIR", "off");
        }
        if !args.contains(&"--config") {
            command.args(["--config", "/dev/null"]);
            command.env("ISOGRID__MEMCACHED", "127.0.0.1:0");
            command.env("ISOGRID__NODE__THREADS", "1");
            command.env("ISOGRID__CACHE__DEFAULT__MEMORY", "64MiB");
        }
        Server::spawn(&mut command)
    }

    /// A command that becomes a server which logs JSON.
    ///
    /// # Errors
    /// When it ends before it is ready.
    pub fn ready(mut command: Command) -> Result<Server, StartError> {
        let mut server = Server::spawn(&mut command);
        server.until_ready()?;
        Ok(server)
    }

    /// Waits until a server that was begun is ready.
    pub fn until_ready(&mut self) -> Result<(), StartError> {
        self.wait_for(|server| server.ready_line().is_some())?;
        self.addresses = bound(&self.ready_line().unwrap(), "memcached");
        Ok(())
    }

    /// `isogrid memcached`, on a free port unless `args` say where.
    pub fn dropin(args: &[&str]) -> Server {
        let mut command = Command::new(isogrid());
        command.arg("memcached");
        Server::memcached_like(command, args).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// memcached itself, on a free port; `None` when it is not installed.
    pub fn memcached(args: &[&str]) -> Option<Server> {
        super::has("memcached", "apt-get install memcached").then(|| {
            let args = [&["-l", "127.0.0.1"], args].concat();
            let command = Command::new("memcached");
            Server::memcached_like(command, &args).unwrap_or_else(|e| panic!("{e:?}"))
        })
    }

    /// A program that takes memcached's flags, on a free port that it writes to a file.
    pub fn memcached_like(mut command: Command, args: &[&str]) -> Result<Server, StartError> {
        let file = temporary("ports");
        // A dead process of the same id may have left one.
        let _ = std::fs::remove_file(&file);
        if !args.contains(&"-p") && !args.contains(&"-s") {
            command.args(["-p", "-1"]);
        }
        command.args(["-u", "root"]).args(args).env("MEMCACHED_PORT_FILENAME", &file);
        let mut server = Server::spawn(&mut command);
        let socket = args.iter().position(|arg| *arg == "-s").map(|at| args[at + 1]);
        match socket {
            Some(path) => {
                // The file is there a moment before the server listens.
                server.wait_for(|_| UnixStream::connect(path).is_ok())?;
                server.addresses = vec![format!("unix:{path}")];
            }
            None => {
                server.wait_for(|_| !ports(&file).is_empty())?;
                server.addresses = ports(&file);
                let _ = std::fs::remove_file(&file);
            }
        }
        Ok(server)
    }

    fn spawn(command: &mut Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, copy) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Server { child, addresses: Vec::new(), log }
    }

    fn wait_for(&mut self, ready: impl Fn(&Server) -> bool) -> Result<(), StartError> {
        let mut ended = None;
        wait_until("the server is ready", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some() || ready(self)
        });
        let Some(status) = ended else { return Ok(()) };
        // The rest of the log is still on its way through the pipe.
        std::thread::sleep(std::time::Duration::from_millis(50));
        Err(StartError { code: status.code(), log: self.log() })
    }

    /// The line that says that the server is ready.
    pub fn ready_line(&self) -> Option<String> {
        self.log().lines().find(|line| line.contains("\"event\":\"ready\"")).map(str::to_owned)
    }

    /// What the server has written.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The resident memory.
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.pid())
    }

    /// All that the server listens on, in the order of its flags.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where the server speaks HTTP, or everything (`native`), in the order of its flags.
    pub fn bound_for(&self, what: &str) -> Vec<String> {
        bound(&self.ready_line().unwrap(), what)
    }

    /// The first TCP address.
    pub fn address(&self) -> SocketAddr {
        self.addresses.iter().find_map(|address| address.parse().ok()).expect("a TCP address")
    }

    /// The port of the first TCP address.
    pub fn port(&self) -> String {
        self.address().port().to_string()
    }

    /// A new connection to the first address.
    pub fn connect(&self) -> Client {
        Server::connect_to(&self.addresses[0])
    }

    /// A new connection to `IP:PORT` or `unix:PATH`.
    pub fn connect_to(address: &str) -> Client {
        match address.strip_prefix("unix:") {
            Some(path) => Client::unix(Path::new(path)),
            None => Client::tcp(address.parse().unwrap()),
        }
    }

    /// Sends a signal, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// A path in the folder for temporary files that nobody else has.
pub fn temporary(what: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("isogrid-{what}-{}-{number}", std::process::id()))
}

/// `"memcached":"127.0.0.1:34567,unix:/run/x"` of a ready line, or the same as a list.
fn bound(ready: &str, what: &str) -> Vec<String> {
    let field = format!("\"{what}\":");
    let (_, rest) = ready.split_once(&field).unwrap_or_else(|| panic!("{ready}"));
    let end = if rest.starts_with('[') { "]" } else { "\",\"" };
    let (list, _) = rest.split_once(end).unwrap_or_else(|| panic!("{ready}"));
    let word = |word: &str| word.trim_matches(['[', '"', ' ']).to_owned();
    list.split(',').map(word).filter(|word| !word.is_empty()).collect()
}

/// `TCP INET: 34567` of the file of ports.
fn ports(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let port = |line: &str| Some(format!("127.0.0.1:{}", line.strip_prefix("TCP INET: ")?));
    text.lines().filter_map(port).collect()
}
