//! `docs/HTTP.md`, whose tables are made from what the server serves.

use std::fmt::Write;

use super::route::In;
use super::routes::ROUTES;
use crate::server::admin::METHODS;
use crate::server::metrics::FAMILIES;

/// The page: what it says by hand, with the tables in their places.
pub fn markdown(page: &str) -> String {
    let tables = [("routes", routes()), ("methods", methods()), ("metrics", metrics())];
    tables.into_iter().fold(page.to_owned(), |page, (name, table)| put(&page, name, &table))
}

/// Puts a table between its marks.
fn put(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- /{name} -->"));
    let Some((before, rest)) = page.split_once(&begin) else { return page.to_owned() };
    let Some((_, after)) = rest.split_once(&end) else { return page.to_owned() };
    format!("{before}{begin}{table}{end}{after}")
}

fn routes() -> String {
    let mut text = "| request | what | parameters | answers |\n|---|---|---|---|\n".to_owned();
    for route in ROUTES {
        let param = |param: &super::route::Param| {
            let mark = if param.place == In::Query { "?" } else { "" };
            format!("`{mark}{}`: {}", param.name, param.doc)
        };
        let params: Vec<String> = route.params.iter().map(param).collect();
        let replies: Vec<String> = route.replies.iter().map(|r| r.status.to_string()).collect();
        let verb = route.verb.name().to_ascii_uppercase();
        let (params, replies) = (params.join("<br>"), replies.join(" "));
        let _ =
            writeln!(text, "| `{verb} {}` | {} | {params} | {replies} |", route.path, route.doc);
    }
    text
}

fn methods() -> String {
    let mut text = "| method | what | parameters | permission |\n|---|---|---|---|\n".to_owned();
    for method in METHODS {
        let param = |param: &crate::server::admin::Param| {
            let must = if param.required { "" } else { " (may be left out)" };
            format!("`{}`{must}: {}", param.name, param.doc)
        };
        let params: Vec<String> = method.params.iter().map(param).collect();
        let (params, permission) = (params.join("<br>"), method.permission.name());
        let _ = writeln!(text, "| `{}` | {} | {params} | {permission} |", method.name, method.doc);
    }
    text
}

fn metrics() -> String {
    let mut text = "| series | labels | kind | what |\n|---|---|---|---|\n".to_owned();
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (labels, kind) = (labels.join(" "), family.kind.name());
        let _ = writeln!(text, "| `{}` | {labels} | {kind} | {} |", family.series(), family.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its tables are generated, so that they cannot say something else than the program.
    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/HTTP.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        let new = markdown(&page);
        for mark in ["<!-- /routes -->", "<!-- /methods -->", "<!-- /metrics -->"] {
            assert!(page.contains(mark), "{mark} is missing in docs/HTTP.md");
        }
        if std::env::var_os("ISOGRID_WRITE_DOCS").is_some() {
            std::fs::write(path, &new).unwrap();
            return;
        }
        assert!(
            page == new,
            "docs/HTTP.md is out of date: run\n  \
             ISOGRID_WRITE_DOCS=1 cargo test -p isogrid --lib the_page_is_up_to_date"
        );
    }
}
