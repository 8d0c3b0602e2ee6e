//! Random operations, and what they must do.

use isogrid_engine::env::split_mix;

use super::value::{appended, stored};
use super::{Cas, Entry, History, State, Value, now_ms};

/// Appends to one value, so that values stay small.
const APPENDS_MAX: usize = 8;

/// What a key is used for, by its number.
enum Use {
    /// Everything but counting.
    Text,
    Counter,
    /// Stored for a few seconds, never anything else: whether a key that is about to expire is
    /// there is not known.
    Short,
}

impl History {
    /// Draws an operation, notes it, and gives its bytes.
    pub fn draw(&mut self) -> Vec<u8> {
        if self.flushes && self.below(200) == 0 {
            self.push(None, "OK");
            return b"flush_all\r\n".to_vec();
        }
        let key = self.below(self.keys() as u64) as usize;
        match (kind(key), self.current[key].clone()) {
            (Use::Text, Some(entry)) => match self.below(10) {
                0 => self.delete(key),
                1..=2 => self.append(key, entry),
                3 => self.touch(key, entry),
                4..=5 => self.swap(key, entry),
                _ => self.set(key),
            },
            (Use::Counter, Some(entry)) => match self.below(10) {
                0 => self.delete(key),
                _ => self.count(key, entry),
            },
            (Use::Text | Use::Counter, None) => match self.below(8) {
                0 => self.delete(key),
                1 => self.refused(key, b"append", "NOT_STORED"),
                _ => self.set(key),
            },
            (Use::Short, _) => self.set(key),
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.rng) % end
    }

    /// A time to live for a key: of a few seconds for some, else none or so long that it does not
    /// end within a test.
    fn ttl_s(&mut self, key: usize) -> Option<u64> {
        match (kind(key), self.below(2)) {
            (Use::Short, _) => Some(1 + self.below(4)),
            (_, 0) => Some(5_000 + self.below(5_000)),
            _ => None,
        }
    }

    /// A new entry, and the bytes of it.
    fn fresh(&mut self, key: usize) -> (State, Vec<u8>, u64) {
        let (number, ttl) = (self.next_number(), self.ttl_s(key));
        let value = match kind(key) {
            Use::Counter => Value::Number(self.below(1_000)),
            _ => Value::Text(vec![number]),
        };
        let bytes = value.bytes(&self.key(key));
        let deadline = ttl.map(|ttl| now_ms() + ttl * 1_000);
        let flags = self.below(1 << 32) as u32;
        let state = self.entry(key, Entry { value, flags, deadline, cas: Cas::Above(0) });
        (state, bytes, ttl.unwrap_or(0))
    }

    fn set(&mut self, key: usize) -> Vec<u8> {
        let (state, bytes, ttl) = self.fresh(key);
        let (name, len) = (self.key(key), bytes.len());
        let flags = state.as_ref().map_or(0, |entry| entry.flags);
        // The meta form tells the version.
        let (head, answer) = match self.below(2) {
            0 => (format!("set {name} {flags} {ttl} {len}\r\n"), "STORED"),
            _ => (format!("ms {name} {len} T{ttl} F{flags} c\r\n"), "HD"),
        };
        self.push(Some((key, state)), answer);
        data(head, &bytes)
    }

    /// A cas: with the version of the entry if it is known, else with one that is too old.
    fn swap(&mut self, key: usize, entry: Entry) -> Vec<u8> {
        let (name, flags) = (self.key(key), entry.flags);
        let (state, bytes, ttl) = self.fresh(key);
        let (unique, answer, state) = match entry.cas {
            Cas::Is(cas) => (cas, "STORED", state),
            Cas::Above(_) => (1, "EXISTS", Some(entry)),
        };
        let flags = state.as_ref().map_or(flags, |entry| entry.flags);
        let head = format!("cas {name} {flags} {ttl} {} {unique}\r\n", bytes.len());
        self.push(Some((key, state)), answer);
        data(head, &bytes)
    }

    fn delete(&mut self, key: usize) -> Vec<u8> {
        let answer = if self.current[key].is_some() { "DELETED" } else { "NOT_FOUND" };
        self.push(Some((key, None)), answer);
        format!("delete {}\r\n", self.key(key)).into_bytes()
    }

    fn append(&mut self, key: usize, entry: Entry) -> Vec<u8> {
        let number = self.next_number();
        let Value::Text(mut numbers) = entry.value else { return self.set(key) };
        if numbers.len() > APPENDS_MAX {
            return self.set(key);
        }
        numbers.push(number);
        let state = self.entry(key, Entry { value: Value::Text(numbers), ..entry });
        self.push(Some((key, state)), "STORED");
        let bytes = appended(number);
        data(format!("append {} 0 0 {}\r\n", self.key(key), bytes.len()), &bytes)
    }

    /// A command that stores nothing where nothing is.
    fn refused(&mut self, key: usize, command: &[u8], answer: &str) -> Vec<u8> {
        let bytes = stored(&self.key(key), self.next_number());
        self.push(Some((key, None)), answer);
        let head = format!(" {} 0 0 {}\r\n", self.key(key), bytes.len());
        [command, &data(head, &bytes)].concat()
    }

    fn touch(&mut self, key: usize, entry: Entry) -> Vec<u8> {
        let ttl = self.ttl_s(key);
        let deadline = ttl.map(|ttl| now_ms() + ttl * 1_000);
        let cas = match entry.cas {
            // It may have a new version, and must not have an older one.
            Cas::Is(cas) => Cas::Above(cas - 1),
            above @ Cas::Above(_) => above,
        };
        self.push(Some((key, Some(Entry { deadline, cas, ..entry }))), "TOUCHED");
        format!("touch {} {}\r\n", self.key(key), ttl.unwrap_or(0)).into_bytes()
    }

    fn count(&mut self, key: usize, entry: Entry) -> Vec<u8> {
        let Value::Number(number) = entry.value else { return self.set(key) };
        let by = self.below(100);
        let (command, number) = match self.below(2) {
            0 => ("incr", number.wrapping_add(by)),
            _ => ("decr", number.saturating_sub(by)),
        };
        let state = self.entry(key, Entry { value: Value::Number(number), ..entry });
        self.push(Some((key, state)), &number.to_string());
        format!("{command} {} {by}\r\n", self.key(key)).into_bytes()
    }
}

fn kind(key: usize) -> Use {
    match key % 8 {
        0 => Use::Short,
        1..=2 => Use::Counter,
        _ => Use::Text,
    }
}

fn data(head: String, bytes: &[u8]) -> Vec<u8> {
    [head.as_bytes(), bytes, b"\r\n"].concat()
}
