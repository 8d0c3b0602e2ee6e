//! Web sessions: attributes that are saved one by one.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::session::{Change, Saved, Start};
//! use isogrid_wire::client::{Client, Error};
//!
//! # async fn example(client: Client, id: &[u8]) -> Result<(), Error> {
//! let web = client.sessions("shop").await?;
//! let start = Start::new(Duration::from_secs(1_800)).set("user", "ann").found_by("user:ann");
//! web.create(id, &start).await?.expect("a fresh id of 128 random bits is nobody's");
//!
//! let Some(session) = web.load(id).await? else { return Ok(()) };
//! // Another request may have changed other attributes meanwhile: they stay.
//! match web.save(id, &Change::since(session.version).set("cart", "3 apples")).await? {
//!     Saved::Done { conflicts, .. } if conflicts.is_empty() => println!("nobody else did"),
//!     other => println!("{other:?}"),
//! }
//! // Log out everywhere.
//! web.destroy_by("user:ann", None).await?;
//! # Ok(())
//! # }
//! ```

pub mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::core::Reply;
use super::error::Error;
use super::handle::decode;
use super::object::{Make, Object};
use crate::native::cache::{FieldChange, FieldOp, MapField};
use crate::native::catalog::ObjectKind;
use crate::native::session::{
    Count, CountReply, Create, CreateReply, Destroy, DestroyBy, DestroyByReply, DestroyReply, Find,
    FindReply, Index, IndexReply, ListSessions, ListSessionsReply, Load, LoadReply, RenewId,
    RenewIdReply, Save, SaveMode, SaveReply, SessionAttribute, Touch, TouchReply,
};
use crate::native::{Call, Codec, Key, List, Ms, Value};

/// Sessions of one page of a listing.
const PAGE: u16 = 256;

/// A space of web sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    object: Arc<Object>,
}

/// How a session begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    idle: Duration,
    lifetime: Duration,
    attributes: Vec<(String, Vec<u8>)>,
    index: Vec<String>,
}

/// A session as it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its version: what a change builds upon.
    pub version: u64,
    /// When it began, ms since 1970.
    pub created_ms: u64,
    /// How long it lives if it is not used again; `None`: for ever.
    pub left: Option<Duration>,
    /// What it holds.
    pub attributes: BTreeMap<String, Attribute>,
    /// What it can be found by.
    pub index: Vec<String>,
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its value.
    pub value: Vec<u8>,
    /// The version of the session that changed it last.
    pub version: u64,
}

/// What came of loading a session that the caller has in some version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// It is as the caller has it.
    Unchanged,
    /// It is so now.
    Changed(Session),
    /// There is none.
    Gone,
}

/// A change of attributes: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    base: u64,
    mode: SaveMode,
    changes: Vec<(String, FieldOp, Vec<u8>)>,
    removals: Vec<String>,
}

/// What came of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// It is done.
    Done {
        /// The version now.
        version: u64,
        /// Attributes of these that others had changed since the version that the change builds upon;
        /// this one won.
        conflicts: Vec<String>,
    },
    /// There is no such session; one that was destroyed a short time ago is the error
    /// `SESSION_GONE`.
    Gone,
    /// It was strict, and others have changed these.
    Mismatch {
        /// The version that is there.
        version: u64,
        /// The attributes as they are.
        attributes: BTreeMap<String, Attribute>,
    },
}

/// What came of giving a session another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It has the new id, and this version.
    Done(u64),
    /// There is no such session.
    Gone,
    /// The new id is another session's.
    Taken,
}

/// A session that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: Vec<u8>,
    /// When it was used last, ms since 1970.
    pub last_ms: u64,
}

/// A session in a listing, without its id and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What stands for its id: the first 16 hexadecimal digits of SHA-256 of it.
    pub mask: String,
    /// When it began, ms since 1970.
    pub created_ms: u64,
    /// When it was used last, ms since 1970.
    pub last_ms: u64,
    /// How long it lives if it is not used again; `None`: for ever.
    pub left: Option<Duration>,
    /// How many attributes it has.
    pub attributes: u32,
    /// Bytes of their names and values.
    pub bytes: u32,
    /// What it can be found by.
    pub index: Vec<String>,
}

impl Start {
    /// A session that ends when it was not used for so long; zero: never.
    #[must_use]
    pub fn new(idle: Duration) -> Self {
        Start { idle, ..Start::default() }
    }

    /// It ends so long after its beginning, however much it is used.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Start { lifetime, ..self }
    }

    /// An attribute that it begins with.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.attributes.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// A name that it can be found by, like `user:42`.
    #[must_use]
    pub fn found_by(mut self, name: &str) -> Self {
        self.index.push(name.to_owned());
        self
    }
}

impl Default for Change {
    fn default() -> Self {
        Change::since(0)
    }
}

impl Change {
    /// One that builds upon this version of the session; 0: upon none.
    #[must_use]
    pub fn since(version: u64) -> Self {
        let (changes, removals) = (Vec::new(), Vec::new());
        Change { base: version, mode: SaveMode::Merge, changes, removals }
    }

    /// Nothing is done if others have changed the same attributes.
    #[must_use]
    pub fn strict(self) -> Self {
        Change { mode: SaveMode::Strict, ..self }
    }

    /// All other attributes go.
    #[must_use]
    pub fn replace(self) -> Self {
        Change { mode: SaveMode::Replace, ..self }
    }

    /// Gives an attribute a value.
    #[must_use]
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(name, FieldOp::Set, value.as_ref())
    }

    /// The same, if it has none.
    #[must_use]
    pub fn set_if_absent(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(name, FieldOp::SetIfAbsent, value.as_ref())
    }

    /// Adds to a number, an `i64` in eight bytes, big endian; one that is not there is 0.
    #[must_use]
    pub fn add(self, name: &str, delta: i64) -> Self {
        self.with(name, FieldOp::Add, &delta.to_be_bytes())
    }

    /// Puts this behind what is there.
    #[must_use]
    pub fn append(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(name, FieldOp::Append, value.as_ref())
    }

    /// Merges this into the JSON document that is there (RFC 7396).
    #[must_use]
    pub fn merge_json(self, name: &str, patch: &str) -> Self {
        self.with(name, FieldOp::JsonMerge, patch.as_bytes())
    }

    /// Removes an attribute.
    #[must_use]
    pub fn remove(mut self, name: &str) -> Self {
        self.removals.push(name.to_owned());
        self
    }

    fn with(mut self, name: &str, op: FieldOp, value: &[u8]) -> Self {
        self.changes.push((name.to_owned(), op, value.to_vec()));
        self
    }
}

impl Client {
    /// The space of web sessions of this name; it is there as soon as somebody names it.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn sessions(&self, name: &str) -> Result<Sessions, Error> {
        let object = Object::new(self.handle.clone(), ObjectKind::Sessions, name, Make::Plain);
        object.number(Instant::now() + self.handle.timeout).await?;
        Ok(Sessions { object: Arc::new(object) })
    }
}

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed.
impl Sessions {
    /// Begins a session under an id of 16 to 128 bytes: its version; `None` if another session has the
    /// id, or had it a short time ago.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn create(&self, id: &[u8], start: &Start) -> Result<Option<u64>, Error> {
        let attributes: Vec<_> = start
            .attributes
            .iter()
            .map(|(name, value)| SessionAttribute { name, value: Value::Inline(value) })
            .collect();
        let index = names(&start.index);
        let (id, idle, absolute) = (Key(id), span(start.idle), span(start.lifetime));
        let (attributes, index) = (List::of(&attributes), List::of(&index));
        let create = Create { id, idle, absolute, attributes, index };
        let reply = self.ask(&create).await?;
        Ok(match decode::<Create<'_>>(&reply)? {
            CreateReply::Ok { version } => Some(version),
            CreateReply::NotStored {} => None,
        })
    }

    /// Loads a session, which counts as a use of it.
    ///
    /// # Errors
    ///
    /// As above; `SESSION_GONE` when it has another id.
    pub async fn load(&self, id: &[u8]) -> Result<Option<Session>, Error> {
        Ok(match self.load_changed(id, 0, true).await? {
            Loaded::Changed(session) => Some(session),
            Loaded::Unchanged | Loaded::Gone => None,
        })
    }

    /// Loads a session if it has another version than this one; `uses`: whether that counts as a use.
    ///
    /// # Errors
    ///
    /// As [`Sessions::load`].
    pub async fn load_changed(&self, id: &[u8], known: u64, uses: bool) -> Result<Loaded, Error> {
        let load = Load { id: Key(id), known, names: List::of(&[]), touch: uses };
        let reply = self.ask(&load).await?;
        Ok(match decode::<Load<'_>>(&reply)? {
            LoadReply::NotFound {} => Loaded::Gone,
            LoadReply::Unchanged {} => Loaded::Unchanged,
            LoadReply::Ok { version, created_ms, idle_left, absolute_left, attributes, index } => {
                Loaded::Changed(Session {
                    version,
                    created_ms,
                    left: [idle_left, absolute_left].into_iter().filter_map(some_span).min(),
                    attributes: owned(attributes),
                    index: index.iter().map(str::to_owned).collect(),
                })
            }
        })
    }

    /// Changes attributes. It never begins a session.
    ///
    /// # Errors
    ///
    /// As above; `SESSION_GONE` of a session that was destroyed, or has another id.
    pub async fn save(&self, id: &[u8], change: &Change) -> Result<Saved, Error> {
        let changes: Vec<_> = change
            .changes
            .iter()
            .map(|(name, op, value)| FieldChange { name, op: *op, value: Value::Inline(value) })
            .collect();
        let removals = names(&change.removals);
        let (changes, removals) = (List::of(&changes), List::of(&removals));
        let save = Save { id: Key(id), base: change.base, mode: change.mode, changes, removals };
        let reply = self.ask(&save).await?;
        Ok(match decode::<Save<'_>>(&reply)? {
            SaveReply::Ok { version, conflicts } => {
                Saved::Done { version, conflicts: conflicts.iter().map(str::to_owned).collect() }
            }
            SaveReply::NotFound {} => Saved::Gone,
            SaveReply::VersionMismatch { version, attributes } => {
                Saved::Mismatch { version, attributes: owned(attributes) }
            }
        })
    }

    /// Uses a session: how long it lives if it is not used again, zero for ever; `None`: there is
    /// none.
    ///
    /// # Errors
    ///
    /// As [`Sessions::load`].
    pub async fn touch(&self, id: &[u8]) -> Result<Option<Duration>, Error> {
        let reply = self.ask(&Touch { id: Key(id) }).await?;
        Ok(match decode::<Touch<'_>>(&reply)? {
            TouchReply::Ok { left } => Some(Duration::from_millis(left.0)),
            TouchReply::NotFound {} => None,
        })
    }

    /// Ends a session; whether there was one. Nothing that is saved late brings it back.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn destroy(&self, id: &[u8], reason: &str) -> Result<bool, Error> {
        let reply = self.ask(&Destroy { id: Key(id), reason }).await?;
        Ok(matches!(decode::<Destroy<'_>>(&reply)?, DestroyReply::Ok {}))
    }

    /// Gives a session another id, as one does after a login. Requests that are under way may load it
    /// by the old one for the time of `grace`.
    ///
    /// # Errors
    ///
    /// As [`Sessions::save`].
    pub async fn renew(&self, old: &[u8], new: &[u8], grace: Duration) -> Result<Renewed, Error> {
        let renew = RenewId { old: Key(old), new: Key(new), grace: span(grace) };
        let reply = self.ask(&renew).await?;
        Ok(match decode::<RenewId<'_>>(&reply)? {
            RenewIdReply::Ok { version } => Renewed::Done(version),
            RenewIdReply::NotFound {} => Renewed::Gone,
            RenewIdReply::NotStored {} => Renewed::Taken,
        })
    }

    /// Changes what a session can be found by: its new version; `None`: there is none.
    ///
    /// # Errors
    ///
    /// As [`Sessions::save`].
    pub async fn index(
        &self,
        id: &[u8],
        add: &[&str],
        remove: &[&str],
    ) -> Result<Option<u64>, Error> {
        let index = Index { id: Key(id), add: List::of(add), remove: List::of(remove) };
        let reply = self.ask(&index).await?;
        Ok(match decode::<Index<'_>>(&reply)? {
            IndexReply::Ok { version } => Some(version),
            IndexReply::NotFound {} => None,
        })
    }

    /// The sessions that can be found by a name.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn find(&self, name: &str) -> Result<Vec<Found>, Error> {
        let reply = self.ask(&Find { name }).await?;
        let FindReply::Ok { sessions } = decode::<Find<'_>>(&reply)?;
        let found = sessions.iter();
        Ok(found.map(|one| Found { id: one.id.to_vec(), last_ms: one.last_ms }).collect())
    }

    /// Ends all sessions of a name, but for the one of the id `except`; how many.
    ///
    /// # Errors
    ///
    /// As above; some may have ended.
    pub async fn destroy_by(&self, name: &str, except: Option<&[u8]>) -> Result<u32, Error> {
        let destroy = DestroyBy { name, except: except.unwrap_or_default() };
        let reply = self.ask(&destroy).await?;
        let DestroyByReply::Ok { count } = decode::<DestroyBy<'_>>(&reply)?;
        Ok(count)
    }

    /// How many sessions there are, all of which are looked at.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn count(&self) -> Result<u64, Error> {
        let reply = self.ask(&Count {}).await?;
        let CountReply::Ok { count } = decode::<Count>(&reply)?;
        Ok(count)
    }

    /// The sessions that there are, `most` or a few more.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn list(&self, most: usize) -> Result<Vec<Shown>, Error> {
        let (mut all, mut cursor) = (Vec::new(), None::<Vec<u8>>);
        while all.len() < most {
            let left = u16::try_from(most - all.len()).unwrap_or(PAGE).min(PAGE);
            let list = ListSessions { cursor: cursor.as_deref(), n: left };
            let reply = self.ask(&list).await?;
            let ListSessionsReply::Ok { sessions, cursor: next } =
                decode::<ListSessions<'_>>(&reply)?;
            all.extend(sessions.iter().map(|one| Shown {
                mask: one.mask.to_owned(),
                created_ms: one.created_ms,
                last_ms: one.last_ms,
                left: some_span(one.left),
                attributes: one.attributes,
                bytes: one.bytes,
                index: one.index.iter().map(str::to_owned).collect(),
            }));
            cursor = next.map(<[u8]>::to_vec);
            if cursor.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn ask<'a, T: Call + Codec<'a>>(&self, request: &T) -> Result<Reply, Error> {
        self.object.call(|| self.object.handle.request(request)).await
    }
}

fn names(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn span(span: Duration) -> Ms {
    Ms(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn some_span(ms: Ms) -> Option<Duration> {
    (ms.0 > 0).then(|| Duration::from_millis(ms.0))
}

fn owned(attributes: List<'_, MapField<'_>>) -> BTreeMap<String, Attribute> {
    let one = |field: MapField<'_>| {
        let (value, version) = (field.value.bytes().to_vec(), field.version);
        (field.name.to_owned(), Attribute { value, version })
    };
    attributes.iter().map(one).collect()
}
