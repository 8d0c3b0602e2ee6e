//! What a run comes to beside an earlier one, whose JSON was saved.

use serde_json::{Value, json};

use crate::cli::table::table;

/// What is compared: its name, its way through the document, and whether more is better.
const FIGURES: [(&str, &str, bool); 6] = [
    ("requests a second", "/requests_per_second", true),
    ("latency p50", "/latency_us/all/p50", false),
    ("latency p90", "/latency_us/all/p90", false),
    ("latency p99", "/latency_us/all/p99", false),
    ("latency p99.9", "/latency_us/all/p999", false),
    ("latency max", "/latency_us/all/max", false),
];
/// What has to be alike, or other things were measured.
const SETTINGS: [&str; 12] = [
    "protocol",
    "loop",
    "rate",
    "connections",
    "depth",
    "threads",
    "keys",
    "zipf",
    "key_size",
    "value_size",
    "seed",
    "ratio",
];

/// An earlier run.
pub struct Earlier(Value);

impl Earlier {
    /// Reads what `isogrid bench kv -o json` has printed.
    ///
    /// # Errors
    /// It is not that.
    pub fn read(file: &str) -> Result<Earlier, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let said: Value =
            serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
        let is_ours = FIGURES.iter().all(|(_, way, _)| said.pointer(way).is_some());
        let strange = || format!("{file} is not what `isogrid bench kv -o json` prints");
        is_ours.then_some(Earlier(said)).ok_or_else(strange)
    }

    /// For people: each figure then and now, and their ratio.
    pub fn table(&self, now: &Value) -> String {
        let mut rows = vec![["", "then", "now", "now/then", ""].map(str::to_owned)];
        for (name, way, more_is_better) in FIGURES {
            let (before, after) = (figure(&self.0, way), figure(now, way));
            let Some(ratio) = ratio(before, after) else { continue };
            let better = (ratio > 1.0) == more_is_better;
            let word = match ratio {
                0.98..=1.02 => "",
                _ if better => "better",
                _ => "worse",
            };
            let row = [name.to_owned(), plain(before), plain(after), format!("{ratio:.3}")];
            let [name, before, after, ratio] = row;
            rows.push([name, before, after, ratio, word.to_owned()]);
        }
        table(&rows)
    }

    /// The ratios, now to then, by the names of the figures in the document.
    pub fn json(&self, now: &Value) -> Value {
        let ratios = FIGURES.iter().filter_map(|(_, way, _)| {
            let ratio = ratio(figure(&self.0, way), figure(now, way))?;
            Some((way.trim_start_matches('/').replace('/', "."), json!(ratio)))
        });
        let ratios: serde_json::Map<_, _> = ratios.collect();
        json!({ "then": self.0, "ratios": ratios, "differ": self.differences(now) })
    }

    /// The settings in which the two are no equals.
    pub fn differences(&self, now: &Value) -> Vec<&'static str> {
        SETTINGS.into_iter().filter(|name| self.0.get(name) != now.get(name)).collect()
    }
}

fn figure(document: &Value, way: &str) -> f64 {
    document.pointer(way).and_then(Value::as_f64).unwrap_or(0.0)
}

fn ratio(before: f64, after: f64) -> Option<f64> {
    (before > 0.0).then(|| after / before)
}

fn plain(figure: f64) -> String {
    if figure < 10.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64, latency: f64) -> Value {
        let all =
            json!({"p50": latency, "p90": latency, "p99": latency, "p999": latency, "max": 0});
        json!({
            "requests_per_second": rate,
            "latency_us": { "all": all },
            "depth": 1,
        })
    }

    #[test]
    fn figures_are_told_with_their_ratio_and_whether_that_is_good() {
        let earlier = Earlier(run(1_000.0, 50.0));
        let lines = earlier.table(&run(1_500.0, 75.0));
        let words = |name: &str| -> Vec<String> {
            let line = lines.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("requests")[3..], ["1000", "1500", "1.500", "better"]);
        assert_eq!(words("latency p99 ")[2..], ["50", "75", "1.500", "worse"]);
        assert!(!lines.contains("max"), "nothing to divide by: {lines}");
        let mut other = run(1_000.0, 50.0);
        other["depth"] = json!(32);
        assert_eq!(earlier.differences(&other), ["depth"]);
        assert_eq!(earlier.json(&other)["ratios"]["latency_us.all.p50"], json!(1.0));
    }
}
