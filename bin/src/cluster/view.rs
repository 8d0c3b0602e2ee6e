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
    /// The topology epoch: another one when `primaries` or `endpoints` are others.
    pub epoch: u64,
    us: NodeId,
    primaries: BTreeMap<GroupId, Vec<Option<NodeId>>>,
    addresses: BTreeMap<NodeId, String>,
    endpoints: BTreeMap<NodeId, String>,
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
        let endpoints = metadata.members().iter();
        let endpoints = endpoints.filter(|(_, member)| !member.endpoint.is_empty());
        View {
            index: metadata.index(),
            epoch: metadata.routes(),
            us: control.identity().node,
            primaries: primaries.collect(),
            addresses: addresses.map(|(node, member)| (*node, member.address.clone())).collect(),
            endpoints: endpoints.map(|(node, member)| (*node, member.endpoint.clone())).collect(),
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

    /// Who serves each segment of a group, in their order.
    #[must_use]
    pub fn primaries(&self, group: GroupId) -> &[Option<NodeId>] {
        self.primaries.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Where clients reach members over GNP.
    #[must_use]
    pub fn endpoints(&self) -> &BTreeMap<NodeId, String> {
        &self.endpoints
    }

    /// The low half of the epoch, as frames carry it.
    #[must_use]
    pub fn short_epoch(&self) -> u32 {
        u32::try_from(self.epoch & u64::from(u32::MAX)).unwrap_or(0)
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
