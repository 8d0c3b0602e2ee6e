//! Group 0x02: transactions over the entries of caches.

use std::sync::Arc;

use isogrid_engine::table::OwnedEntry;
use isogrid_engine::{Isolation, TransactionError};
use isogrid_grid::Cache;
use isogrid_grid::catalog::{Index, Object};
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
use super::edit::{self, Outcome};
use super::entry::View;
use super::failure::Failure;
use super::reply::{Given, Reply, To};
use super::request::{At, Flow};
use super::session::Session;
use super::tx_local::{Conflicts, Local, Over, Parts, Refused, Versions};
use crate::security::OpClass;

/// How often a transaction that the server runs itself is tried against others.
pub const TRIES: usize = 8;
/// When a client may try again, ms.
pub const RETRY_MS: u32 = 5;

/// Why caches are not written together.
const APART: &str = "the caches that it writes are kept in ways that cannot be one (persist): all \
                     must be sync or none, and with one that is behind all others none";

/// A request within another one that may be in a transaction.
pub struct Sub<'a> {
    /// The cache.
    pub object: u32,
    /// The request.
    pub request: cache::Request<'a>,
}

/// A request of a transaction, done as far as it goes before the commit.
pub struct Part<'a> {
    object: u32,
    request: cache::Request<'a>,
    key: &'a [u8],
    done: Done,
}

enum Done {
    Read(Option<OwnedEntry>),
    Edit(Pending),
}

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
            Request::TxStatus(status) => return Ok(self.tx_status(status.tx, at, reply)),
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
        let over = self.over(index, compared.chain(subs))?;
        // Decoded before anything is done: what nobody can read fails as a whole.
        let then = decode_subs(exec.then, &self.limits)?;
        let otherwise = decode_subs(exec.otherwise, &self.limits)?;
        for compare in exec.compare {
            self.permit_key(index, at, compare.object, OpClass::Read, compare.key)?;
        }
        for sub in then.iter().chain(&otherwise) {
            self.permit(index, sub.object, &Any::Cache(sub.request))?;
        }
        let caches = match over {
            Over::Local(caches) => caches,
            Over::Clustered(cluster, caches) => {
                let subs = then.iter().chain(&otherwise).filter_map(Sub::place);
                let compared = exec.compare.iter().map(|one| (one.object, one.key.0));
                return self.clustered_tx((cluster, caches), at, compared.chain(subs));
            }
        };
        for _ in 0..TRIES {
            let mut tx = self.begin_over(&caches)?;
            let work = self.work();
            let held = work.holds(&mut tx, &exec.compare)?;
            let (parts, done) = work.run_all(&mut tx, if held { &then } else { &otherwise })?;
            let versions = if done { tx.commit(self.now) } else { Ok(Versions::default()) };
            match versions {
                Ok(versions) => {
                    self.count_reads(index, &parts);
                    let answers = parts.iter().map(|part| part.answer(&versions, at.to, self.now));
                    let replies: Vec<Given> = answers.collect();
                    let replies = sub_replies(&replies);
                    let replies = List::of(&replies);
                    reply.say(&if done {
                        ExecReply::Ok { held, replies }
                    } else {
                        ExecReply::Partial { held, replies }
                    });
                    return Ok(Flow::Said);
                }
                Err(Refused::Conflict(_) | Refused::Failed(_, true)) => {}
                Err(Refused::Failed(failure, false)) => return Err(failure),
            }
        }
        Err(Failure::of(ErrorCode::TxConflict).after(RETRY_MS))
    }

    /// Begins a transaction of the server's own over caches of this node.
    fn begin_over(&mut self, caches: &[&Arc<Object>]) -> Result<Local, Failure> {
        let mut tx = Local::new(Isolation::Serializable, self.origin);
        caches.iter().try_for_each(|object| tx.join(object, self.now))?;
        tx.modes().for_each(|mode| self.window.wrote_to(mode));
        Ok(tx)
    }

    fn count_reads(&mut self, index: &Index, parts: &[Part<'_>]) {
        for part in parts {
            if let Some(object) = index.by_id(part.object) {
                count_read(self.count(object), part.hit());
            }
        }
    }

    /// Whether something may be done to a key of one of the caches.
    fn permit_key(
        &mut self,
        index: &Index,
        at: &At<'_>,
        object: u32,
        class: OpClass,
        key: Key<'_>,
    ) -> Result<(), Failure> {
        let object = index.by_id(object).ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))?;
        self.permit_one(at.operation, &object.name, class, Some(key.0))
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
        let over = self.over(index, reads.chain(commit.writes.iter().map(|write| write.object)))?;
        for read in commit.reads {
            self.permit_key(index, at, read.object, OpClass::Read, read.key)?;
        }
        for write in commit.writes {
            self.permit_key(index, at, write.object, asked::of_write(write.op), write.key)?;
        }
        let caches = match over {
            Over::Local(caches) => caches,
            Over::Clustered(cluster, caches) => {
                let written = commit.writes.iter().map(|write| (write.object, write.key.0));
                let read = commit.reads.iter().map(|read| (read.object, read.key.0));
                return self.clustered_tx((cluster, caches), at, read.chain(written));
            }
        };
        let mut changed = Conflicts::default();
        for _ in 0..TRIES {
            let mut tx = self.begin_over(&caches)?;
            let conflicts = self.stale_reads(&mut tx, commit)?;
            if !conflicts.is_empty() {
                let conflicts = List::of(&conflicts);
                reply.say(&CommitOccReply::VersionMismatch { conflicts });
                return Ok(Flow::Said);
            }
            self.work().write_all(&mut tx, commit)?;
            match tx.commit(self.now) {
                Ok(done) => {
                    let written = commit.writes.iter();
                    let versions: Vec<u64> =
                        written.map(|write| done.get(write.object, write.key.0)).collect();
                    reply.say(&CommitOccReply::Ok { versions: List::of(&versions) });
                    return Ok(Flow::Said);
                }
                Err(Refused::Conflict(keys)) => changed = keys,
                Err(Refused::Failed(_, true)) => {}
                Err(Refused::Failed(failure, false)) => return Err(failure),
            }
        }
        let conflicts = changed.list();
        if conflicts.is_empty() {
            return Err(Failure::of(ErrorCode::TxConflict).after(RETRY_MS));
        }
        reply.say(&CommitOccReply::VersionMismatch { conflicts: List::of(&conflicts) });
        Ok(Flow::Said)
    }

    /// What was read and is another one now.
    fn stale_reads<'a>(
        &self,
        tx: &mut Local,
        commit: &CommitOcc<'a>,
    ) -> Result<Vec<Conflict<'a>>, Failure> {
        let mut stale = Vec::new();
        for read in commit.reads {
            let entry = self.work().read(tx, read.object, read.key.0)?;
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
    fn read(
        &self,
        tx: &mut impl Parts,
        object: u32,
        key: &[u8],
    ) -> Result<Option<OwnedEntry>, Failure> {
        tx.with(object, |_, tx| tx.get(key, self.now).map_err(|error| failed(&error)))
    }

    /// Whether all conditions hold.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn holds(
        &self,
        tx: &mut impl Parts,
        compares: &List<'_, Compare<'_>>,
    ) -> Result<bool, Failure> {
        // All are read, so that all must still be so at the commit.
        let mut held = true;
        for compare in *compares {
            let entry = self.read(tx, compare.object, compare.key.0)?;
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
        tx: &mut impl Parts,
        requests: &[Sub<'a>],
    ) -> Result<(Vec<Part<'a>>, bool), Failure> {
        let mut parts = Vec::with_capacity(requests.len());
        for sub in requests {
            let part = self.run_one(tx, sub.object, &sub.request)?;
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
        tx: &mut impl Parts,
        object: u32,
        request: &cache::Request<'a>,
    ) -> Result<Part<'a>, Failure> {
        let request = *request;
        if let Some((key, edit)) = edit::of(&request, self.len_max)? {
            let pending = tx.with(object, |cache, tx| {
                cache.edit_in(tx, key, &edit, self.now).map_err(|error| failed(&error))
            })?;
            return Ok(Part { object, request, key, done: Done::Edit(pending) });
        }
        let key = match request {
            cache::Request::Get(get) => get.key.0,
            cache::Request::MapGet(get) => get.key.0,
            _ => return Err(Failure::invalid("this request cannot be in a transaction")),
        };
        let entry = self.read(tx, object, key)?;
        Ok(Part { object, request, key, done: Done::Read(entry) })
    }

    /// Does the writes of a transaction that its client has kept to itself.
    ///
    /// # Errors
    /// One that cannot be done.
    pub fn write_all(&self, tx: &mut impl Parts, commit: &CommitOcc<'_>) -> Result<(), Failure> {
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
            let done = tx.with(write.object, |cache, tx| {
                cache.edit_in(tx, write.key.0, &edit, self.now).map_err(|error| failed(&error))
            })?;
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
) -> Result<Vec<Sub<'a>>, Failure> {
    let decode = |sub: SubRequest<'a>| match Any::decode(sub.op, Reader::new(sub.body, limits))? {
        Any::Cache(request) if is_of_one_key(&request) => Ok(Sub { object: sub.object, request }),
        _ => Err(Failure::invalid("this request cannot be in a transaction")),
    };
    subs.iter().map(decode).collect()
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
        TransactionError::Apart => Failure::invalid(APART),
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
        let own = versions.get(self.object, self.key);
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
