//! Before the process is a member it looks for others, and founds a cluster with them or is let in.

use isogrid_grid::control::Event;
use isogrid_grid::founding::{self, Founding, FoundingConfig, Hello};
use isogrid_grid::id::{ClusterId, NodeId};
use isogrid_grid::membership::Now;
use isogrid_grid::metadata::{Join, Settings};
use isogrid_grid::raft::{Log, Save};

use super::{Core, Driver, Input};
use crate::cluster::frame::Frame;
use crate::cluster::transport::Lane;
use crate::cluster::{SEGMENTS, Sources};
use crate::security::random;

impl Driver {
    pub(super) fn look_for_others(&mut self, address: &str, promise: Option<&[u8]>) {
        let of = &self.config.cluster;
        let join = Join {
            cluster: of.name.clone(),
            storage: self.opened.storage,
            boot: self.opened.boot,
            address: address.to_owned(),
            endpoint: self.cluster.endpoint.clone(),
            role: of.role,
            zone: String::new(),
            weight: 1,
        };
        let settings = Settings {
            cluster: ClusterId(u128::from_le_bytes(random::bytes())),
            name: of.name.clone(),
            segments: u16::try_from(SEGMENTS).unwrap_or(u16::MAX),
            lease_ms: u32::try_from(of.lease.as_millis()).unwrap_or(u32::MAX),
        };
        let sources = of.join.as_deref().and_then(Sources::of).unwrap_or_default();
        let expect = u8::try_from(of.bootstrap_expect).unwrap_or(0);
        tracing::info!(
            event = "looking_for_cluster",
            cluster = of.name,
            join = of.join.as_deref().unwrap_or_default(),
            expect
        );
        let others = sources.seeds.iter().filter(|seed| *seed != address).count();
        if expect > 0 && others >= FoundingConfig::founders_max(expect) {
            let max = FoundingConfig::founders_max(expect);
            tracing::warn!(
                event = "too_many_seeds",
                expect,
                max,
                "more than `max` nodes with this `cluster.bootstrap_expect` may found two clusters: \
                 give the others 0"
            );
        }
        // What they stand for is looked up, and whom others announce comes with it.
        let config = FoundingConfig { join, expect, seeds: Vec::new(), settings };
        self.core = Core::Stranger(Box::new(Founding::new(config, promise)));
    }

    /// Others may be here now.
    pub(super) fn look_at(&mut self, mut seeds: Vec<String>) {
        seeds.retain(|seed| *seed != self.cluster.address());
        match &mut self.core {
            Core::Stranger(stranger) => stranger.look_at(seeds),
            Core::Becoming | Core::Member(_) => self.places.look_at(seeds),
        }
    }

    /// Says once that nothing is founded because all that are there are witnesses.
    pub(super) fn tell_lack_of_data(&mut self) {
        let lacks = matches!(&self.core, Core::Stranger(stranger) if stranger.lacks_data());
        if lacks && !std::mem::replace(&mut self.told_lack, true) {
            tracing::error!(
                event = "only_witnesses",
                "as many nodes are there as are to found the cluster, and all are witnesses, which have \
                 no data: start one with cluster.role = data"
            );
        }
    }

    pub(super) fn hello(&mut self, hello: Hello) {
        if let Core::Member(_) = self.core {
            return self.step(Event::Hello(hello));
        }
        self.found(|stranger, now, out| stranger.receive(now.monotonic, hello, out));
    }

    /// Lets a process that is no member do something.
    pub(super) fn found(
        &mut self,
        act: impl FnOnce(&mut Founding, Now, &mut Vec<founding::Action>),
    ) {
        let Core::Stranger(stranger) = &mut self.core else { return };
        let mut out = Vec::new();
        act(stranger, self.cluster.now(), &mut out);
        for action in out {
            match action {
                founding::Action::Send(address, hello) => self.greet(&address, &hello),
                founding::Action::Save(promise) => {
                    let inputs = self.cluster.inputs.clone();
                    self.storage.promise(promise, move || drop(inputs.send(Input::Promised)));
                }
                founding::Action::Member(node, settings, log) => {
                    self.keep_membership(node, settings, *log);
                }
            }
        }
    }

    pub(super) fn keep_membership(
        &mut self,
        node: NodeId,
        settings: Settings,
        log: Option<(Log, Save)>,
    ) {
        self.core = Core::Becoming;
        let inputs = self.cluster.inputs.clone();
        let (log, first) = log.map_or((Log::default(), None), |(log, save)| (log, Some(save)));
        let member = Input::Member(node, settings.clone(), log);
        self.storage.become_member(node, settings, first, move || drop(inputs.send(member)));
    }

    pub(super) fn greet(&self, address: &str, hello: &Hello) {
        let mut frame = Vec::new();
        Frame::Hello(&hello.encode()).encode(&mut frame);
        if let Some(transport) = self.cluster.transport.get() {
            let _ = transport.send(address, Lane::Control, &frame);
        }
    }
}
