//! What is rendered is true and up to date.

use super::*;
use crate::config::layer::Loaded;
use crate::config::model::{RegionConfig, ServerConfig};
use crate::config::{Sources, load, show};

/// The page is generated, so that it cannot say something else than the program.
#[test]
fn the_configuration_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == markdown(),
        "docs/CONFIGURATION.md is out of date: run\n  \
         cargo run -- config explain all --markdown > docs/CONFIGURATION.md"
    );
}

fn parsed(name: &str, text: &str) -> ServerConfig {
    let name = format!("isogrid-{}-{name}.toml", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let loaded = load(&Sources { file: Some(path.clone()), ..Default::default() });
    std::fs::remove_file(path).unwrap();
    loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}")).config
}

#[test]
fn the_template_says_nothing_but_defaults() {
    assert_eq!(parsed("template", &template()), ServerConfig::default());
}

/// `#key` is a line to take the comment from; `# text` is a comment that stays one.
#[test]
fn the_template_without_comments_is_the_default_spelled_out() {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = template().lines().map(uncommented).collect();
    let text = text.join("\n").replace("memcached = [\"127.0.0.1:11211\"]", "memcached = []");
    let mut config = parsed("uncommented", &text);
    let region = RegionConfig {
        prefix: "...".to_owned(),
        eviction: Some("s3-fifo".to_owned()),
        ..Default::default()
    };
    assert_eq!(std::mem::take(&mut config.caches[0].regions), [region]);
    assert_eq!(config, ServerConfig::default());
}

#[test]
fn the_example_of_the_page_is_valid() {
    let (_, rest) = MARKDOWN_INTRO.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(parsed("example", example).caches.len(), 2);
}

#[test]
fn keys_are_explained_by_any_of_their_names() {
    for (key, said) in [
        ("limits.max_item_size", "1KiB to 1GiB"),
        ("cache.memory", "ISOGRID__CACHE__NAME__MEMORY"),
        ("cache.*.memory", "256MiB"),
        ("cache.my.cache.max_memory", "256MiB"),
        ("cache.region.prefix", "longest prefix wins"),
        ("listener.flush", "flush_all"),
        ("memcached", "ISOGRID__MEMCACHED"),
    ] {
        let text = explain(key).unwrap();
        assert!(text.contains(said), "{key}: {text}");
    }
    let error = explain("limits.bakclog").unwrap_err();
    assert!(error.ends_with("did you mean `limits.backlog`?"), "{error}");
}

#[test]
fn origins_are_shown_when_asked() {
    let loaded = Loaded::default();
    assert!(show(&loaded, true).contains("# default"));
    assert!(!show(&loaded, false).contains('#'));
}
