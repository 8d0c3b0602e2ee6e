//! Families as text.

use std::fmt::{self, Debug, Formatter, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::FAMILIES;
use super::family::{Family, Kind, Number, Sample};
use super::scrape::Scrape;
use crate::server::node::Node;

/// Everything in OpenMetrics' text.
pub fn render(node: &Arc<Node>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(Scrape::new(node))));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

/// OpenMetrics' text as Prometheus' own: counters are described by the name of their series, facts
/// are gauges, and there is no end mark.
pub fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    for line in open.lines() {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let Some((name, rest)) = described.and_then(|rest| rest.split_once(' ')) else {
            if !line.starts_with('#') {
                let _ = writeln!(out, "{line}");
            }
            continue;
        };
        let Some(family) = FAMILIES.iter().find(|family| family.name == name) else { continue };
        let word = line.get(2..6).unwrap_or_default();
        let rest = if word == "TYPE" { family.kind.name() } else { rest };
        let _ = writeln!(out, "# {word} {} {rest}", family.series());
    }
    out
}

struct Figures(Scrape);

impl Debug for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            encode(family, &(family.read)(&self.0), &mut encoder)?;
        }
        Ok(())
    }
}

fn encode(family: &Family, samples: &[Sample], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Info => MetricType::Info,
    };
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    for sample in samples {
        let labels: Vec<(&str, &str)> =
            family.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
        if family.kind == Kind::Info {
            metric.encode_info(&labels)?;
            continue;
        }
        if labels.is_empty() {
            number(family.kind, sample.value, &mut metric)?;
        } else {
            number(family.kind, sample.value, &mut metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn number(kind: Kind, value: Number, metric: &mut MetricEncoder<'_>) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Number::Whole(n)) => metric.encode_counter::<NoLabelSet, _, u64>(&n, None),
        (Kind::Counter, Number::Real(n)) => metric.encode_counter::<NoLabelSet, _, u64>(&n, None),
        (_, Number::Whole(n)) => metric.encode_gauge(&n),
        (_, Number::Real(n)) => metric.encode_gauge(&n),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::ServerConfig;
    use crate::server::connections::Spoken;
    use crate::server::counters::Counts;

    #[test]
    fn names_stand_once_and_follow_the_rules() {
        let mut names = BTreeSet::new();
        for family in FAMILIES {
            let name = family.series();
            assert!(names.insert(name.clone()), "{name} stands twice");
            assert!(name.starts_with("isogrid_") || name.starts_with("process_"), "{name}");
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain) && !family.name.ends_with("_total"), "{name}");
            assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn labels_are_as_declared_and_escaped() {
        let node = Node::new(ServerConfig::ephemeral()).unwrap();
        let mut counts = Counts { cmd_set: 7, set_failed: 1, cas_badval: 2, ..Counts::default() };
        node.counters.of("default", Spoken::Http).take(&mut counts);
        let scrape = Scrape::new(&node);
        for family in FAMILIES {
            for sample in (family.read)(&scrape) {
                assert_eq!(sample.labels.len(), family.labels.len(), "{}", family.name);
            }
        }
        let text = render(&node);
        let stored = "isogrid_ops_total{cache=\"default\",op=\"set\",result=\"stored\",\
                      protocol=\"http\"} 4\n";
        assert!(text.contains(stored), "{text}");
        assert!(
            text.contains("# TYPE isogrid_ops counter\n") && text.ends_with("# EOF\n"),
            "{text}"
        );
    }

    #[test]
    fn the_classic_text_describes_each_series_by_its_name() {
        let node = Node::new(ServerConfig::ephemeral()).unwrap();
        let text = classic(&render(&node));
        let mut described = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge"].contains(&kind), "{line}");
                assert!(described.insert(name.to_owned()), "{line}");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(described.contains(name), "{line} was not described");
            }
        }
        assert!(described.contains("isogrid_build_info"), "{described:?}");
        assert!(!text.contains("# EOF"));
    }
}
