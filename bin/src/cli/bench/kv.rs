//! `isogrid bench kv`: the arguments, and what is wrong with them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use isogrid_engine::env::split_mix;
use isogrid_grid::unit::parse_size;
use isogrid_wire::client::Options;
use serde_json::Value;

use super::choose::Traffic;
use super::codec::Broken;
use super::compare::Earlier;
use super::connection::{KEY_PREFIX, Protocol, Shape, Target};
use super::report;
use super::run::{Outcome, Plan, run};
use super::schedule::Limit;
use crate::cli::USAGE;
use crate::cli::output::{OutputArgs, fail};
use crate::cli::remote::{Failure, PlaceArgs, span};

const EXAMPLES: &str = "\
Examples:
  isogrid bench kv --fill                        # as fast as 50 connections can, for 10 s
  isogrid bench kv --rate 20k --duration 30s     # at a rate: what a user's request would wait
  isogrid bench kv --protocol memcached --server cache1:11211 --ratio 9:1 --zipf 0.99
  isogrid bench kv --tls --cacert ca.pem --user app --password-file app.txt
  isogrid bench kv --requests 100k --seed 7 -o json > old.json
  isogrid bench kv --requests 100k --seed 7 --compare old.json

Without --rate each connection sends its next request when an answer has come: that measures how
much a server can do. Latencies then say little about a busy server, since whoever waits asks for
nothing. With --rate the moments of all requests are fixed ahead, and latency counts from them.

The server is that of every command (--server, a context, the environment); memcached's protocols are
spoken at 127.0.0.1:11211 unless --server says where, over TLS as well, and with a login if --user
says who (a `set` with user and password in it, as memcached's authfile wants it; SASL PLAIN in the
binary protocol).

Keys begin with `bench:`; what was written stays until it expires or is evicted.

Exit codes: 0 all was sent and answered, 1 there were errors or the rate was not kept, 2 wrong use.

See also: isogrid serve";

/// Most requests under way on one connection: what a server allows unless it is told otherwise.
const DEPTH_MAX: u64 = 1_024;
/// The longest key of memcached's protocol.
const MEMCACHED_KEY_MAX: u64 = 250;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct KvArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// What is spoken
    #[arg(long, value_enum, default_value = "native", help_heading = "Server")]
    protocol: Protocol,
    /// The cache (native only)
    #[arg(long, default_value = "default", value_name = "NAME", help_heading = "Server")]
    cache: String,
    /// Silence after which a connection is given up
    #[arg(long, default_value = "5s", value_parser = span, value_name = "SPAN", help_heading = "Server")]
    timeout: Duration,

    /// Connections
    #[arg(short, long, default_value = "50", value_parser = count, value_name = "N", help_heading = "Load")]
    connections: u64,
    /// Requests under way on one connection [default: 1, with --rate: 1024]
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Load")]
    depth: Option<u64>,
    /// Requests a second of all connections together, sent when they are due whatever the server
    /// does
    #[arg(short, long, value_parser = count, value_name = "N", help_heading = "Load")]
    rate: Option<u64>,
    /// How long to measure [default: 10s, unless --requests]
    #[arg(short, long, value_parser = span, value_name = "SPAN", help_heading = "Load")]
    duration: Option<Duration>,
    /// How many requests to measure
    #[arg(short = 'n', long, value_parser = count, value_name = "N", help_heading = "Load")]
    requests: Option<u64>,
    /// Load before that is not measured
    #[arg(long, default_value = "0s", value_parser = span, value_name = "SPAN", help_heading = "Load")]
    warmup: Duration,
    /// Threads of the generator
    #[arg(long, default_value = "1", value_parser = count, value_name = "N", help_heading = "Load")]
    threads: u64,

    /// Different keys
    #[arg(short, long, default_value = "100k", value_parser = count, value_name = "N", help_heading = "Keys and values")]
    keys: u64,
    /// Keys by Zipf's law with this exponent [default: all keys alike]
    #[arg(long, value_name = "EXPONENT", help_heading = "Keys and values")]
    zipf: Option<f64>,
    /// Gets to sets
    #[arg(long, default_value = "9:1", value_parser = ratio, value_name = "GETS:SETS", help_heading = "Keys and values")]
    ratio: (u32, u32),
    /// Bytes of a key
    #[arg(long, default_value = "24", value_parser = size, value_name = "SIZE", help_heading = "Keys and values")]
    key_size: u64,
    /// Bytes of a value, or a range
    #[arg(long, default_value = "256", value_parser = sizes, value_name = "SIZE[-SIZE]", help_heading = "Keys and values")]
    value_size: (u64, u64),
    /// Writes each key once before
    #[arg(long, help_heading = "Keys and values")]
    fill: bool,
    /// The same seed sends the same requests
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Keys and values")]
    seed: u64,

    /// Tells the result beside that of an earlier run: a file of what -o json printed
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    compare: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `isogrid bench kv`.
pub fn main(args: &KvArgs) -> ExitCode {
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(failure) => return failure.say(),
    };
    // Ahead of the run: who has waited for it shall not learn then that there is no such file.
    let earlier = match args.compare.as_deref().map(Earlier::read).transpose() {
        Ok(earlier) => earlier,
        Err(why) => return fail(&why, USAGE),
    };
    match run(&plan) {
        Ok(outcome) => {
            let said = said(args, &plan, &outcome, earlier.as_ref());
            for warning in report::warnings(&plan, &outcome) {
                eprintln!("warning: {warning}");
            }
            if outcome.is_clean() { said } else { ExitCode::FAILURE }
        }
        Err(Broken(why)) => {
            let server = &plan.target.server;
            fail(&format!("{server}: {why}\n  help: is a server there that speaks it?"), 1)
        }
    }
}

fn said(args: &KvArgs, plan: &Plan, outcome: &Outcome, earlier: Option<&Earlier>) -> ExitCode {
    let document = report::json(plan, outcome);
    let differences = earlier.map(|earlier| earlier.differences(&document)).unwrap_or_default();
    if !differences.is_empty() {
        eprintln!("warning: the two runs differ in {}", differences.join(", "));
    }
    let table = || {
        let compared = earlier.map(|earlier| format!("\n{}", earlier.table(&document)));
        report::table(plan, outcome) + &compared.unwrap_or_default()
    };
    let json = || {
        let mut document = document.clone();
        if let (Some(earlier), Some(fields)) = (earlier, document.as_object_mut()) {
            fields.insert("compared".to_owned(), earlier.json(&Value::from(fields.clone())));
        }
        document
    };
    args.output.say(table, json)
}

impl KvArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let depth = self.depth.unwrap_or(if self.rate.is_some() { DEPTH_MAX } else { 1 });
        let forever = self.duration.is_none() && self.requests.is_none();
        let time = self.duration.or(forever.then_some(Duration::from_secs(10)));
        let (shortest, longest) = self.value_size;
        self.check(depth, time).map_err(Failure::usage)?;
        let memory = |bytes: u64| usize::try_from(bytes).map_err(|e| Failure::usage(e.to_string()));
        let value_len = (memory(shortest)?, memory(longest)?);
        Ok(Plan {
            target: self.target()?,
            connections: self.connections,
            depth: memory(depth)?,
            threads: memory(self.threads.min(self.connections))?,
            rate: self.rate,
            traffic: Traffic { keys: self.keys, zipf: self.zipf, ratio: self.ratio, value_len },
            shape: Shape { key_len: memory(self.key_size)?, value: value(self.seed, value_len.1) },
            seed: self.seed,
            fill: self.fill,
            warmup: self.warmup,
            limit: Limit { requests: self.requests, time },
        })
    }

    fn check(&self, depth: u64, time: Option<Duration>) -> Result<(), String> {
        let digits = self.keys.saturating_sub(1).max(1).ilog10() + 1;
        let key_min = KEY_PREFIX.len() as u64 + u64::from(digits);
        let of_zero = [
            ("--connections", self.connections),
            ("--depth", depth),
            ("--threads", self.threads),
            ("--keys", self.keys),
            ("--rate", self.rate.unwrap_or(1)),
            ("--requests", self.requests.unwrap_or(1)),
            ("--duration", time.map_or(1, |time| u64::from(!time.is_zero()))),
            ("--timeout", u64::from(!self.timeout.is_zero())),
        ];
        if let Some((name, _)) = of_zero.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} is not to be 0"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("--depth is at most {DEPTH_MAX}"));
        }
        if self.zipf.is_some_and(|exponent| !(0.01..=10.0).contains(&exponent)) {
            return Err("--zipf is 0.01 to 10; without it all keys are alike".to_owned());
        }
        if self.key_size < key_min {
            return Err(format!("--key-size is at least {key_min} with {} keys", self.keys));
        }
        match self.protocol {
            Protocol::Native => Ok(()),
            _ if self.key_size > MEMCACHED_KEY_MAX => {
                Err(format!("--key-size is at most {MEMCACHED_KEY_MAX} with memcached"))
            }
            _ if self.cache != "default" => {
                Err("--cache is for --protocol native: a listener of memcached has one cache"
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn target(&self) -> Result<Target, Failure> {
        let options = Options::default().app("isogrid-bench");
        let (server, options) = match self.protocol {
            Protocol::Native => {
                let to = self.place.target()?;
                (to.server.clone(), to.options(options)?)
            }
            _ => {
                let to = self.place.other("127.0.0.1:11211").map_err(Failure::usage)?;
                (to.server.clone(), to.plain_options(options)?)
            }
        };
        let raw = options.raw().map_err(Failure::usage)?;
        let (protocol, cache) = (self.protocol, self.cache.clone());
        Ok(Target { protocol, server, cache, raw, silence: self.timeout })
    }
}

/// Bytes that do not compress.
fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut random = seed;
    let words = (0..len.div_ceil(8)).map(|_| split_mix(&mut random).to_le_bytes());
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(len);
    bytes
}

/// `50`, `50_000`, `50k`, `2M`.
fn count(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1_000),
        Some((at, 'm' | 'M')) => (text.get(..at), 1_000_000),
        _ => (Some(text), 1),
    };
    let number = digits.and_then(|digits| digits.replace('_', "").parse::<u64>().ok());
    let number = number.and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "a number like 500, 50k or 2M".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let good = parse_size(text).filter(|size| *size <= 64 << 20);
    good.ok_or_else(|| "a size like 100 or 4KiB, at most 64MiB".to_owned())
}

fn sizes(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (size(from)?, size(to)?) {
        (from, to) if from <= to => Ok((from, to)),
        _ => Err("the smaller size comes first".to_owned()),
    }
}

fn ratio(text: &str) -> Result<(u32, u32), String> {
    let parts = text
        .split_once(':')
        .and_then(|(gets, sets)| Some((gets.parse::<u32>().ok()?, sets.parse::<u32>().ok()?)));
    let good = parts.filter(|(gets, sets)| gets | sets != 0);
    good.ok_or_else(|| "gets to sets, like 9:1; not both 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        for (text, expected) in [
            ("7", Some(7)),
            ("50k", Some(50_000)),
            ("2M", Some(2_000_000)),
            ("1_000", Some(1_000)),
            ("k", None),
            ("", None),
            ("-1", None),
            ("99999999999999999M", None),
        ] {
            assert_eq!(count(text).ok(), expected, "{text}");
        }
        assert_eq!(sizes("1KiB-2KiB"), Ok((1_024, 2_048)));
        assert_eq!(sizes("9"), Ok((9, 9)));
        assert!(sizes("9-8").is_err() && sizes("1GiB").is_err());
        assert_eq!(ratio("0:1"), Ok((0, 1)));
        assert!(ratio("0:0").is_err() && ratio("9").is_err());
    }

    #[test]
    fn values_are_as_long_as_they_are_to_be_and_belong_to_the_seed() {
        for len in [0, 1, 8, 13] {
            assert_eq!(value(1, len).len(), len);
        }
        assert_eq!(value(1, 99), value(1, 99));
        assert_ne!(value(1, 99), value(2, 99));
    }
}
