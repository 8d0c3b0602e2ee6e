//! What a request needs and is not in memory: it is brought there before the request is executed,
//! and what the client sent after it waits.

use std::task::{Context, Poll};

use isogrid_engine::load::LoadError;
use isogrid_grid::catalog::{Index, Object};
use isogrid_wire::native::{
    ErrorCode, Limits, List, Reader, Request, SubRequest, batch, cache, tx,
};

use super::edit;
use super::failure::Failure;
use super::session::Session;
use crate::server::loading::{Loading, Refusal, Stopped};

impl Session {
    /// Whether a request has to wait until what it needs is in memory, which is begun.
    ///
    /// # Errors
    /// It cannot be brought there, or the request has too many keys.
    pub fn lacks(
        &mut self,
        index: &Index,
        object: u32,
        request: &Request<'_>,
    ) -> Result<bool, Failure> {
        // Where nothing is kept nothing is away.
        if self.node.data.get().is_none() {
            return Ok(false);
        }
        self.check_keys(len(request))?;
        if goes_through_all(request) {
            return index.by_id(object).map_or(Ok(false), |object| self.lacks_some(object));
        }
        let (limits, mut waits, mut refused) = (self.limits, false, Ok(()));
        needed(object, request, &limits, &mut |id, key| {
            let kept = index.by_id(id).filter(|object| object.options.persist.is_kept());
            match kept.map_or(Ok(false), |object| self.load(object, key)) {
                Ok(lacks) => waits |= lacks,
                Err(failure) => refused = Err(failure),
            }
        });
        refused.map(|()| waits)
    }

    /// Whether not all entries have been read since the start, which is waited for.
    fn lacks_some(&mut self, object: &Object) -> Result<bool, Failure> {
        let Some(loading) = self.loading_of(object) else { return Ok(false) };
        if let Some(refusal) = loading.take_refusal() {
            return Err(refusal.into());
        }
        if loading.is_whole() {
            return Ok(false);
        }
        loading.stopped(Stopped::Unread);
        Ok(true)
    }

    /// Begins to bring the entry of a key into memory, unless it is there or nowhere.
    fn load(&mut self, object: &Object, key: &[u8]) -> Result<bool, Failure> {
        let Some(cache) = &object.cache else { return Ok(false) };
        let is_away = {
            let (batch, hash) = (cache.batch(self.now), cache.hash(key));
            // The store keeps its copy of what came back.
            batch.is_away(hash, key) && batch.peek(hash, key).is_none()
                // Requests within this one are not asked about yet: who may do nothing with an
                // entry does not have it loaded.
                && self.may_use(&object.name, key)
        };
        if let Some(loading) = self.loading.get_mut(&object.id) {
            if let Some(refusal) = loading.take_refusal() {
                return Err(refusal.into());
            }
            if !is_away {
                loading.went_on();
            }
        }
        if !is_away {
            return Ok(false);
        }
        let Some(loading) = self.loading_of(object) else { return Ok(false) };
        loading.load(key);
        loading.stopped(Stopped::Away);
        Ok(true)
    }

    fn loading_of(&mut self, object: &Object) -> Option<&mut Loading> {
        if !self.loading.contains_key(&object.id) {
            self.loading.insert(object.id, self.node.loading(&object.name)?);
        }
        self.loading.get_mut(&object.id)
    }

    /// A write was stopped since the disk is behind with what is evicted: waits until there is room.
    ///
    /// # Errors
    /// There will be none.
    pub fn wait_for_room(&mut self, object: &Object) -> Result<(), Failure> {
        let none = || Failure::from(Refusal::Crowded);
        let loading = self.loading_of(object).ok_or_else(none)?;
        if let Some(refusal) = loading.take_refusal() {
            return Err(refusal.into());
        }
        loading.stopped(Stopped::Behind);
        Ok(())
    }

    /// A write to this object was done.
    pub fn went_on(&mut self, object: &Object) {
        if let Some(loading) = self.loading.get_mut(&object.id) {
            loading.went_on();
        }
    }

    /// Waits until all that was begun is in memory, or cannot be.
    pub fn poll_loading(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut all = Poll::Ready(());
        for loading in self.loading.values_mut().filter(|loading| loading.waits()) {
            if Loading::poll(loading, cx).is_pending() {
                all = Poll::Pending;
            }
        }
        all
    }
}

/// How many keys or requests within it a request has, where that is bounded.
fn len(request: &Request<'_>) -> usize {
    use cache::Request::{GetMany, PutMany, RemoveMany, TouchMany};
    match request {
        Request::Cache(GetMany(many)) => many.keys.len(),
        Request::Cache(PutMany(many)) => many.entries.len(),
        Request::Cache(RemoveMany(many)) => many.keys.len(),
        Request::Cache(TouchMany(many)) => many.keys.len(),
        Request::Batch(batch::Request::Batch(batch)) => batch.requests.len(),
        Request::Tx(tx::Request::Exec(exec)) => {
            exec.compare.len() + exec.then.len() + exec.otherwise.len()
        }
        Request::Tx(tx::Request::CommitOcc(commit)) => commit.reads.len() + commit.writes.len(),
        _ => 0,
    }
}

/// Whether a request goes through all entries of its cache.
fn goes_through_all(request: &Request<'_>) -> bool {
    match request {
        Request::Cache(cache::Request::Scan(_)) => true,
        Request::Cache(cache::Request::Size(size)) => size.exact,
        Request::Cache(cache::Request::Listen(listen)) => {
            listen.flags.has(cache::ListenFlags::INITIAL_STATE)
        }
        _ => false,
    }
}

/// Names the keys that must be in memory for a request, with the object that each is of.
fn needed(object: u32, request: &Request<'_>, limits: &Limits, need: &mut dyn FnMut(u32, &[u8])) {
    let mut inside = |requests: &List<'_, SubRequest<'_>>| {
        for sub in *requests {
            if let Ok(Request::Cache(inner)) =
                Request::decode(sub.op, Reader::new(sub.body, limits))
            {
                of_cache(&inner, limits, &mut |key| need(sub.object, key));
            }
        }
    };
    match request {
        Request::Cache(request) => of_cache(request, limits, &mut |key| need(object, key)),
        Request::Batch(batch::Request::Batch(batch)) => inside(&batch.requests),
        Request::Tx(tx::Request::Exec(exec)) => {
            inside(&exec.then);
            inside(&exec.otherwise);
            exec.compare.iter().for_each(|compare| need(compare.object, compare.key.0));
        }
        Request::Tx(tx::Request::CommitOcc(commit)) => {
            commit.reads.iter().for_each(|read| need(read.object, read.key.0));
            commit.writes.iter().for_each(|write| need(write.object, write.key.0));
        }
        _ => {}
    }
}

fn of_cache(request: &cache::Request<'_>, limits: &Limits, need: &mut dyn FnMut(&[u8])) {
    use cache::Request::{Get, GetMany, MapGet, PutMany, RemoveMany, TouchMany};
    if let Ok(Some((key, edit))) = edit::of(request, limits.value_len_max) {
        if !edit.is_blind() {
            need(key);
        }
        return;
    }
    match request {
        Get(get) => need(get.key.0),
        MapGet(get) => need(get.key.0),
        GetMany(many) => many.keys.iter().for_each(|key| need(key.0)),
        PutMany(many) if many.write.switches != 0 => {
            many.entries.iter().for_each(|entry| need(entry.key.0));
        }
        RemoveMany(many) => many.keys.iter().for_each(|key| need(key.0)),
        TouchMany(many) => many.keys.iter().for_each(|key| need(key.0)),
        _ => {}
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Load(LoadError::Damaged) => ErrorCode::Corrupt,
            Refusal::Load(LoadError::Failed) => ErrorCode::Storage,
            Refusal::Load(LoadError::NoRoom) => ErrorCode::OutOfMemory,
            Refusal::Load(LoadError::Busy) | Refusal::Crowded => ErrorCode::Overloaded,
        };
        Failure::new(code, refusal.text())
    }
}
