//! A file that says where nodes are, one address a line: whoever writes it may do so after the nodes
//! have started, and again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cluster::seeds::{SEEDS_MAX, seeds};

/// What is read of a file at the most, bytes.
const FILE_BYTES: u64 = 64 << 10;
/// What is shown of a line that is none, characters.
const SHOWN_MAX: usize = 60;

/// A file of addresses.
#[derive(Debug)]
pub struct MembersFile {
    path: PathBuf,
    /// What it said when it was read last.
    text: String,
    /// Why it could not be read last time, which was said.
    told: Option<io::ErrorKind>,
}

impl MembersFile {
    pub fn new(path: PathBuf) -> Self {
        MembersFile { path, text: String::new(), told: None }
    }

    /// The addresses in it; where it cannot be read now, those that were.
    pub async fn read(&mut self) -> Vec<String> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        self.take(read.unwrap_or_else(|error| Err(io::Error::other(error))))
    }

    fn take(&mut self, read: io::Result<String>) -> Vec<String> {
        let file = self.path.display();
        match read {
            Ok(text) => {
                self.told = None;
                let (found, wrong) = addresses(&text);
                if text != self.text {
                    for (line, text) in wrong {
                        let text: String = text.chars().take(SHOWN_MAX).collect();
                        tracing::warn!(
                            event = "members_file_line",
                            %file,
                            line,
                            text,
                            max = SEEDS_MAX,
                            "left out: write HOST:PORT or HOST:FIRST-LAST, one a line, `max` addresses \
                             in all; # begins a comment"
                        );
                    }
                    self.text = text;
                }
                found
            }
            Err(error) => {
                if self.told.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(event = "members_file_unread", %file, %error, "read again each second");
                }
                addresses(&self.text).0
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The addresses of a file, and the lines that are none or too many, with their numbers.
fn addresses(text: &str) -> (Vec<String>, Vec<(usize, &str)>) {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let said = line.split('#').next().unwrap_or_default().trim();
        match seeds(said).filter(|found| all.len() + found.len() <= SEEDS_MAX) {
            Some(found) => all.extend(found),
            None => wrong.push((number, said)),
        }
    }
    (all, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_address_a_line_and_a_bad_line_is_left_out_alone() {
        type Table<'a> = [(&'a str, &'a [&'a str], &'a [(usize, &'a str)]); 6];
        let table: Table<'_> = [
            ("", &[], &[]),
            ("# the shop\n\n a:1 # first\r\nb:2", &["a:1", "b:2"], &[]),
            ("[::1]:5\n10.0.0.1:7-8\n", &["[::1]:5", "10.0.0.1:7", "10.0.0.1:8"], &[]),
            ("a:1\nb\nc:3\nd 4\n", &["a:1", "c:3"], &[(2, "b"), (4, "d 4")]),
            (
                "file:/other\nsrv:_a._tcp.b\na:1",
                &["a:1"],
                &[(1, "file:/other"), (2, "srv:_a._tcp.b")],
            ),
            ("\u{feff}a:1,b:2\n\0\n", &["a:1", "b:2"], &[(2, "\0")]),
        ];
        for (text, expected, wrong) in table {
            assert_eq!(
                addresses(text),
                (expected.iter().map(|it| (*it).to_owned()).collect(), wrong.to_vec()),
                "{text}"
            );
        }
        let (all, wrong) = addresses("a:1-200\nb:1-200\nc:1\n");
        assert_eq!((all.len(), wrong), (201, vec![(2, "b:1-200")]));
    }

    #[test]
    fn a_file_that_is_away_is_what_it_was() {
        let mut file = MembersFile::new("members".into());
        let missing = || Err(io::ErrorKind::NotFound.into());
        for (read, expected) in [
            (missing(), vec![]),
            (Ok("a:1\n".to_owned()), vec!["a:1"]),
            (missing(), vec!["a:1"]),
            (Ok("b:2\nc\n".to_owned()), vec!["b:2"]),
            (Err(io::Error::other("it has more bytes")), vec!["b:2"]),
            (Ok(String::new()), vec![]),
        ] {
            let what = format!("{read:?}");
            assert_eq!(file.take(read), expected, "{what}");
        }
    }
}
