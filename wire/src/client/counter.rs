//! Counters of 64 bits with a sign.
//!
//! ```no_run
//! use isogrid_wire::client::counter::Added;
//! use isogrid_wire::client::{Client, Error};
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! let hits = client.counters("default").await?;
//! if let Added::Done(now) = hits.add("front page", 1).await? {
//!     println!("{now} hits");
//! }
//! let invoice = hits.ids("invoices", 10).await?.first;
//! println!("ten numbers from {invoice} are ours");
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use tokio::time::Instant;

use super::Client;
use super::error::Error;
use super::handle::decode;
use super::object::{Make, Object};
use crate::native::catalog::ObjectKind;
use crate::native::counter::{
    Add, AddMany, AddManyReply, AddReply, Cas, CasReply, CounterDelta, CounterValue, Get, GetReply,
    IdBlock, IdBlockReply, Reset, ResetReply, Set, SetReply,
};
use crate::native::{List, Status};

/// A space of counters, each with a name of 1 to 1,024 bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Counters {
    object: Arc<Object>,
}

/// What came of adding to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Added.
    Done(i64),
    /// It would leave its bounds, and stays as it is.
    OutOfBounds {
        /// Its value.
        value: i64,
        /// The bound that it would cross.
        bound: i64,
    },
}

/// Numbers that nobody else is ever given: `first`, `first + step`, .., as many as were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The first one.
    pub first: u64,
    /// From one to the next.
    pub step: u32,
}

impl Client {
    /// The space of counters of this name; it is made if it is not there. A server that stands
    /// alone has one, `default`.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn counters(&self, name: &str) -> Result<Counters, Error> {
        let object = Object::new(self.handle.clone(), ObjectKind::Counters, name, Make::Plain);
        object.number(Instant::now() + self.handle.timeout).await?;
        Ok(Counters { object: Arc::new(object) })
    }
}

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed.
impl Counters {
    /// The value; `None` if it was never written.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn get(&self, name: &str) -> Result<Option<i64>, Error> {
        let reply = self.object.call(|| self.object.handle.request(&Get { name })).await?;
        Ok(match decode::<Get<'_>>(&reply)? {
            GetReply::Ok { value } => Some(value),
            GetReply::NotFound {} => None,
        })
    }

    /// Adds; executed once, however often it has to be sent.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn add(&self, name: &str, delta: i64) -> Result<Added, Error> {
        let add = Add { name, delta };
        let reply = self.object.call(|| self.object.handle.request(&add)).await?;
        Ok(match decode::<Add<'_>>(&reply)? {
            AddReply::Ok { value } => Added::Done(value),
            AddReply::NotStored { value, bound } => Added::OutOfBounds { value, bound },
        })
    }

    /// Adds to many counters, each on its own, in the order of the request: their values; an
    /// `Err` has the value of one that would have left its bounds.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn add_many(&self, deltas: &[(&str, i64)]) -> Result<Vec<Result<i64, i64>>, Error> {
        let given: Vec<CounterDelta<'_>> =
            deltas.iter().map(|(name, delta)| CounterDelta { name, delta: *delta }).collect();
        let add = AddMany { deltas: List::of(&given) };
        let reply = self.object.call(|| self.object.handle.request(&add)).await?;
        let (AddManyReply::Ok { values } | AddManyReply::Partial { values }) =
            decode::<AddMany<'_>>(&reply)?;
        let one = |CounterValue { status, value }: CounterValue| {
            if status == Status::Ok { Ok(value) } else { Err(value) }
        };
        Ok(values.iter().map(one).collect())
    }

    /// Sets; the value before.
    ///
    /// # Errors
    ///
    /// As above; `OUT_OF_RANGE`.
    pub async fn set(&self, name: &str, value: i64) -> Result<i64, Error> {
        let set = Set { name, value };
        let request = || {
            let mut request = self.object.handle.request(&set);
            // Done twice it would say its own value.
            request.repeat = crate::native::schema::Repeat::Dedup;
            request
        };
        let reply = self.object.call(request).await?;
        let SetReply::Ok { prev } = decode::<Set<'_>>(&reply)?;
        Ok(prev)
    }

    /// Sets if the value is `expect`; else an `Err` with the value that it has.
    ///
    /// # Errors
    ///
    /// As above; `OUT_OF_RANGE`.
    pub async fn compare_and_set(
        &self,
        name: &str,
        expect: i64,
        value: i64,
    ) -> Result<Result<i64, i64>, Error> {
        let cas = Cas { name, expect, value };
        let reply = self.object.call(|| self.object.handle.request(&cas)).await?;
        Ok(match decode::<Cas<'_>>(&reply)? {
            CasReply::Ok { value } => Ok(value),
            CasReply::VersionMismatch { value } => Err(value),
        })
    }

    /// Sets to the space's initial value; that value.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn reset(&self, name: &str) -> Result<i64, Error> {
        let reply = self.object.call(|| self.object.handle.request(&Reset { name })).await?;
        let ResetReply::Ok { value } = decode::<Reset<'_>>(&reply)?;
        Ok(value)
    }

    /// Takes `n` numbers (1 to 1,000,000) of a sequence. Sequences and counters do not share
    /// names. After an error with an unknown outcome, numbers may be left out for ever.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn ids(&self, name: &str, n: u32) -> Result<Ids, Error> {
        let block = IdBlock { name, n };
        let reply = self.object.call(|| self.object.handle.request(&block)).await?;
        let IdBlockReply::Ok { first, step } = decode::<IdBlock<'_>>(&reply)?;
        Ok(Ids { first, step })
    }
}
