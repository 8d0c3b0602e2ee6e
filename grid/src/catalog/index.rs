//! What readers look up: made anew with each change, never changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::{Kind, Object};

/// The objects of one moment.
#[derive(Default)]
pub struct Index {
    /// By id.
    objects: Vec<Arc<Object>>,
    names: BTreeMap<(Kind, String), usize>,
}

impl Index {
    pub(super) fn of(mut objects: Vec<Arc<Object>>) -> Index {
        objects.sort_by_key(|object| object.id);
        let name = |(at, object): (usize, &Arc<Object>)| ((object.kind, object.name.clone()), at);
        let names = objects.iter().enumerate().map(name).collect();
        Index { objects, names }
    }

    /// With this object, in place of one of its id.
    pub(super) fn with(&self, object: Arc<Object>) -> Index {
        let others = self.objects.iter().filter(|other| other.id != object.id).cloned();
        Index::of(others.chain([Arc::clone(&object)]).collect())
    }

    pub(super) fn without(&self, id: u32) -> Index {
        Index::of(self.objects.iter().filter(|object| object.id != id).cloned().collect())
    }

    /// The object of an id.
    #[must_use]
    #[inline]
    pub fn by_id(&self, id: u32) -> Option<&Arc<Object>> {
        let at = self.objects.binary_search_by_key(&id, |object| object.id).ok()?;
        self.objects.get(at)
    }

    /// The object of a kind and name.
    #[must_use]
    pub fn by_name(&self, kind: Kind, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(*self.names.get(&(kind, name.to_owned()))?)
    }

    /// All objects, by id.
    #[must_use]
    pub fn objects(&self) -> &[Arc<Object>] {
        &self.objects
    }

    /// The caches, by id.
    pub fn caches(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.iter().filter(|object| object.cache.is_some())
    }
}
