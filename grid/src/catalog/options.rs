//! What can be said of a cache: each option has a name, a text form, bounds, and either changes
//! while the cache runs or not. The same names and texts are in the configuration file, in the
//! catalog's file and in what clients send.

use std::fmt::Write as _;
use std::time::Duration;

use isogrid_engine::persist::behind::{DELAY_MS_DEFAULT, WAITING_BYTES_DEFAULT};
use isogrid_engine::persist::{PersistMode, Preload};
use isogrid_engine::{Allocator, PolicyKind, RegionConfig, TableConfig};
use thiserror::Error;

use crate::structure::cache::CacheConfig;
use crate::unit::{parse_size, parse_span, show_size, show_span};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const ENTRIES_MAX: u64 = 1 << 40;
const BEHIND_DELAY_MAX_MS: u64 = 3_600_000;
const SPAN_MAX_MS: u64 = 36_500 * 24 * 3_600_000;

/// Which nodes have the entries of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// This one.
    #[default]
    Local,
    /// Each member of a cluster, with entries of its own: what is written on one is dropped on the
    /// others ([`crate::invalidation`]).
    Invalidated,
}

/// The options of a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheOptions {
    /// Where its entries are. Default: local.
    pub mode: CacheMode,
    /// Bytes, everything counted. Default: 256 MiB. Bounds: 1 MiB..=64 TiB.
    pub memory: u64,
    /// Entries; `None` (default) = as many as fit. Bounds: 1..=2^40.
    pub max_entries: Option<u64>,
    /// Who makes room. Default: the engine's.
    pub eviction: PolicyKind,
    /// Lifespan of entries that are stored without one, ms; `None` (default) = for ever.
    pub ttl: Option<u64>,
    /// Max-idle of entries that are stored without one, ms; `None` (default) = none.
    pub max_idle: Option<u32>,
    /// Segments, a power of two up to 65,536; `None` (default) = chosen by `memory`.
    pub segments: Option<u32>,
    /// When a write counts as kept. Default: none.
    pub persist: PersistMode,
    /// Which of its entries are in memory after a start, where it is kept. Default: all.
    pub preload: Preload,
    /// How long a change waits before it is written behind, ms. Default: 1 s. Bounds: 0..=1 h.
    pub behind_delay: u64,
    /// Bytes of changes that may wait to be written behind. Default: 64 MiB. Bounds: 64 KiB..=1 TiB.
    pub behind_queue: u64,
    /// Key-prefix regions with limits of their own. Default: none.
    pub regions: Vec<RegionOptions>,
}

/// A key-prefix region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionOptions {
    /// Keys that begin with this belong to it: 1 to 250 bytes without blanks.
    pub prefix: String,
    /// Bytes; `None` = only the cache's limit holds.
    pub max_bytes: Option<u64>,
    /// Entries; `None` = only the cache's limit holds.
    pub max_entries: Option<u64>,
    /// Its policy; `None` = the cache's.
    pub eviction: Option<PolicyKind>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions {
            mode: CacheMode::Local,
            memory: 256 * MIB,
            max_entries: None,
            eviction: PolicyKind::default(),
            ttl: None,
            max_idle: None,
            segments: None,
            persist: PersistMode::None,
            preload: Preload::All,
            behind_delay: DELAY_MS_DEFAULT,
            behind_queue: WAITING_BYTES_DEFAULT,
            regions: Vec::new(),
        }
    }
}

/// Why an option cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// There is none of that name.
    #[error("a cache has no option {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is none of those that it takes.
    #[error("{name}: {value:?} is not {allowed}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

/// One option on which two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name}: have {have}, want {want}")]
pub struct Difference {
    /// The option.
    pub name: &'static str,
    /// What the cache has.
    pub have: String,
    /// What was asked for.
    pub want: String,
}

/// A name, and how it is read from text and shown as one.
struct Field {
    name: &'static str,
    /// Another name that is understood.
    alias: &'static str,
    /// Whether it changes while the cache runs.
    live: bool,
    allowed: &'static str,
    show: fn(&CacheOptions) -> String,
    /// Whether the text was understood and within the bounds.
    read: fn(&mut CacheOptions, &str) -> Option<()>,
}

static FIELDS: [Field; 12] = [
    Field {
        name: "mode",
        alias: "",
        live: false,
        allowed: "local or invalidated; replicated and distributed caches are those of the \
                  configuration",
        show: |options| match options.mode {
            CacheMode::Local => "local".to_owned(),
            CacheMode::Invalidated => "invalidated".to_owned(),
        },
        read: |options, text| {
            options.mode = match text {
                "local" => CacheMode::Local,
                "invalidated" => CacheMode::Invalidated,
                _ => return None,
            };
            if options.mode == CacheMode::Invalidated {
                // Others write while the node is down: nothing of before a restart may be served.
                options.persist = PersistMode::None;
            }
            Some(())
        },
    },
    Field {
        name: "memory",
        alias: "max_bytes",
        live: true,
        allowed: "a size of 1MiB to 64TiB",
        show: |options| show_size(options.memory),
        read: |options, text| {
            let bytes = parse_size(text).filter(|bytes| (MIB..=64 * TIB).contains(bytes))?;
            options.memory = bytes;
            Some(())
        },
    },
    Field {
        name: "max_entries",
        alias: "",
        live: false,
        allowed: "off, or 1 to 1099511627776",
        show: |options| or_off(options.max_entries, |entries| entries.to_string()),
        read: |options, text| {
            options.max_entries = off_or(text, parse_entries)?;
            Some(())
        },
    },
    Field {
        name: "eviction",
        alias: "",
        live: false,
        allowed: "one of s3-fifo, w-tinylfu, lru, lfu, fifo, random, none",
        show: |options| options.eviction.name().to_owned(),
        read: |options, text| {
            options.eviction = text.parse().ok()?;
            Some(())
        },
    },
    Field {
        name: "ttl",
        alias: "",
        live: true,
        allowed: "off, or 1ms to 36500d",
        show: |options| or_off(options.ttl, show_millis),
        read: |options, text| {
            options.ttl = off_or(text, parse_millis)?;
            Some(())
        },
    },
    Field {
        name: "max_idle",
        alias: "",
        live: true,
        allowed: "off, or 1ms to 49d",
        show: |options| or_off(options.max_idle, |ms| show_millis(u64::from(ms))),
        read: |options, text| {
            options.max_idle = off_or(text, |text| u32::try_from(parse_millis(text)?).ok())?;
            Some(())
        },
    },
    Field {
        name: "segments",
        alias: "",
        live: false,
        allowed: "off, or a power of two from 1 to 65536",
        show: |options| or_off(options.segments, |segments| segments.to_string()),
        read: |options, text| {
            let parse = |text: &str| text.parse().ok().filter(|n: &u32| n.is_power_of_two());
            options.segments = off_or(text, |text| parse(text).filter(|n| *n <= 1 << 16))?;
            Some(())
        },
    },
    Field {
        name: "persist",
        alias: "",
        live: false,
        allowed: "one of none, async, sync, behind",
        show: |options| persist_name(options.persist).to_owned(),
        read: |options, text| {
            options.persist = PersistMode::parse(text)?;
            Some(())
        },
    },
    Field {
        name: "preload",
        alias: "",
        // From the next start on.
        live: true,
        allowed: "all, none, hot, or prefixes such as user:*,cart:*",
        show: |options| options.preload.to_string(),
        read: |options, text| {
            options.preload = Preload::parse(text)?;
            Some(())
        },
    },
    Field {
        name: "behind_delay",
        alias: "",
        live: true,
        allowed: "0s to 1h",
        show: |options| show_millis(options.behind_delay),
        read: |options, text| {
            let ms = u64::try_from(parse_span(text)?.as_millis()).ok()?;
            options.behind_delay = Some(ms).filter(|ms| *ms <= BEHIND_DELAY_MAX_MS)?;
            Some(())
        },
    },
    Field {
        name: "behind_queue",
        alias: "",
        live: true,
        allowed: "a size of 64KiB to 1TiB",
        show: |options| show_size(options.behind_queue),
        read: |options, text| {
            let bytes = parse_size(text).filter(|bytes| (64 << 10..=TIB).contains(bytes))?;
            options.behind_queue = bytes;
            Some(())
        },
    },
    Field {
        name: "regions",
        alias: "",
        live: false,
        allowed: "off, or for each region its prefix, max_bytes, max_entries and eviction, \
                  each or off, with blanks between",
        show: show_regions,
        read: |options, text| {
            options.regions = if text == "off" { Vec::new() } else { parse_regions(text)? };
            Some(())
        },
    },
];

impl CacheOptions {
    /// The names of all options.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|field| field.name)
    }

    /// What an option may be, in words; `None` when there is none of that name.
    #[must_use]
    pub fn allowed(name: &str) -> Option<&'static str> {
        FIELDS.iter().find(|field| field.name == name).map(|field| field.allowed)
    }

    /// Sets an option from its text.
    ///
    /// # Errors
    /// [`OptionError`]; nothing was changed.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), OptionError> {
        let called = |field: &&Field| field.name == name || !name.is_empty() && field.alias == name;
        let unknown = || OptionError::Unknown { name: name.to_owned() };
        let field = FIELDS.iter().find(called).ok_or_else(unknown)?;
        let (name, value, allowed) = (field.name, text.to_owned(), field.allowed);
        (field.read)(self, text).ok_or(OptionError::Value { name, value, allowed })
    }

    /// These options with some of them changed.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn with(&self, changes: &[(&str, &str)]) -> Result<CacheOptions, OptionError> {
        let mut options = self.clone();
        changes.iter().try_for_each(|(name, text)| options.set(name, text))?;
        Ok(options)
    }

    /// All options as text.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, String)> {
        FIELDS.iter().map(|field| (field.name, (field.show)(self)))
    }

    /// Where `want` differs from what this one has.
    #[must_use]
    pub fn differences(&self, want: &CacheOptions) -> Vec<Difference> {
        let both = self.texts().zip(want.texts());
        let differ = both.filter(|((_, have), (_, want))| have != want);
        differ.map(|((name, have), (_, want))| Difference { name, have, want }).collect()
    }

    /// Whether an option changes while the cache runs.
    #[must_use]
    pub fn is_live(name: &str) -> bool {
        FIELDS.iter().any(|field| field.live && field.name == name)
    }

    /// What a cache is made from.
    pub(super) fn cache_config(&self, allocator: Allocator, seed: u64) -> CacheConfig {
        let regions = self.regions.iter().map(|region| RegionConfig {
            prefix: region.prefix.clone().into_bytes(),
            max_bytes: region.max_bytes,
            max_entries: region.max_entries,
            eviction: region.eviction,
        });
        let table = TableConfig {
            segments: self.segments,
            max_bytes: self.memory,
            max_entries: self.max_entries,
            eviction: self.eviction,
            regions: regions.collect(),
            allocator,
            seed,
            ..TableConfig::default()
        };
        CacheConfig { table, default_ttl: self.ttl, default_max_idle: self.max_idle }
    }
}

/// The name of a mode.
#[must_use]
pub fn persist_name(mode: PersistMode) -> &'static str {
    PersistMode::NAMES.iter().find(|(_, known)| *known == mode).map_or("none", |(name, _)| name)
}

fn or_off<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "off".to_owned(), show)
}

fn off_or<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "off" { Some(None) } else { parse(text).map(Some) }
}

fn show_millis(ms: u64) -> String {
    show_span(Duration::from_millis(ms))
}

fn parse_millis(text: &str) -> Option<u64> {
    let ms = u64::try_from(parse_span(text)?.as_millis()).ok()?;
    (1..=SPAN_MAX_MS).contains(&ms).then_some(ms)
}

fn parse_entries(text: &str) -> Option<u64> {
    text.parse().ok().filter(|entries| (1..=ENTRIES_MAX).contains(entries))
}

/// Four words each: a prefix has no blanks.
fn show_regions(options: &CacheOptions) -> String {
    let mut text = String::new();
    for region in &options.regions {
        let bytes = or_off(region.max_bytes, show_size);
        let entries = or_off(region.max_entries, |entries| entries.to_string());
        let eviction = or_off(region.eviction, |kind| kind.name().to_owned());
        let gap = if text.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(text, "{gap}{} {bytes} {entries} {eviction}", region.prefix);
    }
    if text.is_empty() { "off".to_owned() } else { text }
}

fn parse_regions(text: &str) -> Option<Vec<RegionOptions>> {
    let (mut words, mut regions) = (text.split_ascii_whitespace(), Vec::<RegionOptions>::new());
    while let Some(prefix) = words.next() {
        let region = RegionOptions {
            prefix: prefix.to_owned(),
            max_bytes: off_or(words.next()?, parse_size)?,
            max_entries: off_or(words.next()?, parse_entries)?,
            eviction: off_or(words.next()?, |name| name.parse().ok())?,
        };
        let twice = regions.iter().any(|other| other.prefix == region.prefix);
        if prefix.len() > 250 || twice || regions.len() == 255 {
            return None;
        }
        regions.push(region);
    }
    Some(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        let changes = [
            ("max_bytes", "64MiB"),
            ("max_entries", "1000"),
            ("eviction", "s3-fifo"),
            ("ttl", "10m"),
            ("max_idle", "5m"),
            ("segments", "16"),
            ("persist", "sync"),
            ("preload", "user:*,cart:*"),
            ("behind_delay", "50ms"),
            ("behind_queue", "256KiB"),
            ("regions", "user: 1MiB off lru  sess:= off 100 off"),
        ];
        let options = CacheOptions::default().with(&changes).unwrap();
        let texts: Vec<_> = options.texts().collect();
        let pairs: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(CacheOptions::default().with(&pairs), Ok(options.clone()));
        assert_eq!(CacheOptions::default().differences(&options).len(), 11);
        assert_eq!(options.differences(&options), []);
    }

    #[test]
    fn what_is_out_of_bounds_says_what_is_allowed() {
        for (name, text) in [
            ("mode", "distributed"),
            ("memory", "1023KiB"),
            ("memory", "much"),
            ("max_entries", "0"),
            ("eviction", "best"),
            ("ttl", "0"),
            ("ttl", "10"),
            ("max_idle", "50d"),
            ("segments", "3"),
            ("segments", "131072"),
            ("persist", "always"),
            ("preload", "some"),
            ("behind_delay", "off"),
            ("behind_delay", "61m"),
            ("behind_queue", "63KiB"),
            ("regions", "a off off"),
            ("regions", "a off off off a off off off"),
            ("name", "x"),
            ("", "x"),
        ] {
            let mut options = CacheOptions::default();
            let refused = options.set(name, text).unwrap_err();
            let told = refused.to_string();
            assert!(told.contains(&format!("{text:?}")) || told.contains(&format!("{name:?}")));
            assert_eq!(options, CacheOptions::default(), "{told}");
        }
    }
}
