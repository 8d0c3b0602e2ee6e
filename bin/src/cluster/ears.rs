//! What comes from peers, and where it goes. Called by the transport's tasks: nothing here waits.

use std::future::poll_fn;
use std::sync::{Arc, Weak};

use isogrid_grid::copies::Ticket;
use isogrid_grid::founding::Hello;
use isogrid_grid::message::{Envelope, Message};

use super::driver::Input;
use super::frame::Frame;
use super::transport::{Lane, Sink};
use super::{Answer, Cluster, Done, Executed, Shared};

/// Hears for a cluster. Does not keep it alive.
pub(super) struct Ears(pub Weak<Cluster>);

impl Sink for Ears {
    fn received(&self, _: Lane, from: &str, frames: &mut dyn Iterator<Item = &[u8]>) {
        let Some(cluster) = self.0.upgrade() else { return };
        cluster.requests.is_back(from);
        for frame in frames {
            match Frame::decode(frame) {
                Some(Frame::Core(bytes)) => cluster.hear(from, bytes),
                Some(Frame::Hello(bytes)) => {
                    if let Some(hello) = Hello::decode(bytes) {
                        let _ = cluster.inputs.send(Input::Hello(hello));
                    }
                }
                Some(Frame::Request { id, cache, bytes }) => {
                    execute(&cluster, from, id, cache, bytes);
                }
                Some(Frame::Reply { id, done, bytes }) => {
                    cluster.requests.end(id, Answer { done, bytes: bytes.to_vec() });
                }
                None => tracing::warn!(event = "unknown_frame", peer = from, len = frame.len()),
            }
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
    fn hear(&self, from: &str, bytes: &[u8]) {
        let Some(envelope) = Envelope::decode(bytes) else { return };
        let Message::Copy(group, segment, peer) = envelope.message else {
            let is_stranger = self.view.load().address(envelope.from).is_none();
            let reached_at = is_stranger.then(|| from.to_owned());
            let _ = self.inputs.send(Input::Core(envelope, reached_at));
            return;
        };
        let is_for_us = self.identity.get().is_some_and(|identity| {
            identity.cluster == envelope.cluster && identity.node == envelope.to
        });
        let shared = self.caches.iter().find(|shared| shared.group == group);
        if let Some(copies) = shared.and_then(|shared| shared.copies()).filter(|_| is_for_us) {
            let mut out = Vec::new();
            copies.receive(self.now(), envelope.from, segment, peer, &mut out);
            self.carry_out(out);
        }
    }

    fn reply(&self, to: &str, id: u64, done: Done, bytes: &[u8]) {
        let mut frame = Vec::with_capacity(bytes.len() + 16);
        Frame::Reply { id, done, bytes }.encode(&mut frame);
        if let Some(transport) = self.transport.get() {
            // Who does not get it takes the outcome for unknown.
            let _ = transport.send(to, Lane::Requests, &frame);
        }
    }
}

/// Executes a request of another member; its answer may wait for copies.
fn execute(cluster: &Arc<Cluster>, from: &str, id: u64, cache: &str, bytes: &[u8]) {
    let (Some(shared), Some(executor)) = (cluster.cache(cache), cluster.executor.get()) else {
        return cluster.reply(from, id, Done::Elsewhere, b"");
    };
    let executed = executor.execute(shared, bytes);
    let (cluster, shared, from) = (Arc::clone(cluster), Arc::clone(shared), from.to_owned());
    match executed {
        Executed::Elsewhere => cluster.reply(&from, id, Done::Elsewhere, b""),
        Executed::Now { bytes, waits } if waits.is_empty() => {
            cluster.reply(&from, id, Done::Executed, &bytes);
        }
        Executed::Now { bytes, waits } => {
            tokio::spawn(async move {
                let is_true = are_committed(&cluster, &shared, waits).await;
                let done = if is_true { Done::Executed } else { Done::Unknown };
                cluster.reply(&from, id, done, &bytes);
            });
        }
        Executed::Later(later) => {
            tokio::spawn(async move {
                let (done, bytes) = later.await;
                cluster.reply(&from, id, done, &bytes);
            });
        }
    }
}

/// Waits until all of these are committed; whether that may be said.
async fn are_committed(cluster: &Cluster, shared: &Shared, waits: Vec<Ticket>) -> bool {
    let Some(copies) = shared.copies() else { return false };
    for ticket in waits {
        let committed = poll_fn(|cx| copies.poll(ticket, cx)).await;
        // Who serves the segment by now has it as well; but without a lease nothing is said (R18).
        if committed.is_err() || !cluster.may_serve() {
            return false;
        }
    }
    true
}
