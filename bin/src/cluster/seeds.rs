//! Where other nodes may be, as an operator writes it.

use std::path::PathBuf;

use super::search::Service;

/// Addresses that one list may stand for, at the most.
pub const SEEDS_MAX: usize = 256;
/// How a file of addresses is written.
const FILE: &str = "file:";

/// What `cluster.join` names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `HOST:PORT`.
    pub seeds: Vec<String>,
    /// Services of the DNS, as they are written: `srv:NAME`.
    pub services: Vec<String>,
    /// Files that have addresses, one a line.
    pub files: Vec<PathBuf>,
}

impl Sources {
    /// What this list names, separated by commas: `HOST:PORT`, `HOST:FIRST-LAST`, `srv:NAME` and
    /// `file:PATH`; `None` when that is no such list.
    #[must_use]
    pub fn of(text: &str) -> Option<Sources> {
        let mut all = Sources::default();
        for word in text.split(',').map(str::trim) {
            if let Some(path) = word.strip_prefix(FILE) {
                all.files.push(Some(path).filter(|path| !path.is_empty())?.into());
            } else if Service::parse(word).is_some() {
                all.services.push(word.to_owned());
            } else {
                all.seeds.extend(seeds(word)?);
            }
        }
        (all.seeds.len() <= SEEDS_MAX).then_some(all)
    }
}

/// The addresses of `HOST:PORT` and `HOST:FIRST-LAST`, separated by commas; `None` when that is no
/// such list. Hosts are names or addresses; `[..]` around those of IPv6.
#[must_use]
pub fn seeds(text: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let (host, ports) = word.rsplit_once(':')?;
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        let is_host = !host.is_empty() && !host.contains(char::is_whitespace) && !is_bare_ipv6;
        if !is_host || first > last || first == 0 {
            return None;
        }
        all.extend((first..=last).map(|port| format!("{host}:{port}")));
    }
    (all.len() <= SEEDS_MAX).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stand_for_addresses() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("a:1, b:2", Some(vec!["a:1", "b:2"])),
            ("10.0.0.1:7401-7403", Some(vec!["10.0.0.1:7401", "10.0.0.1:7402", "10.0.0.1:7403"])),
            ("[::1]:5", Some(vec!["[::1]:5"])),
            ("::1:5", None),
            ("a", None),
            ("a b:1", None),
            ("a:0", None),
            ("a:3-1", None),
            ("a:70000", None),
            ("a:1-60000", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(seeds(text), expected, "{text}");
        }
    }

    #[test]
    fn sources_are_addresses_services_and_files() {
        type Words = &'static [&'static str];
        let table: [(&str, Option<[Words; 3]>); 10] = [
            ("", Some([&[], &[], &[]])),
            ("a:1-2,", Some([&["a:1", "a:2"], &[], &[]])),
            ("file:/etc/members", Some([&[], &[], &["/etc/members"]])),
            (
                "a:1, srv:_a._tcp.b, file:c d, srv:_e._tcp.f@[::1]:53",
                Some([&["a:1"], &["srv:_a._tcp.b", "srv:_e._tcp.f@[::1]:53"], &["c d"]]),
            ),
            ("file:", None),
            ("file", None),
            ("members", None),
            ("srv:members", None),
            ("a:1-200,b:1-200", None),
            ("FILE:/etc/members", None),
        ];
        for (text, expected) in table {
            let found = Sources::of(text).map(|found| {
                let files = found.files.iter().map(|path| path.display().to_string());
                [found.seeds, found.services, files.collect()]
            });
            let expected = expected.map(|all| {
                all.map(|words| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
