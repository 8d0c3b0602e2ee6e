//! One command of a stream.

use super::escape::escape;

/// The binary protocol, or the text protocol with its meta commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Lines.
    Text,
    /// Packets.
    Binary,
}

/// The bytes of a command. Cas uniques differ between servers, so a command names them by number:
/// 0 is the one of the item that was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    bytes: Vec<u8>,
    cas: Option<Cas>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cas {
    /// Written as a decimal at this place.
    Decimal { at: usize, number: usize },
    /// In the header of a packet.
    Header { number: usize },
}

/// A cas that no item ever gets.
const NO_CAS: u64 = u64::MAX - 1;

impl Command {
    /// A command without a cas, or with one that is written out.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Command {
        Command { bytes: bytes.into(), cas: None }
    }

    /// A packet for the `number`th cas that was seen.
    pub fn with_header_cas(mut self, number: usize) -> Command {
        self.cas = Some(Cas::Header { number });
        self
    }

    /// A line with `{cas}` in it, which stands for the `number`th cas that was seen.
    pub fn with_decimal_cas(mut self, number: usize) -> Command {
        const MARK: &[u8] = b"{cas}";
        if let Some(at) = self.bytes.windows(MARK.len()).position(|bytes| bytes == MARK) {
            self.bytes.drain(at..at + MARK.len());
            self.cas = Some(Cas::Decimal { at, number });
        }
        self
    }

    /// Puts bytes behind, e.g. a data block behind its line.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// As it goes over the wire to a server that gave these cas uniques to the item.
    pub fn render(&self, seen: &[u64]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let cas = |number: usize| match seen.len() {
            0 => NO_CAS,
            len => seen[len - 1 - number % len],
        };
        match self.cas {
            Some(Cas::Decimal { at, number }) => {
                // As long on both sides, in case it is taken for data.
                bytes.splice(at..at, format!("{:020}", cas(number)).into_bytes());
            }
            Some(Cas::Header { number }) if bytes.len() >= 24 => {
                bytes[16..24].copy_from_slice(&cas(number).to_be_bytes());
            }
            Some(Cas::Header { .. }) | None => {}
        }
        bytes
    }

    /// The bytes without the cas.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key, as far as the command has one.
    pub fn key(&self) -> &[u8] {
        if let [0x80, ..] = self.bytes[..] {
            let len = |at: usize| usize::from(self.bytes.get(at).copied().unwrap_or(0));
            let key = 24 + len(4)..24 + len(4) + (len(2) << 8) + len(3);
            return self.bytes.get(key).unwrap_or_default();
        }
        match self.bytes.split(|byte| b" \r\n".contains(byte)).nth(1).unwrap_or_default() {
            b"YQ==" => b"a",
            b"Yg==" => b"b",
            key => key,
        }
    }

    /// Changes the bytes; a decimal cas is dropped.
    pub fn break_bytes(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.bytes);
        if let Some(Cas::Decimal { .. }) = self.cas {
            self.cas = None;
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&escape(&self.bytes))?;
        match self.cas {
            Some(Cas::Decimal { at, number }) => write!(f, "   (at {at}: cas no. {number})"),
            Some(Cas::Header { number }) => write!(f, "   (cas no. {number})"),
            None => Ok(()),
        }
    }
}
