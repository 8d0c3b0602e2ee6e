//! A cache as naive as can be, with memcached's meaning of every request. It has a clock that
//! stands still, so that expiry is decided by the times that clients send.

use std::collections::BTreeMap;

use isogrid_wire::Output;
use isogrid_wire::memcached::{
    Arithmetic, Delete, Exptime, Framing, Get, Item, Refusal, Reply, Request, Store, StoreMode,
    Value,
};

const NOW: i64 = 1_800_000_000;
const RELATIVE_MAX: i64 = 30 * 24 * 3600;

#[derive(Clone, Default)]
struct Entry {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    deadline: Option<i64>,
    fetched: bool,
    won: bool,
    stale: bool,
    key_binary: bool,
}

#[derive(Default)]
pub struct Model {
    entries: BTreeMap<Vec<u8>, Entry>,
    last_cas: u64,
}

fn deadline(exptime: Exptime) -> Option<i64> {
    match exptime {
        0 => None,
        1..=RELATIVE_MAX => Some(NOW + exptime),
        absolute => Some(absolute),
    }
}

fn left(deadline: Option<i64>) -> Option<u32> {
    deadline.map(|deadline| u32::try_from(deadline - NOW).unwrap_or(0))
}

impl Entry {
    fn ttl(&self) -> Option<u32> {
        left(self.deadline)
    }

    fn item(&self) -> Item<'_> {
        Item {
            value: Value::Inline(&self.value),
            flags: self.flags,
            cas: self.cas,
            ttl: self.ttl(),
            last_access: 0,
            fetched: self.fetched,
            won: false,
            stale: self.stale,
            lease_sent: self.won,
            unchanged: false,
            key_binary: self.key_binary,
        }
    }
}

impl Model {
    /// Executes one request and appends its replies.
    pub fn execute(&mut self, request: &Request<'_>, framing: &Framing<'_>, out: &mut Output) {
        let mut answer = |reply: Reply<'_>| framing.encode(&reply, out);
        match request {
            Request::Get(get) => {
                for key in get.keys.iter() {
                    self.get(key, get, &mut answer);
                }
                answer(Reply::End);
            }
            Request::Store(store) => answer(self.store(store)),
            Request::StoreTooLarge { key } => {
                self.entries.remove(key.as_ref());
                answer(Reply::TooLarge);
            }
            Request::Delete(delete) => answer(self.delete(delete)),
            Request::Arithmetic(arithmetic) => answer(self.count(arithmetic)),
            Request::Touch { key, exptime } => match self.live(key) {
                Some(entry) => {
                    entry.deadline = deadline(*exptime);
                    entry.fetched = true;
                    answer(Reply::Touched { flags: entry.flags, cas: entry.cas });
                }
                None => answer(Reply::NotFound { key }),
            },
            Request::Debug { key } => match self.live(key) {
                Some(entry) => answer(Reply::Debug { key, item: entry.item(), size: 62 }),
                None => answer(Reply::Miss { key }),
            },
            Request::FlushAll { .. } => {
                self.entries.clear();
                answer(Reply::Ok);
            }
            Request::Noop => answer(Reply::Noop),
            Request::Version => answer(Reply::Version("1.6.45")),
            Request::Stats { argument } => stats(argument, &mut answer),
            Request::Shutdown { .. } => {
                answer(Reply::Refused(Refusal::Line("SERVER_ERROR: shutdown not enabled")));
            }
            Request::RefreshCerts => answer(Reply::Line("Error TLS not enabled")),
            Request::Dump { .. } => answer(Reply::StatEnd),
            Request::SaslList | Request::SaslAuth { .. } => {
                answer(Reply::Refused(Refusal::Unknown));
            }
            Request::Refused(refusal) => answer(Reply::Refused(*refusal)),
            Request::Verbosity { .. }
            | Request::Quit
            | Request::MemoryLimit { .. }
            | Request::Watch { .. }
            | Request::Accepted => answer(Reply::Ok),
        }
    }

    fn next_cas(&mut self, wanted: Option<u64>) -> u64 {
        self.last_cas += 1;
        wanted.unwrap_or(self.last_cas)
    }

    fn live(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let dead = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= NOW);
        if self.entries.get(key).is_some_and(dead) {
            self.entries.remove(key);
        }
        self.entries.get_mut(key)
    }

    fn get(&mut self, key: &[u8], get: &Get<'_>, answer: &mut impl FnMut(Reply<'_>)) {
        let mut won = false;
        let created = self.live(key).is_none();
        if created {
            let Some(exptime) = get.vivify else { return answer(Reply::Miss { key }) };
            let cas = self.next_cas(get.new_cas);
            let entry = Entry { cas, deadline: deadline(exptime), ..Entry::default() };
            self.entries.insert(key.to_vec(), entry);
            won = true;
        }
        let entry = self.entries.get_mut(key).unwrap();
        let before = entry.deadline;
        if let (Some(exptime), false) = (get.touch, created) {
            entry.deadline = deadline(exptime);
        }
        let at = |touched| if touched { entry.deadline } else { before };
        let low = |ttl: u32| get.recache.is_some_and(|recache| i64::from(ttl) < recache);
        let recache = !created && left(at(get.order.touch_then_recache)).is_some_and(low);
        won |= !entry.won && (entry.stale || recache);
        let shown =
            if created { deadline(get.order.created_ttl) } else { at(get.order.touch_then_ttl) };
        let unchanged = get.unless_cas == Some(entry.cas);
        let item = Item { won, unchanged, ttl: left(shown), ..entry.item() };
        answer(Reply::Item { key, item });
        entry.won |= won;
        entry.fetched |= !get.no_bump;
    }

    fn store<'r>(&mut self, store: &'r Store<'_>) -> Reply<'r> {
        let key = store.key.as_ref();
        let old = self.live(key).cloned();
        let mut stale = false;
        match (&old, store.mode, store.cas) {
            (Some(old), _, Some(cas)) if old.cas != cas => {
                stale = store.invalidate && cas < old.cas;
                if !stale {
                    return Reply::Exists { key };
                }
            }
            (None, StoreMode::Set | StoreMode::Replace, Some(_)) => return Reply::NotFound { key },
            (Some(_), StoreMode::Add, _) | (None, StoreMode::Replace, _) => {
                return Reply::NotStored { key };
            }
            (None, StoreMode::Append | StoreMode::Prepend, _) if store.vivify.is_none() => {
                return Reply::NotStored { key };
            }
            _ => {}
        }
        let entry = self.written(store, old, stale);
        let (cas, size) = (entry.cas, entry.value.len());
        self.entries.insert(key.to_vec(), entry);
        Reply::Stored { key, cas, size }
    }

    fn written(&mut self, store: &Store<'_>, old: Option<Entry>, stale: bool) -> Entry {
        let cas = self.next_cas(store.new_cas);
        let joined = match (store.mode, &old) {
            (StoreMode::Append, Some(old)) => Some([&old.value, store.value].concat()),
            (StoreMode::Prepend, Some(old)) => Some([store.value, &old.value].concat()),
            _ => None,
        };
        match (old, joined) {
            (Some(old), Some(value)) => Entry { value, cas, ..old },
            _ => Entry {
                value: store.value.to_vec(),
                flags: store.flags,
                cas,
                deadline: deadline(store.vivify.unwrap_or(store.exptime)),
                stale,
                key_binary: store.key_binary,
                ..Entry::default()
            },
        }
    }

    fn delete<'r>(&mut self, delete: &'r Delete<'_>) -> Reply<'r> {
        let key = delete.key.as_ref();
        let next = self.last_cas + 1;
        let Some(entry) = self.live(key) else { return Reply::NotFound { key } };
        if delete.cas.is_some_and(|cas| cas != entry.cas) {
            return Reply::Exists { key };
        }
        if delete.drop_value {
            let (deadline, cas) = (entry.deadline, entry.cas);
            *entry = Entry { deadline, cas, ..Entry::default() };
        }
        if delete.invalidate {
            let cas = delete.new_cas.unwrap_or(next);
            (entry.stale, entry.won, entry.cas) = (true, false, cas);
        }
        if let Some(exptime) = delete.exptime {
            entry.deadline = deadline(exptime);
        }
        if !delete.drop_value && !delete.invalidate {
            self.entries.remove(key);
        }
        self.last_cas += u64::from(delete.invalidate);
        Reply::Deleted { key }
    }

    fn count<'r>(&mut self, count: &'r Arithmetic<'_>) -> Reply<'r> {
        let key = count.key.as_ref();
        let next = count.new_cas.unwrap_or(self.last_cas + 1);
        let Some(entry) = self.live(key) else {
            let Some((value, exptime)) = count.create else { return Reply::NotFound { key } };
            let cas = self.next_cas(count.new_cas);
            let deadline = deadline(exptime);
            let text = value.to_string().into_bytes();
            let entry = Entry { value: text, cas, deadline, ..Entry::default() };
            let ttl = left(self::deadline(count.order.created_ttl));
            self.entries.insert(key.to_vec(), entry);
            return Reply::Number { key, value, cas, ttl };
        };
        if count.cas.is_some_and(|cas| cas != entry.cas) {
            return Reply::Exists { key };
        }
        let text = String::from_utf8_lossy(&entry.value).trim_matches(' ').to_owned();
        let Ok(old) = text.parse::<u64>() else { return Reply::NonNumeric };
        let value =
            if count.up { old.wrapping_add(count.delta) } else { old.saturating_sub(count.delta) };
        let width = entry.value.len();
        entry.value = format!("{value:<width$}").into_bytes();
        entry.fetched &= entry.value.len() == width;
        entry.cas = next;
        let before = entry.ttl();
        if let Some(exptime) = count.touch {
            entry.deadline = deadline(exptime);
        }
        let ttl = if count.order.touch_then_ttl { entry.ttl() } else { before };
        self.last_cas += 1;
        Reply::Number { key, value, cas: next, ttl }
    }
}

fn stats(argument: &[u8], answer: &mut impl FnMut(Reply<'_>)) {
    match argument {
        b"" => {
            answer(Reply::Stat { name: "pid", value: "1" });
            answer(Reply::StatEnd);
        }
        b"reset" => answer(Reply::Reset),
        _ => answer(Reply::Refused(Refusal::Unknown)),
    }
}
