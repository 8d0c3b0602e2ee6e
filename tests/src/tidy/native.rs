//! The opcodes of the native protocol, read from their declarations.

use super::File;

/// Number and name of each operation that is declared in `wire/src/native`, and of each number
/// that is kept for one: lines like `0x0101 GET Get<'a> (..` and `reserved { 0x010b "COMPUTE", }`.
pub fn native_opcodes(files: &[File]) -> Vec<(u16, String)> {
    let native = files.iter().filter(|file| file.path.starts_with("wire/src/native/"));
    native.flat_map(|file| file.text.lines().flat_map(declared)).collect()
}

fn declared(line: &str) -> Vec<(u16, String)> {
    let line = line.trim();
    if let Some(reserved) = line.strip_prefix("reserved {") {
        return reserved.split(',').filter_map(|one| numbered(one.trim())).collect();
    }
    let operation = line.contains('(') && line.starts_with("0x");
    numbered(line).filter(|_| operation).into_iter().collect()
}

/// `0x0101 GET ..` or `0x010b "COMPUTE"`.
fn numbered(text: &str) -> Option<(u16, String)> {
    let (number, rest) = text.split_once(' ')?;
    let digits = number.strip_prefix("0x").filter(|digits| digits.len() == 4)?;
    let name = rest.split(' ').next()?.trim_matches('"');
    Some((u16::from_str_radix(digits, 16).ok()?, name.to_owned()))
}

/// Operations of which no vector shows a request. Numbers that are only kept have none.
pub fn without_native_vector(declared: &[(u16, String)], vectors: &str) -> Vec<String> {
    let shows = |code: u16, name: &str| {
        let request = format!("\"op\":\"{}.{name}\"", group(code));
        let requests = vectors.lines().filter(|line| line.contains("\"type\":\"REQ\""));
        let mut said = requests.filter(|line| line.contains(&request));
        said.any(|line| line.contains(&format!("0100{code:04x}")))
    };
    let kept = |name: &str| vectors.contains(&format!("reserved {name}"));
    let silent = declared.iter().filter(|(code, name)| !shows(*code, name) && !kept(name));
    silent.map(|(code, name)| format!("0x{code:04x} {name}")).collect()
}

fn group(code: u16) -> &'static str {
    match code >> 8 {
        0x00 => "conn",
        0x01 => "cache",
        0x02 => "tx",
        0x03 => "counter",
        0x04 => "lease",
        0x05 => "queue",
        0x06 => "session",
        0x09 => "catalog",
        0x0a => "admin",
        0x0b => "batch",
        _ => "unknown",
    }
}

/// Numbers that mean something else than they did, or are gone, against a list of lines
/// `0101 GET`; and those that are not in the list yet.
pub fn regiven(declared: &[(u16, String)], frozen: &str) -> Vec<String> {
    let now: Vec<_> = declared.iter().map(|(code, name)| format!("{code:04x} {name}")).collect();
    let frozen: Vec<_> = frozen.lines().filter(|line| !line.starts_with('#')).collect();
    let gone = frozen.iter().filter(|line| !now.iter().any(|one| one == *line));
    let gone = gone.map(|line| format!("{line} was given, and is not any more"));
    let new = now.iter().filter(|one| !frozen.contains(&one.as_str()));
    gone.chain(new.map(|one| format!("{one} is not in the list of given numbers"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_kept_numbers_are_found() {
        let text = "reserved { 0x010b \"COMPUTE\", 0x010e \"X\", }\n 0x0101 GET Get<'a> (Read, key)\n\
                    0x0001 VALUE,\n0x2000 IF_CHANGED if_changed: u64,\n";
        let path = "wire/src/native/cache/mod.rs".to_owned();
        let files = [File { path, text: text.to_owned() }];
        let name = |(code, name): (u16, &str)| (code, name.to_owned());
        let expect = [(0x010b, "COMPUTE"), (0x010e, "X"), (0x0101, "GET")].map(name);
        assert_eq!(native_opcodes(&files), expect);
    }

    #[test]
    fn what_no_vector_shows_is_found() {
        let declared = [(0x0101, "GET".to_owned()), (0x0102, "PUT".to_owned())];
        let vectors = r#"{"decoded":{"op":"cache.GET","type":"REQ"},"hex":"0000001901000101"}
{"decoded":{"op":"cache.PUT","type":"RES"},"hex":"0000001902000102"}"#;
        assert_eq!(without_native_vector(&declared, vectors), ["0x0102 PUT"]);
    }

    #[test]
    fn a_number_that_is_given_again_is_found() {
        let declared = [(0x0101, "PUT".to_owned()), (0x0102, "GET".to_owned())];
        let breaches = regiven(&declared, "# numbers\n0101 GET\n0102 GET\n");
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(regiven(&declared, "0101 PUT\n0102 GET\n").is_empty());
    }
}
