//! A histogram as lines of text.

use hdrhistogram::Histogram;

/// Characters of the longest bar.
const WIDTH: u64 = 40;

/// One line for each doubling of the latency that has requests in it, and for those between: where
/// it begins, a bar, and how many there are.
pub fn picture(latency: &Histogram<u64>) -> String {
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for at in latency.iter_recorded() {
        let value = at.value_iterated_to();
        let begins = 1_u64 << value.max(1).ilog2();
        while let Some(&(last, _)) = rows.last().filter(|(last, _)| *last < begins) {
            rows.push((last << 1, 0));
        }
        if rows.is_empty() {
            rows.push((begins, 0));
        }
        if let Some((_, count)) = rows.last_mut() {
            *count += at.count_since_last_iteration();
        }
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let line = |&(begins, count): &(u64, u64)| {
        // Rounded up: a single request is seen.
        let len = usize::try_from((count * WIDTH).div_ceil(most)).unwrap_or(0);
        format!("{:>9}  {:<40}  {count}\n", span(begins), "#".repeat(len))
    };
    rows.iter().map(line).collect()
}

/// Nanoseconds with three digits and a unit.
pub fn span(nanos: u64) -> String {
    let (unit, name) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    match nanos / unit {
        whole @ 100.. => format!("{whole} {name}"),
        whole @ 10.. => format!("{whole}.{} {name}", nanos % unit * 10 / unit),
        whole => format!("{whole}.{:02} {name}", nanos % unit * 100 / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_three_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (123_456, "123 us"),
            (1_050_000, "1.05 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(span(nanos), text);
        }
    }

    #[test]
    fn each_doubling_has_a_line() {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        assert_eq!(picture(&latency), "");
        latency.record_n(1_100, 80).unwrap();
        latency.record_n(2_000, 80).unwrap();
        latency.record(9_000).unwrap();
        let bar = |len: usize| format!("{:<40}", "#".repeat(len));
        let expected = [
            format!("  1.02 us  {}  160", bar(40)),
            format!("  2.04 us  {}  0", bar(0)),
            format!("  4.09 us  {}  0", bar(0)),
            format!("  8.19 us  {}  1", bar(1)),
        ];
        assert_eq!(picture(&latency).lines().collect::<Vec<_>>(), expected);
    }
}
