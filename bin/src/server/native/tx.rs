//! Group 0x02: transactions over the entries of one cache.

use std::sync::Arc;

use isogrid_engine::table::OwnedEntry;
use isogrid_engine::{Isolation, Transaction, TransactionError};
use isogrid_grid::Cache;
use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_grid::structure::cache::{Action, Pending};
use isogrid_wire::native::tx::{
    CommitOcc, CommitOccReply, Compare, CompareOp, Conflict, Exec, ExecReply, Request, WriteOp,
};
use isogrid_wire::native::{
    ErrorCode, Key, Limits, List, Reader, Request as Any, SubRequest, cache,
};

use super::asked;
use super::batch::sub_replies;
use super::cache::count_read;
use super::clustered::key_of;
use super::edit::{self, Outcome};
use super::entry::View;
use super::failure::Failure;
use super::reply::{Given, Reply, To};
use super::request::{At, Flow};
use super::session::Session;
use crate::security::OpClass;

/// How often a transaction that the server runs itself is tried against others.
pub const TRIES: usize = 8;
/// When a client may try again, ms.
pub const RETRY_MS: u32 = 5;

/// A request of a transaction, done as far as it goes before the commit.
pub struct Part<'a> {
    request: cache::Request<'a>,
    key: &'a [u8],
    done: Done,
}

enum Done {
    Read(Option<OwnedEntry>),
    Edit(Pending),
}

/// What the commit gave each key as its version.
type Versions = Vec<(Vec<u8>, u64)>;

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn tx(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let index = self.node.catalog.index();
        match request {
            Request::Exec(exec) => return self.exec(&index, at, exec, reply),
            Request::CommitOcc(commit) => return self.commit_occ(&index, at, commit, reply),
            Request::Begin(begin) => self.begin(begin, reply)?,
            Request::Commit(commit) => return self.commit(commit.tx, at, reply),
            Request::Rollback(rollback) => self.rollback(rollback.tx, reply)?,
            Request::TxStatus(status) => self.tx_status(status.tx, reply),
        }
        Ok(Flow::Said)
    }

    fn exec(
        &mut self,
        index: &Index,
        at: &At<'_>,
        exec: &Exec<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let lists = [exec.then, exec.otherwise];
        self.check_keys(exec.compare.len() + lists.iter().map(List::len).sum::<usize>())?;
        let compared = exec.compare.iter().map(|compare| compare.object);
        let subs = exec.then.iter().chain(exec.otherwise).map(|sub| sub.object);
        let all: Vec<_> = compared.chain(subs).collect();
        let Some(object) = Self::one_cache(index, &all)? else {
            let replies = List::of(&[]);
            reply.say(&ExecReply::Ok { held: true, replies });
            return Ok(Flow::Said);
        };
        let cache = cache_of(object)?;
        // Decoded before anything is done: what nobody can read fails as a whole.
        let then = decode_subs(exec.then, &self.limits)?;
        let otherwise = decode_subs(exec.otherwise, &self.limits)?;
        for compare in exec.compare {
            self.permit_one(at.operation, &object.name, OpClass::Read, Some(compare.key.0))?;
        }
        for request in then.iter().chain(&otherwise) {
            self.permit(index, object.id, &Any::Cache(*request))?;
        }
        if let Some(way) = self.clustered(Some(object)) {
            let subs = then.iter().chain(&otherwise).filter_map(key_of).map(Key);
            let keys = exec.compare.iter().map(|compare| compare.key).chain(subs);
            return self.clustered_tx((way, object), at, keys);
        }
        self.window.wrote_to(object.options.persist);
        let work = self.work();
        for _ in 0..TRIES {
            let mut tx = cache.transaction(Isolation::Serializable, self.now);
            tx.set_origin(self.origin);
            let held = work.holds(&mut tx, &exec.compare)?;
            let chosen = if held { &then } else { &otherwise };
            let (parts, done) = work.run_all(cache, &mut tx, chosen)?;
            let versions =
                if done { tx.commit(self.now).map(|done| done.versions) } else { Ok(Vec::new()) };
            match versions {
                Ok(versions) => {
                    let replies: Vec<Given> =
                        parts.iter().map(|part| part.answer(&versions, at.to, self.now)).collect();
                    parts.iter().for_each(|part| count_read(self.count(object), part.hit()));
                    let replies = sub_replies(&replies);
                    let replies = List::of(&replies);
                    reply.say(&if done {
                        ExecReply::Ok { held, replies }
                    } else {
                        ExecReply::Partial { held, replies }
                    });
                    return Ok(Flow::Said);
                }
                Err(TransactionError::Conflict { .. } | TransactionError::Blocked) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(Failure::of(ErrorCode::TxConflict).after(RETRY_MS))
    }

    /// The one cache that all of these objects are, if there are any.
    fn one_cache<'i>(index: &'i Index, all: &[u32]) -> Result<Option<&'i Arc<Object>>, Failure> {
        let Some(first) = all.first() else { return Ok(None) };
        if all.iter().any(|id| id != first) {
            return Err(Failure::invalid("a transaction works on one cache"));
        }
        let object = index.by_id(*first).filter(|object| object.kind == Kind::Cache);
        let missing = || Failure::new(ErrorCode::NoSuchObject, format!("{first} is no cache"));
        let object = object.ok_or_else(missing)?;
        Ok(Some(object))
    }

    fn commit_occ(
        &mut self,
        index: &Index,
        at: &At<'_>,
        commit: &CommitOcc<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        self.check_keys(commit.reads.len() + commit.writes.len())?;
        let reads = commit.reads.iter().map(|read| read.object);
        let writes = commit.writes.iter().map(|write| write.object);
        let all: Vec<_> = reads.chain(writes).collect();
        let Some(object) = Self::one_cache(index, &all)? else {
            reply.say(&CommitOccReply::Ok { versions: List::of(&[]) });
            return Ok(Flow::Said);
        };
        let cache = cache_of(object)?;
        let reads = commit.reads.iter().map(|read| (OpClass::Read, read.key));
        let writes = commit.writes.iter().map(|write| (asked::of_write(write.op), write.key));
        for (class, key) in reads.chain(writes) {
            self.permit_one(at.operation, &object.name, class, Some(key.0))?;
        }
        if let Some(way) = self.clustered(Some(object)) {
            let written = commit.writes.iter().map(|write| write.key);
            let keys = commit.reads.iter().map(|read| read.key).chain(written);
            return self.clustered_tx((way, object), at, keys);
        }
        self.window.wrote_to(object.options.persist);
        let mut changed = Vec::new();
        for _ in 0..TRIES {
            let mut tx = cache.transaction(Isolation::Serializable, self.now);
            tx.set_origin(self.origin);
            let conflicts = self.stale_reads(&mut tx, commit)?;
            if !conflicts.is_empty() {
                let conflicts = List::of(&conflicts);
                reply.say(&CommitOccReply::VersionMismatch { conflicts });
                return Ok(Flow::Said);
            }
            self.work().write_all(cache, &mut tx, commit)?;
            match tx.commit(self.now) {
                Ok(done) => {
                    let version = |write: isogrid_wire::native::tx::TxWrite<'_>| {
                        version_of(&done.versions, write.key.0).unwrap_or(0)
                    };
                    let versions: Vec<u64> = commit.writes.iter().map(version).collect();
                    reply.say(&CommitOccReply::Ok { versions: List::of(&versions) });
                    return Ok(Flow::Said);
                }
                Err(TransactionError::Conflict { keys }) => changed = keys,
                Err(TransactionError::Blocked) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        if changed.is_empty() {
            return Err(Failure::of(ErrorCode::TxConflict).after(RETRY_MS));
        }
        let versions = self.versions_now(cache, &changed);
        let conflicts = conflicts(object.id, &changed, &versions);
        reply.say(&CommitOccReply::VersionMismatch { conflicts: List::of(&conflicts) });
        Ok(Flow::Said)
    }

    /// What was read and is another one now.
    fn stale_reads<'a>(
        &self,
        tx: &mut Transaction<'_>,
        commit: &CommitOcc<'a>,
    ) -> Result<Vec<Conflict<'a>>, Failure> {
        let mut stale = Vec::new();
        for read in commit.reads {
            let entry = tx.get(read.key.0, self.now).map_err(|error| failed(&error))?;
            let version = entry.and_then(|entry| entry.version).unwrap_or(0);
            if version != read.version {
                stale.push(Conflict { object: read.object, key: read.key, version });
            }
        }
        Ok(stale)
    }

    /// How requests within a transaction are executed now.
    pub fn work(&self) -> Work {
        Work { now: self.now, len_max: self.limits.value_len_max }
    }

    /// The versions that are there now; 0 for none.
    pub fn versions_now(&self, cache: &Cache, keys: &[Vec<u8>]) -> Vec<u64> {
        let batch = cache.batch(self.now);
        let version = |key: &Vec<u8>| batch.peek(cache.hash(key), key).map_or(0, |e| e.version());
        keys.iter().map(version).collect()
    }
}

/// At what moment requests within a transaction are executed, and within which limits.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// The time, ms.
    pub now: u64,
    /// The longest value, bytes.
    pub len_max: usize,
}

impl Work {
    /// Whether all conditions hold.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn holds(
        &self,
        tx: &mut Transaction<'_>,
        compares: &List<'_, Compare<'_>>,
    ) -> Result<bool, Failure> {
        // All are read, so that all must still be so at the commit.
        let mut held = true;
        for compare in *compares {
            let entry = tx.get(compare.key.0, self.now).map_err(|error| failed(&error))?;
            held &= holds(&compare, entry.as_ref());
        }
        Ok(held)
    }

    /// Does all requests, up to one that is not done.
    ///
    /// # Errors
    /// As [`Work::run_one`].
    pub fn run_all<'a>(
        &self,
        cache: &Cache,
        tx: &mut Transaction<'_>,
        requests: &[cache::Request<'a>],
    ) -> Result<(Vec<Part<'a>>, bool), Failure> {
        let mut parts = Vec::with_capacity(requests.len());
        for request in requests {
            let part = self.run_one(cache, tx, request)?;
            let is_done = part.is_done();
            parts.push(part);
            if !is_done {
                return Ok((parts, false));
            }
        }
        Ok((parts, true))
    }

    /// Does one request within a transaction.
    ///
    /// # Errors
    /// Why it was not done; the transaction goes on without it.
    pub fn run_one<'a>(
        &self,
        cache: &Cache,
        tx: &mut Transaction<'_>,
        request: &cache::Request<'a>,
    ) -> Result<Part<'a>, Failure> {
        let request = *request;
        if let Some((key, edit)) = edit::of(&request, self.len_max)? {
            let pending =
                cache.edit_in(tx, key, &edit, self.now).map_err(|error| failed(&error))?;
            return Ok(Part { request, key, done: Done::Edit(pending) });
        }
        let key = match request {
            cache::Request::Get(get) => get.key.0,
            cache::Request::MapGet(get) => get.key.0,
            _ => return Err(Failure::invalid("this request cannot be in a transaction")),
        };
        let entry = tx.get(key, self.now).map_err(|error| failed(&error))?;
        Ok(Part { request, key, done: Done::Read(entry) })
    }

    /// Does the writes of a transaction that its client has kept to itself.
    ///
    /// # Errors
    /// One that cannot be done.
    pub fn write_all(
        &self,
        cache: &Cache,
        tx: &mut Transaction<'_>,
        commit: &CommitOcc<'_>,
    ) -> Result<(), Failure> {
        for write in commit.writes {
            if write.write.expect.is_some() || write.write.switches != 0 {
                return Err(Failure::invalid("conditions belong to the reads of a transaction"));
            }
            let action = match write.op {
                WriteOp::Put => Action::Put(write.value.bytes()),
                WriteOp::Remove => Action::Remove,
                WriteOp::Touch => Action::Touch,
            };
            let edit = edit::edit(&write.write, 0, action, self.len_max)?;
            let done = cache.edit_in(tx, write.key.0, &edit, self.now);
            let done = done.map_err(|error| failed(&error))?;
            if done.refused.is_some() && write.op == WriteOp::Touch {
                return Err(Failure::invalid("TOUCH of an entry that is not there"));
            }
        }
        Ok(())
    }
}

/// The requests within another one that may be in a transaction.
///
/// # Errors
/// One that may not, or that nobody can read.
pub fn decode_subs<'a>(
    subs: List<'a, SubRequest<'a>>,
    limits: &Limits,
) -> Result<Vec<cache::Request<'a>>, Failure> {
    let decode = |sub: SubRequest<'a>| match Any::decode(sub.op, Reader::new(sub.body, limits))? {
        Any::Cache(request) if is_of_one_key(&request) => Ok(request),
        _ => Err(Failure::invalid("this request cannot be in a transaction")),
    };
    subs.iter().map(decode).collect()
}

/// Conflicts over these keys.
pub fn conflicts<'a>(object: u32, keys: &'a [Vec<u8>], versions: &[u64]) -> Vec<Conflict<'a>> {
    let conflict = |(key, version): (&'a Vec<u8>, &u64)| {
        let (key, version) = (isogrid_wire::native::Key(key), *version);
        Conflict { object, key, version }
    };
    keys.iter().zip(versions).map(conflict).collect()
}

/// The cache of an object that is one.
///
/// # Errors
/// It is none.
pub fn cache_of(object: &Object) -> Result<&Arc<Cache>, Failure> {
    object.cache.as_ref().ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))
}

/// Whether a request may be in a transaction.
pub fn is_of_one_key(request: &cache::Request<'_>) -> bool {
    use cache::Request::{
        Append, Get, GetTouch, Incr, MapGet, MapUpdate, Prepend, Put, Remove, Touch,
    };
    matches!(
        request,
        Get(_)
            | Put(_)
            | Remove(_)
            | Touch(_)
            | GetTouch(_)
            | Incr(_)
            | Append(_)
            | Prepend(_)
            | MapGet(_)
            | MapUpdate(_)
    )
}

/// Why a transaction was refused.
pub fn failed(error: &TransactionError) -> Failure {
    match error {
        TransactionError::Conflict { .. } | TransactionError::Blocked => {
            Failure::of(ErrorCode::TxConflict).after(RETRY_MS)
        }
        // They went from memory a moment ago.
        TransactionError::Away { .. } => Failure::of(ErrorCode::Overloaded).after(RETRY_MS),
        TransactionError::TooLarge { .. } => {
            Failure::new(ErrorCode::QuotaExceeded, error.to_string())
        }
        TransactionError::Refused(error) => (*error).into(),
    }
}

fn holds(compare: &Compare<'_>, entry: Option<&OwnedEntry>) -> bool {
    let version = entry.and_then(|entry| entry.version).unwrap_or(0);
    let same_value = entry.is_some_and(|entry| *entry.value == *compare.value.bytes());
    match compare.what {
        CompareOp::Exists => entry.is_some(),
        CompareOp::Absent => entry.is_none(),
        CompareOp::VersionIs => version == compare.version,
        CompareOp::VersionIsNot => version != compare.version,
        CompareOp::ValueIs => same_value,
        CompareOp::ValueIsNot => !same_value,
    }
}

fn version_of(versions: &Versions, key: &[u8]) -> Option<u64> {
    let at = versions.binary_search_by(|(own, _)| own.as_slice().cmp(key)).ok()?;
    versions.get(at).map(|(_, version)| *version)
}

impl Part<'_> {
    /// Whether the transaction may go on behind it.
    fn is_done(&self) -> bool {
        match &self.done {
            Done::Read(_) => true,
            Done::Edit(pending) => pending.refused.is_none(),
        }
    }

    /// Whether a read found something; `None` if it is no read.
    fn hit(&self) -> Option<bool> {
        match &self.done {
            Done::Read(entry) => Some(entry.is_some()),
            Done::Edit(_) => None,
        }
    }

    /// The answer, with the versions that the commit gave; without a commit those of its own
    /// writes are 0.
    pub fn answer(&self, versions: &Versions, to: To, now: u64) -> Given {
        let mut all = Vec::new();
        let mut reply = Reply::kept(to, &mut all);
        let own = version_of(versions, self.key).unwrap_or(0);
        let view = |entry: &'_ OwnedEntry| entry.version.unwrap_or(own);
        match (&self.request, &self.done) {
            (cache::Request::Get(get), Done::Read(entry)) => {
                let entry = entry.as_ref();
                let found = entry.map(|entry| View { version: view(entry), ..View::owned(entry) });
                super::cache::say_get(get, found, now, &mut reply);
            }
            (cache::Request::MapGet(get), Done::Read(entry)) => {
                let entry = entry.as_ref();
                let found = entry.map(|entry| View { version: view(entry), ..View::owned(entry) });
                super::map::say_get(get, found, &mut reply);
            }
            (request, Done::Edit(pending)) => {
                let before = pending.before.as_ref();
                let before =
                    before.map(|entry| View { version: view(entry), ..View::owned(entry) });
                let outcome = Outcome {
                    before,
                    version: pending.refused.map_or(Ok(own), Err),
                    number: pending.number,
                    life: (pending.deadline, pending.max_idle),
                };
                edit::say(request, &outcome, now, &mut reply);
            }
            _ => reply.fail(&Failure::of(ErrorCode::Internal)),
        }
        all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)))
    }
}
