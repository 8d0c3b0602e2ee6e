//! Writes of one entry: what is done, with which options, and what comes of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use super::Cache;
use super::entry::{ALL, Entry};
use crate::client::core::{Reply, Request};
use crate::client::error::Error;
use crate::client::handle::{Handle, decode, millis};
use crate::client::lock::Guard;
use crate::native::cache::{
    self, AppendReply, GetTouchReply, IncrReply, PrependReply, PutReply, RemoveReply, TouchReply,
};
use crate::native::schema::Repeat;
use crate::native::{self, Ack, Key, Ms, ReadOptions, Value, WriteOptions};

/// A write; `.await` does it. What kind of write it is says `W`: [`Put`], [`Remove`], [`Touch`],
/// [`Append`], [`Prepend`], [`Incr`], [`GetTouch`] or [`Update`](super::Update).
#[derive(Debug)]
#[must_use = "nothing is written before `.await`"]
pub struct Write<'c, W> {
    cache: &'c Cache,
    pub(super) what: W,
    pub(super) options: WriteOptions,
    fence: Option<&'c Guard>,
    timeout: Duration,
}

/// What came of a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored {
        /// Its version.
        version: u64,
        /// What was there, if [`Write::return_prev`] asked for it.
        prev: Option<Entry>,
    },
    /// It was to be absent and is there, or to be present and is not.
    NotStored {
        /// The version that is there; 0 if none is.
        version: u64,
        /// What is there, if [`Write::return_prev`] asked for it.
        prev: Option<Entry>,
    },
    /// It was to have another version.
    Mismatch {
        /// The version that is there; 0 if none is.
        version: u64,
        /// What is there, if [`Write::return_prev`] asked for it.
        prev: Option<Entry>,
    },
}

impl Written {
    /// Whether it is stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self, Written::Stored { .. })
    }

    /// The version that is there now; 0 if none is.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Written::Stored { version, .. }
            | Written::NotStored { version, .. }
            | Written::Mismatch { version, .. } => *version,
        }
    }
}

/// What came of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It was there and is gone.
    Removed {
        /// What was there, if [`Write::return_prev`] asked for it.
        prev: Option<Entry>,
    },
    /// It was not there.
    NotFound,
    /// It was to have another version, and stays.
    Mismatch {
        /// The version that is there.
        version: u64,
        /// What is there, if [`Write::return_prev`] asked for it.
        prev: Option<Entry>,
    },
}

/// What came of a change of an entry that has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is changed.
    Done {
        /// The version that it has now.
        version: u64,
    },
    /// It is not there.
    NotFound,
    /// It was to have another version.
    Mismatch {
        /// The version that is there; 0 if none is.
        version: u64,
    },
}

/// What came of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Counted.
    Done {
        /// The new number.
        value: u64,
        /// The new version.
        version: u64,
    },
    /// It is not there, and there was no initial value.
    NotFound,
    /// It was to have another version.
    Mismatch {
        /// The version that is there; 0 if none is.
        version: u64,
    },
}

/// A kind of write.
pub trait Kind {
    /// What comes of it.
    type Output;
    #[doc(hidden)]
    fn key(&self) -> &[u8];
    #[doc(hidden)]
    fn request(&self, handle: &Handle, write: &WriteOptions) -> Request;
    #[doc(hidden)]
    fn output(reply: &Reply) -> Result<Self::Output, Error>;
}

/// Stores a value.
#[derive(Debug)]
pub struct Put<'c>(&'c [u8], &'c [u8]);
/// Removes an entry.
#[derive(Debug)]
pub struct Remove<'c>(&'c [u8]);
/// Gives an entry new lifetimes.
#[derive(Debug)]
pub struct Touch<'c>(&'c [u8]);
/// Puts bytes behind the value.
#[derive(Debug)]
pub struct Append<'c>(&'c [u8], &'c [u8]);
/// Puts bytes before the value.
#[derive(Debug)]
pub struct Prepend<'c>(&'c [u8], &'c [u8]);
/// Counts with a value that is a decimal number.
#[derive(Debug)]
pub struct Incr<'c>(&'c [u8], i64, Option<u64>);
/// Reads an entry and gives it new lifetimes.
#[derive(Debug)]
pub struct GetTouch<'c>(&'c [u8]);

impl Cache {
    pub(super) fn write<'c, W>(&'c self, what: W) -> Write<'c, W> {
        let timeout = self.object.handle.timeout;
        Write { cache: self, what, options: WriteOptions::default(), fence: None, timeout }
    }

    /// Stores a value. Without conditions the outcome is always [`Written::Stored`].
    ///
    /// # Errors
    ///
    /// [`super::super::Outcome::Failed`]: it is surely not stored.
    /// [`super::super::Outcome::Unknown`]: the connection broke or the time was over while it was
    /// under way, and nobody knows. A put without conditions is repeated by itself within the
    /// time that there is, see [`super::super::Options::tag_writes`].
    pub fn put<'c>(&'c self, key: &'c [u8], value: &'c [u8]) -> Write<'c, Put<'c>> {
        self.write(Put(key, value))
    }

    /// Stores a value if there is none: else [`Written::NotStored`].
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn put_if_absent<'c>(&'c self, key: &'c [u8], value: &'c [u8]) -> Write<'c, Put<'c>> {
        self.put(key, value).switch(WriteOptions::IF_ABSENT)
    }

    /// Stores a value if there is one: else [`Written::NotStored`].
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn replace<'c>(&'c self, key: &'c [u8], value: &'c [u8]) -> Write<'c, Put<'c>> {
        self.put(key, value).switch(WriteOptions::IF_PRESENT)
    }

    /// Removes an entry.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn remove<'c>(&'c self, key: &'c [u8]) -> Write<'c, Remove<'c>> {
        self.write(Remove(key))
    }

    /// Gives an entry new lifetimes: those of [`Write::ttl`] and [`Write::idle`], without both
    /// those of the cache. The version stays.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn touch<'c>(&'c self, key: &'c [u8]) -> Write<'c, Touch<'c>> {
        self.write(Touch(key))
    }

    /// Reads an entry and gives it new lifetimes, as [`Cache::touch`].
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn get_and_touch<'c>(&'c self, key: &'c [u8]) -> Write<'c, GetTouch<'c>> {
        self.write(GetTouch(key))
    }

    /// Puts bytes behind the value of an entry that is there. It keeps its lifetimes unless new
    /// ones are given.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn append<'c>(&'c self, key: &'c [u8], bytes: &'c [u8]) -> Write<'c, Append<'c>> {
        self.write(Append(key, bytes))
    }

    /// Puts bytes before the value of an entry that is there, as [`Cache::append`].
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub fn prepend<'c>(&'c self, key: &'c [u8], bytes: &'c [u8]) -> Write<'c, Prepend<'c>> {
        self.write(Prepend(key, bytes))
    }

    /// Counts with an entry whose value is a decimal number of 64 bits, as memcached does: below 0
    /// it stays at 0, above 2^64 - 1 it begins again from 0. For numbers with a sign and bounds
    /// there are counters.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`]; `NOT_A_NUMBER`.
    pub fn incr<'c>(&'c self, key: &'c [u8], delta: i64) -> Write<'c, Incr<'c>> {
        self.write(Incr(key, delta, None))
    }
}

impl<'c, W> Write<'c, W> {
    fn switch(mut self, switch: u16) -> Self {
        self.options.switches |= switch;
        self
    }

    /// How long the entry lives. Without it, as the cache is configured.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(Ms(millis(ttl)));
        self
    }

    /// How long the entry may be idle. Without it, as the cache is configured.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.options.idle = Some(Ms(millis(idle)));
        self
    }

    /// The entry lives for ever, however the cache is configured.
    pub fn for_ever(mut self) -> Self {
        (self.options.ttl, self.options.idle) = (Some(Ms(0)), Some(Ms(0)));
        self
    }

    /// Only if the entry has this version; 0: only if there is none.
    pub fn if_version(mut self, version: u64) -> Self {
        self.options.expect = Some(version);
        self
    }

    /// Does not tell listeners.
    pub fn quietly(self) -> Self {
        self.switch(WriteOptions::NO_NOTIFY)
    }

    /// Who has to acknowledge it.
    pub fn ack(self, ack: Ack) -> Self {
        let both = WriteOptions::ACK_OWNER | WriteOptions::ACK_MAJORITY;
        self.switch(match ack {
            Ack::Default => 0,
            Ack::Owner => WriteOptions::ACK_OWNER,
            Ack::Majority => WriteOptions::ACK_MAJORITY,
            Ack::All => both,
        })
    }

    /// Only if the lock is still held: refused with `FENCED` when somebody else got it since.
    pub fn fence(self, guard: &'c Guard) -> Self {
        Write { fence: Some(guard), ..self }
    }

    /// How long this may take, instead of the client's timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        Write { timeout, ..self }
    }
}

impl Write<'_, Put<'_>> {
    /// The client's flags, kept with the value.
    pub fn flags(mut self, flags: u32) -> Self {
        self.options.flags = Some(flags);
        self
    }

    /// Keeps the time to live that the entry has.
    pub fn keep_ttl(self) -> Self {
        self.switch(WriteOptions::KEEP_TTL)
    }

    /// Returns what is there before.
    pub fn return_prev(self) -> Self {
        self.switch(WriteOptions::RETURN_PREV)
    }
}

impl Write<'_, Remove<'_>> {
    /// Returns what is there before.
    pub fn return_prev(self) -> Self {
        self.switch(WriteOptions::RETURN_PREV)
    }
}

impl Write<'_, Incr<'_>> {
    /// The value of an entry that is not there, instead of [`Counted::NotFound`].
    pub fn initial(mut self, value: u64) -> Self {
        self.what.2 = Some(value);
        self
    }
}

impl<W: Kind> Write<'_, W> {
    async fn run(self) -> Result<W::Output, Error> {
        let Write { cache, what, options, fence, timeout } = self;
        cache.forget(what.key());
        let request = || {
            let mut request = what.request(&cache.object.handle, &options);
            request.fence = fence.map(Guard::fencing);
            request
        };
        let reply = cache.object.call_within(timeout, request).await;
        cache.forget(what.key());
        W::output(&reply?)
    }
}

impl<'c, W: Kind + Send + Sync + 'c> IntoFuture for Write<'c, W> {
    type Output = Result<W::Output, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

fn owned(entry: Option<native::Entry<'_>>) -> Option<Entry> {
    entry.as_ref().map(Entry::of)
}

/// A write whose answer says what was there, or that depends on it, must not be done twice.
fn once(mut request: Request) -> Request {
    request.repeat = Repeat::Dedup;
    request
}

impl Kind for Put<'_> {
    type Output = Written;

    fn key(&self) -> &[u8] {
        self.0
    }

    fn request(&self, handle: &Handle, write: &WriteOptions) -> Request {
        const CONDITIONS: u16 =
            WriteOptions::IF_ABSENT | WriteOptions::IF_PRESENT | WriteOptions::RETURN_PREV;
        let (key, value) = (Key(self.0), Value::Inline(self.1));
        let request = handle.request(&cache::Put { key, value, write: *write });
        let plain = write.expect.is_none() && write.switches & CONDITIONS == 0;
        if plain { request } else { once(request) }
    }

    fn output(reply: &Reply) -> Result<Written, Error> {
        Ok(match decode::<cache::Put<'_>>(reply)? {
            PutReply::Ok { version, prev } => Written::Stored { version, prev: owned(prev) },
            PutReply::NotStored { version, prev } => {
                Written::NotStored { version, prev: owned(prev) }
            }
            PutReply::VersionMismatch { version, prev } => {
                Written::Mismatch { version, prev: owned(prev) }
            }
        })
    }
}

impl Kind for Remove<'_> {
    type Output = Removed;

    fn key(&self) -> &[u8] {
        self.0
    }

    /// Done twice it would say that nothing was there.
    fn request(&self, handle: &Handle, write: &WriteOptions) -> Request {
        once(handle.request(&cache::Remove { key: Key(self.0), write: *write }))
    }

    fn output(reply: &Reply) -> Result<Removed, Error> {
        Ok(match decode::<cache::Remove<'_>>(reply)? {
            RemoveReply::Ok { prev } => Removed::Removed { prev: owned(prev) },
            RemoveReply::NotFound {} => Removed::NotFound,
            RemoveReply::VersionMismatch { version, prev } => {
                Removed::Mismatch { version, prev: owned(prev) }
            }
        })
    }
}

/// The writes that answer with [`Changed`].
macro_rules! changes {
    ($( $kind:ident, $reply:ident: |$this:ident, $handle:ident, $write:ident| $request:expr; )+) => {$(
        impl Kind for $kind<'_> {
            type Output = Changed;

            fn key(&self) -> &[u8] {
                self.0
            }

            fn request(&self, $handle: &Handle, write: &WriteOptions) -> Request {
                let ($this, $write) = (self, *write);
                $request
            }

            fn output(reply: &Reply) -> Result<Changed, Error> {
                Ok(match decode::<cache::$kind<'_>>(reply)? {
                    $reply::Ok { version } => Changed::Done { version },
                    $reply::NotFound {} => Changed::NotFound,
                    $reply::VersionMismatch { version } => Changed::Mismatch { version },
                })
            }
        }
    )+};
}

changes! {
    Touch, TouchReply: |this, handle, write| {
        let request = handle.request(&cache::Touch { key: Key(this.0), write });
        if write.expect.is_none() { request } else { once(request) }
    };
    Append, AppendReply: |this, handle, write| {
        handle.request(&cache::Append { key: Key(this.0), value: Value::Inline(this.1), write })
    };
    Prepend, PrependReply: |this, handle, write| {
        handle.request(&cache::Prepend { key: Key(this.0), value: Value::Inline(this.1), write })
    };
}

impl Kind for Incr<'_> {
    type Output = Counted;

    fn key(&self) -> &[u8] {
        self.0
    }

    fn request(&self, handle: &Handle, write: &WriteOptions) -> Request {
        let (key, delta, initial) = (Key(self.0), self.1, self.2);
        handle.request(&cache::Incr { key, delta, initial, write: *write })
    }

    fn output(reply: &Reply) -> Result<Counted, Error> {
        Ok(match decode::<cache::Incr<'_>>(reply)? {
            IncrReply::Ok { value, version } => Counted::Done { value, version },
            IncrReply::NotFound {} => Counted::NotFound,
            IncrReply::VersionMismatch { version } => Counted::Mismatch { version },
        })
    }
}

impl Kind for GetTouch<'_> {
    type Output = Option<Entry>;

    fn key(&self) -> &[u8] {
        self.0
    }

    fn request(&self, handle: &Handle, write: &WriteOptions) -> Request {
        let read = ReadOptions { switches: ALL, ..ReadOptions::default() };
        handle.request(&cache::GetTouch { key: Key(self.0), read, write: *write })
    }

    fn output(reply: &Reply) -> Result<Option<Entry>, Error> {
        Ok(match decode::<cache::GetTouch<'_>>(reply)? {
            GetTouchReply::Ok { entry } => Some(Entry::of(&entry)),
            GetTouchReply::NotFound {} | GetTouchReply::Unchanged {} => None,
        })
    }
}
