//! Who serves which segment, as a member knows it: what every request is routed by.

use std::collections::BTreeMap;

use isogrid_grid::control::Control;
use isogrid_grid::id::{GroupId, NodeId};

/// Where requests for a segment go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// This member serves it, if its lease holds.
    Here,
    /// This member serves it.
    There(NodeId),
    /// Nobody does now.
    Nowhere,
}

/// A member's view of the cluster.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// How far the metadata were.
    pub index: u64,
    us: NodeId,
    primaries: BTreeMap<GroupId, Vec<Option<NodeId>>>,
    addresses: BTreeMap<NodeId, String>,
}

impl View {
    /// What the control core knows now.
    #[must_use]
    pub fn of(control: &Control) -> View {
        let metadata = control.metadata();
        let primaries = metadata.groups().iter().map(|(group, state)| {
            (*group, state.segments.iter().map(|segment| segment.primary).collect())
        });
        let addresses = metadata.members().iter();
        View {
            index: metadata.index(),
            us: control.identity().node,
            primaries: primaries.collect(),
            addresses: addresses.map(|(node, member)| (*node, member.address.clone())).collect(),
        }
    }

    /// Where requests for a segment go.
    #[must_use]
    pub fn route(&self, group: GroupId, segment: u32) -> Route {
        let primaries = self.primaries.get(&group);
        let primary = primaries.and_then(|all| all.get(segment as usize)).copied().flatten();
        match primary {
            Some(node) if node == self.us => Route::Here,
            Some(node) => Route::There(node),
            None => Route::Nowhere,
        }
    }

    /// This member, if it is one.
    #[must_use]
    pub fn us(&self) -> Option<NodeId> {
        Some(self.us).filter(|us| us.0 != 0)
    }

    /// Where a member is reached.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<&str> {
        self.addresses.get(&node).map(String::as_str)
    }

    /// Where members are reached.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.values().map(String::as_str)
    }

    /// All members but this one.
    pub fn others(&self) -> impl Iterator<Item = NodeId> {
        self.addresses.keys().copied().filter(|node| *node != self.us)
    }
}
