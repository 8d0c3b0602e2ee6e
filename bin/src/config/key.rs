//! A key: a name that a user can write, its bounds and its words, and the field behind it.

use super::field::{Form, Raw};
use super::suggest::nearest;

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
    /// A key whose default is what `T::default()` says.
    pub const fn new(name: &'static str, form: Form, access: Access<T>, doc: &'static str) -> Self {
        Self { name, alias: "", form, doc, default_words: "", access }
    }

    /// Understands another name, too.
    pub const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    /// Says the default in words.
    pub const fn default_is(mut self, words: &'static str) -> Self {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::ServerConfig;
    use crate::config::table::{CACHE, LISTENER, REGION, ROOT};

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
