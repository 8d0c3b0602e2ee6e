//! `If-Match` and `If-None-Match`: entity tags are versions in quotes.

use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};

use super::problem::Problem;

/// What a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any entry.
    Any,
    /// Versions. A weak or foreign tag names none of ours and is left out.
    Versions(Vec<u64>),
}

impl Tags {
    /// Whether an entry of this version is named.
    pub fn name(&self, version: u64) -> bool {
        match self {
            Tags::Any => true,
            Tags::Versions(versions) => versions.contains(&version),
        }
    }
}

/// The conditions of a request.
#[derive(Debug, Default)]
pub struct Conditions {
    /// Only when the entry is one of these.
    pub matches: Option<Tags>,
    /// Only when it is none of these.
    pub differs: Option<Tags>,
}

impl Conditions {
    /// Reads the conditions of a request.
    ///
    /// # Errors
    /// When one is malformed, or both stand there.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let matches = tags(headers, &IF_MATCH)?;
        let differs = tags(headers, &IF_NONE_MATCH)?;
        if matches.is_some() && differs.is_some() {
            return Err(Problem::invalid("if-match and if-none-match exclude each other"));
        }
        Ok(Conditions { matches, differs })
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut versions = Vec::new();
    let values = headers.get_all(name);
    for value in &values {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let quoted = opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let Some(inner) = quoted else {
                let why = format!("{name}: `{text}` is no list of quoted tags and no *");
                return Err(Problem::invalid(why));
            };
            if opaque.len() == tag.len() {
                versions.extend(inner.parse::<u64>().ok());
            }
        }
    }
    Ok(values.iter().next().map(|_| Tags::Versions(versions)))
}

/// The entity tag of a version.
pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Result<Option<Tags>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_str(value).unwrap());
        Conditions::parse(&headers).map(|conditions| conditions.matches)
    }

    #[test]
    fn tags_are_versions_in_quotes() {
        for (text, versions) in [
            ("\"5\"", vec![5]),
            ("\"5\", \"6\"", vec![5, 6]),
            ("W/\"5\"", vec![]),
            ("\"abc\"", vec![]),
            ("\"18446744073709551616\"", vec![]),
        ] {
            assert_eq!(parsed(text).unwrap(), Some(Tags::Versions(versions)), "{text}");
        }
        assert_eq!(parsed("*").unwrap(), Some(Tags::Any));
        for text in ["5", "\"5", "", "\"5\" \"6", "'5'"] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert_eq!(Conditions::parse(&HeaderMap::new()).unwrap().matches, None);
    }
}
