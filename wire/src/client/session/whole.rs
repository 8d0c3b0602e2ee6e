//! Sessions of frameworks that load a whole session and save a whole one.
//!
//! A save is compared with what its request has loaded, and changes only the attributes that differ:
//! requests at the same time that change different attributes lose nothing. What was destroyed stays
//! so. `isogrid-tower-sessions` and `isogrid-actix-session` are stores on this, and so can be one of
//! another framework:
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::session::whole::{Attributes, WholeSessions};
//! use isogrid_wire::client::{BadUrl, Error, Url};
//!
//! # async fn example(cookie: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let store = WholeSessions::new("isogrid://n1,n2,n3".parse()?, "shop");
//! let half_an_hour = Duration::from_secs(1_800);
//! let ann = Attributes::from([("user".to_owned(), b"\"ann\"".to_vec())]);
//! store.create(cookie, half_an_hour, &ann).await?.expect("a fresh cookie is nobody's");
//!
//! let Some((mut session, seen)) = store.load(cookie).await? else { return Ok(()) };
//! session.insert("cart".to_owned(), b"[1]".to_vec());
//! let is_there = store.save(cookie, &seen, &session).await?;
//! assert!(is_there, "nobody has ended it meanwhile");
//! store.log_out_everywhere("ann", None).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::super::error::{Cause, Error};
use super::super::{Client, Url};
use super::{Change, Loaded, Saved, Sessions, Start};
use crate::native::ErrorCode;

/// The attribute that says whose a session is, unless the application says another one.
const OWNER: &str = "user";

/// What a session holds: encoded values by name.
pub type Attributes = BTreeMap<String, Vec<u8>>;

/// A space of sessions that are loaded and saved whole. It connects when it is first asked.
#[derive(Debug)]
pub struct WholeSessions {
    url: Url,
    space: String,
    owner: String,
    runtime: Handle,
    connected: OnceCell<Sessions>,
}

/// What a request has seen of a session, which tells what its save changes. It holds no values but
/// digests of them, and is small enough to travel with the session through the framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    version: u64,
    digests: BTreeMap<String, String>,
    found_by: Option<String>,
}

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed. That
/// there is no session, or none any more, is an answer.
impl WholeSessions {
    /// The space of this name at these servers.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime. The client runs in that one, whoever asks first.
    #[must_use]
    pub fn new(url: Url, space: &str) -> Self {
        let (space, owner) = (space.to_owned(), OWNER.to_owned());
        let (runtime, connected) = (Handle::current(), OnceCell::new());
        WholeSessions { url, space, owner, runtime, connected }
    }

    /// The attribute that says whose a session is, a text or a number in JSON: sessions can be found
    /// by it. Default: `user`.
    #[must_use]
    pub fn owner(self, attribute: &str) -> Self {
        WholeSessions { owner: attribute.to_owned(), ..self }
    }

    /// Begins a session, which ends when nothing was saved in it for so long. `None`: somebody else has
    /// the cookie, or had it a short time ago: draw another one.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn create(
        &self,
        cookie: &[u8],
        idle: Duration,
        attributes: &Attributes,
    ) -> Result<Option<Seen>, Error> {
        let start = Start::new(idle.max(Duration::from_millis(1)));
        let start = attributes.iter().fold(start, |start, (name, value)| start.set(name, value));
        let found_by = self.found_by(attributes);
        let start = found_by.iter().fold(start, |start, name| start.found_by(name));
        let version = self.space().await?.create(&id(cookie), &start).await?;
        Ok(version.map(|version| self.seen(version, attributes)))
    }

    /// Loads a session, which does not prolong it; `None`: there is none.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn load(&self, cookie: &[u8]) -> Result<Option<(Attributes, Seen)>, Error> {
        let loaded = self.space().await?.load_changed(&id(cookie), 0, false).await;
        let Some(Loaded::Changed(session)) = unless_gone(loaded)? else { return Ok(None) };
        let attributes = session.attributes.into_iter();
        let attributes = attributes.map(|(name, attribute)| (name, attribute.value)).collect();
        let seen = self.seen(session.version, &attributes);
        Ok(Some((attributes, seen)))
    }

    /// What was seen of a session if its attributes are written so: for a framework that reads values
    /// and writes them again, perhaps in other bytes.
    #[must_use]
    pub fn seen_as(&self, seen: &Seen, attributes: &Attributes) -> Seen {
        self.seen(seen.version, attributes)
    }

    /// Saves a session: changes the attributes that are not as they were seen, and prolongs it. Whether
    /// there still is one; what was ended meanwhile stays so.
    ///
    /// # Errors
    ///
    /// As above. What it can be found by may have changed already, if that changes.
    pub async fn save(
        &self,
        cookie: &[u8],
        seen: &Seen,
        attributes: &Attributes,
    ) -> Result<bool, Error> {
        let (id, space) = (id(cookie), self.space().await?);
        let found_by = self.found_by(attributes);
        let added = found_by.as_deref().filter(|name| seen.found_by.as_deref() != Some(*name));
        let dropped = seen.found_by.as_deref().filter(|name| found_by.as_deref() != Some(*name));
        // It is found before it holds what it is found by: who logs the user out meanwhile ends it,
        // and then it is not saved.
        if let Some(name) = added
            && unless_gone(space.index(&id, &[name], &[]).await)?.flatten().is_none()
        {
            return Ok(false);
        }
        let is_there = match seen.change_to(attributes) {
            Some(change) => {
                matches!(unless_gone(space.save(&id, &change).await)?, Some(Saved::Done { .. }))
            }
            None => unless_gone(space.touch(&id).await)?.flatten().is_some(),
        };
        if let Some(name) = dropped.filter(|_| is_there) {
            unless_gone(space.index(&id, &[], &[name]).await)?;
        }
        Ok(is_there)
    }

    /// Prolongs a session; whether there is one.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn touch(&self, cookie: &[u8]) -> Result<bool, Error> {
        let touched = self.space().await?.touch(&id(cookie)).await;
        Ok(unless_gone(touched)?.flatten().is_some())
    }

    /// Ends a session; whether there was one.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn destroy(&self, cookie: &[u8]) -> Result<bool, Error> {
        self.space().await?.destroy(&id(cookie), "the application").await
    }

    /// Ends all sessions of a user but for the one of the cookie `except`; how many.
    ///
    /// # Errors
    ///
    /// As above; some may have ended.
    pub async fn log_out_everywhere(
        &self,
        user: &str,
        except: Option<&[u8]>,
    ) -> Result<u32, Error> {
        let except = except.map(id);
        self.space().await?.destroy_by(&of_user(user), except.as_ref().map(|id| &id[..])).await
    }

    async fn space(&self) -> Result<&Sessions, Error> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    /// In the runtime of whoever made this: that of a worker, which asks first, may end earlier.
    async fn connect(&self) -> Result<Sessions, Error> {
        let (url, space) = (self.url.clone(), self.space.clone());
        let connecting =
            self.runtime.spawn(async move { Client::open(&url).await?.sessions(&space).await });
        connecting.await.unwrap_or_else(|_| Err(Error::failed(Cause::Closed)))
    }

    fn seen(&self, version: u64, attributes: &Attributes) -> Seen {
        let digests = attributes.iter().map(|(name, value)| (name.clone(), digest(value)));
        Seen { version, digests: digests.collect(), found_by: self.found_by(attributes) }
    }

    /// The name that a session can be found by.
    fn found_by(&self, attributes: &Attributes) -> Option<String> {
        match serde_json::from_slice(attributes.get(&self.owner)?) {
            Ok(serde_json::Value::String(user)) => Some(of_user(&user)),
            Ok(serde_json::Value::Number(user)) => Some(of_user(&user.to_string())),
            _ => None,
        }
    }
}

impl Seen {
    /// What has to be changed so that a session has these attributes; `None`: nothing.
    fn change_to(&self, attributes: &Attributes) -> Option<Change> {
        let is_other =
            |(name, value): &(&String, &Vec<u8>)| self.digests.get(*name) != Some(&digest(value));
        let changed: Vec<_> = attributes.iter().filter(is_other).collect();
        let gone: Vec<_> =
            self.digests.keys().filter(|name| !attributes.contains_key(*name)).collect();
        let change = Change::since(self.version);
        let change = changed.iter().fold(change, |change, (name, value)| change.set(name, value));
        let change = gone.iter().fold(change, |change, name| change.remove(name));
        (!changed.is_empty() || !gone.is_empty()).then_some(change)
    }
}

/// The id of a session: nobody who sees it can make the cookie of it.
fn id(cookie: &[u8]) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

/// 128 bits: no two values share one, on purpose or not.
fn digest(value: &[u8]) -> String {
    Sha256::digest(value).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn of_user(user: &str) -> String {
    format!("user:{user}")
}

/// That a session was ended or has another id is an answer.
fn unless_gone<T>(asked: Result<T, Error>) -> Result<Option<T>, Error> {
    match asked {
        Err(error) if error.code() == Some(ErrorCode::SessionGone) => Ok(None),
        asked => asked.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(all: &[(&str, &str)]) -> Attributes {
        all.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn store() -> WholeSessions {
        WholeSessions::new("isogrid://h".parse().unwrap(), "web")
    }

    #[tokio::test]
    async fn a_save_changes_what_differs_from_what_was_seen() {
        let seen = store().seen(7, &attributes(&[("a", "1"), ("b", "2"), ("c", "3")]));
        let change = |all| seen.change_to(&attributes(all));
        let base = || Change::since(7);
        assert_eq!(change(&[("a", "1"), ("b", "2"), ("c", "3")]), None);
        assert_eq!(change(&[("a", "1"), ("b", "x"), ("c", "3")]), Some(base().set("b", "x")));
        assert_eq!(change(&[("a", "1"), ("c", "3")]), Some(base().remove("b")));
        let other = [("a", "1"), ("b", "2"), ("c", ""), ("d", "4")];
        assert_eq!(change(&other), Some(base().set("c", "").set("d", "4")));
        assert_eq!(change(&[]), Some(base().remove("a").remove("b").remove("c")));
    }

    #[tokio::test]
    async fn what_was_seen_travels_as_json_without_values() {
        let seen = store().seen(u64::MAX, &attributes(&[("user", "\"ann\""), ("pin", "4711")]));
        let text = serde_json::to_string(&seen).unwrap();
        assert!(!text.contains("4711"), "{text}");
        assert_eq!(serde_json::from_str::<Seen>(&text).unwrap(), seen);
    }

    #[tokio::test]
    async fn a_session_is_found_by_a_text_or_a_number() {
        let named =
            |owner: &str, value| store().owner(owner).found_by(&attributes(&[("u", value)]));
        assert_eq!(named("u", "\"ann\"").as_deref(), Some("user:ann"));
        assert_eq!(named("u", "42").as_deref(), Some("user:42"));
        for nobody in ["null", "{\"id\":1}", "[1]", "true", "ann"] {
            assert_eq!(named("u", nobody), None, "{nobody}");
        }
        assert_eq!(named("user", "\"ann\""), None);
    }

    #[test]
    fn an_id_says_nothing_of_its_cookie() {
        assert_ne!(id(b"a cookie"), id(b"b cookie"));
        assert_eq!(id(b"").to_vec()[..2], [0xe3, 0xb0], "SHA-256 of nothing");
    }
}
