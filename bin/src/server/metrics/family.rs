//! One family of series.

use super::scrape::Scrape;

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up, but for a restart or a reset of the statistics.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Facts, as labels.
    Info,
}

impl Kind {
    /// What the names of its series end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Info => "_info",
        }
    }

    /// Its name in Prometheus' text, which has no facts.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info => "gauge",
        }
    }
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// Seconds.
    Real(f64),
}

/// One series at one moment.
#[derive(Debug)]
pub struct Sample {
    /// The values of the family's labels, in their order.
    pub labels: Vec<String>,
    /// Its value.
    pub value: Number,
}

/// Series of one name.
pub struct Family {
    /// The name, without the suffix of its kind.
    pub name: &'static str,
    /// What its series are.
    pub kind: Kind,
    /// Their labels.
    pub labels: &'static [&'static str],
    /// What they say, in one sentence without its full stop.
    pub help: &'static str,
    /// Reads them.
    pub read: fn(&Scrape) -> Vec<Sample>,
}

impl Family {
    /// The name of its series.
    pub fn series(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

/// One series without labels.
pub fn one(value: u64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value: Number::Whole(value) }]
}

/// A series for each value of one label.
pub fn by<L: ToString>(values: impl IntoIterator<Item = (L, u64)>) -> Vec<Sample> {
    let sample = |(label, value): (L, u64)| Sample {
        labels: vec![label.to_string()],
        value: Number::Whole(value),
    };
    values.into_iter().map(sample).collect()
}
