//! Transactions that the server keeps for a connection: BEGIN, requests that join by the extension
//! `tx`, COMMIT or ROLLBACK. How they end is known for a while, to every connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isogrid_engine::Isolation as Level;
use isogrid_grid::catalog::{Kind, Object};
use isogrid_wire::native::cache::Request as CacheRequest;
use isogrid_wire::native::tx::{
    Begin, BeginReply, CommitReply, Isolation, RollbackReply, TxState, TxStatusReply,
};
use isogrid_wire::native::{ErrorCode, List};
use parking_lot::Mutex;

use super::clustered;
use super::failure::Failure;
use super::reply::{Given, Reply};
use super::request::{At, Flow, unsupported};
use super::session::Session;
use super::tx::is_of_one_key;
use super::tx_local::{Local, Refused, Versions, apart};
use crate::cluster::{Cluster, Shared};
use crate::security::random;

/// Transactions of one connection: each keeps old versions in memory.
const OPEN_MAX: usize = 16;
/// How long one may be idle that does not say so, ms; and the longest that it may say.
const IDLE_MS: u64 = 30_000;
const IDLE_MAX_MS: u64 = 600_000;
/// Whoever waits for how one ended gives up so much later than we do.
const MARGIN: Duration = Duration::from_millis(20);
/// Transactions whose end is remembered.
const ENDED_MAX: usize = 10_000;

/// How transactions of a node stand.
pub struct Transactions {
    /// The number of the last one; the first is drawn, so that no other process has it, at another
    /// node or before this one.
    begun: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    states: BTreeMap<u64, TxState>,
    ended: VecDeque<u64>,
}

impl Default for Transactions {
    fn default() -> Self {
        let begun = AtomicU64::new(u64::from_le_bytes(random::bytes()));
        Transactions { begun, known: Mutex::default() }
    }
}

impl Transactions {
    /// The number of a new one.
    fn begin(&self) -> u64 {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        self.known.lock().states.insert(number, TxState::Active);
        number
    }

    /// Notes how one ended; `None`: nobody knows.
    pub fn end(&self, number: u64, state: Option<TxState>) {
        let mut known = self.known.lock();
        let Some(state) = state else {
            known.states.remove(&number);
            return;
        };
        known.states.insert(number, state);
        known.ended.push_back(number);
        if known.ended.len() > ENDED_MAX
            && let Some(oldest) = known.ended.pop_front()
        {
            known.states.remove(&oldest);
        }
    }

    fn state(&self, number: u64) -> TxState {
        self.known.lock().states.get(&number).copied().unwrap_or(TxState::Unknown)
    }
}

/// A transaction that is open.
struct Open {
    level: Level,
    idle_ms: u64,
    /// When it was used last, ms.
    used: u64,
    /// From its first request on.
    over: Option<Over>,
}

enum Over {
    Local(Local),
    Clustered(clustered::Open),
}

/// The transactions of one connection.
#[derive(Default)]
pub struct OpenTransactions {
    open: BTreeMap<u64, Open>,
    /// Those that were rolled back for being idle.
    timed_out: VecDeque<u64>,
}

impl OpenTransactions {
    /// Whether none is open.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the next one has been idle for too long, ms.
    pub fn next_deadline(&self) -> Option<u64> {
        self.open.values().map(|open| open.used.saturating_add(open.idle_ms)).min()
    }

    /// Takes out those that have been idle for too long.
    pub fn expire(&mut self, now: u64) -> Vec<u64> {
        let late = |open: &Open| open.used.saturating_add(open.idle_ms) <= now;
        let late: Vec<u64> =
            self.open.iter().filter(|(_, open)| late(open)).map(|(number, _)| *number).collect();
        for number in &late {
            self.open.remove(number);
            self.timed_out.push_back(*number);
            if self.timed_out.len() > OPEN_MAX {
                self.timed_out.pop_front();
            }
        }
        late
    }

    /// Takes all out, at the end of the connection.
    pub fn take_all(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.open).into_keys().collect()
    }

    fn missing(&self, number: u64) -> Failure {
        let timed_out = self.timed_out.contains(&number);
        Failure::of(if timed_out { ErrorCode::TxTimedOut } else { ErrorCode::TxNotFound })
    }

    fn take(&mut self, number: u64) -> Result<Open, Failure> {
        self.open.remove(&number).ok_or_else(|| self.missing(number))
    }
}

impl Session {
    /// BEGIN.
    ///
    /// # Errors
    /// There are too many.
    pub fn begin(&mut self, begin: &Begin, reply: &mut Reply<'_>) -> Result<(), Failure> {
        if self.transactions.open.len() >= OPEN_MAX {
            let why = format!("{OPEN_MAX} transactions of one connection are open");
            return Err(
                Failure::new(ErrorCode::QuotaExceeded, why).with("limit", OPEN_MAX.to_string())
            );
        }
        let level = match begin.isolation {
            Isolation::Snapshot => Level::Snapshot,
            Isolation::Serializable => Level::Serializable,
        };
        let idle_ms = match u64::from(begin.idle_ms) {
            0 => IDLE_MS,
            idle => idle.min(IDLE_MAX_MS),
        };
        let tx = self.node.transactions.begin();
        let open = Open { level, idle_ms, used: self.now, over: None };
        self.transactions.open.insert(tx, open);
        reply.say(&BeginReply::Ok { tx });
        Ok(())
    }

    /// Executes a request that belongs to a transaction.
    ///
    /// # Errors
    /// Why it was not done; the transaction goes on without it.
    pub fn join(
        &mut self,
        number: u64,
        at: &At<'_>,
        request: &CacheRequest<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        if !is_of_one_key(request) {
            return Err(unsupported("tx"));
        }
        let object = at.object(Kind::Cache)?;
        let mut open = self.transactions.take(number)?;
        open.used = self.now;
        let flow = match self.clustered(at.object) {
            Some(way) => self.join_shared(&mut open, way, object, at),
            None => self.join_open(&mut open, object, at, request).map(|given| {
                reply.give(&given);
                Flow::Said
            }),
        };
        self.transactions.open.insert(number, open);
        flow
    }

    fn join_shared(
        &mut self,
        open: &mut Open,
        way: (Arc<Cluster>, Arc<Shared>),
        object: &Object,
        at: &At<'_>,
    ) -> Result<Flow, Failure> {
        let over = match &open.over {
            Some(Over::Local(local)) => return Err(apart(&object.name, local.name())),
            Some(Over::Clustered(over)) => Some(over.clone()),
            None => None,
        };
        let (over, flow) = self.join_clustered(way, at, object, over)?;
        open.over = Some(Over::Clustered(over));
        Ok(flow)
    }

    fn join_open(
        &self,
        open: &mut Open,
        object: &Object,
        at: &At<'_>,
        request: &CacheRequest<'_>,
    ) -> Result<Given, Failure> {
        let new = || Over::Local(Local::new(open.level, self.origin));
        let over = match open.over.get_or_insert_with(new) {
            Over::Local(over) => over,
            Over::Clustered(over) => return Err(apart(over.name(), &object.name)),
        };
        over.join(object, self.now)?;
        let part = self.work().run_one(over, object.id, request)?;
        Ok(part.answer(&Versions::default(), at.to, self.now))
    }

    /// COMMIT.
    ///
    /// # Errors
    /// There is no such transaction, or it could not be kept; then it has ended all the same.
    pub fn commit(
        &mut self,
        number: u64,
        at: &At<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        if at.ext.idem.is_some()
            && let Some(cluster) = self.node.cluster.get().filter(|_| self.is_elsewhere(number))
        {
            self.check_wait(at)?;
            let patience = at.patience.saturating_sub(MARGIN);
            return Ok(self.commit_again(Arc::clone(cluster), number, patience));
        }
        let open = self.transactions.take(number)?;
        let over = match open.over {
            Some(Over::Local(over)) => over,
            Some(Over::Clustered(over)) => return self.commit_clustered(number, at, over),
            None => {
                self.node.transactions.end(number, Some(TxState::Committed));
                reply.say(&CommitReply::Ok {});
                return Ok(Flow::Said);
            }
        };
        over.modes().for_each(|mode| self.window.wrote_to(mode));
        match over.commit(self.now) {
            Ok(_) => {
                self.window.committed(number);
                reply.say(&CommitReply::Ok {});
                Ok(Flow::Said)
            }
            Err(Refused::Conflict(keys)) => {
                self.node.transactions.end(number, Some(TxState::Aborted));
                reply.say(&CommitReply::VersionMismatch { conflicts: List::of(&keys.list()) });
                Ok(Flow::Said)
            }
            Err(Refused::Failed(failure, _)) => {
                self.node.transactions.end(number, Some(TxState::Aborted));
                Err(failure)
            }
        }
    }

    /// Whether a transaction is none of this node, as far as it knows, and may be one of another node
    /// of the cluster.
    pub fn is_elsewhere(&self, number: u64) -> bool {
        let is_unknown = self.node.transactions.state(number) == TxState::Unknown;
        is_unknown && self.node.cluster.get().is_some()
    }

    /// ROLLBACK.
    ///
    /// # Errors
    /// There is no such transaction.
    pub fn rollback(&mut self, number: u64, reply: &mut Reply<'_>) -> Result<(), Failure> {
        self.transactions.take(number)?;
        self.node.transactions.end(number, Some(TxState::Aborted));
        reply.say(&RollbackReply::Ok {});
        Ok(())
    }

    /// STATUS: of one that this node does not know the segments of the cluster are asked.
    pub fn tx_status(&self, number: u64, at: &At<'_>, reply: &mut Reply<'_>) -> Flow {
        let state = self.node.transactions.state(number);
        let cluster = self.node.cluster.get().filter(|_| state == TxState::Unknown);
        let Some(cluster) = cluster.filter(|_| self.check_wait(at).is_ok()) else {
            reply.say(&TxStatusReply::Ok { state });
            return Flow::Said;
        };
        let (cluster, patience) = (Arc::clone(cluster), at.patience.saturating_sub(MARGIN));
        Flow::Later(Box::pin(async move {
            let state = clustered::phases::look(cluster, number, patience).await;
            Given::answer(&TxStatusReply::Ok { state })
        }))
    }

    /// Rolls back what was idle for too long.
    pub fn expire_transactions(&mut self) {
        for number in self.transactions.expire(self.now) {
            self.node.transactions.end(number, Some(TxState::Aborted));
        }
    }
}
