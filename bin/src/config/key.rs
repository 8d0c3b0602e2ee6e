//! The table of keys: the one source of truth of what can be configured.

use super::field::{Form, Raw, field};
use super::model::{CacheConfig, ListenerConfig, RegionConfig, ServerConfig};
use super::suggest::nearest;
use super::validate::{EVICTION_POLICIES, is_cache_name};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;

/// How a key reaches its field.
#[derive(Clone, Copy)]
pub struct Access<T> {
    /// The value as a user would write it.
    pub read: fn(&T, &Form) -> Raw,
    /// Parses what a user wrote into the field.
    pub write: fn(&mut T, &Raw, &Form) -> Result<(), String>,
}

/// One key of a struct `T` of the model.
pub struct Key<T: 'static> {
    /// Its name below its section.
    pub name: &'static str,
    /// Another name that is understood.
    pub alias: &'static str,
    /// What it looks like.
    pub form: Form,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
    /// The default in words, where it depends on the machine or is not a value.
    pub default_words: &'static str,
    access: Access<T>,
}

impl<T: Default> Key<T> {
    const fn new(name: &'static str, form: Form, access: Access<T>, doc: &'static str) -> Self {
        Self { name, alias: "", form, doc, default_words: "", access }
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    const fn default_is(mut self, words: &'static str) -> Self {
        self.default_words = words;
        self
    }

    /// The value of the key in `target`, as a user would write it.
    pub fn read(&self, target: &T) -> Raw {
        (self.access.read)(target, &self.form)
    }

    /// Sets the key; the error says value, bounds and default.
    pub fn write(&self, target: &mut T, raw: &Raw) -> Result<(), String> {
        (self.access.write)(target, raw, &self.form)
            .map_err(|why| format!("`{}`: {why} (default: {})", self.name, self.default()))
    }

    /// The default, in words.
    pub fn default(&self) -> String {
        match (self.default_words, self.read(&T::default())) {
            ("", Raw::One(text)) => text,
            ("", Raw::Many(texts)) => texts.join(", "),
            (words, _) => words.to_owned(),
        }
    }
}

/// The key called `name` in `table`, or what is wrong and what to do.
pub fn find<T: Default>(
    table: &'static [Key<T>],
    section: &str,
    name: &str,
) -> Result<&'static Key<T>, (String, String)> {
    let called = |key: &&Key<T>| key.name == name || (!name.is_empty() && key.alias == name);
    table.iter().find(called).ok_or_else(|| {
        let names = table.iter().map(|key| key.name);
        let help = match nearest(name, names.chain(SECTIONS)) {
            Some(near) => format!("did you mean `{section}{near}`?"),
            None => "`isogrid config explain all` lists every key".to_owned(),
        };
        (format!("unknown key `{section}{name}`"), help)
    })
}

/// The arrays of tables, for suggestions.
const SECTIONS: [&str; 3] = ["cache", "listener", "region"];

const ENTRIES: Form = Form::OrOff(&Form::Count(1, 1 << 40));
const TIMEOUT: Form = Form::OrOff(&Form::Span(SECOND, 24 * HOUR));
const LIFE: Form = Form::OrOff(&Form::Span(1, 100 * YEAR));

/// Keys at the top and in `[node]`, `[protocol]`, `[limits]` and `[log]`.
pub static ROOT: [Key<ServerConfig>; 20] = [
    Key::new(
        "node.name",
        Form::Text("1 to 64 printable characters", is_name),
        field!(ServerConfig, node.name),
        "The node's name in logs.",
    )
    .default_is("the host name"),
    Key::new(
        "node.threads",
        Form::Count(1, 1_024),
        field!(ServerConfig, node.threads),
        "Worker threads: a bound on the CPU used.",
    )
    .default_is("the number of cores"),
    Key::new(
        "node.drain_timeout",
        Form::Span(0, HOUR),
        field!(ServerConfig, node.drain_timeout),
        "How long a SIGTERM waits for requests that are under way.",
    ),
    Key::new(
        "memcached",
        Form::Addresses,
        field!(ServerConfig, memcached),
        "Where to serve the cache `default` over memcached's protocols; port 0 picks a free one. \
         `[[listener]]` says more about a listener. Said in the environment or by a flag, it \
         replaces every listener of the file.",
    ),
    Key::new(
        "protocol.shutdown_command",
        Form::Flag,
        field!(ServerConfig, protocol.shutdown_command),
        "Whether the `shutdown` command stops the server (memcached's -A).",
    ),
    Key::new(
        "protocol.dump",
        Form::Flag,
        field!(ServerConfig, protocol.dump),
        "Whether `stats cachedump` and `lru_crawler metadump` are answered (memcached's -X says no).",
    ),
    Key::new(
        "protocol.cas",
        Form::Flag,
        field!(ServerConfig, protocol.cas),
        "Whether answers carry a cas unique (memcached's -C says no).",
    ),
    Key::new(
        "protocol.verbosity",
        Form::Count(0, 3),
        field!(ServerConfig, protocol.verbosity),
        "What `stats settings` shows as the verbosity (memcached's -v).",
    ),
    Key::new(
        "protocol.prefix_delimiter",
        Form::Letter,
        field!(ServerConfig, protocol.prefix_delimiter),
        "Ends the prefix of a key in `stats detail` (memcached's -D).",
    ),
    Key::new(
        "protocol.detail",
        Form::Flag,
        field!(ServerConfig, protocol.detail),
        "Whether `stats detail` starts switched on.",
    ),
    Key::new(
        "limits.max_item_size",
        Form::Size(KIB, GIB),
        field!(ServerConfig, limits.max_item_size),
        "The largest item: key, value and about 50 bytes of header (memcached's -I).",
    ),
    Key::new(
        "limits.max_connections",
        Form::Count(1, 1_000_000),
        field!(ServerConfig, limits.max_connections),
        "Client connections at once (memcached's -c).",
    ),
    Key::new(
        "limits.refuse_fast",
        Form::Flag,
        field!(ServerConfig, limits.refuse_fast),
        "Whether a connection over the limit is refused at once with an error line, or left \
         waiting (memcached's maxconns_fast).",
    ),
    Key::new(
        "limits.backlog",
        Form::Count(1, 65_535),
        field!(ServerConfig, limits.backlog),
        "Connections that the kernel may hold before they are accepted (memcached's -b).",
    ),
    Key::new(
        "limits.idle_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.idle_timeout),
        "A connection that sent nothing for so long is closed.",
    ),
    Key::new(
        "limits.request_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.request_timeout),
        "A connection whose request is half read for so long is closed.",
    ),
    Key::new(
        "limits.write_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.write_timeout),
        "A connection that does not read its answers for so long is closed.",
    ),
    Key::new(
        "limits.requests_per_turn",
        Form::Count(1, 1_000_000),
        field!(ServerConfig, limits.requests_per_turn),
        "Requests of one connection before others get their turn (memcached's -R).",
    ),
    Key::new(
        "log.format",
        Form::Choice(&["pretty", "json"]),
        field!(ServerConfig, log.format),
        "pretty is for people; json is one document a line.",
    )
    .default_is("pretty on a terminal, else json"),
    Key::new(
        "log.level",
        Form::Text("a filter like `info` or `warn,isogrid=debug`", is_filter),
        field!(ServerConfig, log.level),
        "Which log lines are written: a level, or a level per module.",
    ),
];

/// Keys of `[[listener]]`.
pub static LISTENER: [Key<ListenerConfig>; 4] = [
    Key::new(
        "address",
        Form::Address,
        field!(ListenerConfig, address),
        "Where to listen; port 0 picks a free one.",
    ),
    Key::new(
        "protocol",
        Form::Choice(&["auto", "ascii", "binary"]),
        field!(ListenerConfig, protocol),
        "Which of memcached's protocols is spoken; auto looks at the first byte of each \
         connection (memcached's -B).",
    ),
    Key::new("cache", CACHE_NAME, field!(ListenerConfig, cache), "The cache behind the listener."),
    Key::new(
        "flush",
        Form::Flag,
        field!(ListenerConfig, flush),
        "Whether `flush_all` is allowed here (memcached's -F says no).",
    ),
];

/// Keys of `[[cache]]`.
pub static CACHE: [Key<CacheConfig>; 7] = [
    Key::new("name", CACHE_NAME, field!(CacheConfig, name), "The cache's name; each name once."),
    Key::new(
        "memory",
        Form::Size(1 << 20, 64 * TIB),
        field!(CacheConfig, limits.max_bytes),
        "Bytes that the cache may take, everything counted.",
    )
    .alias("max_memory"),
    Key::new(
        "max_entries",
        ENTRIES,
        field!(CacheConfig, limits.max_entries),
        "Entries that the cache may hold; off means as many as fit.",
    ),
    Key::new(
        "eviction",
        Form::Choice(&EVICTION_POLICIES),
        field!(CacheConfig, eviction),
        "Which entry makes room when the cache is full; none refuses to store instead.",
    ),
    Key::new(
        "ttl",
        LIFE,
        field!(CacheConfig, default_ttl),
        "Expiry of entries that are stored without one.",
    ),
    Key::new(
        "max_idle",
        LIFE,
        field!(CacheConfig, default_max_idle),
        "Entries that nobody read for so long expire, unless stored with their own max-idle.",
    ),
    Key::new(
        "segments",
        Form::OrOff(&Form::Count(1, 65_536)),
        field!(CacheConfig, segments),
        "Into how many parts, each with its own lock, the cache is split: a power of two; off \
         lets the server choose by the memory.",
    ),
];

/// Keys of `[[cache.region]]`.
pub static REGION: [Key<RegionConfig>; 4] = [
    Key::new(
        "prefix",
        Form::Text("1 to 250 bytes without blanks", is_prefix),
        field!(RegionConfig, prefix),
        "Keys that begin with this belong to the region; the longest prefix wins.",
    )
    .default_is("none: it must be given"),
    Key::new(
        "max_bytes",
        Form::OrOff(&Form::Size(KIB, 64 * TIB)),
        field!(RegionConfig, max_bytes),
        "Bytes that the region may take; off leaves only the cache's limit.",
    ),
    Key::new(
        "max_entries",
        ENTRIES,
        field!(RegionConfig, max_entries),
        "Entries that the region may hold; off leaves only the cache's limit.",
    ),
    Key::new(
        "eviction",
        Form::Choice(&EVICTION_POLICIES),
        field!(RegionConfig, eviction),
        "Which entry of the region makes room.",
    )
    .default_is("the cache's"),
];

const CACHE_NAME: Form = Form::Text("1 to 64 of A-Z, a-z, 0-9, _, . and -", is_cache_name);

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.contains(|c: char| c.is_control())
}

fn is_prefix(text: &str) -> bool {
    (1..=250).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace())
}

fn is_filter(text: &str) -> bool {
    tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check<T: Default>(table: &'static [Key<T>]) {
        let names: BTreeSet<&str> = table.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), table.len(), "every name once");
        for key in table {
            assert!(key.doc.ends_with('.'), "{} is documented in sentences", key.name);
            let mut target = T::default();
            let shown = key.read(&target);
            if shown != Raw::One(String::new()) {
                assert_eq!(
                    key.write(&mut target, &shown),
                    Ok(()),
                    "{} reads its default",
                    key.name
                );
                assert_eq!(key.read(&target), shown, "{}", key.name);
            }
        }
    }

    #[test]
    fn every_key_is_documented_and_reads_what_it_shows() {
        check(&ROOT);
        check(&LISTENER);
        check(&CACHE);
        check(&REGION);
    }

    #[test]
    fn a_value_out_of_bounds_says_value_bounds_and_default() {
        let key = find(&ROOT, "", "limits.max_item_size").unwrap();
        let error = key.write(&mut ServerConfig::default(), &Raw::One("2g".into())).unwrap_err();
        assert_eq!(error, "`limits.max_item_size`: `2g` is not 1KiB to 1GiB (default: 1MiB)");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        for (name, help) in [
            ("limits.max_conections", "did you mean `limits.max_connections`?"),
            ("log.colour", "`isogrid config explain all` lists every key"),
        ] {
            let (what, told) = find(&ROOT, "", name).err().unwrap();
            assert_eq!((what, told.as_str()), (format!("unknown key `{name}`"), help));
        }
    }
}
