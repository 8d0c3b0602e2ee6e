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
use isogrid_wire::native::{ErrorCode, List, Reader, Request as Any, SubRequest, cache};

use super::asked;
use super::batch::sub_replies;
use super::cache::count_read;
use super::edit::{self, Outcome};
use super::entry::View;
use super::failure::Failure;
use super::reply::{Given, Reply, To};
use super::request::{At, Flow};
use super::session::Session;
use crate::security::OpClass;

/// How often a transaction that the server runs itself is tried against others.
const TRIES: usize = 8;
/// When a client may try again, ms.
const RETRY_MS: u32 = 5;

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
            Request::Exec(exec) => self.exec(&index, at, exec, reply)?,
            Request::CommitOcc(commit) => self.commit_occ(&index, at, commit, reply)?,
            Request::Begin(begin) => self.begin(begin, reply)?,
            Request::Commit(commit) => self.commit(commit.tx, reply)?,
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
    ) -> Result<(), Failure> {
        let lists = [exec.then, exec.otherwise];
        self.check_keys(exec.compare.len() + lists.iter().map(List::len).sum::<usize>())?;
        let compared = exec.compare.iter().map(|compare| compare.object);
        let subs = exec.then.iter().chain(exec.otherwise).map(|sub| sub.object);
        let all: Vec<_> = compared.chain(subs).collect();
        let Some(object) = Self::one_cache(index, &all)? else {
            let replies = List::of(&[]);
            reply.say(&ExecReply::Ok { held: true, replies });
            return Ok(());
        };
        let cache = cache_of(object)?;
        // Decoded before anything is done: what nobody can read fails as a whole.
        let then = self.decode_subs(exec.then)?;
        let otherwise = self.decode_subs(exec.otherwise)?;
        for compare in exec.compare {
            self.permit_one(at.operation, &object.name, OpClass::Read, Some(compare.key.0))?;
        }
        for request in then.iter().chain(&otherwise) {
            self.permit(index, object.id, &Any::Cache(*request))?;
        }
        self.window.wrote_to(object.options.persist);
        for _ in 0..TRIES {
            let mut tx = cache.transaction(Isolation::Serializable, self.now);
            tx.set_origin(self.origin);
            let held = self.holds(&mut tx, &exec.compare)?;
            let chosen = if held { &then } else { &otherwise };
            let (parts, done) = self.run_all(cache, &mut tx, chosen)?;
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
                    return Ok(());
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

    fn decode_subs<'a>(
        &self,
        subs: List<'a, SubRequest<'a>>,
    ) -> Result<Vec<cache::Request<'a>>, Failure> {
        let decode =
            |sub: SubRequest<'a>| match Any::decode(sub.op, Reader::new(sub.body, &self.limits))? {
                Any::Cache(request) if is_of_one_key(&request) => Ok(request),
                _ => Err(Failure::invalid("this request cannot be in a transaction")),
            };
        subs.iter().map(decode).collect()
    }

    fn holds(
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
    fn run_all<'a>(
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
        if let Some((key, edit)) = edit::of(&request, self.limits.value_len_max)? {
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

    fn commit_occ(
        &mut self,
        index: &Index,
        at: &At<'_>,
        commit: &CommitOcc<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.check_keys(commit.reads.len() + commit.writes.len())?;
        let reads = commit.reads.iter().map(|read| read.object);
        let writes = commit.writes.iter().map(|write| write.object);
        let all: Vec<_> = reads.chain(writes).collect();
        let Some(object) = Self::one_cache(index, &all)? else {
            reply.say(&CommitOccReply::Ok { versions: List::of(&[]) });
            return Ok(());
        };
        let cache = cache_of(object)?;
        let reads = commit.reads.iter().map(|read| (OpClass::Read, read.key));
        let writes = commit.writes.iter().map(|write| (asked::of_write(write.op), write.key));
        for (class, key) in reads.chain(writes) {
            self.permit_one(at.operation, &object.name, class, Some(key.0))?;
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
                return Ok(());
            }
            self.write_all(cache, &mut tx, commit)?;
            match tx.commit(self.now) {
                Ok(done) => {
                    let version = |write: isogrid_wire::native::tx::TxWrite<'_>| {
                        version_of(&done.versions, write.key.0).unwrap_or(0)
                    };
                    let versions: Vec<u64> = commit.writes.iter().map(version).collect();
                    reply.say(&CommitOccReply::Ok { versions: List::of(&versions) });
                    return Ok(());
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
        Ok(())
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

    fn write_all(
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
            let edit = edit::edit(&write.write, 0, action, self.limits.value_len_max)?;
            let done = cache.edit_in(tx, write.key.0, &edit, self.now);
            let done = done.map_err(|error| failed(&error))?;
            if done.refused.is_some() && write.op == WriteOp::Touch {
                return Err(Failure::invalid("TOUCH of an entry that is not there"));
            }
        }
        Ok(())
    }

    /// The versions that are there now; 0 for none.
    pub fn versions_now(&self, cache: &Cache, keys: &[Vec<u8>]) -> Vec<u64> {
        let batch = cache.batch(self.now);
        let version = |key: &Vec<u8>| batch.peek(cache.hash(key), key).map_or(0, |e| e.version());
        keys.iter().map(version).collect()
    }
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
