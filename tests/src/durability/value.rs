//! Values that tell the operations that made them.

use isogrid_engine::env::split_mix;

/// The longest filler of most values.
const SHORT_BYTES: u64 = 600;
/// The longest filler of one value in 64.
const LONG_BYTES: u64 = 40_000;

/// What a key holds. The bytes of a text follow from the numbers of the operations that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Stored by the first operation, appended to by the others.
    Text(Vec<u64>),
    /// A counter.
    Number(u64),
}

impl Value {
    /// The bytes of this value under `key`.
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        match self {
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Text(numbers) => {
                let mut bytes = stored(key, numbers[0]);
                numbers[1..].iter().for_each(|number| bytes.extend(appended(*number)));
                bytes
            }
        }
    }

    /// Whether these are the bytes; a counter that was counted down keeps blanks at its end.
    pub fn is(&self, key: &str, bytes: &[u8]) -> bool {
        match self {
            Value::Number(_) => self.bytes(key) == bytes.trim_ascii_end(),
            Value::Text(_) => self.bytes(key) == bytes,
        }
    }

    /// The value that has these bytes; `None` when no operation on `key` can have made them.
    pub fn parse(key: &str, bytes: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(bytes).ok()?;
        let Some((first, rest)) = text.split_once(':') else {
            return text.trim_end().parse().ok().map(Value::Number);
        };
        let mut numbers = vec![first.parse().ok()?];
        for number in rest.split('+').skip(1) {
            numbers.push(number.parse().ok()?);
        }
        let value = Value::Text(numbers);
        value.is(key, bytes).then_some(value)
    }

    /// The last operation that wrote it, which a counter does not tell.
    pub fn last(&self) -> Option<u64> {
        match self {
            Value::Number(_) => None,
            Value::Text(numbers) => numbers.last().copied(),
        }
    }
}

/// What operation `number` stores under `key`: both, and letters that follow from both.
pub fn stored(key: &str, number: u64) -> Vec<u8> {
    let mut bytes = format!("{number}:{key}:").into_bytes();
    let mut seed = number ^ u64::from(sum_of(key)) << 32;
    let longest = if split_mix(&mut seed).is_multiple_of(64) { LONG_BYTES } else { SHORT_BYTES };
    let len = split_mix(&mut seed) % longest;
    while (bytes.len() as u64) < len {
        let letters = split_mix(&mut seed).to_le_bytes().map(|byte| b'a' + byte % 16);
        bytes.extend(letters);
    }
    bytes
}

/// What operation `number` appends.
pub fn appended(number: u64) -> Vec<u8> {
    format!("+{number}").into_bytes()
}

fn sum_of(key: &str) -> u32 {
    key.bytes().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}
