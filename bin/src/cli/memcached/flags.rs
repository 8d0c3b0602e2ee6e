//! What memcached's flags mean here.

use std::path::PathBuf;

use super::address::{parse_list, port_to_bind};
use super::{Failure, exit, getopt, help, suboption};
use crate::config::{
    Address, AuthConfig, CacheConfig, LimitsConfig, ListenerConfig, ListenerTls, LogConfig,
    LogFormat, NodeConfig, ProtocolChoice, ProtocolConfig, ServerConfig, TlsMode,
};
use crate::security::Mode;

/// Names the file of users for `-S`, as in memcached's own builds.
const PASSWORDS_ENV: &str = "MEMCACHED_SASL_PWDB";

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;

/// What a command line asks for.
pub enum Parsed {
    /// To print this and stop.
    Say(String),
    /// To run a server.
    Launch(Box<Launch>),
}

/// A server to run, and how.
pub struct Launch {
    /// The server.
    pub config: ServerConfig,
    /// `-u`: whom to become when started as root.
    pub user: Option<String>,
    /// `-d`: detach from the terminal.
    pub daemon: bool,
    /// `-r`: a daemon keeps its directory, for its core file.
    pub keep_directory: bool,
    /// Flags that were accepted and do nothing, with the reason.
    pub notes: Vec<String>,
    /// `-S`: clients log in over SASL.
    sasl: bool,
    sockets: Sockets,
}

/// Where to listen, until all flags are known.
struct Sockets {
    port: i64,
    interfaces: Vec<String>,
    unix: Option<PathBuf>,
    mask: u32,
    /// `-B`, when it is said.
    protocol: Option<ProtocolChoice>,
    flush: bool,
}

impl Default for Launch {
    fn default() -> Self {
        let sockets = Sockets {
            port: 11211,
            interfaces: Vec::new(),
            unix: None,
            mask: Address::UNIX_MASK,
            protocol: None,
            flush: true,
        };
        Self {
            config: memcached_defaults(),
            user: None,
            daemon: false,
            keep_directory: false,
            notes: Vec::new(),
            sasl: false,
            sockets,
        }
    }
}

/// Where memcached's defaults differ from ours.
fn memcached_defaults() -> ServerConfig {
    let mut cache = CacheConfig::default();
    cache.limits.max_bytes = 64 << 20;
    ServerConfig {
        native: Vec::new(),
        http: Vec::new(),
        node: NodeConfig { threads: 4, data_dir: None, ..Default::default() },
        protocol: ProtocolConfig { drop_in: true, ..Default::default() },
        auth: AuthConfig { mode: Mode::Off, audit: None, ..Default::default() },
        caches: vec![cache],
        limits: LimitsConfig {
            max_connections: 1_024,
            max_connections_per_address: None,
            idle_timeout: None,
            request_timeout: None,
            accept_rate: None,
            request_rate: None,
            write_timeout: None,
            requests_per_turn: 20,
            login_timeout: None,
            login_tries: None,
            ..Default::default()
        },
        log: LogConfig { format: LogFormat::Pretty, ..Default::default() },
        ..Default::default()
    }
}

/// Reads memcached's arguments.
pub fn parse(args: &[String]) -> Result<Parsed, Failure> {
    let mut launch = Launch::default();
    for (letter, value) in getopt::parse(args)? {
        match letter {
            'h' => return Ok(Parsed::Say(help::text())),
            'V' => return Ok(Parsed::Say(help::version())),
            'i' => return Ok(Parsed::Say(help::license())),
            _ => launch.apply(letter, &value)?,
        }
    }
    launch.finish().map(|launch| Parsed::Launch(Box::new(launch)))
}

impl Launch {
    /// Remembers that `flag` was accepted and does nothing, because of `why`.
    pub fn note(&mut self, flag: &str, why: &str) {
        self.notes.push(format!("{flag} is accepted and ignored: {why}"));
    }

    fn apply(&mut self, letter: char, value: &str) -> Result<(), Failure> {
        match letter {
            'p' => self.sockets.port = port(value)?,
            's' => self.sockets.unix = Some(PathBuf::from(value)),
            'a' => self.sockets.mask = u32::from_str_radix(value, 8).unwrap_or(0) & 0o777,
            'l' => self.sockets.interfaces.push(value.to_owned()),
            'B' => self.sockets.protocol = Some(protocol(value)?),
            'F' => self.sockets.flush = false,
            'u' => self.user = Some(value.to_owned()),
            'd' => self.daemon = true,
            'P' => self.config.pid_file = Some(PathBuf::from(value)),
            'o' => suboption::apply(value, self)?,
            'r' => {
                self.keep_directory = true;
                self.config.node.core_dumps = true;
            }
            'S' => self.sasl = true,
            'Y' => self.config.auth.passwords = Some(PathBuf::from(value)),
            'Z' => self.config.tls.mode = TlsMode::On,
            'U' | 'e' => refuse(letter, value)?,
            'f' | 'n' | 'k' | 'L' | 'W' | 'N' => self.pass_over(letter, value)?,
            _ => self.tune(letter, value)?,
        }
        Ok(())
    }

    fn tune(&mut self, letter: char, value: &str) -> Result<(), Failure> {
        let ServerConfig { node, protocol, caches, limits, .. } = &mut self.config;
        for cache in caches {
            match letter {
                'm' => cache.limits.max_bytes = memory(value),
                'M' => cache.eviction = "none".to_owned(),
                _ => {}
            }
        }
        match letter {
            'I' => limits.max_item_size = item_size(value)?,
            'c' => limits.max_connections = positive(value, "Maximum connections")?,
            'R' => limits.requests_per_turn = positive(value, "Number of requests per event")?,
            't' => node.threads = positive(value, "Number of threads")?,
            'b' => limits.backlog = u32::try_from(atoi(value).clamp(1, 65_535)).unwrap_or(1_024),
            'A' => protocol.shutdown_command = true,
            'C' => protocol.cas = false,
            'X' => protocol.dump = false,
            'v' => protocol.verbosity += 1,
            'D' => {
                protocol.prefix_delimiter = value.chars().next().unwrap_or(':');
                protocol.detail = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn pass_over(&mut self, letter: char, value: &str) -> Result<(), Failure> {
        let why = match letter {
            'f' if value.trim().parse::<f64>().unwrap_or(0.0) <= 1.0 => {
                return Err(Failure::new(exit::FAILURE, "Factor must be greater than 1"));
            }
            'n' => {
                positive(value, "Chunk size")?;
                "there are no slabs"
            }
            'f' => "there are no slabs",
            'k' => "memory is not locked; let the service manager forbid swapping",
            'L' => "the kernel's transparent huge pages are used as they are",
            'W' => "there are no watch commands",
            _ => "connections are spread over the threads by the kernel",
        };
        self.note(&format!("-{letter}"), why);
        Ok(())
    }

    /// Checks across flags and turns sockets into listeners.
    fn finish(mut self) -> Result<Self, Failure> {
        let memory = self.config.caches.iter().map(|cache| cache.limits.max_bytes).sum::<u64>();
        let item = u64::try_from(self.config.limits.max_item_size).unwrap_or(u64::MAX);
        if item > memory / 2 {
            let message = "Cannot set item size limit higher than 1/2 of memory max.";
            return Err(Failure::new(exit::USAGE, message));
        }
        self.config.log.level = level(self.config.protocol.verbosity).to_owned();
        let protocol = self.logins()?;
        let listener = |(address, tls)| ListenerConfig {
            address,
            protocol,
            flush: self.sockets.flush,
            tls,
            ..Default::default()
        };
        self.config.memcached = self.sockets.addresses()?.into_iter().map(listener).collect();
        Ok(self)
    }
}

impl Launch {
    /// Follows `-S` and `-Y`, each of which fits one protocol alone: which one is spoken.
    fn logins(&mut self) -> Result<ProtocolChoice, Failure> {
        let said = self.sockets.protocol;
        let refuse = |message: &str| Err(Failure::new(exit::USAGE, message));
        let auth = &mut self.config.auth;
        if self.sasl {
            if auth.passwords.is_some() || !matches!(said, None | Some(ProtocolChoice::Binary)) {
                return refuse("ERROR: You cannot allow the ASCII protocol while using SASL.");
            }
            let Some(file) = std::env::var_os(PASSWORDS_ENV) else {
                return refuse(&format!(
                    "Error initializing sasl.\nName a file of user:password lines in {PASSWORDS_ENV}."
                ));
            };
            auth.passwords = Some(PathBuf::from(file));
        } else if auth.passwords.is_none() {
            return Ok(said.unwrap_or(ProtocolChoice::Auto));
        } else if said == Some(ProtocolChoice::Binary) {
            return refuse(
                "ERROR: You cannot allow the BINARY protocol while using ascii authentication \
                 tokens.",
            );
        }
        auth.mode = Mode::On;
        Ok(if self.sasl { ProtocolChoice::Binary } else { ProtocolChoice::Ascii })
    }
}

impl Sockets {
    /// A unix socket stands alone; without `-l` only this machine is served.
    fn addresses(&self) -> Result<Vec<(Address, ListenerTls)>, Failure> {
        let node = ListenerTls::Node;
        if let Some(path) = &self.unix {
            return Ok(vec![(Address::Unix(path.clone(), self.mask), node)]);
        }
        if self.interfaces.is_empty() {
            let port = port_to_bind(self.port).unwrap_or_default();
            return Ok(port
                .map(|p| (Address::Tcp(([127, 0, 0, 1], p).into()), node))
                .into_iter()
                .collect());
        }
        let addresses = parse_list(&self.interfaces.join(","), self.port)?;
        let tls = |plain| if plain { ListenerTls::Off } else { node };
        Ok(addresses.into_iter().map(|(to, plain)| (Address::Tcp(to), tls(plain))).collect())
    }
}

fn port(value: &str) -> Result<i64, Failure> {
    let port = atoi(value);
    let good = (-1..=65_535).contains(&port);
    let message = format!("ERROR: Invalid port number {value}.");
    good.then_some(port).ok_or_else(|| Failure::new(exit::USAGE, message))
}

fn protocol(value: &str) -> Result<ProtocolChoice, Failure> {
    match value {
        "auto" => Ok(ProtocolChoice::Auto),
        "ascii" => Ok(ProtocolChoice::Ascii),
        "binary" => Ok(ProtocolChoice::Binary),
        _ => {
            let message = format!(
                "Invalid value for binding protocol: {value}\n -- should be one of auto, binary, \
                 or ascii"
            );
            Err(Failure::new(exit::USAGE, message))
        }
    }
}

/// Refuses what would be a broken promise: reachable over UDP, or kept on disk.
fn refuse(letter: char, value: &str) -> Result<(), Failure> {
    let what = match letter {
        'U' if port(value)? == 0 => return Ok(()),
        'U' => "UDP support: an open UDP port amplifies attacks. Use -U 0 and TCP",
        _ => "support for restartable memory: it comes with a later version",
    };
    let message = format!("-{letter} refused: this server is not built with {what}.");
    Err(Failure::new(exit::USAGE, message))
}

fn positive(value: &str, what: &str) -> Result<usize, Failure> {
    let number = usize::try_from(atoi(value)).ok().filter(|number| *number > 0);
    let message = format!("{what} must be greater than 0");
    number.ok_or_else(|| Failure::new(exit::FAILURE, message))
}

/// Megabytes; what is not a number is none of them, which the item size then does not fit.
fn memory(value: &str) -> u64 {
    u64::try_from(atoi(value).saturating_mul(MIB)).unwrap_or(0)
}

fn item_size(value: &str) -> Result<usize, Failure> {
    let unit = match value.chars().last().map(|c| c.to_ascii_lowercase()) {
        Some('k') => KIB,
        Some('m') => MIB,
        _ => 1,
    };
    let bytes = atoi(value).saturating_mul(unit);
    let refuse = |message| Failure::new(exit::USAGE, message);
    match usize::try_from(bytes) {
        Ok(bytes) if bytes > 1 << 30 => {
            Err(refuse("Cannot set item size limit higher than a gigabyte."))
        }
        Ok(bytes) if bytes >= 1 << 10 => Ok(bytes),
        _ => Err(refuse("Item max size cannot be less than 1024 bytes.")),
    }
}

fn level(verbosity: u32) -> &'static str {
    match verbosity {
        0 | 1 => "info",
        2 => "debug",
        // What every poll of the kernel tells would bury the rest.
        _ => "trace,mio=info",
    }
}

/// C's `atoi`: the number that the text begins with, else 0.
pub fn atoi(text: &str) -> i64 {
    let text = text.trim_start();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let magnitude = match digits.get(..end) {
        None | Some("") => return 0,
        Some(digits) => digits.parse().unwrap_or(i64::MAX),
    };
    if text.starts_with('-') { -magnitude } else { magnitude }
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
