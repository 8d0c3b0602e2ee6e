//! The one vocabulary of replies. [`super::Framing`] turns one into the bytes of its protocol.

use std::sync::Arc;

/// A value on its way out.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Copied once into the output.
    Inline(&'a [u8]),
    /// Large and shared: spliced into the output without a copy.
    Shared(&'a Arc<[u8]>),
}

impl Value<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Inline(bytes) => bytes,
            Value::Shared(shared) => shared,
        }
    }
}

/// An item as replies show it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The value.
    pub value: Value<'a>,
    /// The client's 32 bits.
    pub flags: u32,
    /// The cas unique.
    pub cas: u64,
    /// Seconds left, `None` = never expires.
    pub ttl: Option<u32>,
    /// Seconds since the last access before this one.
    pub last_access: u32,
    /// Whether it had been fetched before this request.
    pub fetched: bool,
    /// `W`: this client is to recache.
    pub won: bool,
    /// `X`: the item is stale.
    pub stale: bool,
    /// `Z`: somebody else has been told to recache.
    pub lease_sent: bool,
    /// `mg C` matched: the value is left out.
    pub unchanged: bool,
    /// [`super::Store::key_binary`] of the store that made the item.
    pub key_binary: bool,
}

/// One reply. A request has exactly one, but for `Get` over a line (one [`Reply::Item`] or
/// [`Reply::Miss`] a key, then [`Reply::End`]) and for stats and dumps (rows, then an end).
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    /// A hit of a get.
    Item {
        /// The key as the engine knows it (decoded).
        key: &'a [u8],
        /// The item.
        item: Item<'a>,
    },
    /// A miss of a get.
    Miss {
        /// The key as the engine knows it (decoded).
        key: &'a [u8],
    },
    /// The end of a classic text get: `END`; nothing in the other protocols.
    End,
    /// Stored, with the new cas and the stored size (value length after the operation).
    Stored {
        /// The key.
        key: &'a [u8],
        /// The new cas.
        cas: u64,
        /// Length of the stored value.
        size: usize,
    },
    /// The condition of the mode was not met: `NOT_STORED`, `NS`; binary: ADD on a present key is
    /// 0x02, REPLACE on an absent key 0x01, APPEND/PREPEND 0x05.
    NotStored {
        /// The key.
        key: &'a [u8],
    },
    /// The cas did not match: `EXISTS`, `EX`, 0x02.
    Exists {
        /// The key.
        key: &'a [u8],
    },
    /// No such item: `NOT_FOUND`, `NF`, 0x01.
    NotFound {
        /// The key.
        key: &'a [u8],
    },
    /// Deleted (or marked stale): `DELETED`, `HD`.
    Deleted {
        /// The key.
        key: &'a [u8],
    },
    /// Touched: `TOUCHED`; binary TOUCH repeats the flags as extras.
    Touched {
        /// The client flags of the item.
        flags: u32,
        /// Its cas.
        cas: u64,
    },
    /// The counter's new value.
    Number {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: u64,
        /// The new cas.
        cas: u64,
        /// Seconds left, `None` = never expires.
        ttl: Option<u32>,
    },
    /// The value is not a number.
    NonNumeric,
    /// The item is over the size limit.
    TooLarge,
    /// No memory, and nothing may be evicted.
    OutOfMemory,
    /// `OK`, binary success without a body.
    Ok,
    /// `MN`, binary NOOP.
    Noop,
    /// `VERSION <text>`.
    Version(&'a str),
    /// `me`: the item's header figures, seconds.
    Debug {
        /// The key.
        key: &'a [u8],
        /// The item; `ttl`, `last_access`, `cas`, `fetched` are shown.
        item: Item<'a>,
        /// Bytes charged to it.
        size: usize,
    },
    /// One `STAT name value` row.
    Stat {
        /// The name.
        name: &'a str,
        /// The value.
        value: &'a str,
    },
    /// The end of stats rows: `END`, an empty binary packet.
    StatEnd,
    /// `RESET`.
    Reset,
    /// Binary: the login goes on with a SASL_STEP.
    Continue,
    /// A line of text as it is, `\r\n` added; dumps use it with their own line ends by
    /// [`Reply::Raw`].
    Line(&'a str),
    /// Bytes as they are.
    Raw(&'a [u8]),
    /// What the decoder refused.
    Refused(super::Refusal),
}
