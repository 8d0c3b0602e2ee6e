//! The chain of the audit log: each line ends with the SHA-256 of the line before it, so that no
//! line can be changed, left out or put in without a break that shows. What a chain cannot show is
//! that its end was cut off: keep the last hash somewhere else.

use sha2::{Digest, Sha256};

use super::hex;

/// The hash before the first line.
pub const START: [u8; 32] = [0; 32];

/// What stands before the hash at the end of a line.
const KEY: &str = ",\"prev\":\"";
const END: &str = "\"}";

/// The hash of a line, without its line end.
#[must_use]
pub fn hash(line: &str) -> [u8; 32] {
    Sha256::digest(line.as_bytes()).into()
}

/// The line for a JSON object, behind the line whose hash is `previous`.
#[must_use]
pub fn link(object: &str, previous: &[u8; 32]) -> String {
    let open = object.strip_suffix('}').unwrap_or(object);
    format!("{open}{KEY}{}{END}", hex::show(previous))
}

/// The hash that a line says the line before it has.
#[must_use]
pub fn previous(line: &str) -> Option<[u8; 32]> {
    hex::parse(line.strip_suffix(END)?.rsplit_once(KEY)?.1)
}

/// What [`verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Lines.
    pub lines: u64,
    /// What the first line says of the line before it: [`START`], or the end of an older file.
    pub begins_after: [u8; 32],
    /// The hash of the last line.
    pub last: [u8; 32],
}

/// Checks every line of a log.
///
/// # Errors
/// The number of the first line that does not follow from the one before it, and why.
pub fn verify<E>(lines: impl Iterator<Item = Result<String, E>>) -> Result<Verified, Broken> {
    let mut found = Verified { lines: 0, begins_after: START, last: START };
    for line in lines {
        let number = found.lines + 1;
        let broken = |why| Broken { line: number, why };
        let line = line.map_err(|_| broken("it cannot be read"))?;
        let said = previous(&line).ok_or(broken("it is not a whole line of an audit log"))?;
        if found.lines == 0 {
            found.begins_after = said;
        } else if said != found.last {
            return Err(broken("the line before it was changed, or lines are missing or added"));
        }
        found.last = hash(&line);
        found.lines = number;
    }
    Ok(found)
}

/// Where a chain breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// Why it does not follow.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u32) -> Vec<String> {
        let mut previous = START;
        let line = |n: u32| {
            let line = link(&format!("{{\"n\":{n}}}"), &previous);
            previous = hash(&line);
            line
        };
        (0..count).map(line).collect()
    }

    fn check(lines: &[String]) -> Result<Verified, u64> {
        let lines = lines.iter().cloned().map(Ok::<_, ()>);
        verify(lines).map_err(|broken| broken.line)
    }

    #[test]
    fn a_log_follows_from_its_first_line() {
        let log = log(5);
        assert!(log[0].starts_with("{\"n\":0,\"prev\":\"0000"), "{}", log[0]);
        let found = check(&log).unwrap();
        assert_eq!((found.lines, found.begins_after, found.last), (5, START, hash(&log[4])));
        assert_eq!(check(&[]).map(|found| found.lines), Ok(0));
        let rest = check(&log[2..]).unwrap();
        assert_eq!(rest.begins_after, hash(&log[1]), "a log that goes on from an older file");
    }

    #[test]
    fn whatever_is_changed_shows() {
        type Change = fn(&mut Vec<String>);
        let changes: [(&str, Change, u64); 6] = [
            ("changed", |log| log[1] = log[1].replace("\"n\":1", "\"n\":7"), 3),
            ("left out", |log| drop(log.remove(2)), 3),
            ("put in", |log| log.insert(2, log[0].clone()), 3),
            ("swapped", |log| log.swap(1, 2), 2),
            ("cut", |log| log[3] = log[3][..20].to_owned(), 4),
            ("blank", |log| log.insert(1, String::new()), 2),
        ];
        for (what, change, line) in changes {
            let mut log = log(5);
            change(&mut log);
            assert_eq!(check(&log), Err(line), "{what}");
        }
    }
}
