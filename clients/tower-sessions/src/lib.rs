//! A session store in Isogrid for [tower-sessions](https://docs.rs/tower-sessions), the sessions of
//! axum.
//!
//! ```no_run
//! use isogrid_tower_sessions::{GridStore, WholeSessions};
//! use tower_sessions::SessionManagerLayer;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = WholeSessions::new("isogrid://n1:7400,n2:7400".parse()?, "shop");
//! let store = GridStore::new(sessions.owner("user"));
//! let app: axum::Router = axum::Router::new().layer(SessionManagerLayer::new(store.clone()));
//! // All sessions that hold the user ann.
//! store.log_out_everywhere("ann", None).await?;
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/axum_app.rs` is a whole application.
//!
//! # What is merged
//!
//! The trait of tower-sessions loads and saves whole records. A record that comes from this store holds
//! one key more, `isogrid.seen`, with digests of what was loaded, and a save changes what differs from
//! that: attributes that this request did not change stay as other requests have made them. Of two
//! that change one attribute the later save wins.
//!
//! * A save of a session that was ended meanwhile is an error, and the middleware answers 500: nothing
//!   comes back.
//! * `Session::clear` drops the key: the save after it removes what is there at that moment.
//! * `Session::cycle_id` deletes the old session and creates another one of what this request has: what
//!   others have saved since it loaded the session is lost with the old one.
//! * A `CachingSessionStore` in front of this one keeps copies that nobody makes anew, and saves what
//!   they differ in. Leave it away.
//!
//! # How long sessions live
//!
//! As tower-sessions says it: until the expiry of the last save. A session begins with the time that it
//! has then, and each save gives it the same again. `set_expiry` may make that shorter at any time; for
//! a longer one it takes a new session, `cycle_id`, as one has after a login anyhow: else the save is an
//! error.
#![expect(clippy::disallowed_types, reason = "the data of a record is a `HashMap`")]

mod times;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use isogrid_wire::client::session::whole::{Attributes, Seen};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions_core::SessionStore;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::{Error, Result};

use self::times::Times;

pub use isogrid_wire::client::Url;
pub use isogrid_wire::client::session::whole::WholeSessions;

/// The key of a record with what was seen of its session.
const SEEN: &str = "isogrid.seen";
/// The attribute of a session with its times.
const TIMES: &str = "isogrid.times";
/// Ids that are drawn for one session: of 128 random bits the first one is free.
const DRAWS: u32 = 8;

/// A store whose sessions are in Isogrid. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GridStore {
    sessions: Arc<WholeSessions>,
}

/// What a record keeps of the session that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    seen: Seen,
    times: Times,
}

impl GridStore {
    /// A store of these sessions.
    #[must_use]
    pub fn new(sessions: WholeSessions) -> Self {
        GridStore { sessions: Arc::new(sessions) }
    }

    /// Ends all sessions of a user but for `except`; how many. Whose a session is says the attribute
    /// that [`WholeSessions::owner`] names.
    ///
    /// # Errors
    ///
    /// The grid did not answer; some may have ended.
    pub async fn log_out_everywhere(&self, user: &str, except: Option<&Id>) -> Result<u32> {
        let except = except.map(cookie);
        let except = except.as_ref().map(|cookie| &cookie[..]);
        self.sessions.log_out_everywhere(user, except).await.map_err(backend)
    }

    /// The session as it is: its record, without what was seen of it.
    async fn read(&self, id: &Id) -> Result<Option<(Record, Origin)>> {
        let loaded = self.sessions.load(&cookie(id)).await.map_err(backend)?;
        let Some((attributes, seen)) = loaded else { return Ok(None) };
        let Some((record, times)) = decoded(*id, &attributes, OffsetDateTime::now_utc())? else {
            return Ok(None);
        };
        // In the bytes of a later save: numbers may be written otherwise once they were read.
        let seen = self.sessions.seen_as(&seen, &encoded(&record.data, times)?);
        Ok(Some((record, Origin { seen, times })))
    }
}

#[async_trait]
impl SessionStore for GridStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let times = Times::begin(record.expiry_date, OffsetDateTime::now_utc());
        let (idle, attributes) = (times.idle(), encoded(&record.data, times)?);
        for _ in 0..DRAWS {
            if let Some(seen) = self.begin(&record.id, idle, &attributes).await? {
                return mark(record, &Origin { seen, times });
            }
            record.id = Id::default();
        }
        Err(Error::Backend(format!("each of {DRAWS} ids is another session's")))
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let origin = match record.data.get(SEEN) {
            Some(origin) => Some(Origin::deserialize(origin).map_err(decode)?),
            None => self.read(&record.id).await?.map(|(_, origin)| origin),
        };
        let Some(Origin { seen, times }) = origin else { return Err(ended()) };
        let times = times.ending(record.expiry_date, OffsetDateTime::now_utc());
        let attributes = encoded(&record.data, times.map_err(backend)?)?;
        let saved = self.sessions.save(&cookie(&record.id), &seen, &attributes).await;
        if saved.map_err(backend)? { Ok(()) } else { Err(ended()) }
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let Some((mut record, origin)) = self.read(id).await? else { return Ok(None) };
        mark(&mut record, &origin)?;
        Ok(Some(record))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.sessions.destroy(&cookie(id)).await.map(drop).map_err(backend)
    }
}

impl GridStore {
    async fn begin(&self, id: &Id, idle: Duration, first: &Attributes) -> Result<Option<Seen>> {
        self.sessions.create(&cookie(id), idle, first).await.map_err(backend)
    }
}

fn cookie(id: &Id) -> [u8; 16] {
    id.0.to_le_bytes()
}

fn mark(record: &mut Record, origin: &Origin) -> Result<()> {
    let origin = serde_json::to_value(origin).map_err(encode)?;
    record.data.insert(SEEN.to_owned(), origin);
    Ok(())
}

/// The attributes of a session that holds this.
fn encoded(data: &HashMap<String, Value>, times: Times) -> Result<Attributes> {
    let own = data.iter().filter(|(name, _)| *name != SEEN && *name != TIMES);
    let encoded = own.map(|(name, value)| Ok((name.clone(), serde_json::to_vec(value)?)));
    let mut attributes: Attributes = encoded.collect::<serde_json::Result<_>>().map_err(encode)?;
    attributes.insert(TIMES.to_owned(), serde_json::to_vec(&times).map_err(encode)?);
    Ok(attributes)
}

/// The other way; `None` when its time is over.
fn decoded(
    id: Id,
    attributes: &Attributes,
    now: OffsetDateTime,
) -> Result<Option<(Record, Times)>> {
    let times = attributes.get(TIMES);
    let times = times.ok_or_else(|| Error::Decode(format!("`{TIMES}` is not there")))?;
    let times: Times = serde_json::from_slice(times).map_err(decode)?;
    let values = attributes.iter().filter(|(name, _)| *name != TIMES);
    let data = values.map(|(name, value)| Ok((name.clone(), serde_json::from_slice(value)?)));
    let data = data.collect::<serde_json::Result<_>>().map_err(decode)?;
    let record = Record { id, data, expiry_date: times.end(now) };
    Ok((record.expiry_date > now).then_some((record, times)))
}

fn ended() -> Error {
    Error::Backend("the session was ended by another request; nothing was saved".to_owned())
}

fn backend(why: impl Display) -> Error {
    Error::Backend(why.to_string())
}

fn decode(why: impl Display) -> Error {
    Error::Decode(why.to_string())
}

fn encode(why: impl Display) -> Error {
    Error::Encode(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_values_as_json_and_times_and_not_what_was_seen() {
        let data = [("user", "ann".into()), ("pi", 3.5.into()), (SEEN, Value::Null)];
        let data = data.map(|(name, value)| (name.to_owned(), value)).into();
        let now = OffsetDateTime::UNIX_EPOCH;
        let times = Times::begin(now + time::Duration::HOUR, now);
        let attributes = encoded(&data, times).unwrap();
        let names: Vec<_> = attributes.keys().map(String::as_str).collect();
        assert_eq!(names, [TIMES, "pi", "user"]);
        assert_eq!(attributes["user"], b"\"ann\"");
        let (record, had) = decoded(Id(1), &attributes, now).unwrap().unwrap();
        assert_eq!((record.data["pi"].clone(), had), (3.5.into(), times));
        assert_eq!((record.data.len(), record.expiry_date), (2, now + time::Duration::HOUR));
    }

    #[test]
    fn a_session_whose_time_is_over_is_none_and_one_of_others_is_refused() {
        let (now, hour) = (OffsetDateTime::UNIX_EPOCH, time::Duration::HOUR);
        let times = Times::begin(now + hour, now).ending(now + hour / 2, now).unwrap();
        let attributes = encoded(&HashMap::new(), times).unwrap();
        let at = |then| decoded(Id(1), &attributes, then).unwrap().is_some();
        assert_eq!([at(now + hour / 4), at(now + hour / 2)], [true, false]);
        assert!(decoded(Id(1), &Attributes::new(), now).is_err());
    }
}
