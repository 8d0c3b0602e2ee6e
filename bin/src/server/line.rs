//! A line of many keys: looked up a few cache lines at a time, and answered in as many parts as it
//! takes.

use isogrid_engine::{Hint, KeyHash};
use isogrid_grid::Batch;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Framing, Keys, Reply};

use super::connection::OUTPUT_LEN_MAX;
use super::dispatch::encode_entry;
use super::loading::{Loading, Stopped};
use super::session::{Session, Stream};

/// Keys of one line that are looked up together.
const KEYS: usize = 32;

impl Session {
    /// Before a line of keys that are read and changed: all of them must be in memory, since what was
    /// answered cannot be taken back.
    pub(super) fn load_all(&mut self, batch: &Batch<'_>, keys: &Keys<'_>) -> Result<(), Stopped> {
        let (Some(loading), Keys::Line(_)) = (&mut self.loading, keys) else { return Ok(()) };
        let away = |key: &&[u8]| {
            let hash = self.cache.hash(key);
            batch.peek(hash, key).is_none() && batch.is_away(hash, key)
        };
        keys.iter().filter(away).for_each(|key| loading.load(key));
        let stopped = loading.waits().then_some(Stopped::Away);
        self.note_stop(stopped, None)
    }

    /// Answers a classic `get` line, the keys of a few cache lines at a time; what does not fit
    /// into one turn's output is kept for the next.
    pub(super) fn get_line(
        &mut self,
        batch: &Batch<'_>,
        keys: &Keys<'_>,
        framing: &Framing<'_>,
        out: &mut Output,
    ) -> Result<(), Stopped> {
        let mut keys = keys.iter();
        loop {
            let mut chunk = [(&[][..], None, Hint::NONE); KEYS];
            let mut len = 0;
            for (place, key) in chunk.iter_mut().zip(keys.by_ref()) {
                let hash = self.cache.hash(key);
                batch.prefetch_line(hash);
                *place = (key, Some(hash), Hint::NONE);
                len += 1;
            }
            let chunk = chunk.get_mut(..len).unwrap_or_default();
            for (_, hash, hint) in chunk.iter_mut() {
                *hint = hash.map_or(Hint::NONE, |hash| batch.hint(hash));
            }
            for (_, hash, hint) in chunk.iter() {
                hash.iter().for_each(|hash| batch.prefetch_access(*hash, *hint));
            }
            for (at, (key, hash, hint)) in chunk.iter().enumerate() {
                let Some(hash) = hash else { continue };
                if let Err(why) = self.get_key(batch, key, *hash, *hint, framing, out) {
                    if at > 0 {
                        self.loading.iter_mut().for_each(Loading::went_on);
                    }
                    let left = chunk.get(at..).unwrap_or_default().iter().map(|(key, ..)| *key);
                    return self.pause(batch, why, left.chain(keys), framing);
                }
            }
            if len < KEYS {
                framing.encode(&Reply::End, out);
                return Ok(());
            }
            if let (true, Framing::Text(text)) = (out.len() > OUTPUT_LEN_MAX, framing) {
                let mut line = Vec::new();
                keys.for_each(|key| put(&mut line, key));
                self.stream = Some(Stream::Get { line, framing: Framing::Text(*text) });
                return Ok(());
            }
        }
    }

    /// The rest of a line is answered when its first key is in memory; others that are not are
    /// loaded meanwhile.
    #[cold]
    fn pause<'k>(
        &mut self,
        batch: &Batch<'_>,
        why: Stopped,
        left: impl Iterator<Item = &'k [u8]>,
        framing: &Framing<'_>,
    ) -> Result<(), Stopped> {
        let Framing::Text(text) = framing else { return Err(why) };
        let mut line = Vec::new();
        for (at, key) in left.enumerate() {
            put(&mut line, key);
            let hash = self.cache.hash(key);
            if let Some(loading) = &mut self.loading
                && (1..KEYS).contains(&at)
                && batch.peek(hash, key).is_none()
                && batch.is_away(hash, key)
            {
                loading.load(key);
            }
        }
        self.stream = Some(Stream::Get { line, framing: Framing::Text(*text) });
        Ok(())
    }

    #[inline]
    fn get_key<'b>(
        &mut self,
        batch: &'b Batch<'_>,
        key: &[u8],
        hash: KeyHash,
        hint: Hint<'b>,
        framing: &Framing<'_>,
        out: &mut Output,
    ) -> Result<(), Stopped> {
        let cas = self.node.config.protocol.cas;
        match self.look_up(batch, key, hash, hint)? {
            Some(entry) => encode_entry(&entry, key, framing, cas, out),
            None => framing.encode(&Reply::Miss { key }, out),
        }
        Ok(())
    }
}

/// Adds a key to a line that is kept for later.
fn put(line: &mut Vec<u8>, key: &[u8]) {
    line.extend_from_slice(key);
    line.push(b' ');
}
