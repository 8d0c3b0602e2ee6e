//! The query of a request: `?name=value&..`, percent-decoded, each name known and said once.

use super::problem::Problem;

/// The parameters of a query.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query in which `known` names may stand.
    ///
    /// # Errors
    /// An unknown name or one that stands twice (slips are told, not ignored), or bad encoding.
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Query, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text = |text: &str| String::from_utf8(decode(&text.replace('+', " "))?).ok();
            let (Some(name), Some(value)) = (text(name), text(value)) else {
                return Err(Problem::invalid(format!("`{part}` is not percent-encoded UTF-8")));
            };
            if !known.contains(&name.as_str()) {
                let names = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let why = format!("unknown parameter `{name}`; known here: {names}");
                return Err(Problem::invalid(why));
            }
            if found.iter().any(|(before, _)| *before == name) {
                return Err(Problem::invalid(format!("`{name}` stands twice")));
            }
            found.push((name, value));
        }
        Ok(Query(found))
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, as `read` understands it.
    ///
    /// # Errors
    /// When it does not; `allowed` says what it would.
    pub fn parsed<T>(
        &self,
        name: &str,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refused = || Problem::invalid(format!("`{name}={text}` is not {allowed}"));
        read(text).map(Some).ok_or_else(refused)
    }
}

/// The bytes that percent-encoded text stands for; `None` when a `%` has no two hex digits.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|two| !two.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding() {
        for (text, bytes) in [
            ("a", Some(&b"a"[..])),
            ("%61b", Some(b"ab")),
            ("%00%ff%2F", Some(b"\x00\xff/")),
            ("", Some(b"")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%-1", None),
            ("a%2", None),
        ] {
            assert_eq!(decode(text).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn slips_are_told() {
        let query = |text| Query::parse(Some(text), &["ttl", "idle"]);
        assert_eq!(query("ttl=6%30s&idle=a+b").unwrap().get("ttl"), Some("60s"));
        assert_eq!(query("idle=a+b").unwrap().get("idle"), Some("a b"));
        assert_eq!(query("ttl").unwrap().get("ttl"), Some(""));
        for text in ["tll=1s", "ttl=1s&ttl=2s", "ttl=%", "%ff=1", "ttl=%ff"] {
            assert!(query(text).is_err(), "{text}");
        }
    }
}
