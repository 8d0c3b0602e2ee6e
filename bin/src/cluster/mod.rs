//! The shell around the cluster's cores: sockets, disk, clock and tasks. What members agree on and
//! who serves what is decided in `isogrid_grid`; here it is carried out.
//!
//! | file | what |
//! |---|---|
//! | `driver/` | the task that runs the control core, and finds or founds a cluster before |
//! | `ears.rs` | what comes from peers, and where it goes |
//! | `view.rs` | who serves which segment |
//! | `status.rs`, `balance.rs`, `remove.rs` | what there is to say of the cluster, and what is left to be moved; members that do not come back |
//! | `search/`, `seeds.rs` | where other nodes may be |
//! | `stale.rs` | copies that have fallen behind, and serve if an operator says so |
//! | `requests.rs`, `executed.rs` | requests that are passed on, and those that others pass on |
//! | `invalidated.rs` | invalidated caches, and what members tell each other for them |
//! | `mail.rs` | what copies say to those of other members |
//! | `frame.rs` | what goes over the lanes |
//! | `transport/`, `storage/` | frames over TCP; what is kept on the disk |
//! | `copies/` | the same of the copies of caches that are kept |

mod balance;
mod copies;
mod driver;
mod ears;
mod executed;
mod frame;
mod intake;
mod invalidated;
mod mail;
mod remove;
mod requests;
mod search;
mod seeds;
mod stale;
mod status;
pub mod storage;
pub mod transport;
mod view;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;
use isogrid_engine::{Clock, SystemClock, Table, env};
use isogrid_grid::control::Identity;
use isogrid_grid::copies::{Copies, Out};
use isogrid_grid::id::{GroupId, NodeId, SegmentId};
use isogrid_grid::membership::Now;
use isogrid_grid::message::{Envelope, Message, ToCopy};
use isogrid_grid::metadata::{Acks, GroupSettings, Owners, Persist, Role};
use isogrid_grid::replica::OpId;
use isogrid_grid::structures::Structures;
use isogrid_grid::structures::queues::Queues;
use isogrid_grid::tx::Open;
use isogrid_wire::native::topology::CLUSTER_OBJECTS;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::config::{CacheConfig, CacheMode, ServerConfig};
use crate::security::random;
use crate::server::tls::TlsError;
pub use balance::{Left, Speed};
use copies::CopyDisk;
use driver::Input;
pub use executed::{Executed, Later};
use frame::put_core;
pub use frame::{Done, Items, named, unnamed};
use intake::Intake;
use invalidated::Invalidations;
pub use invalidated::{Fresh, Invalidated, InvalidationStats};
use mail::Mail;
pub use requests::{Answer, Asked, Outgoing};
use requests::{Bundle, Requests};
pub use search::Heard;
pub use seeds::seeds;
pub use stale::{Promoted, StaleStatus};
pub use status::{CacheStatus, MemberStatus, SegmentStatus, Status};
use transport::{Lane, Transport};
pub use view::{Route, View};

/// Segments of each cache of a cluster.
pub const SEGMENTS: u32 = 256;

/// Copies of each counter and lock.
const STRUCTURE_OWNERS: u8 = 3;

/// How long the others may take to hear who serves what a member has handed over: until then they
/// pass requests on to it, and have to be told that it does not. Several rounds of the log.
const HEARD: Duration = Duration::from_millis(200);

/// Why a node cannot take part in a cluster.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// What it keeps about the cluster cannot be used.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// Peers could not reach it.
    #[error("cannot listen for peers on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// What it keeps of its caches cannot be used.
    #[error(transparent)]
    Copies(#[from] copies::CopiesError),
    /// Others than its peers could reach it.
    #[error(transparent)]
    Exposed(#[from] transport::ExposedPeer),
    /// Peers are reached over TCP alone.
    #[error("peers are reached over TCP: cluster.peer = {0} is no IP:PORT")]
    NotTcp(String),
    /// Nodes cannot announce themselves.
    #[error(
        "cluster.discover = multicast: cannot join {group} on the interface of cluster.peer: {source}\n  \
         help: say where others are with --join instead"
    )]
    Multicast {
        /// The group.
        group: String,
        /// Why.
        source: std::io::Error,
    },
    /// Peers cannot speak TLS.
    #[error("cluster.tls_cert, cluster.tls_key and cluster.tls_ca: {0}")]
    Tls(#[from] TlsError),
    /// It is a member of another role than it is to have.
    #[error(
        "this node is the member {node} of its cluster, there for {}, and cluster.role = {}\n  help: say \
         cluster.role = {}; or have it leave (`isogrid cluster leave`), and start it with an empty data \
         directory: it comes back as another member",
        .is.name(), .wants.name(), .is.name()
    )]
    OtherRole {
        /// Which member.
        node: NodeId,
        /// What it is there for.
        is: Role,
        /// What the configuration says.
        wants: Role,
    },
    /// Two caches would be one group.
    #[error("the caches {0:?} and {1:?} cannot be in one cluster: rename one")]
    SameGroup(String, String),
}

/// A cache of the cluster, on this node.
pub struct Shared {
    /// Its name.
    pub name: String,
    /// The group that it is.
    pub group: GroupId,
    settings: GroupSettings,
    table: Arc<Table>,
    copies: OnceLock<Arc<Copies>>,
}

impl Shared {
    fn new(config: &CacheConfig, table: Arc<Table>) -> Shared {
        let owners = match config.mode {
            CacheMode::Local | CacheMode::Invalidated | CacheMode::Distributed => {
                Owners::Count(u8::try_from(config.owners).unwrap_or(u8::MAX).max(1))
            }
            CacheMode::Replicated => Owners::All,
        };
        let acks = if config.answers_at_once() { Acks::Async } else { Acks::Sync };
        // What a copy has is all that was acknowledged only where copies are waited for (R24).
        let local_reads = config.mode == CacheMode::Replicated && acks == Acks::Sync;
        let many = config.mode == CacheMode::Distributed && config.owners > 2;
        let min_insync = if many { 2 } else { 1 };
        let persist = config.kept_by_members();
        let settings = GroupSettings { owners, persist, local_reads, min_insync, acks };
        let (name, group) = (config.name.clone(), group_of(&config.name));
        Shared { name, group, settings, table, copies: OnceLock::new() }
    }

    /// Whether every member answers reads from a copy of its own (R24).
    #[must_use]
    pub fn has_local_reads(&self) -> bool {
        self.settings.local_reads
    }

    /// Whether a restart of all members leaves as much of it as of another one.
    #[must_use]
    pub fn is_kept_as(&self, other: &Shared) -> bool {
        self.settings.persist == other.settings.persist
    }

    /// Whether writes are acknowledged before the copies have them (R37).
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        self.settings.acks == Acks::Async
    }

    /// The structures of the cluster, which are the entries of a table as a cache is. They have
    /// one copy more than a cache has: there are few, and to lose one hurts more.
    fn structures(name: &str, table: Arc<Table>) -> Shared {
        let owners = Owners::Count(STRUCTURE_OWNERS);
        let settings = GroupSettings {
            owners,
            persist: Persist::None,
            local_reads: false,
            min_insync: 1,
            acks: Acks::Sync,
        };
        let (name, group) = (name.to_owned(), group_of(name));
        Shared { name, group, settings, table, copies: OnceLock::new() }
    }

    /// Its entries on this node.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// This node's copies; `None` as long as it is no member.
    #[must_use]
    pub fn copies(&self) -> Option<&Arc<Copies>> {
        self.copies.get()
    }
}

/// The same on every node: the name's hash.
fn group_of(name: &str) -> GroupId {
    let at = isogrid_engine::hash::stable_segment(name.as_bytes(), 1 << 16);
    GroupId(u16::try_from(at).unwrap_or(0))
}

/// The number that a cache of the cluster has on every node, whenever it was made there.
#[must_use]
pub fn object_number(name: &str) -> u32 {
    let hash = isogrid_engine::hash::stable_segment(name.as_bytes(), 1 << 31);
    CLUSTER_OBJECTS | u32::try_from(hash).unwrap_or(0)
}

/// Executes requests that other members pass on.
pub trait Executor: Send + Sync {
    /// Executes some that came together, in their order, and says of each what became of it; the
    /// segments that were written to, once or more often, are to be flushed. Must not wait.
    fn execute(
        &self,
        shared: &Arc<Shared>,
        requests: Items<'_>,
        executed: &mut Executed,
    ) -> Vec<u32>;

    /// Finds out how a transaction ends that has waited in a segment for too long. Must not wait.
    fn resolve(&self, shared: &Arc<Shared>, segment: SegmentId, open: Open);
}

/// This node's part in a cluster.
pub struct Cluster {
    caches: Vec<Arc<Shared>>,
    invalidations: Invalidations,
    view: ArcSwap<View>,
    /// Its topology epochs, for who waits for another one.
    epochs: watch::Sender<u64>,
    /// What there was to say a moment ago.
    told: ArcSwap<Status>,
    /// Until when this member may serve, on the clock of [`env::boot_millis`].
    lease_until: AtomicU64,
    /// Where clients reach this node over GNP; empty where they do not.
    endpoint: String,
    identity: OnceLock<Identity>,
    transport: OnceLock<Transport>,
    requests: Requests,
    names: Names,
    executor: OnceLock<Arc<dyn Executor>>,
    inputs: UnboundedSender<Input>,
    intake: Intake,
    /// Announcements of other nodes.
    heard: Heard,
    /// Where copies are kept, if they are.
    copy_disk: OnceLock<Arc<CopyDisk>>,
    /// The process is about to end, and says nothing more of its copies.
    is_silent: AtomicBool,
    clock: SystemClock,
}

/// Under what this process passes on requests that have no name of their own (R35).
struct Names {
    client: [u8; 16],
    next: AtomicU64,
}

impl Names {
    fn new() -> Names {
        Names { client: random::bytes(), next: AtomicU64::new(1) }
    }
}

impl Cluster {
    /// A name for a request that is passed on: with it nobody executes it twice, however often it
    /// is passed on.
    #[must_use]
    pub fn name(&self) -> OpId {
        let number = self.names.next.fetch_add(1, Ordering::Relaxed);
        OpId { client: self.names.client, number }
    }

    /// The origin of what a connection of this process changes, which no other one has in the cluster.
    #[must_use]
    pub fn origin(&self, connection: u64) -> u64 {
        let base = self.names.client.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        base.wrapping_add(connection).max(1)
    }

    /// The counters of all members.
    #[must_use]
    pub fn structures(&self) -> Option<&Arc<Shared>> {
        self.cache(Structures::TABLE)
    }

    /// The cache of this name, if it is one of the cluster.
    #[must_use]
    pub fn cache(&self, name: &str) -> Option<&Arc<Shared>> {
        self.caches.iter().find(|shared| shared.name == name)
    }

    /// The cache that is this group, if there is one.
    #[must_use]
    pub fn of_group(&self, group: GroupId) -> Option<&Arc<Shared>> {
        self.caches.iter().find(|shared| shared.group == group)
    }

    /// The caches of the cluster.
    #[must_use]
    pub fn caches(&self) -> &[Arc<Shared>] {
        &self.caches
    }

    /// Which member of which cluster this is, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.identity.get().copied()
    }

    /// Who serves what.
    #[must_use]
    pub fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    /// The epochs of views from now on.
    #[must_use]
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }

    /// Routes by a view from now on; the one before.
    fn set_view(&self, view: &Arc<View>) -> Arc<View> {
        let before = self.view.swap(Arc::clone(view));
        if before.epoch != view.epoch {
            self.epochs.send_replace(view.epoch);
        }
        before
    }

    /// Whether this member may serve now. To be asked after what is answered was read (R23).
    #[must_use]
    pub fn may_serve(&self) -> bool {
        env::boot_millis() < self.lease_until.load(Ordering::Acquire)
    }

    /// Whether this member serves a segment of a cache now.
    #[must_use]
    pub fn serves(&self, shared: &Shared, segment: u32) -> bool {
        let epoch = shared.copies().and_then(|copies| copies.serves(segment));
        epoch.is_some() && self.may_serve()
    }

    /// Whether this member's copy of a segment may be read now, everything that it has being
    /// committed (R24).
    #[must_use]
    pub fn may_read(&self, shared: &Shared, segment: u32) -> bool {
        shared.copies().is_some_and(|copies| copies.may_read(segment)) && self.may_serve()
    }

    /// Whether this member's copy of a segment may be read now by who accepts that it lags behind: by
    /// the time of a lease (R26).
    #[must_use]
    pub fn may_read_behind(&self, shared: &Shared, segment: u32) -> bool {
        shared.copies().is_some_and(|copies| copies.may_read_behind(segment)) && self.may_serve()
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { monotonic: env::boot_millis(), wall: self.clock.now() }
    }

    /// Lets requests of other members be executed.
    pub fn set_executor(&self, executor: Arc<dyn Executor>) {
        let _ = self.executor.set(executor);
    }

    /// Sends what was written to segments to their other copies: to each member with one message.
    pub fn flush(&self, shared: &Shared, segments: &[u32]) {
        let mut out = Vec::new();
        if let Some(copies) = shared.copies() {
            let now = self.now();
            segments.iter().for_each(|segment| copies.flush(now, *segment, &mut out));
        }
        self.carry_out(out);
    }

    /// Passes a request on. `None` when it cannot be sent now.
    #[must_use]
    pub fn pass_on(&self, to: NodeId, shared: &Shared, request: &[u8]) -> Option<Asked> {
        let mut outgoing = Outgoing::default();
        let asked = self.ask(&mut outgoing, to, shared, request);
        self.send_requests(&mut outgoing);
        asked
    }

    /// Puts a request to those that are passed on at the end of the turn. `None` when it cannot
    /// be sent now.
    #[must_use]
    pub fn ask(
        &self,
        outgoing: &mut Outgoing,
        to: NodeId,
        shared: &Shared,
        request: &[u8],
    ) -> Option<Asked> {
        let view = self.view.load();
        let address = view.address(to).filter(|address| !self.requests.is_away(address))?;
        let cache = (shared.group, &*shared.name);
        let (asked, full) = self.requests.put(outgoing, (to, address), cache, request);
        full.into_iter().for_each(|bundle| self.send_bundle(&bundle));
        Some(asked)
    }

    /// Passes on what was asked for.
    pub fn send_requests(&self, outgoing: &mut Outgoing) {
        outgoing.take().for_each(|bundle| self.send_bundle(&bundle));
    }

    fn send_bundle(&self, bundle: &Bundle) {
        let send = |transport: &Transport| {
            transport.send(&bundle.address, Lane::Requests, &bundle.frame).is_ok()
        };
        if self.requests.begin(bundle) && !self.transport.get().is_some_and(send) {
            self.requests.not_sent(bundle);
        }
    }

    /// What there is to say of the cluster; `None` when the driver is gone.
    pub async fn status(&self) -> Option<Status> {
        let (sender, receiver) = oneshot::channel();
        self.inputs.send(Input::Status(sender)).ok()?;
        receiver.await.ok()
    }

    /// The same as it was a fifth of a second ago at the most, as long as the driver runs: for who
    /// must not wait.
    #[must_use]
    pub fn told(&self) -> Arc<Status> {
        self.told.load_full()
    }

    /// What the transport counts.
    #[must_use]
    pub fn transport_stats(&self) -> Option<&transport::Stats> {
        self.transport.get().map(Transport::stats)
    }

    /// The certificates of this node among its peers, if those speak TLS.
    #[must_use]
    pub fn peer_tls(&self) -> Option<&transport::PeerTls> {
        self.transport.get().and_then(Transport::tls)
    }

    /// Announcements of other nodes.
    #[must_use]
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// How many requests were passed on to other members.
    #[must_use]
    pub fn passed_on(&self) -> u64 {
        self.requests.begun()
    }

    /// Asks to be relieved of everything and to leave.
    pub fn leave(&self) {
        let _ = self.inputs.send(Input::Leave);
    }

    /// Asks for the end of all processes of the cluster (R64).
    pub fn shut_down(&self) {
        let _ = self.inputs.send(Input::ShutDown);
    }

    /// Has others take what this process serves, which is about to end; returns when nobody misses
    /// it any more, and all have heard so (R33, R64).
    pub async fn hand_over(&self) {
        let (sender, receiver) = oneshot::channel();
        // Where the driver is gone nothing is served.
        if self.inputs.send(Input::Stop(sender)).is_ok() && receiver.await.is_ok() {
            tokio::time::sleep(HEARD).await;
        }
    }

    /// Does what copies ask for. What one member gets goes in one message, as far as that does not
    /// become too long.
    fn carry_out(&self, out: Vec<Out>) {
        let (mut mail, mut waiting) = (Mail::default(), Vec::new());
        for one in out {
            match one {
                Out::Send(to, group, segment, peer) => {
                    let full = mail.put(to, (group, segment, peer));
                    full.into_iter().for_each(|all| self.send_copies(to, all));
                }
                Out::Ask(request) => {
                    let _ = self.inputs.send(Input::Ask(request));
                }
                Out::Wake(waker) => waiting.push(waker),
                Out::Discarded(group, segment, count) => self.discarded(group, segment, count),
                Out::Resolve(group, segment, open) => self.resolve(group, segment, open),
            }
        }
        mail.into_iter().for_each(|(to, all)| self.send_copies(to, all));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn discarded(&self, group: GroupId, segment: SegmentId, count: u64) {
        let shared = self.of_group(group);
        let cache = shared.map_or("", |shared| &*shared.name);
        tracing::warn!(
            event = "async_discarded",
            cache,
            %segment,
            count,
            "writes that were acknowledged at once are lost: a failover came before the copies had them"
        );
    }

    /// Only who may serve asks: one that was expelled and has not heard of it could not do what it is
    /// told, and would ask for ever.
    fn resolve(&self, group: GroupId, segment: SegmentId, open: Open) {
        let shared = self.of_group(group);
        let shared = shared.filter(|shared| self.serves(shared, segment.0.into()));
        if let Some((shared, executor)) = shared.zip(self.executor.get()) {
            executor.resolve(shared, segment, open);
        }
    }

    /// Makes everything durable that copies have, and promises nothing more: the process is about to
    /// end. Waits for the disk.
    pub fn settle_copies(&self) {
        self.is_silent.store(true, Ordering::Release);
        if let Some(Err(error)) = self.copy_disk.get().map(|disk| disk.settle()) {
            tracing::error!(event = "copies_not_settled", %error, "the last writes may be lost");
        }
    }

    fn send_copies(&self, to: NodeId, all: Vec<ToCopy>) {
        if self.is_silent.load(Ordering::Acquire) {
            return;
        }
        let Some(Identity { cluster, node, boot, .. }) = self.identity.get().copied() else {
            return;
        };
        let view = self.view.load();
        if let Some(address) = view.address(to) {
            let message = Message::Copies(all);
            let envelope = Envelope { cluster, from: node, boot, to, message };
            self.send_envelope(address, &envelope, Lane::Data);
        }
    }

    /// What cannot be sent is lost, as on any network: the cores say it again.
    fn send_envelope(&self, address: &str, envelope: &Envelope, lane: Lane) {
        if let Some(transport) = self.transport.get() {
            let mut frame = Vec::new();
            put_core(envelope, &mut frame);
            let _ = transport.send(address, lane, &frame);
        }
    }
}

/// What of the configuration is the cluster's: caches, and behind them the structures.
fn shared_caches(
    config: &ServerConfig,
    table: impl Fn(&str) -> Option<Arc<Table>>,
) -> Result<Vec<Arc<Shared>>, ClusterError> {
    let mut all: Vec<Arc<Shared>> = Vec::new();
    for cache in config.caches.iter().filter(|cache| cache.mode.has_copies()) {
        let Some(table) = table(&cache.name) else { continue };
        all.push(Arc::new(Shared::new(cache, table)));
    }
    for name in [Structures::TABLE, Queues::TABLE] {
        all.extend(table(name).map(|table| Arc::new(Shared::structures(name, table))));
    }
    for (at, shared) in all.iter().enumerate() {
        if let Some(other) = all.iter().take(at).find(|other| other.group == shared.group) {
            return Err(ClusterError::SameGroup(other.name.clone(), shared.name.clone()));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
