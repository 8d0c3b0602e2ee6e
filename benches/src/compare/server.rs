//! A server under test: started on a free loopback port and a core, stopped when dropped.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::clock::{now, pause};
use super::cores::Cores;
use super::folder::Folder;
use super::product::Product;
use super::{Result, procfs};

/// A server must answer within this time.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const ATTEMPT_PAUSE: Duration = Duration::from_micros(500);

/// A running server.
pub struct Server {
    /// What it is.
    pub product: Product,
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub start_time: Duration,
    child: Child,
    /// Removed behind the child.
    _folder: Folder,
}

/// How to start a server.
pub struct Start<'a> {
    /// Its binary.
    pub binary: &'a Path,
    /// Its memory limit.
    pub memory_mib: u64,
    /// Isogrid's eviction policy; the others have their own.
    pub eviction: Option<&'a str>,
    /// Arguments that the command line adds.
    pub added: &'a str,
    /// Where it runs.
    pub cores: Option<Cores>,
}

impl Server {
    /// Starts a server and waits for its first answer.
    pub fn start(product: Product, how: &Start<'_>) -> Result<Self> {
        let address = free_address()?;
        let mut command = command(product, address.port(), how);
        let folder = Folder::new()?;
        command.current_dir(folder.path());
        let started = now();
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut server =
            Self { product, address, start_time: Duration::ZERO, child, _folder: folder };
        while !server.answers() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{product} stopped ({status}); started as {command:?}").into());
            }
            if now() - started > START_MAX {
                return Err(format!("{product} does not answer; started as {command:?}").into());
            }
            pause(ATTEMPT_PAUSE);
        }
        server.start_time = now() - started;
        Ok(server)
    }

    /// Nanoseconds of CPU used so far.
    pub fn cpu_ns(&self) -> Result<u64> {
        procfs::cpu_ns(self.child.id())
    }

    /// Bytes in memory.
    pub fn rss_bytes(&self) -> Result<u64> {
        procfs::rss_bytes(self.child.id())
    }

    /// A new connection that has been answered once, so that the server really serves it.
    pub fn greet(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(START_MAX))?;
        stream.write_all(self.product.greeting())?;
        let mut answer = [0; 64];
        match stream.read(&mut answer)? {
            0 => Err(format!("{} closed a new connection", self.product).into()),
            _ => Ok(stream),
        }
    }

    fn answers(&self) -> bool {
        self.greet().is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody needs what it keeps, so there is nothing to flush: a kill is enough. Both calls fail only
        // when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `setpriv` lets the kernel kill the server when this process ends for whatever reason, Ctrl-C
/// included; `taskset` pins it. Both replace themselves by the server, so the pid is the server's.
fn command(product: Product, port: u16, how: &Start<'_>) -> Command {
    let mut words: Vec<OsString> = ["setpriv", "--pdeathsig", "KILL"].map(Into::into).to_vec();
    if let Some(cores) = how.cores {
        words.extend(["taskset".into(), "-c".into(), cores.server.to_string().into()]);
    }
    words.push(how.binary.into());
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(product.arguments(port, how.memory_mib, how.eviction, how.added));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A loopback address that nobody listens on now.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
