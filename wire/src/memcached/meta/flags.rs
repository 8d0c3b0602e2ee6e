//! The flags behind a meta command, read once for all commands. Flags that a command has no use
//! for are accepted and ignored, as memcached does.

use super::encode::Verb;
use crate::memcached::text::{Words, client_flags, exptime, unsigned};
use crate::memcached::{Exptime, Order};

/// Longest `O` flag, its letter included.
const OPAQUE_LEN_MAX: usize = 32;

const BAD_TOKEN: &str = "bad token in command line format";

/// What the flags of a line say.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub base64: bool,
    pub quiet: bool,
    pub value: bool,
    pub no_bump: bool,
    pub invalidate: bool,
    pub drop_value: bool,
    pub opaque_too_long: bool,
    pub touch: Option<Exptime>,
    pub vivify: Option<Exptime>,
    /// The expiry of an item that the line creates: the last `T` or `N`.
    pub created: Exptime,
    pub order: Order,
    pub recache: Option<Exptime>,
    pub cas: Option<u64>,
    pub new_cas: Option<u64>,
    pub client_flags: u32,
    pub mode: Option<u8>,
    pub initial: u64,
    pub delta: Option<u64>,
    pub max_idle_ms: Option<u32>,
}

impl Flags {
    /// Reads all of `words`. Of several bad tokens the last is told, as memcached does; a
    /// duplicate or unknown flag is told at once.
    pub fn parse(words: Words<'_>, verb: Verb) -> Result<Self, &'static str> {
        let mut flags = Flags::default();
        let mut seen = 0u128;
        let mut wrong = None;
        for word in words {
            let Some((letter, token)) = word.split_first() else { continue };
            let bit = 1u128.checked_shl(u32::from(*letter)).filter(|bit| seen & bit == 0);
            seen |= bit.ok_or("duplicate flag")?;
            if !is_flag(*letter, verb) {
                return Err("invalid flag");
            }
            wrong = flags.set(*letter, token).err().or(wrong);
        }
        wrong.map_or(Ok(flags), Err)
    }

    fn set(&mut self, letter: u8, token: &[u8]) -> Result<(), &'static str> {
        match letter {
            b'b' => self.base64 = true,
            b'q' => self.quiet = true,
            b'v' => self.value = true,
            b'u' => self.no_bump = true,
            b'I' => self.invalidate = true,
            b'x' => self.drop_value = true,
            b'O' => self.opaque_too_long = token.len() >= OPAQUE_LEN_MAX,
            b'T' => self.touch = Some(self.expiry(token)?),
            b'N' => self.vivify = Some(self.expiry(token)?),
            b'R' => {
                self.recache = Some(exptime(token).ok_or(BAD_TOKEN)?);
                self.order.touch_then_recache = self.touch.is_some();
            }
            b't' => {
                self.order.touch_then_ttl = self.touch.is_some();
                self.order.created_ttl = self.created;
            }
            b'C' => self.cas = Some(unsigned(token).ok_or(BAD_TOKEN)?),
            b'E' => self.new_cas = Some(unsigned(token).ok_or(BAD_TOKEN)?),
            b'F' => self.client_flags = client_flags(token).ok_or("bad command line format")?,
            b'J' => self.initial = unsigned(token).ok_or("invalid numeric initial value")?,
            b'D' => self.delta = Some(unsigned(token).ok_or("invalid numeric delta value")?),
            b'y' => self.max_idle_ms = Some(milliseconds(token).ok_or(BAD_TOKEN)?),
            b'M' => match token {
                [mode] => self.mode = Some(*mode),
                _ => return Err("incorrect length for M token"),
            },
            _ => {}
        }
        Ok(())
    }

    fn expiry(&mut self, token: &[u8]) -> Result<Exptime, &'static str> {
        self.created = exptime(token).ok_or(BAD_TOKEN)?;
        Ok(self.created)
    }
}

/// All letters are flags of all commands, but for our own `y`.
fn is_flag(letter: u8, verb: Verb) -> bool {
    b"bcfhklqstuvxCDEFIJLMNOPRT".contains(&letter) || (letter == b'y' && verb == Verb::Store)
}

fn milliseconds(token: &[u8]) -> Option<u32> {
    u32::try_from(unsigned(token)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_flags_are_told_as_memcached_tells_them() {
        for (line, expect) in [
            ("v v", "duplicate flag"),
            ("\u{e9}", "duplicate flag"),
            ("?", "invalid flag"),
            ("S2", "invalid flag"),
            ("y1", "invalid flag"),
            ("Tx Z", "invalid flag"),
            ("Tx", BAD_TOKEN),
            ("T", BAD_TOKEN),
            ("C-1", BAD_TOKEN),
            ("Fx", "bad command line format"),
            ("Tx M", "incorrect length for M token"),
            ("Madd", "incorrect length for M token"),
        ] {
            let parsed = Flags::parse(Words(line.as_bytes()), Verb::Get);
            assert_eq!(parsed.err(), Some(expect), "{line}");
        }
    }

    #[test]
    fn only_the_first_letter_of_a_switch_counts() {
        let flags = Flags::parse(Words(b"vv Pfoo L kx y300"), Verb::Store).expect("all known");
        assert!(flags.value && flags.max_idle_ms == Some(300));
    }

    #[test]
    fn figures_are_those_of_the_flags_before_them() {
        for (line, ttl, recache, created_ttl, created) in [
            ("t T10 N30", false, false, 0, 30),
            ("T10 t N30", true, false, 10, 30),
            ("N30 t T10", false, false, 30, 10),
            ("T10 N30 t", true, false, 30, 30),
            ("R5 T10 t", true, false, 10, 10),
            ("T10 R5", false, true, 0, 10),
        ] {
            let flags = Flags::parse(Words(line.as_bytes()), Verb::Get).expect("all known");
            let order = Order { touch_then_ttl: ttl, touch_then_recache: recache, created_ttl };
            assert_eq!((flags.order, flags.created), (order, created), "{line}");
        }
    }
}
