//! What the tests of the transport have in common.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Bounds, Lane, PeerTls, Sink, Transport, TransportConfig};

/// How long anything may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// What a sink was given.
#[derive(Default)]
pub struct Kept {
    pub frames: Mutex<Vec<(Lane, String, Vec<u8>)>>,
    pub unreachable: Mutex<Vec<String>>,
    /// The lane whose frames are held up.
    held: Mutex<Option<Lane>>,
    released: Condvar,
    holding: AtomicBool,
}

impl Sink for Kept {
    fn received(&self, lane: Lane, from: &str, frames: &mut dyn Iterator<Item = &[u8]>) {
        if *self.held.lock() == Some(lane) {
            // Other tasks of this thread go to another one.
            tokio::task::block_in_place(|| self.wait(lane));
        }
        let frames = frames.map(|frame| (lane, from.to_owned(), frame.to_vec()));
        self.frames.lock().extend(frames);
    }

    fn unreachable(&self, address: &str) {
        self.unreachable.lock().push(address.to_owned());
    }
}

impl Kept {
    fn wait(&self, lane: Lane) {
        let mut held = self.held.lock();
        self.holding.store(true, Ordering::Relaxed);
        // A test that fails must end all the same.
        self.released.wait_while_for(&mut held, |held| *held == Some(lane), 2 * PATIENCE);
    }

    /// Holds up the frames of a lane, or no more.
    pub fn hold(&self, lane: Option<Lane>) {
        *self.held.lock() = lane;
        self.released.notify_all();
    }

    /// Whether frames are being held up.
    pub fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed)
    }

    /// The payloads of a lane so far.
    pub fn of(&self, lane: Lane) -> Vec<Vec<u8>> {
        let frames = self.frames.lock();
        let of_lane = frames.iter().filter(|(of, _, _)| *of == lane);
        of_lane.map(|(_, _, frame)| frame.clone()).collect()
    }

    /// Returns when `count` frames of a lane are there, and gives them.
    pub async fn come(&self, lane: Lane, count: usize) -> Vec<Vec<u8>> {
        until("frames", || self.of(lane).len() >= count).await;
        self.of(lane)
    }
}

/// A transport and its sink.
pub struct Peer {
    pub transport: Transport,
    pub kept: Arc<Kept>,
}

impl Peer {
    pub fn address(&self) -> &str {
        self.transport.address()
    }

    pub fn send(&self, to: &Peer, lane: Lane, frame: &[u8]) {
        self.transport.send(to.address(), lane, frame).unwrap();
    }

    pub fn count(&self, counter: impl Fn(&super::super::Stats) -> &AtomicU64) -> u64 {
        counter(self.transport.stats()).load(Ordering::Relaxed)
    }
}

/// Bounds that are reached soon, and times that are not.
pub fn small() -> Bounds {
    Bounds {
        back_off: (Duration::from_millis(1), Duration::from_millis(20)),
        connect_timeout: PATIENCE,
        handshake_timeout: PATIENCE,
        silence_max: PATIENCE,
        keep_alive: Duration::from_millis(20),
        ..Bounds::default()
    }
}

/// A configuration on a port that is free.
pub fn config(cluster: &str, bounds: Bounds) -> TransportConfig {
    TransportConfig { bounds, ..TransportConfig::new(cluster, "127.0.0.1:0") }
}

pub async fn start(config: TransportConfig) -> Peer {
    start_at("127.0.0.1:0", config).await
}

/// Binds as soon as the port is free.
pub async fn start_at(listen: &str, config: TransportConfig) -> Peer {
    let (kept, listen) = (Arc::new(Kept::default()), listen.parse().unwrap());
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        let config = TransportConfig {
            cluster: config.cluster.clone(),
            address: config.address.clone(),
            tls: config.tls.clone(),
            bounds: config.bounds.clone(),
        };
        let sink: Arc<dyn Sink> = Arc::<Kept>::clone(&kept);
        match Transport::bind(listen, config, sink).await {
            Ok(transport) => return Peer { transport, kept },
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
    panic!("{listen} is not free");
}

pub async fn peers(bounds: &Bounds) -> (Peer, Peer) {
    let start = || start(config("c", bounds.clone()));
    (start().await, start().await)
}

pub async fn with_tls(tls: Option<PeerTls>) -> Peer {
    start(TransportConfig { tls, ..config("c", small()) }).await
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if is_so() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("in vain: {what}");
}

/// Runs a test on several threads, so that a sink may be held up.
pub fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, test).await.unwrap() });
    runtime.shutdown_background();
}

/// Everything that a port answers to these bytes until it closes.
pub async fn say(to: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // It may be closed before all of it has gone.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

/// A proxy to `to`: the first connection's byte number `at` on the way there is changed, or it is
/// closed before that byte; the others are left alone. Gives its address.
pub async fn proxy(to: &str, at: usize, cut: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, to) = (listener.local_addr().unwrap(), to.to_owned());
    tokio::spawn(async move {
        let mut harm = Some(at);
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(relay(near, far, harm.take(), cut));
        }
    });
    SocketAddr::to_string(&address)
}

async fn relay(near: TcpStream, far: TcpStream, harm: Option<usize>, cut: bool) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
        (near.into_split(), far.into_split());
    let back = tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
    let (mut passed, mut piece) = (0, vec![0; 4_096]);
    while let Ok(len @ 1..) = near_in.read(&mut piece).await {
        let mut len = len;
        if let Some(at) = harm.and_then(|at| at.checked_sub(passed))
            && at < len
        {
            if cut {
                len = at;
            } else {
                piece[at] ^= 0x40;
            }
        }
        let is_cut = cut && harm.is_some_and(|at| at == passed + len);
        passed += len;
        if far_out.write_all(&piece[..len]).await.is_err() || is_cut {
            break;
        }
    }
    back.abort();
}
