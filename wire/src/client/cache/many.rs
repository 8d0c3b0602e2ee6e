//! Reads and writes of many entries in one request, each on its own; where several members serve
//! their keys, in one request to each.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::Cache;
use super::entry::{ALL, Entry};
use crate::client::core::{By, Reply, Request, hash};
use crate::client::error::{Cause, Error};
use crate::client::handle::{decode, millis};
use crate::native::cache::{
    GetMany, GetManyReply, KeyStatus, KeyValue, KeyVersion, PutMany, PutManyReply, ReadItem,
    RemoveMany, RemoveManyReply, TouchMany, TouchManyReply,
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
        let read = ReadOptions { switches: ALL, ..ReadOptions::default() };
        let request = |keys: &[&[u8]]| {
            let keys = named(keys);
            self.object.handle.request(&GetMany { keys: List::of(&keys), read })
        };
        let found = |status| status == Status::Ok;
        let told = |reply: &Reply| {
            let (GetManyReply::Ok { entries } | GetManyReply::Partial { entries }) =
                decode::<GetMany<'_>>(reply)?;
            let entry = |item: ReadItem<'_>| found(item.status).then(|| Entry::of(&item.entry));
            Ok(entries.iter().map(|item| (item.status, entry(item))).collect())
        };
        self.each((keys, true), |key| key, request, told).await
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
        let ttl = ttl.map(|ttl| Ms(millis(ttl)));
        let write = WriteOptions { ttl, ..WriteOptions::default() };
        let request = |entries: &[(&[u8], &[u8])]| {
            let given = |(key, value)| KeyValue { key: Key(key), value: Value::Inline(value) };
            let given: Vec<_> = entries.iter().copied().map(given).collect();
            self.object.handle.request(&PutMany { write, entries: List::of(&given) })
        };
        let told = |reply: &Reply| {
            let (PutManyReply::Ok { results } | PutManyReply::Partial { results }) =
                decode::<PutMany<'_>>(reply)?;
            Ok(results.iter().map(|KeyVersion { status, version }| (status, version)).collect())
        };
        let forget = || entries.iter().for_each(|(key, _)| self.forget(key));
        forget();
        let done = self.each((entries, false), |(key, _)| key, request, told).await;
        forget();
        done
    }

    /// Removes many entries; which of them were there, in the order of the keys.
    ///
    /// # Errors
    ///
    /// As [`Cache::put_many`].
    pub async fn remove_many(&self, keys: &[&[u8]]) -> Result<Vec<bool>, Error> {
        let write = WriteOptions::default();
        let request = |keys: &[&[u8]]| {
            let keys = named(keys);
            let remove = RemoveMany { keys: List::of(&keys), write };
            // Done twice it would say that nothing was there.
            Request { repeat: Repeat::Dedup, ..self.object.handle.request(&remove) }
        };
        let told = |reply: &Reply| {
            let (RemoveManyReply::Ok { results } | RemoveManyReply::Partial { results }) =
                decode::<RemoveMany<'_>>(reply)?;
            Ok(statuses(results.iter()))
        };
        let forget = || keys.iter().for_each(|key| self.forget(key));
        forget();
        let done = self.each((keys, false), |key| key, request, told).await;
        forget();
        done
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
        let ttl = ttl.map(|ttl| Ms(millis(ttl)));
        let write = WriteOptions { ttl, ..WriteOptions::default() };
        let request = |keys: &[&[u8]]| {
            let keys = named(keys);
            self.object.handle.request(&TouchMany { keys: List::of(&keys), write })
        };
        let told = |reply: &Reply| {
            let (TouchManyReply::Ok { results } | TouchManyReply::Partial { results }) =
                decode::<TouchMany<'_>>(reply)?;
            Ok(statuses(results.iter()))
        };
        self.each((keys, false), |key| key, request, told).await
    }

    /// Asks about each item, whether that only reads, and says what was told of it, in their order.
    /// What a member serves goes to it together.
    async fn each<'k, I: Copy, T>(
        &self,
        (items, reads): (&[I], bool),
        key: impl Fn(I) -> &'k [u8],
        request: impl Fn(&[I]) -> Request,
        told: impl Fn(&Reply) -> Result<Vec<(Status, T)>, Error>,
    ) -> Result<Vec<T>, Error> {
        let Some(parts) = self.object.parts(items, reads, |item| hash(key(item))).await? else {
            let mut outcomes = Outcomes::default();
            let told = told(&self.object.call(|| request(items)).await?)?;
            told.iter().for_each(|(status, _)| outcomes.count(*status, 1));
            outcomes.whole()?;
            return Ok(told.into_iter().map(|(_, one)| one).collect());
        };
        let ask = async |part: &Vec<usize>| {
            let part: Vec<I> = part.iter().filter_map(|at| items.get(*at).copied()).collect();
            let by = part.first().map_or(By::Nothing, |first| By::Hash(hash(key(*first))));
            told(&self.object.call(|| Request { by, ..request(&part) }).await?)
        };
        let answers = together(parts.iter().map(ask)).await;
        merge(items.len(), &parts, answers)
    }
}

fn named<'k>(keys: &[&'k [u8]]) -> Vec<Key<'k>> {
    keys.iter().map(|key| Key(key)).collect()
}

fn statuses(results: impl Iterator<Item = KeyStatus>) -> Vec<(Status, bool)> {
    results.map(|KeyStatus { status }| (status, status == Status::Ok)).collect()
}

/// Puts what was told of parts into the order of what was asked. A part that failed as a whole is
/// that many keys which did; what all parts say is what is said.
fn merge<T>(
    len: usize,
    parts: &[Vec<usize>],
    answers: Vec<Result<Vec<(Status, T)>, Error>>,
) -> Result<Vec<T>, Error> {
    let mut places: Vec<Option<T>> = std::iter::repeat_with(|| None).take(len).collect();
    let (mut outcomes, mut errors) = (Outcomes::default(), Vec::new());
    for (part, answer) in parts.iter().zip(answers) {
        match answer {
            Ok(told) => {
                for (at, (status, one)) in part.iter().zip(told) {
                    outcomes.count(status, 1);
                    if let Some(place) = places.get_mut(*at) {
                        *place = Some(one);
                    }
                }
            }
            Err(error) => {
                let status = if error.is_unknown() { Status::Unknown } else { Status::Failed };
                outcomes.count(status, part.len());
                errors.push(error);
            }
        }
    }
    if errors.len() == parts.len() {
        let unknown = errors.iter().position(Error::is_unknown).unwrap_or(0);
        return Err(errors.swap_remove(unknown));
    }
    outcomes.whole()?;
    let short = Error::unknown(Cause::Protocol("an answer has fewer items than its request"));
    places.into_iter().collect::<Option<Vec<T>>>().ok_or(short)
}

/// Whether each key has an outcome that is known. In a cluster the members that have some of them
/// may be lost.
#[derive(Default)]
struct Outcomes {
    failed: usize,
    unknown: usize,
}

impl Outcomes {
    fn count(&mut self, status: Status, keys: usize) {
        match status {
            Status::Failed => self.failed += keys,
            Status::Unknown => self.unknown += keys,
            _ => {}
        }
    }

    fn whole(&self) -> Result<(), Error> {
        let Outcomes { failed, unknown } = *self;
        let cause = Cause::Partial { failed, unknown };
        match (failed, unknown) {
            (0, 0) => Ok(()),
            (_, 0) => Err(Error::failed(cause)),
            _ => Err(Error::unknown(cause)),
        }
    }
}

/// Waits for all, at the same time.
async fn together<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    poll_fn(|cx| {
        let mut is_done = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(came) => *output = Some(came),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Result<Vec<(Status, u8)>, Error>;

    #[test]
    fn parts_are_put_into_the_order_of_what_was_asked() {
        let ok = |all: &[u8]| -> Told { Ok(all.iter().map(|one| (Status::Ok, *one)).collect()) };
        let parts = [vec![1, 3], vec![0], vec![2, 4]];
        let said = merge(5, &parts, vec![ok(&[11, 13]), ok(&[10]), ok(&[12, 14])]);
        assert_eq!(said, Ok(vec![10, 11, 12, 13, 14]));
        let (lost, late) = (Cause::Disconnected, Cause::Timeout);
        let failed = || -> Told { Err(Error::failed(late.clone())) };
        let unknown = || -> Told { Err(Error::unknown(lost.clone())) };
        let partial = |failed, unknown| Cause::Partial { failed, unknown };
        let some = || -> Told { Ok(vec![(Status::Ok, 1), (Status::Failed, 0)]) };
        let cases = [
            (vec![ok(&[1, 3]), failed(), ok(&[2, 4])], Error::failed(partial(1, 0))),
            (vec![unknown(), failed(), some()], Error::unknown(partial(2, 2))),
            (vec![failed(), failed(), failed()], Error::failed(late.clone())),
            (vec![failed(), unknown(), failed()], Error::unknown(lost.clone())),
        ];
        for (answers, expected) in cases {
            assert_eq!(merge(5, &parts, answers), Err(expected));
        }
        assert!(merge(5, &parts, vec![ok(&[1]), ok(&[0]), ok(&[2, 4])]).unwrap_err().is_unknown());
    }
}
