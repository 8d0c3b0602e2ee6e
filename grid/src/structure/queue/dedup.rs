//! The ids that publishers gave, for as long as they are known: five minutes, 100,000 of them (R85).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::options::{DEDUP_MAX, DEDUP_MS};

/// The ids that are known.
#[derive(Debug, Clone, Default)]
pub(in crate::structure) struct Window {
    ids: BTreeMap<Arc<[u8]>, (u64, Timestamp)>,
    order: BTreeSet<(Timestamp, u64)>,
    names: BTreeMap<u64, (Arc<[u8]>, Timestamp)>,
}

impl Window {
    /// The message that this id stands for.
    pub fn find(&self, name: &[u8]) -> Option<u64> {
        self.ids.get(name).map(|(id, _)| *id)
    }

    /// The message and its time.
    pub fn get(&self, name: &[u8]) -> Option<(u64, Timestamp)> {
        self.ids.get(name).copied()
    }

    /// All ids.
    pub fn names(&self) -> impl Iterator<Item = Arc<[u8]>> {
        self.ids.keys().cloned()
    }

    /// A message was published under this id.
    pub fn add(&mut self, name: &Arc<[u8]>, id: u64, at: Timestamp) {
        self.ids.insert(Arc::clone(name), (id, at));
        self.order.insert((at, id));
        self.names.insert(id, (Arc::clone(name), at));
    }

    /// The message of this id never was.
    pub fn forget(&mut self, id: u64) {
        let Some((name, at)) = self.names.remove(&id) else { return };
        self.order.remove(&(at, id));
        // A later message may have it by now.
        if self.find(&name) == Some(id) {
            self.ids.remove(&name);
        }
    }

    /// Forgets one id whose time is over, or that is one too many.
    pub fn forget_one(&mut self, now: Timestamp) -> Option<Arc<[u8]>> {
        let (at, id) = *self.order.first()?;
        let is_over = at.saturating_add(DEDUP_MS) <= now || self.order.len() > DEDUP_MAX;
        let (name, _) = self.names.get(&id).filter(|_| is_over).cloned()?;
        self.forget(id);
        Some(name)
    }
}
