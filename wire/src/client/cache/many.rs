//! Reads and writes of many entries in one request, each on its own.

use std::time::Duration;

use super::Cache;
use super::entry::{ALL, Entry};
use crate::client::error::{Cause, Error};
use crate::client::handle::{decode, millis};
use crate::native::cache::{
    GetMany, GetManyReply, KeyStatus, KeyValue, KeyVersion, PutMany, PutManyReply, RemoveMany,
    RemoveManyReply, TouchMany, TouchManyReply,
};
use crate::native::schema::Repeat;
use crate::native::{Key, List, Ms, ReadOptions, Status, Value, WriteOptions};

impl Cache {
    /// Reads many entries, in the order of the keys. The server says how many it takes at once
    /// (1,000 unless configured otherwise). Asks the server, also with a near cache.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`]; more keys than the server takes are `INVALID_ARGUMENT`.
    pub async fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Entry>>, Error> {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| Key(key)).collect();
        let read = ReadOptions { switches: ALL, ..ReadOptions::default() };
        let get = GetMany { keys: List::of(&keys), read };
        let reply = self.object.call(|| self.object.handle.request(&get)).await?;
        let (GetManyReply::Ok { entries } | GetManyReply::Partial { entries }) =
            decode::<GetMany<'_>>(&reply)?;
        whole(entries.iter().map(|item| item.status))?;
        let found = |status| status == Status::Ok;
        Ok(entries.iter().map(|item| found(item.status).then(|| Entry::of(&item.entry))).collect())
    }

    /// Stores many values with the same time to live (`None`: that of the cache); their versions,
    /// in the order of the entries.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`]. After an error some may be stored, even if the outcome is
    /// [`super::super::Outcome::Failed`]: that is about the request as a whole, or with
    /// [`Cause::Partial`] about the keys that it counts.
    pub async fn put_many(
        &self,
        entries: &[(&[u8], &[u8])],
        ttl: Option<Duration>,
    ) -> Result<Vec<u64>, Error> {
        let given: Vec<KeyValue<'_>> = entries
            .iter()
            .map(|(key, value)| KeyValue { key: Key(key), value: Value::Inline(value) })
            .collect();
        let ttl = ttl.map(|ttl| Ms(millis(ttl)));
        let write = WriteOptions { ttl, ..WriteOptions::default() };
        let put = PutMany { write, entries: List::of(&given) };
        let forget = || entries.iter().for_each(|(key, _)| self.forget(key));
        forget();
        let reply = self.object.call(|| self.object.handle.request(&put)).await;
        forget();
        let reply = reply?;
        let (PutManyReply::Ok { results } | PutManyReply::Partial { results }) =
            decode::<PutMany<'_>>(&reply)?;
        whole(results.iter().map(|result| result.status))?;
        Ok(results.iter().map(|KeyVersion { version, .. }| version).collect())
    }

    /// Removes many entries; which of them were there, in the order of the keys.
    ///
    /// # Errors
    ///
    /// As [`Cache::put_many`].
    pub async fn remove_many(&self, keys: &[&[u8]]) -> Result<Vec<bool>, Error> {
        let named: Vec<Key<'_>> = keys.iter().map(|key| Key(key)).collect();
        let remove = RemoveMany { keys: List::of(&named), write: WriteOptions::default() };
        let forget = || keys.iter().for_each(|key| self.forget(key));
        let request = || {
            let mut request = self.object.handle.request(&remove);
            // Done twice it would say that nothing was there.
            request.repeat = Repeat::Dedup;
            request
        };
        forget();
        let reply = self.object.call(request).await;
        forget();
        let reply = reply?;
        let (RemoveManyReply::Ok { results } | RemoveManyReply::Partial { results }) =
            decode::<RemoveMany<'_>>(&reply)?;
        whole(results.iter().map(|result| result.status))?;
        Ok(results.iter().map(|KeyStatus { status }| status == Status::Ok).collect())
    }

    /// Gives many entries a time to live (`None`: that of the cache); which of them are there, in
    /// the order of the keys.
    ///
    /// # Errors
    ///
    /// As [`Cache::put_many`].
    pub async fn touch_many(
        &self,
        keys: &[&[u8]],
        ttl: Option<Duration>,
    ) -> Result<Vec<bool>, Error> {
        let named: Vec<Key<'_>> = keys.iter().map(|key| Key(key)).collect();
        let ttl = ttl.map(|ttl| Ms(millis(ttl)));
        let write = WriteOptions { ttl, ..WriteOptions::default() };
        let touch = TouchMany { keys: List::of(&named), write };
        let reply = self.object.call(|| self.object.handle.request(&touch)).await?;
        let (TouchManyReply::Ok { results } | TouchManyReply::Partial { results }) =
            decode::<TouchMany<'_>>(&reply)?;
        whole(results.iter().map(|result| result.status))?;
        Ok(results.iter().map(|KeyStatus { status }| status == Status::Ok).collect())
    }
}

/// That each key has an outcome that is known. In a cluster the members that have some of them may
/// be lost.
fn whole(statuses: impl Iterator<Item = Status>) -> Result<(), Error> {
    let (mut failed, mut unknown) = (0, 0);
    for status in statuses {
        failed += usize::from(status == Status::Failed);
        unknown += usize::from(status == Status::Unknown);
    }
    let cause = Cause::Partial { failed, unknown };
    match (failed, unknown) {
        (0, 0) => Ok(()),
        (_, 0) => Err(Error::failed(cause)),
        _ => Err(Error::unknown(cause)),
    }
}
