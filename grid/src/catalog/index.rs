//! What readers look up: made anew with each change, never changed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::object::{Kind, Object};

/// The number of the next index, of whichever catalog.
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The index that this thread has looked at last. One a thread keeps, not one a connection: of
    /// those there may be thousands, and what is kept is not freed.
    static AT_HAND: Cell<Option<Arc<Index>>> = const { Cell::new(None) };
}

/// The objects of one moment.
#[derive(Default)]
pub struct Index {
    /// No other index has it.
    number: u64,
    /// By id.
    objects: Vec<Arc<Object>>,
    names: BTreeMap<(Kind, String), usize>,
}

impl Index {
    pub(super) fn of(mut objects: Vec<Arc<Object>>) -> Index {
        objects.sort_by_key(|object| object.id);
        let name = |(at, object): (usize, &Arc<Object>)| ((object.kind, object.name.clone()), at);
        let names = objects.iter().enumerate().map(name).collect();
        Index { number: NEXT.fetch_add(1, Ordering::Relaxed), objects, names }
    }

    /// Leaves it at hand for the next [`Catalog::lend`](super::Catalog::lend) of this thread.
    #[inline]
    pub fn give_back(self: Arc<Self>) {
        AT_HAND.set(Some(self));
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

/// The index that is in force.
pub(super) struct Current {
    index: ArcSwap<Index>,
    /// Its number, or for a moment that of the one before.
    number: AtomicU64,
}

impl Current {
    pub(super) fn new(index: Index) -> Current {
        let number = AtomicU64::new(index.number);
        Current { index: ArcSwap::from_pointee(index), number }
    }

    pub(super) fn load(&self) -> Guard<Arc<Index>> {
        self.index.load()
    }

    pub(super) fn load_full(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// Puts another one into force; one change at a time.
    pub(super) fn store(&self, index: Index) {
        let number = index.number;
        self.index.store(Arc::new(index));
        self.number.store(number, Ordering::Release);
    }

    #[inline]
    pub(super) fn lend(&self) -> Arc<Index> {
        let number = self.number.load(Ordering::Acquire);
        match AT_HAND.take() {
            Some(index) if index.number == number => index,
            _ => self.load_full(),
        }
    }
}
