//! The commands and opcodes that a decoder knows, read from its `match`, and which of them no
//! vector speaks.

/// The numbers before the arrows of a table like `0x21 | 0x22 => ..`, in order.
pub fn opcodes(table: &str) -> Vec<u8> {
    let arms = table.lines().filter_map(|line| line.split_once("=>")).map(|(left, _)| left);
    let number = |text: &str| u8::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
    arms.flat_map(|left| left.split('|')).filter_map(number).collect()
}

/// The words before the arrows of a table like `b"get" => ..`, in order.
pub fn commands(table: &str) -> Vec<String> {
    let arms = table.lines().filter_map(|line| line.split_once("=>")).map(|(left, _)| left);
    let word = |text: &str| {
        let word = text.trim().strip_prefix("b\"")?.strip_suffix('"')?;
        Some(word.to_owned())
    };
    arms.flat_map(|left| left.split('|')).filter_map(word).collect()
}

/// What stands in a list more than once.
pub fn duplicates<T: PartialEq + Clone>(all: &[T]) -> Vec<T> {
    let again = |(at, one): &(usize, &T)| all[..*at].contains(one);
    all.iter().enumerate().filter(again).map(|(_, one)| one.clone()).collect()
}

/// The commands that no vector sends. A vector sends the lines behind `> `.
pub fn without_line<'a>(commands: &'a [String], vectors: &[String]) -> Vec<&'a str> {
    let sent: Vec<&str> = vectors.iter().flat_map(|text| requests(text)).collect();
    let speaks = |line: &str, command: &str| {
        let rest = line.strip_prefix(command);
        rest.is_some_and(|rest| rest.starts_with([' ', '\\']) || rest.is_empty())
    };
    let silent = |command: &&String| !sent.iter().any(|line| speaks(line, command));
    commands.iter().filter(silent).map(String::as_str).collect()
}

/// The opcodes that no vector sends, as `\x80` and the opcode.
pub fn without_packet(opcodes: &[u8], vectors: &[String]) -> Vec<String> {
    let sent: Vec<&str> = vectors.iter().flat_map(|text| requests(text)).collect();
    let silent = |code: &&u8| {
        let packet = [format!("\\x80\\x{code:02x}"), format!("\\x80{}", shown(**code))];
        !sent.iter().any(|line| packet.iter().any(|start| line.contains(start.as_str())))
    };
    opcodes.iter().filter(silent).map(|code| format!("0x{code:02x}")).collect()
}

/// As a vector writes the byte when it is printable, and `\r` and `\n`.
fn shown(code: u8) -> String {
    match code {
        b'\r' => "\\r".to_owned(),
        b'\n' => "\\n".to_owned(),
        b' '..=b'~' => char::from(code).to_string(),
        _ => format!("\\x{code:02x}"),
    }
}

fn requests(vectors: &str) -> impl Iterator<Item = &str> {
    vectors.lines().filter_map(|line| line.strip_prefix("> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_used_twice_is_found() {
        let table = "0x00 => a,\n0x0a => b,\n0x21 | 0x0A => c,\n_ => d,\n";
        assert_eq!(opcodes(table), [0, 10, 33, 10]);
        assert_eq!(duplicates(&opcodes(table)), [10]);
        let table = "b\"get\" => a,\nb\"set\" => b,\nb\"get\" => c,\n_ => d,\n";
        assert_eq!(duplicates(&commands(table)), ["get"]);
    }

    #[test]
    fn what_no_vector_sends_is_found() {
        let vectors = ["# set\n> gets a\\r\\n\n< END\\r\\n\n> mn\\r\\n\n".to_owned()];
        let commands = ["get", "gets", "mn", "set"].map(str::to_owned);
        assert_eq!(without_line(&commands, &vectors), ["get", "set"]);
        let vectors = ["> \\x80\\n\\x00\n> \\x80#\n> \\x80\\x01\n< \\x81\\x02\n".to_owned()];
        assert_eq!(without_packet(&[0x0a, 0x23, 0x01, 0x02], &vectors), ["0x02"]);
    }
}
