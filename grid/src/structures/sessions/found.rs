//! What sessions can be found by. The entry of a name ends when the last of its sessions does, or
//! later: each that is used puts that off, and not each time.

use isogrid_engine::{Error, NewEntry, Timestamp};

use super::{NAME, Names, Place, SessionError, Sessions, session_key};
use crate::bytes::{put_bytes, put_many, whole};
use crate::structure::session::{SessionOp, SessionReply, Stored};

/// Sessions of one name in a segment at the most.
const FOUND_MAX: usize = 256;
/// From so many on those that are gone are left out when another one comes.
const CROWD: usize = 16;

/// A session that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: Vec<u8>,
    /// When it was used last.
    pub last: Timestamp,
}

/// What became of all sessions of a name in a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many were destroyed.
    pub count: u32,
    /// Those that have other ids now, which are to be destroyed too.
    pub renewed: Vec<Vec<u8>>,
}

impl Sessions {
    /// The sessions of a segment that can be found by a name. What is read may not be committed yet.
    ///
    /// # Errors
    /// They cannot be read now.
    pub fn find(
        &self,
        now: Timestamp,
        segment: u32,
        (space, name): (&str, &str),
    ) -> Result<Vec<Found>, SessionError> {
        let mut all = Vec::new();
        let _turn = self.turn(segment);
        for id in self.led_to(now, segment, (space, name))?.0 {
            if let Some(Some(last)) = self.leads(now, (space, &id), name)? {
                all.push(Found { id, last });
            }
        }
        Ok(all)
    }

    /// Destroys the sessions of a segment that can be found by a name, but for one.
    ///
    /// # Errors
    /// Some may be destroyed, and not all are.
    pub fn destroy_by(
        &self,
        now: Timestamp,
        segment: u32,
        (space, name): (&str, &str),
        except: &[u8],
    ) -> Result<Ended, SessionError> {
        let ids = self.led_to(now, segment, (space, name))?.0;
        let mut ended = Ended::default();
        for id in ids.iter().filter(|id| *id != except) {
            // One may have lost the name since.
            if self.leads(now, (space, id), name)?.is_none() {
                continue;
            }
            self.apply(now, (space, id), &SessionOp::Destroy, |reply, _| match reply {
                SessionReply::Done => ended.count += 1,
                SessionReply::Renewed { to, .. } => ended.renewed.push(to.to_vec()),
                _ => {}
            })?;
        }
        ended.renewed.retain(|id| id != except);
        Ok(ended)
    }

    /// Whether what is under an id can be found by a name; of a session, when it was used last.
    fn leads(
        &self,
        now: Timestamp,
        (space, id): (&str, &[u8]),
        name: &str,
    ) -> Result<Option<Option<Timestamp>>, Error> {
        let (key, pinned) = (session_key(space, id), self.table.pin());
        let entry = pinned.entry(self.table.hash(&key), &key, now);
        let Some(entry) = entry.ok_or(Error::KeyLength { len: key.len() })?.get() else {
            return Ok(None);
        };
        let stored = Stored::decode(entry.value(), entry.version(), entry.flags());
        Ok(stored.filter(|stored| stored.index().contains(name)).map(|stored| match stored {
            Stored::Live(record) => Some(record.last),
            _ => None,
        }))
    }

    /// Lets all names of a session lead to it, ahead of its being written.
    pub(super) fn lead(
        &self,
        now: Timestamp,
        Place { segment, space, id }: Place<'_>,
        (stored, had): (&Stored<'_>, &Names<'_>),
    ) -> Result<(), SessionError> {
        let until = stored.deadline();
        for name in &stored.index() {
            let (mut ids, deadline) = self.led_to(now, segment, (space, name))?;
            let is_there = had.contains(name) && ids.iter().any(|one| one == id);
            let is_late = deadline.is_none_or(|end| until.is_some_and(|until| until <= end));
            if is_there && is_late {
                continue;
            }
            if ids.len() >= CROWD {
                ids = self.without_gone(now, (space, name), ids)?;
            }
            if !ids.iter().any(|one| one == id) {
                ids.push(id.to_vec());
            }
            if ids.len() > FOUND_MAX {
                return Err(SessionError::Crowded { limit: FOUND_MAX });
            }
            let put_off = until.map(|until| until.saturating_add(until.saturating_sub(now)));
            let deadline = match ids.len() {
                1 => put_off,
                _ => deadline.zip(put_off).map(|(deadline, put_off)| deadline.max(put_off)),
            };
            self.write(now, segment, (space, name), (&ids, deadline))?;
        }
        Ok(())
    }

    /// Lets a name lead to a session no more.
    pub(super) fn lead_away(
        &self,
        now: Timestamp,
        Place { segment, space, id }: Place<'_>,
        name: &str,
    ) -> Result<(), Error> {
        let (mut ids, deadline) = self.led_to(now, segment, (space, name))?;
        ids.retain(|one| one != id);
        self.write(now, segment, (space, name), (&ids, deadline))
    }

    fn without_gone(
        &self,
        now: Timestamp,
        (space, name): (&str, &str),
        mut ids: Vec<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut failed = None;
        ids.retain(|id| match self.leads(now, (space, id), name) {
            Ok(found) => found.is_some(),
            Err(error) => failed.replace(error).is_none(),
        });
        failed.map_or(Ok(ids), Err)
    }

    /// The ids that a name leads to, and until when it does.
    fn led_to(
        &self,
        now: Timestamp,
        segment: u32,
        (space, name): (&str, &str),
    ) -> Result<(Vec<Vec<u8>>, Option<Timestamp>), Error> {
        let (key, pinned) = (self.name_key(segment, space, name), self.table.pin());
        let entry = pinned.entry(self.table.hash(&key), &key, now);
        let Some(entry) = entry.ok_or(Error::KeyLength { len: key.len() })?.get() else {
            return Ok((Vec::new(), Some(0)));
        };
        let ids = whole(entry.value(), |input| input.many(|input| Some(input.bytes()?.to_vec())));
        Ok((ids.unwrap_or_default(), entry.deadline()))
    }

    fn write(
        &self,
        now: Timestamp,
        segment: u32,
        (space, name): (&str, &str),
        (ids, deadline): (&[Vec<u8>], Option<Timestamp>),
    ) -> Result<(), Error> {
        let (key, pinned) = (self.name_key(segment, space, name), self.table.pin());
        let entry = pinned.entry(self.table.hash(&key), &key, now);
        let mut entry = entry.ok_or(Error::KeyLength { len: key.len() })?;
        if ids.is_empty() {
            return entry.remove().map(drop);
        }
        let mut value = Vec::new();
        put_many(&mut value, ids.iter(), |out, id| put_bytes(out, id));
        let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
        entry.put(&new).map(drop)
    }

    /// The key of a name: behind it the first number with which it is in the segment.
    fn name_key(&self, segment: u32, space: &str, name: &str) -> Vec<u8> {
        let len = u8::try_from(space.len()).unwrap_or(u8::MAX);
        let mut key = [&[NAME, len], space.as_bytes(), name.as_bytes(), &[0; 2]].concat();
        for salt in 0..=u16::MAX {
            if let Some(place) = key.last_chunk_mut::<2>() {
                *place = salt.to_le_bytes();
            }
            if self.table.hash(&key).segment() == segment {
                break;
            }
        }
        key
    }
}
