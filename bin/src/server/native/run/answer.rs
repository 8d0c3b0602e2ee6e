//! One request of a run: done and answered straight into the output.

use isogrid_engine::Entry;
use isogrid_grid::Batch;
use isogrid_grid::structure::cache::Action;
use isogrid_wire::Output;
use isogrid_wire::native::cache::{Get, GetReply, PutReply, Request};
use isogrid_wire::native::{
    Answer, Codec, HEADER_LEN, Header, Key, Kind, ReadOptions, Reader, Request as Any, Value,
    decode_all, put_answer,
};

use super::{Placed, Plain, Run};
use crate::server::native::cache::say_entry;
use crate::server::native::edit;
use crate::server::native::entry;
use crate::server::native::reply::{Reply, To};
use crate::server::native::session::Session;

impl Session {
    /// What stands behind the key, which is not read twice.
    #[inline(always)]
    fn rest_of<'a>(&self, plain: &Plain<'a>) -> Reader<'a> {
        Reader::new(plain.rest, &self.limits)
    }

    /// Says the entry, or that there is none. `None`: nothing was said, and it is to be asked for
    /// in the other way.
    #[inline(always)]
    pub(super) fn answer_get(
        &mut self,
        run: &mut Run<'_>,
        batch: &Batch<'_>,
        Placed(plain, hash, hint): &Placed<'_, '_>,
        to: To,
        out: &mut Output,
    ) -> Option<()> {
        let mut rest = self.rest_of(plain);
        let read = ReadOptions::decode(&mut rest).ok()?;
        rest.end().ok()?;
        let get = Get { key: Key(plain.key), read };
        if run.is_guarded {
            self.may(run.object, &Any::Cache(Request::Get(get)))?;
        }
        let entry = self.look_up(run.object, batch, &get, *hash, *hint).ok()?;
        if entry.is_none() && run.may_be_away && batch.is_away(*hash, plain.key) {
            return None;
        }
        if !get.read.has(ReadOptions::NO_TOUCH) {
            run.hits += u64::from(entry.is_some());
            run.misses += u64::from(entry.is_none());
        }
        if !put_entry(&get, entry.as_ref(), self.now, to, out) {
            say_entry(&get, entry.as_ref(), self.now, &mut Reply::sent(to, out));
        }
        Some(())
    }

    /// Stores a value, whatever is there, and says its version. `None`: nothing was done, and it is
    /// to be done as any other write.
    #[inline]
    pub(super) fn answer_put(
        &mut self,
        run: &mut Run<'_>,
        batch: &Batch<'_>,
        Placed(plain, hash, _): &Placed<'_, '_>,
        to: To,
        out: &mut Output,
    ) -> Option<()> {
        let mut rest = self.rest_of(plain);
        let value = Value::decode(&mut rest).ok()?;
        let write = decode_all(rest).ok()?;
        let action = Action::Put(value.bytes());
        let edit = edit::edit(&write, 0, action, self.limits.value_len_max).ok()?;
        if run.is_guarded || !edit.is_blind() {
            return None;
        }
        self.window.wrote_to(run.object.options.persist);
        let version = batch.edit(*hash, plain.key, &edit).ok()?.version.ok()?;
        run.sets += 1;
        let answer = PutReply::Ok { version, prev: None };
        if !put_whole(&answer, to, out) {
            Reply::sent(to, out).say(&answer);
        }
        Some(())
    }

    /// Does a write and answers it. `None`: it was not done, and is to be asked for in the other
    /// way, now or when there is room.
    pub(super) fn answer_write(
        &mut self,
        run: &Run<'_>,
        batch: &Batch<'_>,
        Placed(plain, hash, _): &Placed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Option<()> {
        let request = Request::decode(plain.op, Reader::new(plain.body, &self.limits))?.ok()?;
        let (key, edit) = edit::of(&request, self.limits.value_len_max).ok()??;
        if run.may_be_away && !edit.is_blind() {
            return None;
        }
        if run.is_guarded {
            self.may(run.object, &Any::Cache(request))?;
        }
        match self.edit(run.object, batch, (*hash, key), &edit, &request, reply) {
            Err(failure) if failure.is_behind => match self.wait_for_room(run.object) {
                Ok(()) => return None,
                Err(failure) => reply.fail(&failure),
            },
            Err(failure) => reply.fail(&failure),
            Ok(()) => {}
        }
        Some(())
    }
}

/// Puts the answer to a read into the output, unless its value is shared or it takes more than one
/// frame.
#[inline(always)]
fn put_entry(get: &Get<'_>, found: Option<&Entry<'_>>, now: u64, to: To, out: &mut Output) -> bool {
    let Some(found) = found else { return put_whole(&GetReply::NotFound {}, to, out) };
    if get.read.if_changed.is_some() || found.shared().is_some() {
        return false;
    }
    let key = get.key.0;
    match get.read.switches {
        // What most ask for: as it is known here, all that says which parts there are is gone.
        ReadOptions::VALUE => put_parts(found, ReadOptions::VALUE, key, now, to, out),
        parts => put_parts(found, parts, key, now, to, out),
    }
}

#[inline(always)]
fn put_parts(
    found: &Entry<'_>,
    parts: u16,
    key: &[u8],
    now: u64,
    to: To,
    out: &mut Output,
) -> bool {
    let entry = entry::parts(found, None, parts, key, now);
    put_whole(&GetReply::Ok { entry }, to, out)
}

/// Puts an answer without shared values into the output, if one frame is enough for it.
#[inline(always)]
fn put_whole<'a, A: Answer<'a>>(answer: &A, to: To, out: &mut Output) -> bool {
    let len = answer.encoded_len();
    if len > to.frame_max {
        return false;
    }
    let header = Header::new(Kind::Res, to.op, to.stream, to.epoch);
    put_answer(header, len, answer, &mut out.room(HEADER_LEN + len));
    true
}
