//! The attributes that SCRAM's messages are made of, and the name in them.

use super::ScramError;
use super::verifier::Key;
use crate::base64;

/// No message is longer than this.
pub(super) const MESSAGE_LEN_MAX: usize = 4 << 10;

/// The value of the next attribute, which has to be `letter`, and what follows its comma.
pub(super) fn attribute(text: &str, letter: char) -> Result<(&str, &str), ScramError> {
    let value = text.strip_prefix(letter).and_then(|rest| rest.strip_prefix('='));
    match value {
        Some(value) => Ok(value.split_once(',').unwrap_or((value, ""))),
        None if text.starts_with("m=") => Err(ScramError::Extension),
        None => Err(ScramError::Malformed),
    }
}

/// The text of a message that may be one.
pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    let text = std::str::from_utf8(message).ok();
    text.filter(|text| text.len() <= MESSAGE_LEN_MAX).ok_or(ScramError::Malformed)
}

/// Whether a nonce has characters that it may have, and enough of them.
pub(super) fn is_nonce(nonce: &str) -> bool {
    nonce.len() >= 8 && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// 32 bytes of base64.
pub(super) fn key(text: &str) -> Result<Key, ScramError> {
    let bytes = base64::decode(text.as_bytes()).ok_or(ScramError::Malformed)?;
    Key::try_from(bytes).map_err(|_| ScramError::Malformed)
}

/// A name as messages carry it: commas and equals signs stand for other things.
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The name behind [`escaped`].
pub(super) fn unescaped(text: &str) -> Result<String, ScramError> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('=') {
        name.push_str(before);
        let (letter, behind) = match (behind.strip_prefix("2C"), behind.strip_prefix("3D")) {
            (Some(behind), _) => (',', behind),
            (_, Some(behind)) => ('=', behind),
            _ => return Err(ScramError::Malformed),
        };
        name.push(letter);
        rest = behind;
    }
    name.push_str(rest);
    if name.is_empty() { Err(ScramError::Malformed) } else { Ok(name) }
}
