//! A session store in Isogrid for [actix-session](https://docs.rs/actix-session), the sessions of Actix
//! Web.
//!
//! ```no_run
//! use actix_session::SessionMiddleware;
//! use actix_web::cookie::Key;
//! use actix_web::{App, HttpServer};
//! use isogrid_actix_session::{GridStore, WholeSessions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = WholeSessions::new("isogrid://n1:7400,n2:7400".parse()?, "shop");
//! let (store, key) = (GridStore::new(sessions.owner("user")), Key::generate());
//! let of_all = store.clone();
//! let server = HttpServer::new(move || {
//!     App::new().wrap(SessionMiddleware::new(store.clone(), key.clone()))
//! });
//! // All sessions that hold the user ann.
//! of_all.log_out_everywhere("ann", None).await?;
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/actix_app.rs` is a whole application.
//!
//! # What is merged
//!
//! The trait of actix-session loads and saves whole states, and its keys carry nothing else. A state that
//! comes from this store holds one entry more, `isogrid.seen`, with digests of what was loaded
//! (`Session::entries` shows it), and an update changes what differs from that: entries that this
//! request did not change stay as other requests have made them. Of two that change one entry the
//! later update wins.
//!
//! * An update of a session that was ended meanwhile is an error, and the middleware answers 500. It
//!   never begins another session, as other stores do.
//! * `Session::clear` drops the entry: the update after it removes what is there at that moment.
//! * `Session::renew` deletes the old session and saves another one of what this request has: what
//!   others have saved since it loaded the session is lost with the old one.
//!
//! # How long sessions live
//!
//! As long after the last update, or each request with `TtlExtensionPolicy::OnEveryRequest`, as the
//! middleware says when they begin.
#![expect(clippy::disallowed_types, reason = "a state is a `HashMap`")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_session::storage::{
    LoadError, SaveError, SessionKey, SessionStore, UpdateError, generate_session_key,
};
use actix_web::cookie::time;
use anyhow::anyhow;
use isogrid_wire::client::session::whole::{Attributes, Seen};

pub use isogrid_wire::client::Url;
pub use isogrid_wire::client::session::whole::WholeSessions;

/// The entry of a state with what was seen of its session.
const SEEN: &str = "isogrid.seen";
/// Keys that are drawn for one session: of 380 random bits the first one is free.
const DRAWS: u32 = 8;

type State = HashMap<String, String>;

/// A store whose sessions are in Isogrid. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GridStore {
    sessions: Arc<WholeSessions>,
}

impl GridStore {
    /// A store of these sessions.
    #[must_use]
    pub fn new(sessions: WholeSessions) -> Self {
        GridStore { sessions: Arc::new(sessions) }
    }

    /// Ends all sessions of a user; how many. Whose a session is says the entry that
    /// [`WholeSessions::owner`] names. The session key of a request is not to be had in Actix: to stay
    /// logged in itself, it calls `Session::renew` and loses its old session with the others.
    ///
    /// # Errors
    ///
    /// The grid did not answer; some may have ended.
    pub async fn log_out_everywhere(
        &self,
        user: &str,
        except: Option<&SessionKey>,
    ) -> Result<u32, anyhow::Error> {
        Ok(self.sessions.log_out_everywhere(user, except.map(cookie)).await?)
    }

    async fn read(&self, key: &SessionKey) -> Result<Option<(State, Seen)>, anyhow::Error> {
        let Some((attributes, seen)) = self.sessions.load(cookie(key)).await? else {
            return Ok(None);
        };
        let texts = attributes.into_iter().map(|(name, value)| {
            let text = String::from_utf8(value);
            text.map_err(|_| anyhow!("the entry {name:?} is no text")).map(|text| (name, text))
        });
        Ok(Some((texts.collect::<Result<_, _>>()?, seen)))
    }

    async fn begin(&self, state: State, ttl: &time::Duration) -> Result<SessionKey, anyhow::Error> {
        let (_, attributes) = apart(state);
        for _ in 0..DRAWS {
            let key = generate_session_key();
            if self.sessions.create(cookie(&key), span(ttl), &attributes).await?.is_some() {
                return Ok(key);
            }
        }
        Err(anyhow!("each of {DRAWS} session keys is another session's"))
    }

    async fn change(&self, key: &SessionKey, state: State) -> Result<(), anyhow::Error> {
        let ended = || anyhow!("the session was ended by another request; nothing was saved");
        let (seen, attributes) = apart(state);
        let seen = match seen {
            Some(seen) => serde_json::from_str(&seen)?,
            None => self.read(key).await?.ok_or_else(ended)?.1,
        };
        let is_there = self.sessions.save(cookie(key), &seen, &attributes).await?;
        if is_there { Ok(()) } else { Err(ended()) }
    }
}

impl SessionStore for GridStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<State>, LoadError> {
        // `LoadError::Deserialization` would be taken for an empty session.
        let Some((mut state, seen)) = self.read(key).await.map_err(LoadError::Other)? else {
            return Ok(None);
        };
        let seen = serde_json::to_string(&seen).map_err(|error| LoadError::Other(error.into()))?;
        state.insert(SEEN.to_owned(), seen);
        Ok(Some(state))
    }

    async fn save(&self, state: State, ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        self.begin(state, ttl).await.map_err(SaveError::Other)
    }

    async fn update(
        &self,
        key: SessionKey,
        state: State,
        _ttl: &time::Duration,
    ) -> Result<SessionKey, UpdateError> {
        self.change(&key, state).await.map_err(UpdateError::Other)?;
        Ok(key)
    }

    async fn update_ttl(
        &self,
        key: &SessionKey,
        _ttl: &time::Duration,
    ) -> Result<(), anyhow::Error> {
        // One that was ended meanwhile stays so, and this request has changed nothing of it.
        self.sessions.touch(cookie(key)).await?;
        Ok(())
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), anyhow::Error> {
        self.sessions.destroy(cookie(key)).await?;
        Ok(())
    }
}

fn cookie(key: &SessionKey) -> &[u8] {
    key.as_ref().as_bytes()
}

/// What was seen of a session, and what it is to hold.
fn apart(mut state: State) -> (Option<String>, Attributes) {
    let seen = state.remove(SEEN);
    (seen, state.into_iter().map(|(name, value)| (name, value.into_bytes())).collect())
}

fn span(ttl: &time::Duration) -> Duration {
    Duration::try_from(*ttl).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_no_attribute() {
        let state = |all: &[(&str, &str)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let (seen, attributes) = apart(state(&[("user", "\"ann\""), (SEEN, "{}")]));
        assert_eq!(seen.as_deref(), Some("{}"));
        assert_eq!(attributes, [("user".to_owned(), b"\"ann\"".to_vec())].into());
        assert_eq!(apart(state(&[])), (None, Attributes::new()));
    }

    #[test]
    fn a_time_that_is_over_is_none() {
        assert_eq!(span(&time::Duration::minutes(30)), Duration::from_secs(1_800));
        assert_eq!(span(&time::Duration::seconds(-1)), Duration::ZERO);
    }
}
