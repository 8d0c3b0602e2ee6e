//! Commands that are not compared with memcached 1.6.18, each with the reason. Keep it short.

/// Why a line or a packet is left out; None when it is compared.
pub fn skipped(command: &[u8]) -> Option<&'static str> {
    let line = command.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words: Vec<&[u8]> =
        line.split(|byte| matches!(byte, b' ' | b'\r')).filter(|word| !word.is_empty()).collect();
    let has = |letter: u8| words.iter().skip(2).any(|word| word.first() == Some(&letter));
    match words.first().copied().unwrap_or_default() {
        b"shutdown" => Some("newer versions answer SERVER_ERROR and not ERROR"),
        b"mg" if has(b'C') || has(b'E') => Some("newer versions know C and E of mg"),
        b"ms" if has(b's') || has(b'E') || has(b'N') => {
            Some("newer versions know s, E and N of ms")
        }
        b"md" if has(b'x') || has(b'E') => Some("newer versions know x and E of md"),
        b"ma" if has(b'E') => Some("newer versions know E of ma"),
        _ => None,
    }
}
