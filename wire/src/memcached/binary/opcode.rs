//! The opcodes and what each asks for.

/// A command, apart from whether it is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Get,
    Set,
    Add,
    Replace,
    Delete,
    Increment,
    Decrement,
    Quit,
    Flush,
    Noop,
    Version,
    Append,
    Prepend,
    Stat,
    Verbosity,
    Touch,
    GetAndTouch,
    SaslList,
    SaslAuth,
    Unknown,
}

/// What an opcode means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opcode {
    pub command: Command,
    /// A get is silent on a miss, all else on success.
    pub quiet: bool,
    /// The reply of a get repeats the key.
    pub with_key: bool,
}

impl Opcode {
    /// The meaning of `code`.
    pub fn of(code: u8) -> Self {
        let (command, quiet, with_key) = match code {
            0x00 => (Command::Get, false, false),
            0x01 => (Command::Set, false, false),
            0x02 => (Command::Add, false, false),
            0x03 => (Command::Replace, false, false),
            0x04 => (Command::Delete, false, false),
            0x05 => (Command::Increment, false, false),
            0x06 => (Command::Decrement, false, false),
            0x07 => (Command::Quit, false, false),
            0x08 => (Command::Flush, false, false),
            0x09 => (Command::Get, true, false),
            0x0a => (Command::Noop, false, false),
            0x0b => (Command::Version, false, false),
            0x0c => (Command::Get, false, true),
            0x0d => (Command::Get, true, true),
            0x0e => (Command::Append, false, false),
            0x0f => (Command::Prepend, false, false),
            0x10 => (Command::Stat, false, false),
            0x11 => (Command::Set, true, false),
            0x12 => (Command::Add, true, false),
            0x13 => (Command::Replace, true, false),
            0x14 => (Command::Delete, true, false),
            0x15 => (Command::Increment, true, false),
            0x16 => (Command::Decrement, true, false),
            0x17 => (Command::Quit, true, false),
            0x18 => (Command::Flush, true, false),
            0x19 => (Command::Append, true, false),
            0x1a => (Command::Prepend, true, false),
            0x1b => (Command::Verbosity, false, false),
            0x1c => (Command::Touch, false, false),
            0x1d => (Command::GetAndTouch, false, false),
            0x1e => (Command::GetAndTouch, true, false),
            0x20 => (Command::SaslList, false, false),
            0x21 | 0x22 => (Command::SaslAuth, false, false),
            0x23 => (Command::GetAndTouch, false, true),
            0x24 => (Command::GetAndTouch, true, true),
            _ => (Command::Unknown, false, false),
        };
        Opcode { command, quiet, with_key }
    }
}
