//! memcached's `-o`: a list of `name` and `name=value`.

use std::time::Duration;

use super::flags::{Launch, atoi};
use super::{Failure, exit};
use crate::config::ClientCertificates;

/// Tuning of things that this server does not have or tunes itself: accepted, with a note.
/// Each with whether memcached wants a value behind the name.
const IGNORED: [(&str, bool); 43] = [
    ("ssl_ciphers", true),
    ("ssl_wbuf_size", true),
    ("ssl_session_cache", false),
    ("ssl_kernel_tls", false),
    ("hashpower", true),
    ("no_hashexpand", false),
    ("slab_reassign", false),
    ("no_slab_reassign", false),
    ("slab_automove", false),
    ("no_slab_automove", false),
    ("slab_automove_ratio", true),
    ("slab_automove_window", true),
    ("slab_automove_freeratio", true),
    ("slab_sizes", false),
    ("slab_chunk_max", true),
    ("tail_repair_time", true),
    ("hash_algorithm", true),
    ("lru_crawler", false),
    ("no_lru_crawler", false),
    ("lru_crawler_sleep", true),
    ("lru_crawler_tocrawl", true),
    ("lru_maintainer", false),
    ("no_lru_maintainer", false),
    ("hot_lru_pct", true),
    ("warm_lru_pct", true),
    ("hot_max_factor", true),
    ("warm_max_factor", true),
    ("temporary_ttl", true),
    ("watcher_logbuf_size", true),
    ("worker_logbuf_size", true),
    ("track_sizes", false),
    ("inline_ascii_resp", false),
    ("no_inline_ascii_resp", false),
    ("no_chunked_items", false),
    ("modern", false),
    ("no_modern", false),
    ("drop_privileges", false),
    ("no_drop_privileges", false),
    ("relaxed_privileges", false),
    ("resp_obj_mem_limit", true),
    ("read_buf_mem_limit", true),
    ("meta_response_old", false),
    ("sock_cookie_id", false),
];

/// Beginnings of names that promise something that this server does not do.
const REFUSED: [(&str, &str); 2] = [
    ("ext_", "This server is not built with external storage."),
    ("proxy_", "This server is not built with a proxy."),
];

/// Follows a whole `-o` list.
pub fn apply(list: &str, launch: &mut Launch) -> Result<(), Failure> {
    list.split(',').filter(|option| !option.is_empty()).try_for_each(|o| apply_one(o, launch))
}

fn apply_one(option: &str, launch: &mut Launch) -> Result<(), Failure> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let limits = &mut launch.config.limits;
    match name {
        "maxconns_fast" => limits.refuse_fast = true,
        "no_maxconns_fast" => limits.refuse_fast = false,
        "idle_timeout" => limits.idle_timeout = idle_timeout(value)?,
        "ssl_chain_cert" | "ssl_key" | "ssl_ca_cert" | "ssl_verify_mode" | "ssl_min_version"
        | "ssl_keyformat" => tls(name, value, launch)?,
        _ => pass_over(option, name, value, launch)?,
    }
    Ok(())
}

/// `ssl_*`: files, and what clients are asked for.
fn tls(name: &str, value: Option<&str>, launch: &mut Launch) -> Result<(), Failure> {
    let value = value.ok_or_else(|| missing(name))?;
    let tls = &mut launch.config.tls;
    let bad = || failure(&format!("Invalid {name}. Use help to see valid options."));
    match (name, value) {
        ("ssl_chain_cert", path) => tls.cert = Some(path.to_owned()),
        ("ssl_key", path) => tls.key = Some(path.to_owned()),
        ("ssl_ca_cert", path) => tls.ca = Some(path.to_owned()),
        ("ssl_keyformat", "1" | "PEM") => {}
        ("ssl_keyformat", _) => {
            return Err(failure("Only PEM keys are supported: leave ssl_keyformat out."));
        }
        // Without certificates, with those who have one, with none but those; "once" is for
        // renegotiation, which there is none of.
        ("ssl_verify_mode", "0") => tls.client = ClientCertificates::Off,
        ("ssl_verify_mode", "1") => tls.client = ClientCertificates::Optional,
        ("ssl_verify_mode", "2" | "3") => tls.client = ClientCertificates::Required,
        // TLS 1.0 and 1.1 are not spoken at all.
        ("ssl_min_version", "0" | "1" | "2") => "1.2".clone_into(&mut tls.min_version),
        ("ssl_min_version", "3") => "1.3".clone_into(&mut tls.min_version),
        _ => return Err(bad()),
    }
    Ok(())
}

fn idle_timeout(value: Option<&str>) -> Result<Option<Duration>, Failure> {
    let value = value.ok_or_else(|| missing("idle_timeout"))?;
    let seconds = u64::try_from(atoi(value)).unwrap_or(0);
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

fn pass_over(
    option: &str,
    name: &str,
    value: Option<&str>,
    launch: &mut Launch,
) -> Result<(), Failure> {
    if let Some((_, why)) = REFUSED.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        let message = format!("{why}\n-o {name} comes with a later version or not at all.");
        return Err(Failure::new(exit::USAGE, message));
    }
    match IGNORED.iter().find(|(ignored, _)| *ignored == name) {
        None => Err(failure(&format!("Illegal suboption \"{option}\""))),
        Some((_, true)) if value.is_none() => Err(missing(name)),
        Some(_) => {
            refuse_bad(name, value.unwrap_or_default())?;
            launch.note(&format!("-o {name}"), "this server does not need it");
            Ok(())
        }
    }
}

/// Bad values of ignored options are still refused, so that a mistake shows as it does there.
fn refuse_bad(name: &str, value: &str) -> Result<(), Failure> {
    let message = match name {
        "hash_algorithm" if !matches!(value, "jenkins" | "murmur3" | "xxh3") => {
            "Unknown hash_algorithm option (jenkins, murmur3, xxh3)".to_owned()
        }
        "hashpower" if atoi(value) < 12 && atoi(value) != 0 => {
            format!("Initial hashtable multiplier of {} is too low", atoi(value))
        }
        "hashpower" if atoi(value) > 32 => format!(
            "Initial hashtable multiplier of {} is too high\nChoose a value based on \"STAT \
             hash_power_level\" from a running instance",
            atoi(value)
        ),
        "tail_repair_time" if atoi(value) < 10 => {
            "Cannot set tail_repair_time to less than 10 seconds".to_owned()
        }
        _ => return Ok(()),
    };
    Err(failure(&message))
}

fn missing(name: &str) -> Failure {
    failure(&match name {
        "hashpower" | "tail_repair_time" | "idle_timeout" => {
            format!("Missing numeric argument for {name}")
        }
        "lru_crawler_sleep" | "lru_crawler_tocrawl" => format!("Missing {name} value"),
        _ => format!("Missing {name} argument"),
    })
}

fn failure(message: &str) -> Failure {
    Failure::new(exit::FAILURE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, said) in [
            ("modern,no_lru_crawler,track_sizes", ""),
            ("", ""),
            ("slab_chunk_max=512,hash_algorithm=murmur3", ""),
            ("bogus", "Illegal suboption \"bogus\""),
            ("modern,foo=1", "Illegal suboption \"foo=1\""),
            ("=", "Illegal suboption \"=\""),
            ("idle_timeout", "Missing numeric argument for idle_timeout"),
            ("hot_lru_pct", "Missing hot_lru_pct argument"),
            ("lru_crawler_sleep", "Missing lru_crawler_sleep value"),
            ("hash_algorithm=x", "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
            ("hashpower=5", "Initial hashtable multiplier of 5 is too low"),
            ("tail_repair_time=1", "Cannot set tail_repair_time to less than 10 seconds"),
            ("ssl_key=x,ssl_chain_cert=y,ssl_verify_mode=2,ssl_min_version=3", ""),
            ("ssl_chain_cert", "Missing ssl_chain_cert argument"),
            ("ssl_verify_mode=9", "Invalid ssl_verify_mode. Use help to see valid options."),
            ("ssl_min_version=9", "Invalid ssl_min_version. Use help to see valid options."),
            ("ssl_bogus=1", "Illegal suboption \"ssl_bogus=1\""),
            ("ext_path=/x:1G", "This server is not built with external storage."),
        ] {
            let got = apply(list, &mut Launch::default()).err().map(|f| f.message);
            let got = got.unwrap_or_default();
            assert_eq!(got.lines().next().unwrap_or_default(), said, "{list}");
        }
    }

    #[test]
    fn what_is_followed() {
        let mut launch = Launch::default();
        apply("no_maxconns_fast,idle_timeout=30,hashpower=20", &mut launch).unwrap();
        let limits = &launch.config.limits;
        assert!(!limits.refuse_fast);
        assert_eq!(limits.idle_timeout, Some(Duration::from_secs(30)));
        assert_eq!(launch.notes.len(), 1);
        apply("idle_timeout=0,maxconns_fast", &mut launch).unwrap();
        assert_eq!(launch.config.limits.idle_timeout, None);
    }
}
