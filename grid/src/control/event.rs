//! What can happen to a control core, and what it may ask for.

use crate::founding::Hello;
use crate::id::NodeId;
use crate::invalidation::Silence;
use crate::message::Envelope;
use crate::metadata::Command;
use crate::raft::Save;
use crate::segment::{GiveUp, Request};

/// Everything that can happen to a control core.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Some time has passed: 50 ms as a rule, so that members try to lead after 0.5 to 1 s.
    Tick,
    /// A message came.
    Received(Envelope),
    /// A process that is no member says this.
    Hello(Hello),
    /// A message to this member could not be sent.
    Unreachable(NodeId),
    /// This save, and all before it, was done ([`Save::number`]).
    Saved(u64),
    /// A segment of this member wishes something, or has given up what it was asked to.
    Ask(Request),
    /// This member waits for another one that does not answer: the leader is to say when its lease is
    /// over ([`Action::Over`]).
    Silent(Silence),
    /// Something is to be put into the log. Whether it was shows in the metadata.
    Propose(Command),
}

/// Everything that a control core may ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send this.
    Send(Envelope),
    /// Save this, after all before it, and say [`Event::Saved`] unless its number is 0.
    Save(Save),
    /// The metadata have changed.
    Changed,
    /// Say this to the process at that address, which is no member yet.
    Hello(String, Hello),
    /// This member has left, and the cluster has forgotten it: the process may end. Its data are
    /// of no use to anybody.
    Removed,
    /// The lease of that member was over at a moment after [`Event::Silent`].
    Over(Silence),
    /// Stop serving this segment, and say [`crate::segment::Wish::GaveUp`] when that is so. From now on
    /// [`super::Control::serves`] is false for it.
    GiveUp(GiveUp),
}
