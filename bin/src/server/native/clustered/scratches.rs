//! What a transaction over caches of the cluster sees and is to do: a [`Scratch`] for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isogrid_engine::Transaction;
use isogrid_grid::Cache;
use isogrid_grid::catalog::Object;
use isogrid_grid::id::SegmentId;
use isogrid_grid::tx::{Hold, INTENTS_BYTES, Part};
use isogrid_wire::native::ErrorCode;

use super::nowhere;
use super::phases::read;
use super::scratch::Scratch;
use crate::cluster::{Cluster, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::tx::cache_of;
use crate::server::native::tx_local::{Parts, Versions};

/// Why caches are not written together: a restart of all nodes would leave one of them its part of
/// the transaction, and not the other.
const APART: &str = "the caches that it writes are kept in different ways (persist): write caches \
                     that all have the same one";

/// A cache of the cluster that a transaction is over.
#[derive(Clone)]
pub struct Partner {
    /// Its number.
    pub object: u32,
    /// What of it is the cluster's.
    pub shared: Arc<Shared>,
    cache: Arc<Cache>,
}

impl Partner {
    /// # Errors
    /// It has no transactions.
    pub fn new(shared: Arc<Shared>, object: &Object) -> Result<Partner, Failure> {
        if shared.answers_at_once() {
            let why = format!(
                "writes of the cache {} are acknowledged before its copies have them (ack = async), and a \
                 failover may lose a part of a transaction: give it ack = sync",
                object.name
            );
            return Err(Failure::new(ErrorCode::UnsupportedOp, why));
        }
        Ok(Partner { object: object.id, shared, cache: Arc::clone(cache_of(object)?) })
    }

    /// The segment of a key.
    pub fn segment(&self, key: &[u8]) -> u32 {
        self.cache.hash(key).segment()
    }

    /// The same, and which cache it is of.
    pub fn part(&self, key: &[u8]) -> Part {
        (self.shared.group, SegmentId(u16::try_from(self.segment(key)).unwrap_or(u16::MAX)))
    }
}

/// The scratches of a transaction.
pub struct Scratches {
    cluster: Arc<Cluster>,
    all: Vec<(Partner, Scratch)>,
}

/// The transaction in each of them, while requests are executed.
pub struct Running<'a>(Vec<(&'a Partner, Transaction<'a>)>);

impl Parts for Running<'_> {
    fn with<R>(
        &mut self,
        object: u32,
        act: impl FnOnce(&Cache, &mut Transaction<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let found = self.0.iter_mut().find(|(partner, _)| partner.object == object);
        let (partner, tx) = found.ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))?;
        act(&partner.cache, tx)
    }
}

impl Scratches {
    /// Of no cache yet.
    pub fn new(cluster: Arc<Cluster>) -> Scratches {
        Scratches { cluster, all: Vec::new() }
    }

    /// Those of these caches; nothing is known yet.
    ///
    /// # Errors
    /// No table can be made.
    pub fn over(
        cluster: &Arc<Cluster>,
        caches: &[Partner],
        now: u64,
    ) -> Result<Scratches, Failure> {
        let mut new = Scratches::new(Arc::clone(cluster));
        caches.iter().try_for_each(|partner| new.join(partner, now))?;
        Ok(new)
    }

    /// Lets a cache join, unless it has.
    ///
    /// # Errors
    /// No table can be made.
    pub fn join(&mut self, partner: &Partner, now: u64) -> Result<(), Failure> {
        if self.of(partner.object).is_none() {
            self.all.push((partner.clone(), Scratch::new(now)?));
        }
        Ok(())
    }

    fn of(&mut self, object: u32) -> Option<&mut (Partner, Scratch)> {
        self.all.iter_mut().find(|(partner, _)| partner.object == object)
    }

    /// Gets the entries of keys that are not known yet, from who serves them.
    ///
    /// # Errors
    /// Nobody serves some of them, or there are too many bytes.
    pub async fn learn(
        &mut self,
        keys: impl Iterator<Item = (u32, &[u8])> + Send,
        patience: Duration,
    ) -> Result<(), Failure> {
        let mut unknown = BTreeMap::new();
        for (object, key) in keys {
            let Some((partner, scratch)) = self.of(object) else { continue };
            if scratch.seen(key).is_none() {
                unknown.insert((partner.part(key), key.to_vec()), object);
            }
        }
        let said = read(&self.cluster, unknown.keys(), patience).await;
        let now = self.cluster.now().wall;
        for (((_, key), object), bytes) in unknown.into_iter().zip(said) {
            let bytes = bytes.ok_or_else(nowhere)?;
            self.of(object).map(|(_, scratch)| scratch.learn(key, &bytes, now)).transpose()?;
        }
        Ok(())
    }

    /// Executes something that sees what was done before. What it does counts if it is done.
    ///
    /// # Errors
    /// What it says.
    pub fn run<R>(
        &mut self,
        now: u64,
        act: impl FnOnce(&mut Running<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut running = Running(Vec::with_capacity(self.all.len()));
        for (partner, scratch) in &self.all {
            running.0.push((partner, scratch.begin(now)?));
        }
        let done = act(&mut running)?;
        let written: Vec<_> = running.0.iter().map(|(_, tx)| Scratch::written(tx)).collect();
        drop(running);
        self.all.iter_mut().zip(written).for_each(|((_, scratch), written)| scratch.keep(written));
        Ok(done)
    }

    /// A client says itself what version it saw; `None`: it did not look.
    pub fn saw(&mut self, object: u32, key: &[u8], version: Option<u64>) {
        self.of(object).into_iter().for_each(|(_, scratch)| scratch.saw(key, version));
    }

    /// What the segments are to hold, and to write.
    ///
    /// # Errors
    /// It is too much, or not kept in one way.
    pub fn holds(&self) -> Result<Vec<(Part, Hold)>, Failure> {
        let written = self.all.iter().filter(|(_, scratch)| scratch.writes());
        let mut kept = written.map(|(partner, _)| &partner.shared);
        if kept.next().is_some_and(|first| !kept.all(|other| other.is_kept_as(first))) {
            return Err(Failure::invalid(APART));
        }
        let holds = self.all.iter().flat_map(|(partner, scratch)| {
            scratch.holds().map(|hold| (partner.part(&hold.key), hold))
        });
        let holds: Vec<(Part, Hold)> = holds.collect();
        let written = |(_, hold): &(Part, Hold)| hold.write.as_ref().map_or(0, Vec::len);
        let bytes: usize = holds.iter().map(written).sum();
        if bytes <= INTENTS_BYTES {
            return Ok(holds);
        }
        let why = format!(
            "{bytes} bytes are written: a transaction over the cluster writes at \
                           most {INTENTS_BYTES}"
        );
        Err(Failure::new(ErrorCode::QuotaExceeded, why).with("limit", INTENTS_BYTES.to_string()))
    }

    /// The versions that keys have when it is committed, from those of their segments.
    pub fn versions(&self, of: &BTreeMap<Part, u64>) -> Versions {
        let versions = |(partner, scratch): &(Partner, Scratch)| {
            let of = |key: &[u8]| of.get(&partner.part(key)).copied().unwrap_or(0);
            (partner.object, scratch.versions(of))
        };
        Versions::of(self.all.iter().map(versions).collect())
    }
}

/// The scratches of a transaction that is open.
pub type Kept = Arc<tokio::sync::Mutex<Scratches>>;
