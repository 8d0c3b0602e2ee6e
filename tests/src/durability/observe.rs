//! Reads what a server holds.

use super::History;
use crate::harness::Client;

/// An entry that a server gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Vec<u8>,
    /// The client flags.
    pub flags: u32,
    /// Seconds until it expires.
    pub ttl_s: Option<u64>,
    /// The version.
    pub cas: u64,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, head) = (self.value.len(), &self.value[..self.value.len().min(40)]);
        let (head, tail) = (String::from_utf8_lossy(head), &self.value[len.saturating_sub(20)..]);
        let tail = String::from_utf8_lossy(tail);
        let (flags, ttl, cas) = (self.flags, self.ttl_s, self.cas);
        write!(f, "{head}..{tail} ({len} bytes), flags {flags}, ttl {ttl:?} s, version {cas}")
    }
}

/// All keys of an owner.
pub fn observe(client: &mut Client, owner: &History) -> Vec<Option<Found>> {
    let keys: Vec<String> = (0..owner.keys()).map(|key| owner.key(key)).collect();
    client.send(keys.iter().map(|key| format!("mg {key} v f t c\r\n")).collect::<String>());
    keys.iter().map(|_| found(client)).collect()
}

fn found(client: &mut Client) -> Option<Found> {
    let line = client.line();
    if line == "EN" {
        return None;
    }
    let mut words = line.strip_prefix("VA ").unwrap_or_else(|| panic!("{line}")).split(' ');
    let len: usize = words.next().unwrap().parse().unwrap();
    let mut value = client.bytes(len + 2);
    value.truncate(len);
    let mut flag = |name: char| words.next().unwrap().strip_prefix(name).unwrap().to_owned();
    let (flags, ttl) = (flag('f').parse().unwrap(), flag('t'));
    Some(Found { value, flags, ttl_s: ttl.parse().ok(), cas: flag('c').parse().unwrap() })
}
