//! The task that runs the control core: it hands it what happens, and carries out what it asks
//! for. Before the process is a member it runs the founding in its place.

mod keep;
mod places;
mod promote;
mod roles;
mod start;
mod stop;
mod strangers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::control::{Action, Control, ControlConfig, Event, Identity};
use isogrid_grid::founding::{Founding, Hello};
use isogrid_grid::id::{ClusterId, GroupId, NodeId};
use isogrid_grid::invalidation::Silence;
use isogrid_grid::membership::tick_ms;
use isogrid_grid::message::Envelope;
use isogrid_grid::metadata::{Command, Settings};
use isogrid_grid::raft::{Log, RaftConfig};
use isogrid_grid::segment::{GiveUp, Request};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior};

use self::places::Places;
use super::balance::{Left, Pace};
use super::intake::Waiting;
use super::storage::{Opened, Storage, StorageError};
use super::transport::Lane;
use super::{Cluster, ClusterError, Promoted, Status, View};
use crate::config::ServerConfig;
use crate::security::random;

/// Between two ticks of a process that is no member yet.
const TICK: Duration = Duration::from_millis(50);
/// How long a role that is to be given up may take to have its writes committed, ms (R33).
const DRAIN_MS: u64 = 100;
/// How old what there is to say of the cluster may be, ms.
const TELL_MS: u64 = 200;

/// What happens to the task.
pub(super) enum Input {
    /// Of a peer; where it is reached, when the metadata do not say so; and the room that it takes.
    Core(Envelope, Option<String>, Waiting),
    Hello(Hello, Waiting),
    Ask(Request),
    Silent(Silence),
    Unreachable(String),
    Saved(u64),
    Promised,
    /// Where others may be, while this process is no member or knows no leader.
    Seeds(Vec<String>),
    Member(NodeId, Settings, Log),
    Status(oneshot::Sender<Status>),
    Leave,
    /// A member is gone for good; whether it is accepted that what only it has is lost.
    Remove(NodeId, bool),
    /// These copies are to serve though they are stale.
    Promote(GroupId, Vec<Promoted>),
    /// The process is about to end: this is told when nobody misses it.
    Stop(oneshot::Sender<()>),
    /// All processes of the cluster are to end.
    ShutDown,
    Failed(StorageError),
    CopiesFailed(String),
}

/// What the node is in the cluster.
enum Core {
    /// Nothing yet: it looks for others.
    Stranger(Box<Founding>),
    /// What it became is on its way to the disk.
    Becoming,
    Member(Box<Control>),
}

/// How far the process is with the end of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// Nothing is taken any more, and what was is to be committed.
    Draining,
    Ended,
}

/// The task.
pub struct Driver {
    cluster: Arc<Cluster>,
    config: ServerConfig,
    opened: Identity,
    core: Core,
    storage: Storage,
    inputs: UnboundedReceiver<Input>,
    /// Roles that are given up as soon as their writes are committed, and when at the latest.
    leaving: Vec<(GiveUp, u64)>,
    /// Who waits for this process to have nothing any more that others could have.
    stopping: Option<oneshot::Sender<()>>,
    ending: Ending,
    since: u64,
    asked_at: u64,
    places: Places,
    /// When it was last told what there is to say of the cluster.
    told_at: u64,
    /// How fast copies are filled.
    pace: Pace,
    /// Groups of which it was said that the configuration has them otherwise.
    told: BTreeSet<String>,
    /// It was said that all who are there are witnesses.
    told_lack: bool,
    on_end: Box<dyn Fn(&'static str) + Send>,
}

fn ticks(pause: Duration) -> Interval {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Driver {
    fn new(
        cluster: Arc<Cluster>,
        config: &ServerConfig,
        (storage, opened): (Storage, Opened),
        inputs: UnboundedReceiver<Input>,
        address: &str,
        on_end: impl Fn(&'static str) + Send + 'static,
    ) -> Result<Driver, ClusterError> {
        let Opened { storage: disk, boot, member, promise, log } = opened;
        let nobody = (ClusterId::default(), NodeId::default());
        let (of, node) = member.as_ref().map_or(nobody, |(node, known)| (known.cluster, *node));
        let since = cluster.now().monotonic;
        let mut driver = Driver {
            cluster,
            config: config.clone(),
            opened: Identity { cluster: of, node, storage: disk, boot },
            core: Core::Becoming,
            storage,
            inputs,
            leaving: Vec::new(),
            stopping: None,
            ending: Ending::No,
            since,
            asked_at: 0,
            places: Places::default(),
            told_at: 0,
            pace: Pace::default(),
            told: BTreeSet::new(),
            told_lack: false,
            on_end: Box::new(on_end),
        };
        match member {
            Some((node, settings)) => driver.become_member(node, settings, log, false)?,
            None => driver.look_for_others(address, promise.as_deref()),
        }
        Ok(driver)
    }

    /// Runs until the cluster ends or the process is no member any more.
    pub async fn run(mut self) {
        let mut ticks = ticks(TICK);
        loop {
            if ticks.period() != self.pause() {
                ticks = self::ticks(self.pause());
            }
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tick(),
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
            }
        }
    }

    /// Between two ticks.
    fn pause(&self) -> Duration {
        let Core::Member(control) = &self.core else { return TICK };
        Duration::from_millis(tick_ms(control.metadata().settings().lease_ms))
    }

    /// The process is this member from now on; a new one has no copies yet.
    fn become_member(
        &mut self,
        node: NodeId,
        settings: Settings,
        log: Log,
        is_new: bool,
    ) -> Result<(), ClusterError> {
        self.opened = Identity { cluster: settings.cluster, node, ..self.opened };
        let _ = self.cluster.identity.set(self.opened);
        let data = self.open_copies(node, is_new)?;
        let seed = u64::from_le_bytes(random::bytes());
        let config = ControlConfig {
            address: self.cluster.address().to_owned(),
            endpoint: self.cluster.endpoint.clone(),
            data,
            raft: RaftConfig { seed, ..RaftConfig::default() },
            ..ControlConfig::default()
        };
        let cluster = settings.name.clone();
        let control = Control::new(config, self.opened, settings, log);
        self.check_role(&control)?;
        tracing::info!(event = "member", cluster, member = %node, "of the cluster");
        self.cluster.set_view(&Arc::new(View::of(&control)));
        self.cluster.begin_invalidation(&self.opened);
        self.core = Core::Member(Box::new(control));
        Ok(())
    }

    /// A member is for life what it came as: its copies, or that it has none, are what others count
    /// on. The configuration does not make it something else without a word.
    fn check_role(&self, control: &Control) -> Result<(), ClusterError> {
        let (node, wants) = (self.opened.node, self.config.cluster.role);
        match control.metadata().members().get(&node).map(|us| us.role) {
            Some(is) if is != wants => Err(ClusterError::OtherRole { node, is, wants }),
            _ => Ok(()),
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Core(envelope, reached_at, waiting) => {
                let view = self.cluster.view.load();
                self.places.heard(envelope.from, view.address(envelope.from), reached_at);
                self.step(Event::Received(envelope));
                drop(waiting);
            }
            Input::Ask(request) => self.step(Event::Ask(request)),
            Input::Silent(silence) => self.step(Event::Silent(silence)),
            Input::Saved(number) => self.step(Event::Saved(number)),
            Input::Hello(hello, waiting) => {
                self.hello(hello);
                drop(waiting);
            }
            Input::Seeds(seeds) => self.look_at(seeds),
            Input::Promised => self.found(|stranger, _, out| stranger.saved(out)),
            Input::Member(node, settings, log) => {
                if let Err(error) = self.become_member(node, settings, log, true) {
                    self.cannot_be_member(&error);
                }
            }
            Input::Unreachable(address) => {
                let node = self.node_at(&address);
                node.into_iter().for_each(|node| self.step(Event::Unreachable(node)));
            }
            Input::Status(asked) => {
                let _ = asked.send(self.status());
            }
            Input::Leave => {
                let node = self.opened.node;
                self.step(Event::Propose(Command::Leave(node)));
            }
            Input::CopiesFailed(error) => self.copies_failed(&error),
            Input::Remove(node, accepts_loss) => {
                self.step(Event::Propose(Command::Expel(node, accepts_loss)));
            }
            Input::Promote(group, all) => self.promote(group, &all),
            Input::Stop(done) => self.stop(done),
            Input::ShutDown => self.step(Event::Propose(Command::ShutDown)),
            Input::Failed(error) => {
                tracing::error!(event = "cluster_disk_failed", %error);
                (self.on_end)("the disk of the cluster's log has failed");
            }
        }
        // Clients wait for what is given up: its writes may be committed by now.
        if !self.leaving.is_empty() {
            self.finish_giving_up(self.cluster.now());
        }
    }

    pub(super) fn cannot_be_member(&self, error: &ClusterError) {
        tracing::error!(event = "no_member", %error, "the node stops");
        (self.on_end)("the node cannot be the member that it was to be");
    }

    fn copies_failed(&self, error: &str) {
        tracing::error!(event = "copies_failed", error, "the node stops");
        (self.on_end)("the disk of the caches' copies has failed");
    }

    fn node_at(&self, address: &str) -> Option<NodeId> {
        let Core::Member(control) = &self.core else { return None };
        let mut members = control.metadata().members().iter();
        members.find(|(_, member)| member.address == address).map(|(node, _)| *node)
    }

    fn tick(&mut self) {
        match &self.core {
            Core::Stranger(_) => {
                self.found(|stranger, now, out| stranger.tick(now.monotonic, out));
                self.tell_lack_of_data();
            }
            Core::Becoming => {}
            Core::Member(_) => {
                self.step(Event::Tick);
                let now = self.cluster.now();
                let mut out = Vec::new();
                for shared in &self.cluster.caches {
                    shared.copies().into_iter().for_each(|copies| copies.tick(now, &mut out));
                }
                self.cluster.carry_out(out);
                self.cluster.tick_invalidation();
                self.finish_giving_up(now);
                self.create_groups(now);
                self.tell_of_torn();
            }
        }
        self.go_on_stopping();
        self.end_when_shut_down();
        if self.cluster.now().monotonic >= self.told_at + TELL_MS {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let now = self.cluster.now().monotonic;
        // What changes in between is told as well, and is no measure of time.
        if now >= self.told_at + TELL_MS {
            self.told_at = now;
            self.pace.note(now, Left::of(&self.status()));
        }
        self.cluster.told.store(Arc::new(self.status()));
    }

    /// One step of the control core, and what follows from it.
    fn step(&mut self, event: Event) {
        let Core::Member(control) = &mut self.core else { return };
        let mut out = Vec::new();
        let (now, was) = (self.cluster.now(), control.lease().until());
        control.step(now, event, &mut out);
        let until = control.lease().until();
        let (is_first, begins) = (until > 0 && was == 0, until > was && was <= now.monotonic);
        if is_first || out.contains(&Action::Changed) {
            self.changed();
        }
        if begins {
            self.cluster.lease_begins();
        }
        self.cluster.lease_until.store(until, std::sync::atomic::Ordering::Release);
        out.into_iter().for_each(|action| self.act(action));
    }

    /// Carries out one action. It must not step the core: what that has to be saved comes behind
    /// what is still to be done here (R68).
    fn act(&mut self, action: Action) {
        match action {
            Action::Send(envelope) => self.send(&envelope),
            Action::Save(save) => self.storage.save(save),
            Action::Changed => {}
            Action::Over(silence) => self.cluster.lease_was_over(silence),
            Action::Hello(address, hello) => self.greet(&address, &hello),
            Action::Removed => {
                tracing::warn!(event = "removed", "the cluster has forgotten this member");
                self.core = Core::Becoming;
                self.tell();
                self.storage.forget(|| {});
                (self.on_end)("the member has left the cluster");
            }
            Action::GiveUp(give_up) => {
                let mut until = self.cluster.now().monotonic + DRAIN_MS;
                if let Some(copies) = self.copies_of(&give_up) {
                    copies.close(give_up.segment);
                    if copies.answers_at_once() {
                        // What was answered would be lost (R37).
                        until = u64::MAX;
                    }
                }
                self.leaving.push((give_up, until));
            }
        }
    }

    fn send(&self, envelope: &Envelope) {
        let Core::Member(control) = &self.core else { return };
        let (view, has_leader) = (self.cluster.view.load(), control.leader().1.is_some());
        let known = view.address(envelope.to);
        for address in self.places.of(envelope.to, known, has_leader) {
            self.cluster.send_envelope(address, envelope, Lane::Control);
        }
    }

    fn status(&self) -> Status {
        let Core::Member(control) = &self.core else {
            let peer_tls = self.cluster.peer_tls().is_some();
            let us = Status::stranger(&self.config.cluster.name, self.cluster.address());
            return Status { peer_tls, ..us };
        };
        Status { speed: self.pace.speed(), ..Status::of(control, &self.cluster) }
    }
}
