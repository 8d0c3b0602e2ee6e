//! The files of TLS, read as the server would read them.

use super::checks::{found, skip};
use super::{Finding, State};
use crate::cluster::transport::PeerTls;
use crate::config::{ServerConfig, TlsMode};
use crate::server::tls::material::Loaded;
use crate::server::tls::{TlsError, days_left};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// The setting of a certificate, and when it ends, Unix ms, if it says so.
type End = (&'static str, Option<u64>);

/// Certificate, key and authorities of clients' listeners and of peers: readable, PEM, fitting each
/// other, and how long they are good for.
pub fn files(config: &ServerConfig, now: u64) -> Finding {
    let (code, check) = ("D12", "TLS files");
    let ends = match ends(config, now) {
        Ok(ends) => ends,
        Err(error) => {
            let said = error.to_string();
            let (what, help) = said.split_once("\n  help: ").unwrap_or((&said, ""));
            return found(code, check, State::Fail, what.to_owned(), help);
        }
    };
    let each = ends.iter().map(|(setting, end)| {
        let (state, left) = left(*end, now);
        (state, format!("{setting} {left}"))
    });
    let (states, texts): (Vec<_>, Vec<_>) = each.unzip();
    let Some(state) = states.into_iter().max() else {
        return skip(code, check, "TLS is not spoken");
    };
    let help = "put a new certificate in the place of the old one: a server that runs reads it by \
                itself, and drops no connection";
    found(code, check, state, texts.join("; "), help)
}

fn ends(config: &ServerConfig, now: u64) -> Result<Vec<End>, TlsError> {
    let mut ends = Vec::new();
    if config.tls.mode != TlsMode::Off {
        ends.push(("tls.cert", Loaded::read(&config.tls, now)?.expires));
    }
    if let Some(peers) = PeerTls::configured(&config.cluster)? {
        ends.push(("cluster.tls_cert", peers.expires()));
    }
    Ok(ends)
}

/// How good a certificate is that ends then.
fn left(end: Option<u64>, now: u64) -> (State, String) {
    let Some(end) = end else { return (State::Ok, "does not say when it ends".to_owned()) };
    match days_left(end, now) {
        _ if end <= now => (State::Fail, format!("ended {} days ago", (now - end) / DAY_MS)),
        Some(days) => (State::Warn, format!("has {days} days left")),
        None => (State::Ok, format!("has {} days left", (end - now) / DAY_MS)),
    }
}

/// Whether clients may stay without TLS where others speak it.
pub fn mode(config: &ServerConfig) -> Finding {
    let (code, check) = ("D13", "TLS");
    let help = "whoever does not begin with TLS is served in the clear: set tls.mode=on when all \
                clients speak it";
    match config.tls.mode {
        TlsMode::Off => skip(code, check, "TLS is not spoken"),
        TlsMode::On => found(code, check, State::Ok, "always spoken".to_owned(), ""),
        TlsMode::Optional => {
            let text = "tls.mode is optional: passwords and data may travel in the clear";
            found(code, check, State::Warn, text.to_owned(), help)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_it_ends() {
        const NOW: u64 = 1_000 * DAY_MS;
        for (end, state, text) in [
            (Some(NOW + 22 * DAY_MS), State::Ok, "has 22 days left"),
            (Some(NOW + 21 * DAY_MS), State::Ok, "has 21 days left"),
            (Some(NOW + 21 * DAY_MS - 1), State::Warn, "has 20 days left"),
            (Some(NOW + 1), State::Warn, "has 0 days left"),
            (Some(NOW), State::Fail, "ended 0 days ago"),
            (Some(NOW - 2 * DAY_MS), State::Fail, "ended 2 days ago"),
            (None, State::Ok, "does not say when it ends"),
        ] {
            assert_eq!(left(end, NOW), (state, text.to_owned()), "{end:?}");
        }
    }
}
