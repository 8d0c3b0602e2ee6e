//! What the declarations say of themselves: the source of `protocol.json`, of the tables in
//! `docs/PROTOCOL.md` and of the dynamic codec.

use super::reader::{Malformed, Reader};
use super::status::Status;

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// One byte.
    U8,
    /// Two bytes, big endian, as all numbers of fixed width.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// Eight bytes, two's complement.
    I64,
    /// One byte, 0 or 1.
    Bool,
    /// An unsigned LEB128 number.
    Varint,
    /// Milliseconds as a varint.
    Ms,
    /// A varint length and as many bytes.
    Bytes,
    /// `bytes` that are UTF-8.
    Str,
    /// `bytes`: 1 to `max_key`.
    Key,
    /// `bytes`: 0 to `max_value`.
    Value,
    /// `str`: one JSON object.
    Json,
    /// A varint count and as many items.
    List(&'static Type),
    /// A byte, 0 or 1, and then the item if it is 1.
    Opt(&'static Type),
    /// Fields in a row.
    Record(&'static Record),
    /// One byte that stands for one of a few choices.
    Choice(&'static Choices),
    /// A set of bits, and the operands of some of them.
    Options(&'static Options),
}

/// As it is written in documents: `u32`, `list<key>`, the name of a record.
impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::I64 => "i64",
            Type::Bool => "bool",
            Type::Varint => "varint",
            Type::Ms => "ms",
            Type::Bytes => "bytes",
            Type::Str => "str",
            Type::Key => "key",
            Type::Value => "value",
            Type::Json => "json",
            Type::List(item) => return write!(f, "list<{item}>"),
            Type::Opt(item) => return write!(f, "opt<{item}>"),
            Type::Record(record) => record.name,
            Type::Choice(choices) => choices.name,
            Type::Options(options) => options.name,
        };
        f.write_str(name)
    }
}

/// Fields in a row.
#[derive(Debug)]
pub struct Record {
    /// Its name in the code.
    pub name: &'static str,
    /// What it is, as Markdown.
    pub doc: &'static str,
    /// In the order of their bytes.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its name in the code and in vectors.
    pub name: &'static str,
    /// What it means, as Markdown.
    pub doc: &'static str,
    /// How it is written.
    pub kind: Type,
}

/// A byte that stands for one of a few choices.
#[derive(Debug)]
pub struct Choices {
    /// Its name in the code.
    pub name: &'static str,
    /// What is chosen, as Markdown.
    pub doc: &'static str,
    /// The choices.
    pub choices: &'static [Choice],
}

/// One of a few choices.
#[derive(Debug)]
pub struct Choice {
    /// Its number.
    pub number: u8,
    /// Its name in documents and in vectors.
    pub name: &'static str,
    /// What it means, as Markdown.
    pub doc: &'static str,
}

/// A set of bits, and the operands of some of them behind it, in the order of this table.
#[derive(Debug)]
pub struct Options {
    /// Its name in documents.
    pub name: &'static str,
    /// What it is for, as Markdown.
    pub doc: &'static str,
    /// Bytes of the set of bits: 1 or 2.
    pub width: usize,
    /// Whether bits that are not in the table are ignored. Else they are refused.
    pub open: bool,
    /// The bits.
    pub bits: &'static [Bit],
}

/// One bit of a set.
#[derive(Debug)]
pub struct Bit {
    /// Its value.
    pub bit: u16,
    /// Its name in documents and in vectors.
    pub name: &'static str,
    /// What it means, as Markdown.
    pub doc: &'static str,
    /// What follows the set when the bit is in it.
    pub operand: Option<Type>,
}

/// Whether a request may be sent again when nobody knows what became of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// `R`: it changes nothing.
    Read,
    /// `I`: done twice is done once.
    Idempotent,
    /// `D`: only with an `idem` tag, by which the server knows it again.
    Dedup,
    /// `S`: it opens a stream, and may be opened anew.
    Stream,
}

impl Repeat {
    /// The letter in tables.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Repeat::Read => "R",
            Repeat::Idempotent => "I",
            Repeat::Dedup => "D",
            Repeat::Stream => "S",
        }
    }
}

/// What an identity must be allowed for a request to be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing but an identity.
    None,
    /// To read the object.
    Read,
    /// To change what is in the object.
    Write,
    /// To make an object, or to change or drop it.
    Create,
    /// To empty the object.
    Admin,
    /// To be told of changes of the object.
    Listen,
    /// To see the state of the cluster.
    Monitor,
    /// To steer the cluster.
    ClusterAdmin,
    /// What each request inside it needs.
    Inner,
}

impl Permission {
    /// The word in documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Permission::None => "none",
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Create => "create",
            Permission::Admin => "admin",
            Permission::Listen => "listen",
            Permission::Monitor => "monitor",
            Permission::ClusterAdmin => "cluster admin",
            Permission::Inner => "of each inside",
        }
    }
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// Group in the high byte, number in the low one. Never used again for another meaning.
    pub code: u16,
    /// The name of its group.
    pub group: &'static str,
    /// Its name within the group, in capitals.
    pub name: &'static str,
    /// What it does, as Markdown.
    pub doc: &'static str,
    /// The first protocol version that has it.
    pub since: u8,
    /// Whether it may be sent again.
    pub repeat: Repeat,
    /// What the caller must be allowed.
    pub permission: Permission,
    /// The field whose hash says which segment, and so which member, the request belongs to.
    pub route: Option<&'static str>,
    /// Its body, behind the prelude of a request.
    pub request: &'static Record,
    /// Its results, by status.
    pub replies: &'static [Reply],
    /// The items of its stream.
    pub item: Option<Type>,
    /// What stands behind the items of each `ITEM` frame.
    pub trailer: Option<Type>,
    /// Decodes status and result by their type, and encodes them again.
    pub recode_reply: Recode,
    /// Decodes items and trailer by their types, and encodes them again.
    pub recode_items: Recode,
}

/// Decodes bytes by their type, and encodes them again.
pub type Recode = fn(Reader<'_>, &mut Vec<u8>) -> Result<(), Malformed>;

/// The result that goes with one status.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: Status,
    /// When it is the answer, as Markdown.
    pub doc: &'static str,
    /// What follows the status byte.
    pub fields: &'static [Field],
}

/// A group of operations: all that have the same high byte.
#[derive(Debug)]
pub struct Group {
    /// The high byte of its opcodes.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What its operations work on, as Markdown.
    pub doc: &'static str,
    /// In the order of their numbers.
    pub operations: &'static [&'static Operation],
    /// Numbers that are kept for operations to come: name and opcode.
    pub reserved: &'static [(u16, &'static str)],
}
