//! The layers of a configuration: defaults, the file, the environment, flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::field::Raw;
use super::file::apply_file;
use super::key::find;
use super::model::{CacheConfig, CacheMode, ServerConfig};
use super::problem::{Origin, Problem, Problems};
use super::suggest::nearest;
use super::table::{CACHE, ROOT};
use super::validate::validate;

/// Names the file, where `-c` does not.
const FILE_ENV: &str = "ISOGRID_CONFIG";

/// Where a file is looked for when neither `-c` nor the environment names one.
const FILES: [&str; 2] = ["isogrid.toml", "/etc/isogrid/isogrid.toml"];

/// What the names of the variables that set a key begin with; `__` stands for a dot.
const ENV_PREFIX: &str = "ISOGRID__";

/// One key set from outside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key: `limits.max_connections`, or `cache.NAME.memory`.
    pub key: String,
    /// What was written.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

impl Setting {
    /// A key set by a flag of its own.
    pub fn flag(flag: &str, key: &str, value: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.into(), origin: Origin::Flag(flag.to_owned()) }
    }

    /// `key=value`, as `--set` takes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self::flag(&format!("--set {text}"), key.trim(), value.trim()))
            }
            _ => Err(format!("`{text}` is not KEY=VALUE, for example limits.backlog=2048")),
        }
    }
}

/// Everything that a configuration is made of, beside the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file given with `-c`; without one the usual places are tried.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Flags, in the order in which they win.
    pub settings: Vec<Setting>,
}

impl Sources {
    /// The process environment, with the file and the flags given.
    pub fn from_process(file: Option<PathBuf>, settings: Vec<Setting>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { file, env: std::env::vars_os().filter_map(text).collect(), settings }
    }

    fn find_file(&self) -> Option<PathBuf> {
        let named = self.file.clone().or_else(|| self.env.get(FILE_ENV).map(PathBuf::from));
        named.or_else(|| FILES.iter().map(PathBuf::from).find(|path| path.is_file()))
    }

    fn env_settings(&self) -> impl Iterator<Item = Setting> {
        self.env.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(ENV_PREFIX)?.split("__").collect::<Vec<_>>().join(".");
            let origin = Origin::Env(name.clone());
            Some(Setting { key: key.to_ascii_lowercase(), value: value.clone(), origin })
        })
    }
}

/// A configuration, and where each of its values was said.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: ServerConfig,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where values were said, by key; keys at their default are absent.
    pub origins: BTreeMap<String, Origin>,
}

/// Builds the configuration and checks it as a whole; the error holds everything that is wrong.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loaded = Loaded { file: sources.find_file(), ..Default::default() };
    let mut problems = Vec::new();
    if let Some(path) = loaded.file.clone() {
        let text = read(&path)?;
        problems.extend(apply_file(&mut loaded, &path, &text));
    }
    for setting in sources.env_settings().chain(sources.settings.iter().cloned()) {
        problems.extend(loaded.set(&setting).err());
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    loaded.keep_in_memory();
    validate(&loaded.config).map(|()| loaded)
}

fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the configuration file {}: {error}", path.display());
        Problem::new(what, &Origin::Default, "name a readable file with -c, or none at all")
    })
}

impl From<ServerConfig> for Loaded {
    fn from(config: ServerConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

impl Loaded {
    fn set(&mut self, setting: &Setting) -> Result<(), Problem> {
        let Setting { key, value, origin } = setting;
        let raw = Raw::One(value.clone());
        let refuse = |(what, help)| Problem::new(what, origin, help);
        let bad = |what| Problem::new(what, origin, format!("`isogrid config explain {key}`"));
        let place = if let Some((cache, name)) = cache_key(key) {
            let cache = self.cache(cache).map_err(refuse)?;
            let key = find(&CACHE, &format!("cache.{}.", cache.name), name).map_err(refuse)?;
            key.write(cache, &raw).map_err(bad)?;
            format!("cache.{}.{}", cache.name, key.name)
        } else {
            let key = find(&ROOT, "", key).map_err(refuse)?;
            key.write(&mut self.config, &raw).map_err(bad)?;
            key.name.to_owned()
        };
        self.origins.insert(place, origin.clone());
        Ok(())
    }

    /// Caches of a cluster are in memory alone unless it is said where else.
    fn keep_in_memory(&mut self) {
        let shared = self.config.caches.iter_mut().filter(|cache| cache.mode != CacheMode::Local);
        for cache in shared {
            if !self.origins.contains_key(&format!("cache.{}.persist", cache.name)) {
                cache.persist = "none".to_owned();
            }
        }
    }

    /// The cache called `name`, also as a variable's name spells it.
    fn cache(&mut self, name: &str) -> Result<&mut CacheConfig, (String, String)> {
        let help = self.suggest_cache(name);
        let called =
            |cache: &&mut CacheConfig| cache.name == name || spelled(&cache.name) == spelled(name);
        let found = self.config.caches.iter_mut().find(called);
        found.ok_or_else(|| (format!("there is no cache `{name}`"), help))
    }

    fn suggest_cache(&self, name: &str) -> String {
        let names = self.config.caches.iter().map(|cache| cache.name.as_str());
        match nearest(name, names) {
            Some(near) => format!("did you mean `cache.{near}.`?"),
            None => "caches are added with [[cache]] in the configuration file".to_owned(),
        }
    }
}

/// Splits `cache.NAME.KEY`; the name may have dots of its own.
fn cache_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("cache.")?.rsplit_once('.')
}

/// A name as an environment variable can spell it.
fn spelled(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_ascii_lowercase()
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
