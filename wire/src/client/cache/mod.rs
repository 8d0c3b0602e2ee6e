//! Named caches.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::cache::{Change, Written};
//! use isogrid_wire::client::{Client, Error};
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! let users = client.cache("users").near(10_000).open().await?;
//!
//! match users.put_if_absent(b"ann", b"1").flags(7).return_prev().await? {
//!     Written::Stored { version, .. } => println!("made, version {version}"),
//!     Written::NotStored { prev, .. } => println!("is there: {prev:?}"),
//!     Written::Mismatch { .. } => unreachable!("no version was asked for"),
//! }
//! users.touch(b"ann").idle(Duration::from_secs(1_800)).await?;
//! let found = users.get_many(&[b"ann", b"bob"]).await?;
//! assert!(found[0].is_some());
//!
//! let mut scan = users.scan().glob("a*").keys_only();
//! while let Some(found) = scan.next().await? {
//!     println!("{:?}", found.key);
//! }
//!
//! let mut changes = users.listen().initial_state().open().await?;
//! loop {
//!     match changes.next().await? {
//!         Change::Created { key, .. } | Change::Updated { key, .. } => println!("set {key:?}"),
//!         Change::Gone { key, why, .. } => println!("{why:?} {key:?}"),
//!         Change::Resync => println!("forget all of it: it is told anew"),
//!     }
//! }
//! # }
//! ```

mod entry;
mod listen;
mod many;
mod map;
mod near;
mod read;
mod scan;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::near::Near;
use super::Client;
use super::error::Error;
use super::handle::{Handle, decode, millis};
use super::object::{Make, Object};
use crate::native::cache::{Clear, ClearReply, Size, SizeReply};
use crate::native::catalog::ObjectKind;

pub use entry::Entry;
pub use listen::{Change, Gone, Listen, Listener};
pub use map::{Field, Fields, MapEntry, MapGet, MapUpdated, Update};
pub use near::NearStats;
pub use read::Get;
pub use scan::{Scan, Scanned};
pub use write::{
    Append, Changed, Counted, GetTouch, Incr, Prepend, Put, Remove, Removed, Touch, Write, Written,
};

/// A cache of the server. Cheap to clone.
///
/// Keys have 1 to 1,024 bytes unless the server is configured otherwise. All time spans are sent
/// as whole milliseconds, rounded up.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) object: Arc<Object>,
    near: Option<Arc<Near>>,
}

/// How a cache is opened.
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct CacheBuilder {
    handle: Handle,
    name: String,
    options: serde_json::Map<String, serde_json::Value>,
    must_exist: bool,
    near: Option<(usize, Option<Duration>)>,
}

impl Client {
    /// The cache of this name: [`CacheBuilder::open`] makes it if it is not there.
    pub fn cache(&self, name: &str) -> CacheBuilder {
        CacheBuilder {
            handle: self.handle.clone(),
            name: name.to_owned(),
            options: serde_json::Map::new(),
            must_exist: false,
            near: None,
        }
    }
}

impl CacheBuilder {
    /// Any option by its name in the configuration file, and its text there: `eviction` = `lru`.
    pub fn option(mut self, name: &str, text: &str) -> Self {
        self.options.insert(name.to_owned(), text.into());
        self
    }

    /// How long entries live that are stored without a time of their own.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.option("ttl", &format!("{}ms", millis(ttl)))
    }

    /// How long entries may be idle that are stored without a time of their own.
    pub fn max_idle(self, idle: Duration) -> Self {
        self.option("max_idle", &format!("{}ms", millis(idle)))
    }

    /// Bytes that the cache may take, everything counted.
    pub fn memory(self, bytes: u64) -> Self {
        self.option("memory", &bytes.to_string())
    }

    /// Does not make it: opening a cache that is not there fails with
    /// [`super::Cause::NoSuchObject`].
    pub fn must_exist(self) -> Self {
        CacheBuilder { must_exist: true, ..self }
    }

    /// Keeps copies of up to so many entries in this process, and has the server tell when they
    /// change. See [`Cache::get`] for what that means for reads.
    pub fn near(self, entries: usize) -> Self {
        let age = self.near.and_then(|(_, age)| age);
        CacheBuilder { near: Some((entries.max(1), age)), ..self }
    }

    /// Copies are not used for longer than this, whatever the server tells or cannot tell.
    pub fn near_max_age(self, age: Duration) -> Self {
        let entries = self.near.map_or(1, |(entries, _)| entries);
        CacheBuilder { near: Some((entries, Some(age))), ..self }
    }

    /// Opens the cache, or makes it: of several callers at once exactly one does. Options that
    /// are given must be those that it has; with none, any cache of the name will do.
    ///
    /// # Errors
    ///
    /// `OBJECT_EXISTS`: it is there with other options; the refusal's details say which. An option
    /// that there is not, or a name that is not allowed, is `INVALID_ARGUMENT`.
    pub async fn open(self) -> Result<Cache, Error> {
        let make = match (self.must_exist, self.options.is_empty()) {
            (true, _) => Make::Never,
            (false, true) => Make::Plain,
            (false, false) => Make::With(serde_json::Value::Object(self.options).to_string()),
        };
        let object = Arc::new(Object::new(self.handle, ObjectKind::Cache, &self.name, make));
        object.number(Instant::now() + object.handle.timeout).await?;
        let near = self.near.map(|(entries, age)| Near::begin(&object, entries, age));
        Ok(Cache { object, near })
    }
}

impl Cache {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// How many entries there are. `exact` counts them one by one, those that have expired left
    /// out; else it is an estimate that costs nothing.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    pub async fn size(&self, exact: bool) -> Result<u64, Error> {
        let handle = &self.object.handle;
        let reply = self.object.call(|| handle.request(&Size { exact })).await?;
        let SizeReply::Ok { entries } = decode::<Size>(&reply)?;
        Ok(entries)
    }

    /// Removes all entries. Listeners are told that everything is gone.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`].
    pub async fn clear(&self) -> Result<(), Error> {
        let clear = Clear { delay_ms: 0, notify: false };
        self.forget_all();
        let reply = self.object.call(|| self.object.handle.request(&clear)).await;
        self.forget_all();
        let ClearReply::Ok { .. } = decode::<Clear>(&reply?)?;
        Ok(())
    }

    /// How the near cache is doing; `None` if there is none.
    #[must_use]
    pub fn near_stats(&self) -> Option<NearStats> {
        self.near.as_ref().map(|near| near.stats())
    }

    pub(super) fn forget(&self, key: &[u8]) {
        if let Some(near) = &self.near {
            near.forget(key);
        }
    }

    fn forget_all(&self) {
        if let Some(near) = &self.near {
            near.forget_all();
        }
    }
}
