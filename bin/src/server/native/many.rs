//! Requests of group 0x01 for many keys, each on its own.

use isogrid_engine::{Entry, Error};
use isogrid_grid::Cache;
use isogrid_grid::catalog::Object;
use isogrid_grid::structure::cache::{Action, Edit};
use isogrid_wire::native::cache::{
    GetMany, GetManyReply, KeyStatus, KeyVersion, PutMany, PutManyReply, ReadItem, RemoveMany,
    RemoveManyReply, TouchMany, TouchManyReply,
};
use isogrid_wire::native::{self, Key, Limits, List, ReadOptions, Status, WriteOptions};

use super::cache::count_error;
use super::edit::edit;
use super::entry;
use super::failure::Failure;
use super::reply::Reply;
use super::session::Session;

/// Whether so many keys may be asked for at once.
///
/// # Errors
/// They are too many.
pub fn check_keys(limits: &Limits, len: usize) -> Result<(), Failure> {
    let max = limits.keys_max;
    if len <= max {
        return Ok(());
    }
    let failure = Failure::invalid(format!("{len} keys: at most {max} (max_keys)"));
    Err(failure.with("limit", max.to_string()))
}

impl Session {
    /// Whether a request may have so many keys.
    ///
    /// # Errors
    /// It may not.
    pub fn check_keys(&self, len: usize) -> Result<(), Failure> {
        check_keys(&self.limits, len)
    }

    /// Reads many.
    ///
    /// # Errors
    /// Too many.
    pub fn get_many(
        &mut self,
        object: &Object,
        cache: &Cache,
        many: &GetMany<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.check_keys(many.keys.len())?;
        let (read, now) = (&many.read, self.now);
        let batch = cache.batch(now);
        let keys: Vec<_> = many.keys.iter().map(|key| (key.0, cache.hash(key.0))).collect();
        keys.iter().for_each(|(_, hash)| batch.prefetch_line(*hash));
        if read.has(ReadOptions::TRACK) {
            let tracker = self.tracker(object)?;
            keys.iter().for_each(|(key, _)| tracker.register(key));
        }
        let quiet = read.has(ReadOptions::NO_TOUCH);
        let entries: Vec<_> = keys
            .iter()
            .map(|(key, hash)| {
                let entry = if quiet { batch.peek(*hash, key) } else { batch.get(*hash, key) };
                let shared = entry.as_ref().and_then(Entry::shared);
                (*key, entry, shared)
            })
            .collect();
        if !quiet {
            entries.iter().for_each(|(_, entry, _)| self.count_get(object, entry.is_some()));
        }
        let none = native::Entry::default();
        let items: Vec<_> = entries
            .iter()
            .map(|(key, entry, shared)| match entry {
                Some(entry) if read.if_changed == Some(entry.version()) => {
                    ReadItem { status: Status::Unchanged, entry: none }
                }
                Some(entry) => {
                    let entry = entry::parts(entry, shared.as_ref(), read.switches, key, now);
                    ReadItem { status: Status::Ok, entry }
                }
                None => ReadItem { status: Status::NotFound, entry: none },
            })
            .collect();
        reply.say(&GetManyReply::Ok { entries: List::of(&items) });
        Ok(())
    }

    /// Writes many.
    ///
    /// # Errors
    /// Too many, or options that have no meaning; or one could not be written, and those before it
    /// are.
    pub fn put_many(
        &mut self,
        object: &Object,
        cache: &Cache,
        many: &PutMany<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.check_keys(many.entries.len())?;
        let allowed = WriteOptions::IF_ABSENT | WriteOptions::KEEP_TTL;
        let base =
            without_expect(&many.write, allowed, Action::Put(b""), self.limits.value_len_max)?;
        self.window.wrote_to(object.options.persist);
        let batch = cache.batch(self.now).by(self.origin);
        let mut results = Vec::with_capacity(many.entries.len());
        for entry in many.entries {
            let edit = Edit { action: Action::Put(entry.value.bytes()), ..base };
            let key = entry.key.0;
            let edited = batch.edit(cache.hash(key), key, &edit);
            let counts = self.count(object);
            counts.cmd_set += 1;
            let edited = edited.inspect_err(|error| {
                counts.set_failed += 1;
                count_error(counts, error);
            })?;
            let before = edited.before.map_or(0, |before| before.version());
            let (status, version) = match edited.version {
                Ok(version) => (Status::Ok, version),
                Err(_) => (Status::NotStored, before),
            };
            counts.set_not_stored += u64::from(status != Status::Ok);
            results.push(KeyVersion { status, version });
        }
        let all = results.iter().all(|result| result.status == Status::Ok);
        let results = List::of(&results);
        reply.say(&if all {
            PutManyReply::Ok { results }
        } else {
            PutManyReply::Partial { results }
        });
        Ok(())
    }

    /// Removes many.
    ///
    /// # Errors
    /// As [`Session::put_many`].
    pub fn remove_many(
        &mut self,
        object: &Object,
        cache: &Cache,
        many: &RemoveMany<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let edit = without_expect(&many.write, 0, Action::Remove, self.limits.value_len_max)?;
        let results = self.each(object, cache, &many.keys, &edit)?;
        let done = results.iter().filter(|result| result.status == Status::Ok).count();
        let counts = self.count(object);
        counts.delete_hits += done as u64;
        counts.delete_misses += (results.len() - done) as u64;
        let (all, results) = (done == results.len(), List::of(&results));
        reply.say(&if all {
            RemoveManyReply::Ok { results }
        } else {
            RemoveManyReply::Partial { results }
        });
        Ok(())
    }

    /// Gives many new lifetimes.
    ///
    /// # Errors
    /// As [`Session::put_many`].
    pub fn touch_many(
        &mut self,
        object: &Object,
        cache: &Cache,
        many: &TouchMany<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let edit = without_expect(&many.write, 0, Action::Touch, self.limits.value_len_max)?;
        let results = self.each(object, cache, &many.keys, &edit)?;
        let done = results.iter().filter(|result| result.status == Status::Ok).count();
        let counts = self.count(object);
        counts.cmd_touch += results.len() as u64;
        counts.touch_hits += done as u64;
        counts.touch_misses += (results.len() - done) as u64;
        let (all, results) = (done == results.len(), List::of(&results));
        reply.say(&if all {
            TouchManyReply::Ok { results }
        } else {
            TouchManyReply::Partial { results }
        });
        Ok(())
    }

    fn each(
        &mut self,
        object: &Object,
        cache: &Cache,
        keys: &List<'_, Key<'_>>,
        edit: &Edit<'_>,
    ) -> Result<Vec<KeyStatus>, Failure> {
        self.check_keys(keys.len())?;
        self.window.wrote_to(object.options.persist);
        let batch = cache.batch(self.now).by(self.origin);
        let one = |key: Key<'_>| -> Result<KeyStatus, Error> {
            let edited = batch.edit(cache.hash(key.0), key.0, edit)?;
            let status = if edited.version.is_ok() { Status::Ok } else { Status::NotFound };
            Ok(KeyStatus { status })
        };
        let results: Result<_, Error> = keys.iter().map(one).collect();
        Ok(results.inspect_err(|error| count_error(self.count(object), error))?)
    }
}

/// The write of a request for many keys.
///
/// # Errors
/// Options that it cannot have.
pub fn without_expect<'a>(
    write: &WriteOptions,
    allowed: u16,
    action: Action<'a>,
    len_max: usize,
) -> Result<Edit<'a>, Failure> {
    if write.expect.is_some() {
        return Err(Failure::invalid("a request for many keys cannot have EXPECT"));
    }
    edit(write, allowed, action, len_max)
}
