//! A store that fails on purpose, around any other: for tests of what is built on stores.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{Batch, CacheId, Error, Page, Position, Report, Scan, Store, Stored};

/// A call of a store, as the hook of a [`FaultStore`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the methods")]
pub enum Call {
    Get,
    Commit,
    Applied,
    Reached,
    Scan,
    Clear,
    Checkpoint,
    SizeOnDisk,
    Reopen,
    Close,
}

/// What becomes of the last batch when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// It arrived in time.
    Keep,
    /// Nothing of it arrived.
    Lose,
    /// Only its first operations arrived, without its position: what a store that breaks its
    /// promise of atomic batches leaves. Replaying the log must mend it.
    First(usize),
}

/// Called before each call is passed on, with its number from 0: may wait, count or record.
pub type Hook = Box<dyn Fn(u64, Call) + Send + Sync>;

/// Passes calls on to a store, except for those that were told to fail. It holds the last batch
/// back until the next one comes, so that it can be lost or torn.
pub struct FaultStore<S> {
    inner: S,
    hook: Option<Hook>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    calls: u64,
    fail: BTreeMap<u64, Error>,
    /// Keys that no commit may touch.
    bad: BTreeMap<Vec<u8>, Error>,
    /// What every call that writes says, as long as it lasts.
    down: Option<Error>,
    held: Option<Batch>,
}

impl<S: Store> FaultStore<S> {
    /// A wrapper that fails nothing yet.
    pub fn new(inner: S) -> Self {
        FaultStore { inner, hook: None, faults: Mutex::default() }
    }

    /// Calls `hook` before each call.
    #[must_use]
    pub fn with_hook(self, hook: Hook) -> Self {
        FaultStore { hook: Some(hook), ..self }
    }

    /// Fails the call with number `n` (from 0, all methods counted together) with `error`; it is
    /// not passed on.
    pub fn fail(&self, n: u64, error: Error) {
        self.faults.lock().fail.insert(n, error);
    }

    /// From now on each commit that touches `key`, of whichever cache, fails with `error`; `None` =
    /// no more.
    pub fn fail_key(&self, key: &[u8], error: Option<Error>) {
        let mut faults = self.faults.lock();
        match error {
            Some(error) => faults.bad.insert(key.to_vec(), error),
            None => faults.bad.remove(key),
        };
    }

    /// From now on commits, checkpoints, clears and reopens fail with `error`; `None` = no more.
    pub fn fail_writes(&self, error: Option<Error>) {
        self.faults.lock().down = error;
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.faults.lock().calls
    }

    /// The store inside. It has not seen the last batch yet.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The power goes: decides about the last batch. The caller then crashes the store inside.
    ///
    /// # Errors
    /// What the store inside says to the rest of the batch.
    pub fn crash(&self, tear: Tear) -> Result<(), Error> {
        let Some(held) = self.faults.lock().held.take() else { return Ok(()) };
        let batch = match tear {
            Tear::Lose => return Ok(()),
            Tear::Keep => held,
            Tear::First(count) => {
                let mut torn = Batch::new(usize::MAX);
                for ((cache, key), op) in held.ops.into_iter().take(count) {
                    match op {
                        Some(stored) => torn.put(cache, &key, stored)?,
                        None => torn.delete(cache, &key)?,
                    }
                }
                torn.advance(self.inner.applied()?);
                torn
            }
        };
        self.inner.commit(&batch)
    }

    /// Counts a call, and fails it if it is its turn.
    fn enter(&self, call: Call) -> Result<(), Error> {
        let (n, error) = {
            let mut faults = self.faults.lock();
            let n = faults.calls;
            faults.calls += 1;
            let writes =
                matches!(call, Call::Commit | Call::Checkpoint | Call::Clear | Call::Reopen);
            (n, faults.fail.remove(&n).or_else(|| faults.down.clone().filter(|_| writes)))
        };
        self.hook.iter().for_each(|hook| hook(n, call));
        error.map_or(Ok(()), Err)
    }

    /// Passes the held batch on.
    fn land(&self) -> Result<(), Error> {
        let mut faults = self.faults.lock();
        let Some(held) = faults.held.take() else { return Ok(()) };
        self.inner.commit(&held)
    }
}

impl<S: Store> Store for FaultStore<S> {
    fn get(&self, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, Error> {
        self.enter(Call::Get)?;
        let faults = self.faults.lock();
        let op = faults.held.as_ref().and_then(|held| held.op(cache, key).cloned());
        op.map_or_else(|| self.inner.get(cache, key), Ok)
    }

    fn commit(&self, batch: &Batch) -> Result<(), Error> {
        self.enter(Call::Commit)?;
        let bad = self.faults.lock().bad.clone();
        let touched = batch.ops.keys().find_map(|(_, key)| bad.get(&**key));
        if let Some(error) = touched {
            return Err(error.clone());
        }
        self.land()?;
        let applied = self.inner.applied()?;
        if batch.position() < applied {
            return Err(Error::Backwards { given: batch.position(), applied });
        }
        self.faults.lock().held = Some(batch.clone());
        Ok(())
    }

    fn applied(&self) -> Result<Position, Error> {
        self.enter(Call::Applied)?;
        let held = self.faults.lock().held.as_ref().map(Batch::position);
        held.map_or_else(|| self.inner.applied(), Ok)
    }

    fn reached(&self, cache: CacheId) -> Result<Vec<(u16, u64)>, Error> {
        self.enter(Call::Reached)?;
        self.land()?;
        self.inner.reached(cache)
    }

    fn scan(&self, scan: &Scan<'_>) -> Result<Page, Error> {
        self.enter(Call::Scan)?;
        self.land()?;
        self.inner.scan(scan)
    }

    fn clear(&self, cache: CacheId) -> Result<(), Error> {
        self.enter(Call::Clear)?;
        self.land()?;
        self.inner.clear(cache)
    }

    fn checkpoint(&self) -> Result<Position, Error> {
        self.enter(Call::Checkpoint)?;
        self.land()?;
        self.inner.checkpoint()
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.enter(Call::SizeOnDisk)?;
        self.inner.size_on_disk()
    }

    fn reopen(&self) -> Result<Report, Error> {
        self.enter(Call::Reopen)?;
        self.inner.reopen()
    }

    fn close(&self) -> Result<(), Error> {
        self.enter(Call::Close)?;
        self.land()?;
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::memory::MemoryStore;
    use super::super::suite;
    use super::*;

    const CACHE: CacheId = CacheId(1);

    #[test]
    fn conforms_while_nothing_fails() {
        suite::run(&suite::Bed {
            open: Box::new(|| Box::new(FaultStore::new(MemoryStore::new()))),
            restart: Box::new(|store| store.reopen().map(|report| report.applied)),
        });
    }

    fn batch(n: u64) -> Batch {
        let mut batch = Batch::default();
        for key in [b"a", b"b"] {
            let stored = Stored { version: n, ..Stored::default() };
            batch.put(CACHE, key, stored).expect("fits");
        }
        batch.advance(Position(n));
        batch
    }

    #[test]
    fn a_key_or_all_writes_fail_until_told_otherwise() {
        let store = FaultStore::new(MemoryStore::new());
        let touches = |key: &[u8], n: u64| {
            let mut batch = Batch::default();
            batch.delete(CACHE, key).expect("fits");
            batch.advance(Position(n));
            store.commit(&batch)
        };
        store.fail_key(b"a", Some(Error::Closed));
        assert_eq!((touches(b"a", 1), touches(b"b", 1)), (Err(Error::Closed), Ok(())));
        store.fail_key(b"a", None);
        assert_eq!(touches(b"a", 2), Ok(()));
        store.fail_writes(Some(Error::Closed));
        assert_eq!((touches(b"a", 3), store.get(CACHE, b"a")), (Err(Error::Closed), Ok(None)));
        store.fail_writes(None);
        assert_eq!(touches(b"a", 3), Ok(()));
    }

    #[test]
    fn the_nth_call_fails_and_the_hook_sees_all() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hook: Hook = Box::new({
            let seen = seen.clone();
            move |n, call| seen.lock().push((n, call))
        });
        let store = FaultStore::new(MemoryStore::new()).with_hook(hook);
        store.fail(1, Error::Closed);
        assert_eq!(store.commit(&batch(1)), Ok(()));
        assert_eq!(store.commit(&batch(2)), Err(Error::Closed));
        assert_eq!(store.applied(), Ok(Position(1)));
        assert_eq!(*seen.lock(), [(0, Call::Commit), (1, Call::Commit), (2, Call::Applied)]);
    }

    /// Versions of a and b, and the position, after two batches and a cut.
    #[test]
    fn the_last_batch_is_kept_lost_or_torn() {
        let table = [
            (Tear::Keep, (2, 2, Position(2))),
            (Tear::Lose, (1, 1, Position(1))),
            (Tear::First(1), (2, 1, Position(1))),
        ];
        for (tear, expect) in table {
            let store = FaultStore::new(MemoryStore::new());
            (1..=2).for_each(|n| store.commit(&batch(n)).expect("commits"));
            store.crash(tear).expect("crashes");
            store.inner().crash(usize::MAX);
            let applied = store.reopen().expect("reopens").applied;
            let version = |key| store.get(CACHE, key).expect("reads").expect("there").version;
            assert_eq!((version(b"a"), version(b"b"), applied), expect, "{tear:?}");
        }
    }
}
