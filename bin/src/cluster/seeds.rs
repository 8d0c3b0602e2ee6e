//! Where other nodes may be, as an operator writes it.

/// Addresses that one list may stand for, at the most.
const SEEDS_MAX: usize = 256;

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
        if host.is_empty() || is_bare_ipv6 || first > last || first == 0 {
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
            ("a:0", None),
            ("a:3-1", None),
            ("a:70000", None),
            ("a:1-60000", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(seeds(text), expected, "{text}");
        }
    }
}
