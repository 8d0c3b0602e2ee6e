//! Bytes as text: `\r \n \xHH \\`, and `{x*1000}` for a run of a thousand `x`.

pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape_sequence(rest, &mut bytes),
            '{' => rest = run(rest, &mut bytes),
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn escape_sequence<'t>(rest: &'t str, bytes: &mut Vec<u8>) -> &'t str {
    let (byte, len) = match rest.as_bytes().first() {
        Some(b'r') => (b'\r', 1),
        Some(b'n') => (b'\n', 1),
        Some(b'x') => (u8::from_str_radix(&rest[1..3], 16).unwrap(), 3),
        Some(other) => (*other, 1),
        None => panic!("nothing behind the backslash"),
    };
    bytes.push(byte);
    &rest[len..]
}

fn run<'t>(rest: &'t str, bytes: &mut Vec<u8>) -> &'t str {
    let (inner, behind) = rest.split_once('}').expect("a run ends with }");
    let (what, times) = inner.rsplit_once('*').expect("a run is {what*times}");
    bytes.extend_from_slice(what.repeat(times.parse().unwrap()).as_bytes());
    behind
}

pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let times = bytes[at..].iter().take_while(|next| **next == byte).count();
        if times >= 40 && byte.is_ascii_graphic() {
            text.push_str(&format!("{{{}*{times}}}", char::from(byte)));
            at += times;
            continue;
        }
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\\' | b'{' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
        at += 1;
    }
    text
}
