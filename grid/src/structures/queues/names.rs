//! Names of queues, topics and groups of topics, and what each is set to.
//!
//! A group is the queue `TOPIC/GROUP`, and a topic is `TOPIC/` here, so that all of a topic has one
//! segment and none is taken for a queue: names of queues have no `/`.

use crate::catalog::is_name;
use crate::structure::queue::{QueueOptionError, QueueOptions};
use crate::structure::topic::{Start, TopicOptions};

/// Between a topic and its group.
const MARK: char = '/';

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// A queue.
    Queue(&'a str),
    /// A topic.
    Topic(&'a str),
    /// A topic, and a group of it.
    Group(&'a str, &'a str),
}

impl<'a> Name<'a> {
    /// What this name is of.
    #[must_use]
    pub fn of(name: &'a str) -> Self {
        match name.split_once(MARK) {
            None => Name::Queue(name),
            Some((topic, "")) => Name::Topic(topic),
            Some((topic, group)) => Name::Group(topic, group),
        }
    }

    /// Whether there may be something of this name.
    #[must_use]
    pub fn is_good(self) -> bool {
        match self {
            Name::Queue(name) | Name::Topic(name) => is_name(name),
            Name::Group(topic, group) => is_name(topic) && is_name(group),
        }
    }
}

/// The name of a topic.
#[must_use]
pub fn of_topic(topic: &str) -> String {
    format!("{topic}{MARK}")
}

/// The name of a group, which is a queue.
#[must_use]
pub fn of_group(topic: &str, group: &str) -> String {
    format!("{topic}{MARK}{group}")
}

/// The name without its group: all of a topic is where this is.
#[must_use]
pub fn home(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(home, _)| home)
}

/// What a queue, a group or a topic is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Options {
    /// A queue.
    Queue(QueueOptions),
    /// A group, and where it begins when it is made.
    Group(QueueOptions, Start),
    /// A topic.
    Topic(TopicOptions),
}

/// The option of a group that says where it begins.
const FROM: &str = "from";
/// Options of a queue that a group has not: its topic bounds what is kept.
const OF_QUEUES: [&str; 2] = ["max_len", "max_bytes"];

impl Options {
    /// What it is set to if nobody says anything.
    #[must_use]
    pub fn default_of(name: &str) -> Self {
        match Name::of(name) {
            Name::Queue(_) => Options::Queue(QueueOptions::default()),
            Name::Group(..) => Options::Group(QueueOptions::default(), Start::New),
            Name::Topic(_) => Options::Topic(TopicOptions::default()),
        }
    }

    /// These options with some changed.
    ///
    /// # Errors
    /// [`QueueOptionError`].
    pub fn with(self, changes: &[(&str, &str)]) -> Result<Self, QueueOptionError> {
        Ok(match self {
            Options::Queue(options) => Options::Queue(options.with(changes)?),
            Options::Topic(options) => Options::Topic(options.with(changes)?),
            Options::Group(options, mut start) => {
                let mut others = Vec::new();
                for (name, text) in changes {
                    match *name {
                        FROM => start = start_of(text)?,
                        name if OF_QUEUES.contains(&name) => {
                            let (what, name) = ("a group of a topic", name.to_owned());
                            return Err(QueueOptionError::Unknown { what, name });
                        }
                        name => others.push((name, *text)),
                    }
                }
                Options::Group(options.with(&others)?, start)
            }
        })
    }

    /// All options as text, but for where a group began.
    #[must_use]
    pub fn texts(&self) -> Vec<(&'static str, String)> {
        match self {
            Options::Queue(options) => options.texts().collect(),
            Options::Topic(options) => options.texts().collect(),
            Options::Group(options, _) => {
                options.texts().filter(|(name, _)| !OF_QUEUES.contains(name)).collect()
            }
        }
    }

    /// The options that `want` has other than these, in words. Where a group begins counts when it
    /// is made alone.
    #[must_use]
    pub fn differences(&self, want: &Options) -> Vec<String> {
        match (self, want) {
            (Options::Queue(have) | Options::Group(have, _), Options::Queue(want))
            | (Options::Queue(have) | Options::Group(have, _), Options::Group(want, _)) => {
                have.differences(want)
            }
            (Options::Topic(have), Options::Topic(want)) => have.differences(want),
            _ => Vec::new(),
        }
    }
}

fn start_of(text: &str) -> Result<Start, QueueOptionError> {
    let (name, value) = (FROM, text.to_owned());
    let allowed = "`new`, `first`, an id, or `@` and a time in ms since 1970";
    Start::parse(text).ok_or(QueueOptionError::Value { name, value, allowed })
}
