//! What comes from peers, and where it goes. Called by the transport's tasks: nothing here waits.

use std::sync::{Arc, Weak};

use isogrid_grid::copies::Out;
use isogrid_grid::founding::Hello;
use isogrid_grid::id::NodeId;
use isogrid_grid::message::{Envelope, Message, ToCopy};

use super::driver::Input;
use super::frame::{Done, Frame, Items, Reply};
use super::stale::HOW_FAR;
use super::transport::{Lane, Sink};
use super::{Cluster, Executed, Shared};

/// Hears for a cluster. Does not keep it alive.
pub(super) struct Ears(pub Weak<Cluster>);

/// What follows from frames that came together: it is done when all of them were heard.
#[derive(Default)]
struct Heard {
    out: Vec<Out>,
    executed: Vec<(u64, Arc<Shared>, Executed)>,
}

impl Sink for Ears {
    fn received(&self, _: Lane, from: &str, frames: &mut dyn Iterator<Item = &[u8]>) {
        let Some(cluster) = self.0.upgrade() else { return };
        cluster.requests.is_back(from);
        let mut heard = Heard::default();
        for frame in frames {
            match Frame::decode(frame) {
                Some(Frame::Core(bytes)) => cluster.hear(from, bytes, &mut heard.out),
                Some(Frame::Hello(bytes)) => {
                    if let Some(hello) = Hello::decode(bytes)
                        && let Some(waiting) = cluster.intake.take(bytes.len())
                    {
                        let _ = cluster.inputs.send(Input::Hello(hello, waiting));
                    }
                }
                Some(Frame::Requests { id, cache, requests }) => {
                    cluster.execute((from, id), cache, requests, &mut heard);
                }
                Some(Frame::Replies { id, replies }) => cluster.requests.take(id, replies),
                None => tracing::warn!(event = "unknown_frame", peer = from, len = frame.len()),
            }
        }
        cluster.carry_out(heard.out);
        for (id, shared, executed) in heard.executed {
            executed.reply(&cluster, &shared, from, id);
        }
    }

    fn unreachable(&self, address: &str) {
        if let Some(cluster) = self.0.upgrade() {
            cluster.requests.lost(address);
            let _ = cluster.inputs.send(Input::Unreachable(address.to_owned()));
        }
    }
}

impl Cluster {
    /// What cores say: that of copies is done here, the rest is for the control core.
    fn hear(&self, from: &str, bytes: &[u8], out: &mut Vec<Out>) {
        let Some(envelope) = Envelope::decode(bytes) else { return };
        let is_for_us = self.identity.get().is_some_and(|identity| {
            identity.cluster == envelope.cluster && identity.node == envelope.to
        });
        if let Message::Invalidation(peer) = envelope.message {
            if is_for_us {
                self.hear_invalidation((envelope.from, envelope.boot), peer);
            }
            return;
        }
        let Message::Copies(all) = envelope.message else {
            let is_elsewhere = self.view.load().address(envelope.from) != Some(from);
            let reached_at = is_elsewhere.then(|| from.to_owned());
            if let Some(waiting) = self.intake.take(bytes.len()) {
                let _ = self.inputs.send(Input::Core(envelope, reached_at, waiting));
            }
            return;
        };
        if is_for_us {
            self.hear_copies(envelope.from, all, out);
        }
    }

    fn hear_copies(&self, from: NodeId, all: Vec<ToCopy>, out: &mut Vec<Out>) {
        let now = self.now();
        for (group, segment, peer) in all {
            let shared = self.caches.iter().find(|shared| shared.group == group);
            if let Some(copies) = shared.and_then(|shared| shared.copies()) {
                copies.receive(now, from, segment, peer, out);
            }
        }
    }

    /// Executes requests of another member; their answers may wait for copies.
    fn execute(
        &self,
        (from, id): (&str, u64),
        cache: &str,
        requests: Items<'_>,
        heard: &mut Heard,
    ) {
        if cache == HOW_FAR {
            let about = requests.map(|name| String::from_utf8_lossy(name).into_owned());
            let told: Vec<Vec<u8>> = about.map(|name| self.how_far(&name)).collect();
            let told = (0..).zip(told.iter().map(Vec::as_slice));
            let reply = |(number, bytes)| Reply { number, done: Done::Executed, bytes };
            return self.tell(from, id, told.map(reply));
        }
        let Some((shared, executor)) = self.cache(cache).zip(self.executor.get()) else {
            let nowhere = |(number, _)| Reply { number, done: Done::Elsewhere, bytes: b"" };
            return self.tell(from, id, (0..).zip(requests).map(nowhere));
        };
        let mut executed = Executed::default();
        let touched = executor.execute(shared, requests, &mut executed);
        if let Some(copies) = shared.copies() {
            let now = self.now();
            touched.iter().for_each(|segment| copies.flush(now, *segment, &mut heard.out));
        }
        heard.executed.push((id, Arc::clone(shared), executed));
    }
}
