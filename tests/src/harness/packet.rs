//! Packets of memcached's binary protocol, built and taken apart by hand.

/// The first byte of a packet.
pub mod magic {
    #![allow(missing_docs, reason = "the names say it")]
    pub const REQUEST: u8 = 0x80;
    pub const RESPONSE: u8 = 0x81;
}

/// The opcodes that tests use.
pub mod opcode {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const GET: u8 = 0x00;
    pub const SET: u8 = 0x01;
    pub const ADD: u8 = 0x02;
    pub const REPLACE: u8 = 0x03;
    pub const DELETE: u8 = 0x04;
    pub const INCREMENT: u8 = 0x05;
    pub const DECREMENT: u8 = 0x06;
    pub const QUIT: u8 = 0x07;
    pub const FLUSH: u8 = 0x08;
    pub const GETQ: u8 = 0x09;
    pub const NOOP: u8 = 0x0a;
    pub const VERSION: u8 = 0x0b;
    pub const GETK: u8 = 0x0c;
    pub const GETKQ: u8 = 0x0d;
    pub const APPEND: u8 = 0x0e;
    pub const PREPEND: u8 = 0x0f;
    pub const STAT: u8 = 0x10;
    pub const SETQ: u8 = 0x11;
    pub const TOUCH: u8 = 0x1c;
    pub const GAT: u8 = 0x1d;
    pub const SASL_LIST: u8 = 0x20;
    pub const SASL_AUTH: u8 = 0x21;
    pub const SASL_STEP: u8 = 0x22;
}

/// The length of a packet's header.
pub const HEADER_LEN: usize = 24;

/// A packet that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What was asked.
    pub opcode: u8,
    /// 0 is well.
    pub status: u16,
    /// As in the request.
    pub opaque: u32,
    /// The version of the item.
    pub cas: u64,
    /// Before the key, e.g. the client flags of a value.
    pub extras: Vec<u8>,
    /// Only in answers of GETK and STAT.
    pub key: Vec<u8>,
    /// The rest of the body.
    pub value: Vec<u8>,
}

/// The bytes of a request whose lengths are right.
pub fn request(
    opcode: u8,
    opaque: u32,
    cas: u64,
    extras: &[u8],
    key: &[u8],
    value: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![magic::REQUEST, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend(opaque.to_be_bytes());
    bytes.extend(cas.to_be_bytes());
    bytes.extend([extras, key, value].concat());
    bytes
}

impl Packet {
    /// The length of the body that the header announces.
    pub fn body_len(header: &[u8]) -> usize {
        u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize
    }

    /// Takes a whole response apart.
    pub fn parse(bytes: &[u8]) -> Packet {
        assert_eq!(
            bytes[0],
            magic::RESPONSE,
            "not a response: {:?}",
            String::from_utf8_lossy(bytes)
        );
        let key_len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let (extras, rest) = bytes[HEADER_LEN..].split_at(usize::from(bytes[4]));
        let (key, value) = rest.split_at(key_len);
        Packet {
            opcode: bytes[1],
            status: u16::from_be_bytes([bytes[6], bytes[7]]),
            opaque: u32::from_be_bytes(bytes[12..16].try_into().unwrap()),
            cas: u64::from_be_bytes(bytes[16..24].try_into().unwrap()),
            extras: extras.to_vec(),
            key: key.to_vec(),
            value: value.to_vec(),
        }
    }
}
