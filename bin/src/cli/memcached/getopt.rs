//! `getopt_long` as memcached uses it: flags in clusters, values attached or separate, long names
//! by any unambiguous beginning, words that are no flags passed over.

use super::{Failure, exit};

/// Every flag: its letter, its long name, whether it takes a value.
pub const FLAGS: [(char, &str, bool); 37] = [
    ('p', "port", true),
    ('U', "udp-port", true),
    ('s', "unix-socket", true),
    ('a', "unix-mask", true),
    ('A', "enable-shutdown", false),
    ('l', "listen", true),
    ('d', "daemon", false),
    ('r', "enable-coredumps", false),
    ('u', "user", true),
    ('m', "memory-limit", true),
    ('M', "disable-evictions", false),
    ('c', "conn-limit", true),
    ('k', "lock-memory", false),
    ('v', "verbose", false),
    ('h', "help", false),
    ('i', "license", false),
    ('V', "version", false),
    ('P', "pidfile", true),
    ('f', "slab-growth-factor", true),
    ('n', "slab-min-size", true),
    ('L', "enable-largepages", false),
    ('D', "", true),
    ('t', "threads", true),
    ('R', "max-reqs-per-event", true),
    ('C', "disable-cas", false),
    ('b', "listen-backlog", true),
    ('B', "protocol", true),
    ('I', "max-item-size", true),
    ('S', "enable-sasl", false),
    ('S', "sasl", false),
    ('F', "disable-flush-all", false),
    ('X', "disable-dumping", false),
    ('W', "disable-watch", false),
    ('Y', "auth-file", true),
    ('e', "memory-file", true),
    ('Z', "enable-ssl", false),
    ('o', "extended", true),
];

/// `-N`/`--napi-ids`, which memcached's own help spells with an underscore.
const NAPI: [(char, &str, bool); 2] = [('N', "napi-ids", true), ('N', "napi_ids", true)];

/// A flag and its value, empty for flags without one.
pub type Given = (char, String);

/// Splits the arguments into flags.
pub fn parse(args: &[String]) -> Result<Vec<Given>, Failure> {
    let mut given = Vec::new();
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match (arg.strip_prefix("--"), arg.strip_prefix('-')) {
            (Some(""), _) => break,
            (Some(long), _) => given.push(parse_long(long, &mut args)?),
            (None, Some(cluster)) => parse_cluster(cluster, &mut args, &mut given)?,
            (None, None) => {}
        }
    }
    Ok(given)
}

fn flags() -> impl Iterator<Item = (char, &'static str, bool)> {
    FLAGS.into_iter().chain(NAPI)
}

fn parse_long<'a>(
    arg: &'a str,
    args: &mut impl Iterator<Item = &'a str>,
) -> Result<Given, Failure> {
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    };
    let (letter, name, wants_value) = find_long(name, arg)?;
    match (wants_value, value) {
        (false, None) => Ok((letter, String::new())),
        (false, Some(_)) => Err(illegal(&format!("option '--{name}' doesn't allow an argument"))),
        (true, value) => {
            let value = value.or_else(|| args.next());
            let missing = || illegal(&format!("option '--{name}' requires an argument"));
            value.map(|value| (letter, value.to_owned())).ok_or_else(missing)
        }
    }
}

/// The flag of that long name, or of the one letter that names beginning with it stand for.
fn find_long(name: &str, arg: &str) -> Result<(char, &'static str, bool), Failure> {
    if let Some(flag) = flags().find(|flag| flag.1 == name) {
        return Ok(flag);
    }
    let mut begun = flags().filter(|flag| !name.is_empty() && flag.1.starts_with(name));
    let first = begun.next().ok_or_else(|| illegal(&format!("unrecognized option '--{arg}'")))?;
    match begun.all(|flag| flag.0 == first.0) {
        true => Ok(first),
        false => Err(illegal(&format!("option '--{name}' is ambiguous"))),
    }
}

fn parse_cluster<'a>(
    cluster: &'a str,
    args: &mut impl Iterator<Item = &'a str>,
    given: &mut Vec<Given>,
) -> Result<(), Failure> {
    let mut letters = cluster.chars();
    while let Some(letter) = letters.next() {
        let found = flags().find(|flag| flag.0 == letter);
        let (.., wants_value) =
            found.ok_or_else(|| illegal(&format!("invalid option -- '{letter}'")))?;
        if !wants_value {
            given.push((letter, String::new()));
            continue;
        }
        let attached = Some(letters.as_str()).filter(|rest| !rest.is_empty());
        let missing = || illegal(&format!("option requires an argument -- '{letter}'"));
        given.push((letter, attached.or_else(|| args.next()).ok_or_else(missing)?.to_owned()));
        return Ok(());
    }
    Ok(())
}

fn illegal(why: &str) -> Failure {
    Failure::new(exit::FAILURE, format!("memcached: {why}\nIllegal argument \"?\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_split() {
        for (line, expected) in [
            ("", ""),
            ("-p 1", "p=1"),
            ("-p1", "p=1"),
            ("-p -1", "p=-1"),
            ("--port=1 --port 2 --por 3", "p=1 p=2 p=3"),
            ("-vvp 1 -vv", "v= v= p=1 v= v="),
            ("-vvMp1", "v= v= M= p=1"),
            ("-l 127.0.0.1 -l ::1", "l=127.0.0.1 l=::1"),
            ("extra -v words", "v="),
            ("-v -- -z", "v="),
            ("--enable-s", "error: memcached: option '--enable-s' is ambiguous"),
            ("--enable-sa --sasl", "S= S="),
            ("--napi-ids 1 --napi_ids=2", "N=1 N=2"),
            ("-z", "error: memcached: invalid option -- 'z'"),
            ("-F=1", "error: memcached: invalid option -- '='"),
            ("-p", "error: memcached: option requires an argument -- 'p'"),
            ("--port", "error: memcached: option '--port' requires an argument"),
            ("--bogus=1", "error: memcached: unrecognized option '--bogus=1'"),
            ("--help=1", "error: memcached: option '--help' doesn't allow an argument"),
        ] {
            let got = match parse(&words(line)) {
                Ok(given) => {
                    given.iter().map(|(l, v)| format!("{l}={v}")).collect::<Vec<_>>().join(" ")
                }
                Err(failure) => {
                    let (why, hint) = failure.message.split_once('\n').unwrap();
                    assert_eq!((failure.code, hint), (1, "Illegal argument \"?\""));
                    format!("error: {why}")
                }
            };
            assert_eq!(got, expected, "{line}");
        }
    }
}
