//! The shell around the cluster's cores: sockets, disk, clock and tasks. What members agree on and
//! who serves what is decided in `isogrid_grid`; here it is carried out.
//!
//! | file | what |
//! |---|---|
//! | `driver/` | the task that runs the control core, and finds or founds a cluster before |
//! | `ears.rs` | what comes from peers, and where it goes |
//! | `view.rs` | who serves which segment |
//! | `status.rs`, `balance.rs`, `remove.rs` | what there is to say of the cluster, and what is left to be moved; members that do not come back |
//! | `shared.rs` | caches of the cluster, and the structures, on this node |
//! | `search/`, `seeds.rs` | where other nodes may be |
//! | `discards.rs` | writes that were acknowledged at once and that a failover has lost |
//! | `stale.rs` | copies that have fallen behind, and serve if an operator says so |
//! | `requests.rs`, `executed.rs` | requests that are passed on, and those that others pass on |
//! | `invalidated.rs` | invalidated caches, and what members tell each other for them |
//! | `confirm.rs` | what answers wait for |
//! | `mail.rs` | what copies say to those of other members |
//! | `frame.rs` | what goes over the lanes |
//! | `transport/`, `storage/` | frames over TCP; what is kept on the disk |
//! | `copies/` | the same of the copies of caches that are kept |

mod balance;
mod confirm;
mod copies;
mod discards;
mod driver;
mod ears;
mod error;
mod executed;
mod frame;
mod intake;
mod invalidated;
mod mail;
mod remove;
mod requests;
mod search;
mod seeds;
mod shared;
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
use isogrid_engine::wal::Syncs;
use isogrid_engine::{Clock, SystemClock, env};
use isogrid_grid::control::Identity;
use isogrid_grid::copies::Out;
use isogrid_grid::id::{GroupId, NodeId, SegmentId};
use isogrid_grid::membership::Now;
use isogrid_grid::message::{Envelope, Message, ToCopy};
use isogrid_grid::replica::{Op, OpId};
use isogrid_grid::structures::Structures;
use isogrid_grid::tx::Open;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::security::random;
pub use balance::{Left, Speed};
use copies::CopyDisk;
use discards::{Discards, Lost};
use driver::Input;
pub use error::ClusterError;
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
pub use seeds::{Sources, seeds};
pub use shared::{Shared, object_number};
pub use stale::{Promoted, StaleStatus};
pub use status::{CacheStatus, MemberStatus, SegmentStatus, Status};
use transport::{Lane, SHORT, Transport};
pub use view::{Route, View};

/// Segments of each cache of a cluster.
pub const SEGMENTS: u32 = 256;

/// How long the others may take to hear who serves what a member has handed over: until then they
/// pass requests on to it, and have to be told that it does not. Several rounds of the log.
const HEARD: Duration = Duration::from_millis(200);

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
    discards: Discards,
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
        !shared.confirms
            && shared.copies().is_some_and(|copies| copies.may_read(segment))
            && self.may_serve()
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

    /// Bytes of changes of copies that are not on the disk yet; `None` where none are kept.
    #[must_use]
    pub fn unwritten(&self) -> Option<u64> {
        self.copy_disk.get().map(|disk| disk.unwritten())
    }

    /// How often the log of its copies was synced since the start, if it keeps any.
    #[must_use]
    pub fn copy_syncs(&self) -> Option<Syncs> {
        self.copy_disk.get().map(|disk| disk.syncs())
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
                Out::Send(to, group, segment, mut peer) => {
                    if peer.has_patches() && !self.takes_patches(to) {
                        peer.make_whole();
                    }
                    let full = mail.put(to, (group, segment, peer));
                    full.into_iter().for_each(|all| self.send_copies(to, all));
                }
                Out::Ask(request) => {
                    let _ = self.inputs.send(Input::Ask(request));
                }
                Out::Wake(waker) => waiting.push(waker),
                Out::Discarded(group, segment, ops) => self.discarded(group, segment, ops),
                Out::Resolve(group, segment, open) => self.resolve(group, segment, open),
            }
        }
        mail.into_iter().for_each(|(to, all)| self.send_copies(to, all));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn discarded(&self, group: GroupId, segment: SegmentId, ops: Vec<Op>) {
        if let Some(shared) = self.of_group(group) {
            let (cache, copies) = (shared.name.clone(), shared.copies().cloned());
            self.discards.take(Lost { cache, copies, segment, ops, time: self.clock.now() });
        }
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

    fn takes_patches(&self, node: NodeId) -> bool {
        let view = self.view.load();
        view.address(node).is_some_and(|address| self.knows_short(address, Lane::Data))
    }

    /// Whether who is at an address is known to know what is short. Where an older one has taken its
    /// place meanwhile that drops what it does not know, and gets it again.
    fn knows_short(&self, address: &str, lane: Lane) -> bool {
        let version = |transport: &Transport| transport.version(address, lane);
        self.transport.get().is_some_and(|transport| version(transport) >= SHORT)
    }

    /// What cannot be sent is lost, as on any network: the cores say it again.
    fn send_envelope(&self, address: &str, envelope: &Envelope, lane: Lane) {
        if let Some(transport) = self.transport.get() {
            let mut frame = Vec::new();
            put_core(envelope, self.knows_short(address, lane), &mut frame);
            let _ = transport.send(address, lane, &frame);
        }
    }
}

#[cfg(test)]
mod tests;
