//! Binary requests. All lengths are checked against the header alone, before any of the body has
//! come: a header that lies about its body is answered at once.

use std::borrow::Cow;

use super::encode::Binary;
use super::opcode::{Command, Opcode};
use crate::Limits;
use crate::memcached::decoder::Parsed;
use crate::memcached::text::LOGIN_LEN_MAX;
use crate::memcached::{
    Arithmetic, Delete, Framing, Get, Keys, Refusal, Request, Store, StoreMode, size,
};

/// The first byte of every request.
pub(in crate::memcached) const MAGIC: u8 = 0x80;

/// Magic, opcode, key length, extras length, data type, vbucket, body length, opaque, cas.
pub(in crate::memcached) const HEADER_LEN: usize = 24;

/// The answer to lengths that do not fit the opcode.
pub(super) const INVALID: Refusal = Refusal::Client("Invalid arguments");

/// The expiry that tells a counter not to create itself.
const DO_NOT_CREATE: u32 = u32::MAX;

/// The opcode that goes on with a login.
const SASL_STEP: u8 = 0x22;

/// The fields of a header that count.
struct Header {
    opcode: u8,
    key_len: usize,
    extras_len: usize,
    body_len: usize,
    opaque: [u8; 4],
    cas: Option<u64>,
}

impl Header {
    fn read(header: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = header.try_into().ok()?;
        let [_, opcode, k0, k1, extras, _, _, _, b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] =
            *header;
        let cas = u64::from_be_bytes(cas);
        Some(Header {
            opcode,
            key_len: usize::from(u16::from_be_bytes([k0, k1])),
            extras_len: usize::from(extras),
            body_len: usize::try_from(u32::from_be_bytes([b0, b1, b2, b3])).ok()?,
            opaque: [o0, o1, o2, o3],
            cas: (cas != 0).then_some(cas),
        })
    }

    fn value_len(&self) -> usize {
        self.body_len.saturating_sub(self.key_len + self.extras_len)
    }

    /// Whether there is a key, extras of `extras_len` and nothing else.
    fn is_key_and(&self, extras_len: usize) -> bool {
        self.key_len > 0 && self.extras_len == extras_len && self.value_len() == 0
    }

    fn is_empty(&self) -> bool {
        self.body_len == 0
    }

    /// Whether the lengths are those that `command` asks for.
    fn fits(&self, command: Command) -> bool {
        let bare_key = self.key_len > 0 && self.extras_len == 0;
        match command {
            Command::Get | Command::Delete => self.is_key_and(0),
            Command::Set | Command::Add | Command::Replace => {
                self.key_len > 0 && self.extras_len == 8
            }
            Command::Append | Command::Prepend | Command::SaslAuth => bare_key,
            Command::Increment | Command::Decrement => self.is_key_and(20),
            Command::Touch | Command::GetAndTouch => self.is_key_and(4),
            Command::Stat => self.extras_len == 0 && self.value_len() == 0,
            Command::Flush => {
                self.key_len == 0 && matches!((self.extras_len, self.body_len), (0, 0) | (4, 4))
            }
            Command::Verbosity => self.key_len == 0 && (self.extras_len, self.body_len) == (4, 4),
            Command::Quit | Command::Noop | Command::Version | Command::SaslList => self.is_empty(),
            Command::Unknown => true,
        }
    }
}

/// Decodes the request of `header`; `body` is what has arrived behind it.
pub(in crate::memcached) fn parse<'a>(
    header: &[u8],
    body: &'a [u8],
    limits: &Limits,
) -> Parsed<'a> {
    let Some(header) = Header::read(header) else {
        return Parsed::Incomplete { block: 0 };
    };
    let opcode = Opcode::of(header.opcode);
    let framing = Binary::new(header.opcode, header.opaque);
    if header.key_len + header.extras_len > header.body_len {
        return last(Refusal::Unknown, framing);
    }
    if header.key_len > limits.key_len_max || !header.fits(opcode.command) {
        return last(INVALID, framing);
    }
    match opcode.command {
        Command::Unknown => whole(Request::Refused(Refusal::Unknown), framing, &header),
        Command::SaslAuth => sasl(&header, framing, body),
        command => body_of(command, &header, framing, body, limits),
    }
}

/// See [`crate::memcached::Decoder::beyond_login`].
pub(in crate::memcached) fn beyond_login(input: &[u8]) -> Option<Binary> {
    let header =
        Header::read(input.get(..HEADER_LEN)?).filter(|_| input.first() == Some(&MAGIC))?;
    let login = matches!(
        Opcode::of(header.opcode).command,
        Command::SaslList | Command::SaslAuth | Command::Version
    );
    (!login).then(|| Binary::new(header.opcode, header.opaque).last())
}

/// A login longer than any is not waited for.
fn sasl<'a>(header: &Header, framing: Binary, body: &'a [u8]) -> Parsed<'a> {
    let body = match body.get(..header.body_len) {
        _ if header.body_len > LOGIN_LEN_MAX => &[],
        None => return Parsed::Incomplete { block: header.body_len },
        Some(body) => body,
    };
    let (mechanism, data) = body.split_at_checked(header.key_len).unwrap_or_default();
    let step = header.opcode == SASL_STEP;
    whole(Request::SaslAuth { mechanism, data, step }, framing, header)
}

fn body_of<'a>(
    command: Command,
    header: &Header,
    framing: Binary,
    body: &'a [u8],
    limits: &Limits,
) -> Parsed<'a> {
    let head_len = header.extras_len + header.key_len;
    let Some((head, behind)) = body.split_at_checked(head_len) else {
        return Parsed::Incomplete { block: head_len };
    };
    let (extras, key) = head.split_at_checked(header.extras_len).unwrap_or_default();
    let Some(mode) = store_mode(command) else {
        return match request(command, header, extras, key) {
            Some(request) => whole(request, framing, header),
            None => last(INVALID, framing),
        };
    };
    let (flags, exptime) = store_extras(extras).unwrap_or_default();
    if !size::fits(key.len(), flags, header.value_len(), limits) {
        return whole(too_large(command, key), framing, header);
    }
    let Some(value) = behind.get(..header.value_len()) else {
        return Parsed::Incomplete { block: header.body_len };
    };
    let cas = header.cas;
    let store = Store {
        flags,
        exptime: i64::from(exptime),
        cas,
        value,
        ..Store::of(Cow::Borrowed(key), with_cas(mode, cas))
    };
    whole(Request::Store(store), framing, header)
}

fn request<'a>(
    command: Command,
    header: &Header,
    extras: &[u8],
    key: &'a [u8],
) -> Option<Request<'a>> {
    let cas = header.cas;
    let key_of = || Cow::Borrowed(key);
    Some(match command {
        Command::Get => Request::Get(Get::of(Keys::One(key_of()))),
        Command::GetAndTouch => {
            let touch = Some(i64::from(u32_of(extras)?));
            Request::Get(Get { touch, ..Get::of(Keys::One(key_of())) })
        }
        Command::Touch => Request::Touch { key: key_of(), exptime: i64::from(u32_of(extras)?) },
        Command::Delete => Request::Delete(Delete { cas, ..Delete::of(key_of()) }),
        Command::Increment => Request::Arithmetic(arithmetic(true, extras, key, cas)?),
        Command::Decrement => Request::Arithmetic(arithmetic(false, extras, key, cas)?),
        Command::Flush => Request::FlushAll { delay: u32_of(extras).map(i64::from) },
        Command::Verbosity => Request::Verbosity { level: u32_of(extras)? },
        Command::Stat => Request::Stats { argument: key },
        Command::Quit => Request::Quit,
        Command::Noop => Request::Noop,
        Command::Version => Request::Version,
        Command::SaslList => Request::SaslList,
        _ => return None,
    })
}

/// Delta, start value and expiry of a counter.
fn arithmetic<'a>(
    up: bool,
    extras: &[u8],
    key: &'a [u8],
    cas: Option<u64>,
) -> Option<Arithmetic<'a>> {
    let (delta, extras) = extras.split_first_chunk()?;
    let (initial, extras) = extras.split_first_chunk()?;
    let exptime = u32_of(extras).filter(|exptime| *exptime != DO_NOT_CREATE);
    let create = exptime.map(|exptime| (u64::from_be_bytes(*initial), i64::from(exptime)));
    let delta = u64::from_be_bytes(*delta);
    Some(Arithmetic { delta, create, cas, ..Arithmetic::of(Cow::Borrowed(key), up) })
}

fn store_mode(command: Command) -> Option<StoreMode> {
    match command {
        Command::Set => Some(StoreMode::Set),
        Command::Add => Some(StoreMode::Add),
        Command::Replace => Some(StoreMode::Replace),
        Command::Append => Some(StoreMode::Append),
        Command::Prepend => Some(StoreMode::Prepend),
        _ => None,
    }
}

/// With a cas, SET, ADD and REPLACE all mean "replace the one with this cas".
fn with_cas(mode: StoreMode, cas: Option<u64>) -> StoreMode {
    match (mode, cas) {
        (StoreMode::Add | StoreMode::Replace, Some(_)) => StoreMode::Set,
        _ => mode,
    }
}

/// Flags and expiry; append and prepend have none.
fn store_extras(extras: &[u8]) -> Option<(u32, u32)> {
    let (flags, exptime) = extras.split_first_chunk()?;
    Some((u32::from_be_bytes(*flags), u32_of(exptime)?))
}

fn too_large<'a>(command: Command, key: &'a [u8]) -> Request<'a> {
    match command {
        Command::Set => Request::StoreTooLarge { key: Cow::Borrowed(key) },
        _ => Request::Refused(Refusal::TooLarge),
    }
}

fn u32_of(extras: &[u8]) -> Option<u32> {
    extras.try_into().ok().map(u32::from_be_bytes)
}

/// A request with all of its body, what has not arrived of it included.
fn whole<'a>(request: Request<'a>, framing: Binary, header: &Header) -> Parsed<'a> {
    let block = header.body_len as u64;
    Parsed::Request { request, framing: Framing::Binary(framing), block }
}

/// A refusal that ends the connection: where the next header starts cannot be known.
fn last<'a>(refusal: Refusal, framing: Binary) -> Parsed<'a> {
    Parsed::whole(Request::Refused(refusal), Framing::Binary(framing.last()))
}
