//! What goes wrong between peers, said once in a while of each kind.

use std::fmt::Display;

use isogrid_engine::env::{Clock, SystemClock};

use super::handshake::{NoHandshake, Refusal};
use crate::server::log_limit::LogLimit;

/// Kinds of trouble. A flood of one does not hide another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No peer at all, no TLS, no good certificate, or no handshake in time.
    NoPeer,
    /// A peer of another cluster.
    OtherCluster,
    /// A peer that is too new or too old.
    OtherVersion,
    /// No room for one more.
    Crowded,
    /// What came over a connection is damaged, or came no more.
    Broken,
    /// Two connections of one peer on one lane: it began anew, or two say the same address.
    Replaced,
    /// A peer refuses us.
    RefusedThere,
    /// A peer cannot be reached.
    Unreachable,
    /// The listener cannot accept.
    NotAccepting,
}

const KINDS: usize = Trouble::NotAccepting as usize + 1;

/// Says what goes wrong.
#[derive(Default)]
pub struct Troubles {
    clock: SystemClock,
    limits: [LogLimit; KINDS],
}

impl Troubles {
    /// Says it, unless the same kind was said a moment ago.
    pub fn tell(&self, kind: Trouble, peer: &dyn Display, why: &dyn Display) {
        let limit = self.limits.get(kind as usize);
        let Some(left_out) = limit.and_then(|limit| limit.pass(self.clock.now())) else { return };
        match kind {
            Trouble::NoPeer | Trouble::OtherCluster | Trouble::OtherVersion | Trouble::Crowded => {
                tracing::warn!(event = "peer_refused", %peer, %why, left_out);
            }
            Trouble::Broken => tracing::warn!(event = "peer_broken", %peer, %why, left_out),
            Trouble::Replaced => tracing::info!(event = "peer_replaced", %peer, %why, left_out),
            Trouble::RefusedThere => {
                tracing::warn!(event = "refused_by_peer", %peer, %why, left_out)
            }
            Trouble::Unreachable => {
                tracing::warn!(event = "peer_unreachable", %peer, %why, left_out)
            }
            Trouble::NotAccepting => tracing::warn!(event = "accept_failed", %peer, %why, left_out),
        }
    }
}

impl From<&Refusal> for Trouble {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::OtherCluster { .. } => Trouble::OtherCluster,
            Refusal::NoCommonVersion(_) | Refusal::UnknownLane(_) => Trouble::OtherVersion,
            Refusal::Crowded => Trouble::Crowded,
        }
    }
}

impl From<&NoHandshake> for Trouble {
    fn from(_: &NoHandshake) -> Self {
        Trouble::NoPeer
    }
}
