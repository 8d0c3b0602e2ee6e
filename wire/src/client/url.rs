//! Where a client connects and how, as one text: `isogrid://user:pass@h1:7400,h2:7400/default?tls=on`.

use std::str::FromStr;
use std::time::Duration;

use super::Options;

/// The environment variable that holds one.
pub const URL_ENV: &str = "ISOGRID_URL";
/// What clients connect to when nobody says anything.
const DEFAULT: &str = "isogrid://127.0.0.1:7400";
const SCHEME: &str = "isogrid://";
const PORT: &str = "7400";

/// A text that is no such URL: what is wrong with it, and what it may say. The text itself is not in
/// there, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadUrl(String);

impl std::fmt::Display for BadUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BadUrl(why) = self;
        write!(f, "{why}; a URL is {SCHEME}[USER:PASSWORD@]HOST[:PORT],..[/CACHE][?KEY=VALUE&..]")
    }
}

impl std::error::Error for BadUrl {}

/// A connection URL (PROTOCOL 6).
///
/// | part | what it says | without it |
/// |---|---|---|
/// | `user:password@` | log in by SCRAM-SHA-256; what is not a letter, digit, `-`, `.`, `_` or `~` as `%XX` | no login |
/// | `host:port,..` | servers to begin with, `[v6]:port` too | port 7400 |
/// | `/cache` | the cache to work with: [`Url::cache`] | none |
/// | `tls=on` or `off` | over TLS (feature `client-tls`) | off |
/// | `ca=FILE` | trust servers that these authorities have signed | those of the system |
/// | `cluster=NAME` | talk to this cluster alone | any |
/// | `timeout=2s` | how long a request may take; `ms`, `s`, `m` | 5s |
/// | `app=NAME` | the application, for the server's list of connections | none |
/// | `routing=on` or `off` | as [`Options::routing`] | on |
///
/// ```
/// use isogrid_wire::client::Url;
///
/// let url: Url = "isogrid://app:pw@h1,h2:7401/orders?timeout=2s".parse()?;
/// assert_eq!((url.seeds(), url.cache()), (&["h1:7400".into(), "h2:7401".into()][..], Some("orders")));
/// # Ok::<(), isogrid_wire::client::BadUrl>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    seeds: Vec<String>,
    cache: Option<String>,
    options: Options,
}

impl Url {
    /// What `ISOGRID_URL` says, or this machine's usual server.
    ///
    /// # Errors
    ///
    /// [`BadUrl`].
    pub fn of_environment() -> Result<Url, BadUrl> {
        std::env::var(URL_ENV).unwrap_or_else(|_| DEFAULT.to_owned()).parse()
    }

    /// The servers to begin with, `host:port`.
    #[must_use]
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }

    /// The cache to work with.
    #[must_use]
    pub fn cache(&self) -> Option<&str> {
        self.cache.as_deref()
    }

    /// How to connect.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Url, BadUrl> {
        let rest = text.strip_prefix(SCHEME).ok_or(BadUrl(format!("it begins with {SCHEME}")))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (rest, cache) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) =
            rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
        let options = login.map_or(Ok(Options::default()), logged_in)?;
        let cache = Some(decoded(cache)?).filter(|name| !name.is_empty());
        let seeds = hosts.split(',').map(seed).collect::<Result<_, _>>()?;
        Ok(Url { seeds, cache, options: queried(options, query)? })
    }
}

fn logged_in(login: &str) -> Result<Options, BadUrl> {
    let (user, password) = login
        .split_once(':')
        .ok_or(BadUrl("there is a user, and no password behind a colon".to_owned()))?;
    Ok(Options::default().password(&decoded(user)?, &decoded(password)?))
}

fn seed(host: &str) -> Result<String, BadUrl> {
    let bad = || BadUrl(format!("`{host}` is no HOST or HOST:PORT"));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, PORT),
    };
    let is_one = if name.starts_with('[') { name.ends_with(']') } else { !name.contains(':') };
    if name.is_empty() || !is_one || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    Ok(format!("{name}:{port}"))
}

fn queried(mut options: Options, query: &str) -> Result<Options, BadUrl> {
    let (mut tls, mut ca) = (false, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        match key {
            "tls" => tls = on(key, &value)?,
            "ca" => ca = Some(value),
            "cluster" => options = options.cluster(&value),
            "timeout" => options = options.timeout(span(&value)?),
            "app" => options = options.app(&value),
            "routing" => options = options.routing(on(key, &value)?),
            _ => {
                let known = "tls, ca, cluster, timeout, app and routing";
                return Err(BadUrl(format!("it says `{key}`, and knows {known}")));
            }
        }
    }
    if tls || ca.is_some() { secured(options, ca) } else { Ok(options) }
}

#[cfg(feature = "client-tls")]
fn secured(options: Options, ca: Option<String>) -> Result<Options, BadUrl> {
    let tls = super::TlsOptions::default();
    Ok(options.tls(match ca {
        Some(file) => tls.authorities(file),
        None => tls,
    }))
}

#[cfg(not(feature = "client-tls"))]
fn secured(_: Options, _: Option<String>) -> Result<Options, BadUrl> {
    Err(BadUrl("it asks for TLS, and this client is built without (feature `client-tls`)".into()))
}

fn on(key: &str, value: &str) -> Result<bool, BadUrl> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(BadUrl(format!("{key}={value} is neither on nor off"))),
    }
}

fn span(text: &str) -> Result<Duration, BadUrl> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    let span = number.parse::<u32>().ok().filter(|number| *number > 0 && millis > 0);
    let span = span.map(|number| Duration::from_millis(u64::from(number) * millis));
    span.ok_or(BadUrl(format!("timeout={text} is no time: 500ms, 2s, 1m")))
}

/// The text of a part: each `%XX` is the byte of this number.
fn decoded(part: &str) -> Result<String, BadUrl> {
    let bad = || BadUrl("a % is not followed by the two digits of a byte of UTF-8".to_owned());
    let mut pieces = part.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        bytes.push(u8::from_str_radix(digits.ok_or_else(bad)?, 16).map_err(|_| bad())?);
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(seeds: &[&str], cache: Option<&str>, options: Options) -> Url {
        let seeds = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        Url { seeds, cache: cache.map(str::to_owned), options }
    }

    #[test]
    fn a_url_says_where_and_how() {
        let plain = Options::default;
        for (text, told) in [
            ("isogrid://h", url(&["h:7400"], None, plain())),
            ("isogrid://h:1/", url(&["h:1"], None, plain())),
            ("isogrid://[::1],[::2]:3/c", url(&["[::1]:7400", "[::2]:3"], Some("c"), plain())),
            (
                "isogrid://user:pass@h1:7400,h2:7400/default?cluster=prod&timeout=2s",
                url(
                    &["h1:7400", "h2:7400"],
                    Some("default"),
                    plain()
                        .password("user", "pass")
                        .cluster("prod")
                        .timeout(Duration::from_secs(2)),
                ),
            ),
            (
                "isogrid://a%40b:%3a%2F%25@h?app=x%20y&routing=off&timeout=250ms&tls=off",
                url(
                    &["h:7400"],
                    None,
                    plain()
                        .password("a@b", ":/%")
                        .app("x y")
                        .routing(false)
                        .timeout(Duration::from_millis(250)),
                ),
            ),
            ("isogrid://h/gr%C3%BCn", url(&["h:7400"], Some("grün"), plain())),
        ] {
            assert_eq!(text.parse(), Ok(told), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_a_password_is_not() {
        for (text, why) in [
            ("", "begins with"),
            ("http://h", "begins with"),
            ("isogrid://", "`` is no HOST"),
            ("isogrid://h,", "`` is no HOST"),
            ("isogrid://h:port", "`h:port` is no HOST"),
            ("isogrid://h:65536", "`h:65536`"),
            ("isogrid://::1", "`::1`"),
            ("isogrid://[::1:1", "`[::1:1`"),
            ("isogrid://secret@h", "no password"),
            ("isogrid://u:secret%4@h", "two digits"),
            ("isogrid://u:secret%zz@h", "two digits"),
            ("isogrid://u:secret%ff@h", "UTF-8"),
            ("isogrid://u:secret@h?time=2s", "`time`"),
            ("isogrid://u:secret@h?timeout=2", "timeout=2 is"),
            ("isogrid://u:secret@h?timeout=0s", "timeout=0s"),
            ("isogrid://u:secret@h?tls=yes", "tls=yes"),
            ("isogrid://u:secret@h?routing", "routing="),
        ] {
            let said = text.parse::<Url>().unwrap_err().to_string();
            assert!(said.contains(why) && !said.contains("secret"), "{text}: {said}");
        }
    }
}
