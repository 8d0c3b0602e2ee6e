//! The TOML file: the same keys as everywhere, in sections and arrays of tables.

use std::borrow::Borrow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field::Raw;
use super::key::{Key, find};
use super::layer::Loaded;
use super::model::{CacheConfig, ListenerConfig, RegionConfig};
use super::problem::{Origin, Problem};
use super::table::{CACHE, LISTENER, REGION, ROOT};

type Value<'i> = Spanned<DeValue<'i>>;

/// Reads the file `path`, whose text is `text`, over `loaded`; returns everything wrong with it.
pub fn apply_file(loaded: &mut Loaded, path: &Path, text: &str) -> Vec<Problem> {
    let mut reader = Reader { loaded, path, text, problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(document) => reader.document(document.get_ref()),
        Err(error) => {
            let place = error.span().map_or(0, |span| span.start);
            let what = format!("not valid TOML: {}", error.message());
            reader.refuse(place, what, "see https://toml.io, or begin with `isogrid config init`");
        }
    }
    reader.problems
}

struct Reader<'a> {
    loaded: &'a mut Loaded,
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn document(&mut self, document: &DeTable<'_>) {
        for (name, value) in document {
            let name: &str = name.get_ref().borrow();
            if !matches!(name, "cache" | "listener") {
                self.root(name, value);
            }
        }
        if let Some(value) = document.get("listener") {
            self.listeners(value, document.contains_key("memcached"));
        }
        if let Some(value) = document.get("cache") {
            self.caches(value);
        }
    }

    /// A key at the top (`memcached`), or a section of them.
    fn root(&mut self, name: &str, value: &Value<'_>) {
        match value.get_ref() {
            DeValue::Table(section) if !section.is_empty() => {
                for (key, value) in section {
                    self.root(&format!("{name}.{}", key.get_ref()), value);
                }
            }
            DeValue::Table(_) if ROOT.iter().any(|key| key.name.starts_with(&dotted(name))) => {}
            _ => {
                let mut config = std::mem::take(&mut self.loaded.config);
                self.key(&ROOT, "", "", name, value, &mut config);
                self.loaded.config = config;
            }
        }
    }

    fn listeners(&mut self, value: &Value<'_>, also_listed: bool) {
        let mut listeners = Vec::new();
        for (index, table) in self.tables("listener", value).into_iter().enumerate() {
            let mut listener = ListenerConfig::default();
            let place = format!("listener.{index}.");
            self.keys(&LISTENER, "listener.", &place, table, &mut listener);
            listeners.push(listener);
        }
        if !also_listed {
            self.loaded.config.memcached.clear();
        }
        self.loaded.config.memcached.extend(listeners);
    }

    /// `[[cache]]` tables, or the one table that `[[cache.region]]` alone makes: the default cache.
    fn caches(&mut self, value: &Value<'_>) {
        let tables = self.tables("cache", value);
        self.loaded.config.caches = tables.into_iter().map(|table| self.cache(table)).collect();
    }

    fn cache(&mut self, table: &DeTable<'_>) -> CacheConfig {
        let mut cache = CacheConfig::default();
        let name = table.get("name").and_then(|name| name.get_ref().as_str());
        let place = format!("cache.{}.", name.unwrap_or(CacheConfig::DEFAULT));
        self.keys(&CACHE, "cache.", &place, table, &mut cache);
        if let Some(value) = table.get("region") {
            for table in self.tables("cache.region", value) {
                let place = format!("{place}region.{}.", cache.regions.len());
                let mut region = RegionConfig::default();
                self.keys(&REGION, "cache.region.", &place, table, &mut region);
                cache.regions.push(region);
            }
        }
        cache
    }

    /// The tables of an array of tables; a single table is an array of one.
    fn tables<'t, 'i>(&mut self, name: &str, value: &'t Value<'i>) -> Vec<&'t DeTable<'i>> {
        let tables: Option<Vec<_>> = match value.get_ref() {
            DeValue::Table(table) => Some(vec![table]),
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_table()).collect(),
            _ => None,
        };
        tables.unwrap_or_else(|| {
            let what = format!("`{name}` is not a table");
            self.refuse(value.span().start, what, &format!("write [[{name}]] and keys below it"));
            Vec::new()
        })
    }

    fn keys<T: Default>(
        &mut self,
        keys: &'static [Key<T>],
        section: &str,
        place: &str,
        table: &DeTable<'_>,
        target: &mut T,
    ) {
        for (name, value) in table {
            let name: &str = name.get_ref().borrow();
            if !(section == "cache." && name == "region") {
                self.key(keys, section, place, name, value, target);
            }
        }
    }

    fn key<T: Default>(
        &mut self,
        keys: &'static [Key<T>],
        section: &str,
        place: &str,
        name: &str,
        value: &Value<'_>,
        target: &mut T,
    ) {
        let at = value.span().start;
        let key = match find(keys, section, name) {
            Ok(key) => key,
            Err((what, help)) => return self.refuse(at, what, &help),
        };
        let written = raw(value.get_ref()).ok_or_else(|| format!("`{section}{name}` is no value"));
        match written.and_then(|raw| key.write(target, &raw)) {
            Ok(()) => {
                let origin = self.origin(at);
                self.loaded.origins.insert(format!("{place}{}", key.name), origin);
            }
            Err(what) => {
                let help = format!("`isogrid config explain {section}{}` tells more", key.name);
                self.refuse(at, what, &help);
            }
        }
    }

    fn refuse(&mut self, at: usize, what: String, help: &str) {
        self.problems.push(Problem::new(what, &self.origin(at), help));
    }

    fn origin(&self, at: usize) -> Origin {
        let before = self.text.get(..at).unwrap_or(self.text);
        Origin::File(self.path.to_owned(), before.matches('\n').count() + 1)
    }
}

fn dotted(name: &str) -> String {
    format!("{name}.")
}

/// A value or a list of values as text; `None` for tables.
fn raw(value: &DeValue<'_>) -> Option<Raw> {
    match value {
        DeValue::Array(items) => {
            items.iter().map(|item| scalar(item.get_ref())).collect::<Option<_>>().map(Raw::Many)
        }
        value => scalar(value).map(Raw::One),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
