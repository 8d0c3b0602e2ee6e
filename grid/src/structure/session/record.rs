//! What is under an id, as the bytes of an entry. Numbers are little-endian; the first byte says what
//! it is. When a session was used last stands beside the value, in the entry's flags, as seconds from
//! its beginning: to be used changes neither value nor version.

use std::borrow::Cow;
use std::collections::BTreeSet;

use isogrid_engine::Timestamp;

use super::{ATTRIBUTE_MAX, ATTRIBUTES_MAX, INDEX_MAX, NAME_MAX, Refusal, SESSION_MAX};
use crate::bytes::{Input, put_bytes, put_many, put_u8, put_u64};
use crate::structure::cache::{Field, Map};

const LIVE: u8 = 1;
const DESTROYED: u8 = 2;
const RENEWED: u8 = 3;
/// The unit of the time of the last use, ms.
const SECOND: u64 = 1_000;
/// A use is written when the last one that was is older than this part of the idle time.
const SLACK_PARTS: u64 = 20;

/// How old the last use that was written may be when another one is not, ms. A session lives so much
/// longer than its idle time, and never shorter.
#[must_use]
pub fn slack(idle: u64) -> u64 {
    if idle == 0 { 0 } else { SECOND.max(idle / SLACK_PARTS) }
}

/// What is under an id.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored<'a> {
    /// A session.
    Live(Record<'a>),
    /// One was destroyed.
    Destroyed {
        /// Known until then.
        until: Timestamp,
    },
    /// One has another id now.
    Renewed {
        /// That one.
        to: &'a [u8],
        /// Who loads it until then may follow.
        follow_until: Timestamp,
        /// Known until then.
        until: Timestamp,
        /// What it can be found by, for who ends all that can be found so.
        index: BTreeSet<Cow<'a, str>>,
    },
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// The version of its entry; 0: it has none yet.
    pub version: u64,
    /// When it began.
    pub created: Timestamp,
    /// When it was used last, in whole seconds from its beginning.
    pub last: Timestamp,
    /// It ends when it was not used for so long, ms; 0: never.
    pub idle: u64,
    /// It ends so long after its beginning, ms; 0: never.
    pub absolute: u64,
    /// The id that it had before, and its version there.
    pub origin: Option<(&'a [u8], u64)>,
    /// What it can be found by.
    pub index: BTreeSet<Cow<'a, str>>,
    /// What it holds.
    pub attributes: Map<'a>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its value.
    pub value: Vec<u8>,
    /// Its flags.
    pub flags: u32,
    /// When it ends; `None`: never.
    pub deadline: Option<Timestamp>,
}

impl<'a> Stored<'a> {
    /// What an entry says; `None` when it is none of ours.
    #[must_use]
    pub fn decode(value: &'a [u8], version: u64, flags: u32) -> Option<Stored<'a>> {
        let (kind, rest) = value.split_first()?;
        let mut input = Input(rest);
        match *kind {
            LIVE => {
                let mut record = Record::decode(value, version)?;
                record.last = record.created.saturating_add(u64::from(flags) * SECOND);
                Some(Stored::Live(record))
            }
            DESTROYED => Some(Stored::Destroyed { until: input.u64()? }),
            RENEWED => {
                let (follow_until, until) = (input.u64()?, input.u64()?);
                let (to, index) = (input.bytes()?, names(&mut input)?);
                Some(Stored::Renewed { to, follow_until, until, index })
            }
            _ => None,
        }
    }

    /// As an entry.
    #[must_use]
    pub fn encode(&self) -> Kept {
        let (value, flags) = match self {
            Stored::Live(record) => (record.encode(), record.flags()),
            Stored::Destroyed { until } => ([&[DESTROYED][..], &until.to_le_bytes()].concat(), 0),
            Stored::Renewed { to, follow_until, until, index } => {
                let mut out = vec![RENEWED];
                put_u64(&mut out, *follow_until);
                put_u64(&mut out, *until);
                put_bytes(&mut out, to);
                put_names(&mut out, index);
                (out, 0)
            }
        };
        Kept { value, flags, deadline: self.deadline() }
    }

    /// When it is there no more; `None`: never.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Stored::Live(record) => record.expires(),
            Stored::Destroyed { until } | Stored::Renewed { until, .. } => Some(*until),
        }
    }

    /// What it can be found by.
    #[must_use]
    pub fn index(&self) -> BTreeSet<Cow<'a, str>> {
        match self {
            Stored::Live(Record { index, .. }) | Stored::Renewed { index, .. } => index.clone(),
            Stored::Destroyed { .. } => BTreeSet::new(),
        }
    }
}

impl<'a> Record<'a> {
    /// One that begins now and has nothing yet.
    #[must_use]
    pub fn new(now: Timestamp, idle: u64, absolute: u64) -> Self {
        let (index, attributes) = (BTreeSet::new(), Map::default());
        let (version, origin) = (0, None);
        Record { version, created: now, last: now, idle, absolute, origin, index, attributes }
    }

    /// The session of an entry of this value and version (0: it has none yet), as if it was not used
    /// since it began; `None` when it is none.
    #[must_use]
    pub fn decode(value: &'a [u8], version: u64) -> Option<Self> {
        let mut input = Input(value.strip_prefix(&[LIVE])?);
        let (created, idle, absolute) = (input.u64()?, input.u64()?, input.u64()?);
        let origin = match input.bytes()? {
            b"" => None,
            id => Some((id, input.u64()?)),
        };
        let index = names(&mut input)?;
        let attributes = Map::parse(input.0, version)?;
        let last = created;
        Some(Record { version, created, last, idle, absolute, origin, index, attributes })
    }

    /// Its bytes, all but when it was used last.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.size());
        put_u8(&mut out, LIVE);
        put_u64(&mut out, self.created);
        put_u64(&mut out, self.idle);
        put_u64(&mut out, self.absolute);
        let (id, version) = self.origin.unwrap_or_default();
        put_bytes(&mut out, id);
        if !id.is_empty() {
            put_u64(&mut out, version);
        }
        put_names(&mut out, &self.index);
        out.extend_from_slice(&self.attributes.encode());
        out
    }

    /// When it was used last, as the flags of its entry.
    #[must_use]
    pub fn flags(&self) -> u32 {
        u32::try_from(self.last.saturating_sub(self.created) / SECOND).unwrap_or(u32::MAX)
    }

    /// When it ends if it is not used any more; `None`: never.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let idle = (self.idle > 0).then(|| self.last + self.idle + slack(self.idle));
        let absolute = (self.absolute > 0).then(|| self.created + self.absolute);
        [idle, absolute].into_iter().flatten().min()
    }

    /// How long it lives at least from now if it is not used any more, ms; `None`: for ever.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Option<u64> {
        [self.idle_left(now), self.absolute_left(now)].into_iter().flatten().min()
    }

    /// How much of its idle time is left at least, ms; `None`: it has none.
    #[must_use]
    pub fn idle_left(&self, now: Timestamp) -> Option<u64> {
        let end = self.last + self.idle + slack(self.idle);
        (self.idle > 0).then(|| end.saturating_sub(now).min(self.idle))
    }

    /// How much of its whole lifetime is left, ms; `None`: it has none.
    #[must_use]
    pub fn absolute_left(&self, now: Timestamp) -> Option<u64> {
        let end = self.created + self.absolute;
        (self.absolute > 0).then(|| end.saturating_sub(now))
    }

    /// The same, used now; `None` when that need not be written.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> Option<Self> {
        let is_due = self.idle > 0 && now >= self.last + slack(self.idle);
        is_due.then(|| self.clone().use_now(now))
    }

    /// The same, used now.
    #[must_use]
    pub fn use_now(mut self, now: Timestamp) -> Self {
        let age = now.saturating_sub(self.created);
        self.last = self.last.max(self.created + age / SECOND * SECOND);
        self
    }

    /// Gives an attribute a value.
    pub fn set(&mut self, name: &'a str, value: &'a [u8]) {
        let field = Field { version: 0, value: value.into() };
        self.attributes.0.insert(name.into(), field);
    }

    /// Bytes of the names and values of its attributes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.attributes.0.iter().map(|(name, field)| name.len() + field.value.len()).sum()
    }

    /// Whether it may be so.
    ///
    /// # Errors
    /// The limit that it is over.
    pub fn check(&self) -> Result<(), Refusal> {
        let is_wrong = |name: &&Cow<'_, str>| !(1..=NAME_MAX).contains(&name.len());
        let wrong = |what, name: &str| Refusal::Name { what, name: name.to_owned() };
        if let Some(name) = self.attributes.0.keys().find(is_wrong) {
            return Err(wrong("the name of the attribute", name));
        }
        if let Some(name) = self.index.iter().find(is_wrong) {
            return Err(wrong("the name to find the session by", name));
        }
        let over = self.attributes.0.iter().find(|(_, field)| field.value.len() > ATTRIBUTE_MAX);
        if let Some((name, field)) = over {
            return Err(Refusal::Attribute { name: name.to_string(), len: field.value.len() });
        }
        let (count, names, len) = (self.attributes.0.len(), self.index.len(), self.size());
        if count > ATTRIBUTES_MAX {
            return Err(Refusal::Attributes { count });
        }
        if names > INDEX_MAX {
            return Err(Refusal::Index { count: names });
        }
        if len > SESSION_MAX {
            let all = self.attributes.0.iter();
            let name = all.max_by_key(|(_, field)| field.value.len());
            let name = name.map(|(name, _)| name.to_string()).unwrap_or_default();
            return Err(Refusal::Session { len, name });
        }
        Ok(())
    }
}

fn put_names(out: &mut Vec<u8>, names: &BTreeSet<Cow<'_, str>>) {
    put_many(out, names.iter(), |out, name| put_bytes(out, name.as_bytes()));
}

fn names<'a>(input: &mut Input<'a>) -> Option<BTreeSet<Cow<'a, str>>> {
    let all = input.many(|input| str::from_utf8(input.bytes()?).ok())?;
    Some(all.into_iter().map(Cow::Borrowed).collect())
}
