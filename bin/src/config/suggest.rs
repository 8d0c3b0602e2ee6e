//! "Did you mean": the nearest of the names that exist.

/// The name nearest to `word`, when one is near enough to have been meant.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|name| (distance(word, name), name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    let allowed = (word.len().max(name.len()) / 3).max(1);
    let near_enough = distance <= allowed || (word.len() > 2 && name.starts_with(word));
    near_enough.then_some(name)
}

/// Levenshtein's edit distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), left);
        for (to, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let names = ["max_entries", "memory", "eviction"];
        for (word, found) in [
            ("max_entrys", Some("max_entries")),
            ("memroy", Some("memory")),
            ("evict", Some("eviction")),
            ("banana", None),
        ] {
            assert_eq!(nearest(word, names), found, "{word}");
        }
    }
}
