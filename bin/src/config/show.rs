//! The configuration in force, as TOML that configures the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::field::{Form, Raw};
use super::key::Key;
use super::layer::Loaded;
use super::model::ServerConfig;
use super::problem::Origin;
use super::table::{CACHE, LISTENER, REGION, ROOT};

/// The configuration in force as TOML, each line with its origin when asked.
pub fn show(loaded: &Loaded, with_origin: bool) -> String {
    let mut out = Shown { loaded, with_origin, text: String::new() };
    let config = &loaded.config;
    if config.memcached.is_empty() {
        out.text.push_str("memcached = []\n");
    }
    let (sections, top): (Vec<_>, Vec<_>) = ROOT.iter().partition(|key| key.name.contains('.'));
    for key in top.iter().filter(|key| key.name != "memcached") {
        out.line(key.name, &key.read(config), &key.form, key.name);
    }
    for key in sections {
        let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
        out.header(section);
        out.line(name, &key.read(config), &key.form, key.name);
    }
    for (index, listener) in config.memcached.iter().enumerate() {
        out.table("listener", &LISTENER, listener, &format!("listener.{index}."));
    }
    for cache in &config.caches {
        let place = format!("cache.{}.", cache.name);
        out.table("cache", &CACHE, cache, &place);
        for (index, region) in cache.regions.iter().enumerate() {
            out.table("cache.region", &REGION, region, &format!("{place}region.{index}."));
        }
    }
    out.text
}

/// One value in force.
pub struct Value {
    /// Its key, e.g. `limits.backlog` or `cache.default.memory`.
    pub key: String,
    /// As a user would write it; a list is joined with commas.
    pub value: String,
    /// Where it was said.
    pub origin: String,
}

/// Every value in force, and where it was said.
pub fn values(config: &ServerConfig, origins: &BTreeMap<String, Origin>) -> Vec<Value> {
    let mut out = Values { origins, values: Vec::new() };
    out.table(&ROOT, config, "");
    for (index, listener) in config.memcached.iter().enumerate() {
        out.table(&LISTENER, listener, &format!("listener.{index}."));
    }
    for cache in &config.caches {
        let place = format!("cache.{}.", cache.name);
        out.table(&CACHE, cache, &place);
        for (index, region) in cache.regions.iter().enumerate() {
            out.table(&REGION, region, &format!("{place}region.{index}."));
        }
    }
    out.values
}

struct Values<'a> {
    origins: &'a BTreeMap<String, Origin>,
    values: Vec<Value>,
}

impl Values<'_> {
    fn table<T: Default>(&mut self, keys: &'static [Key<T>], target: &T, place: &str) {
        for key in keys {
            let name = format!("{place}{}", key.name);
            let value = match key.read(target) {
                Raw::One(text) => text,
                Raw::Many(texts) => texts.join(","),
            };
            let origin = self.origins.get(&name).unwrap_or(&Origin::Default).to_string();
            self.values.push(Value { key: name, value, origin });
        }
    }
}

struct Shown<'a> {
    loaded: &'a Loaded,
    with_origin: bool,
    text: String,
}

impl Shown<'_> {
    fn header(&mut self, section: &str) {
        let header = format!("{}\n", table_header(section));
        if !self.text.contains(&header) {
            self.begin(&header);
        }
    }

    fn begin(&mut self, header: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = write!(self.text, "{gap}{header}");
    }

    fn table<T: Default>(
        &mut self,
        section: &str,
        keys: &'static [Key<T>],
        target: &T,
        place: &str,
    ) {
        self.begin(&format!("{}\n", table_header(section)));
        for key in keys {
            self.line(key.name, &key.read(target), &key.form, &format!("{place}{}", key.name));
        }
    }

    fn line(&mut self, name: &str, value: &Raw, form: &Form, place: &str) {
        if *value == Raw::One(String::new()) {
            return;
        }
        let line = assignment(name, value, form);
        let _ = match self.origin(place) {
            Some(origin) => writeln!(self.text, "{line:<40} # {origin}"),
            None => writeln!(self.text, "{line}"),
        };
    }

    /// Listeners that are only listed were said where the key `memcached` was.
    fn origin(&self, place: &str) -> Option<String> {
        let origins = &self.loaded.origins;
        let listed = place.starts_with("listener.").then(|| origins.get("memcached")).flatten();
        let said = origins.get(place).or(listed);
        self.with_origin.then(|| said.map_or("default".to_owned(), ToString::to_string))
    }
}

/// The line that begins a section.
pub fn table_header(section: &str) -> String {
    match section {
        "listener" | "cache" | "cache.region" => format!("[[{section}]]"),
        section => format!("[{section}]"),
    }
}

/// `name = value`, as TOML.
pub fn assignment(name: &str, value: &Raw, form: &Form) -> String {
    let value = match value {
        Raw::One(text) if form.bare() => text.clone(),
        Raw::One(text) => quoted(text),
        Raw::Many(texts) => {
            format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
        }
    };
    format!("{name} = {value}")
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
