//! Protected mode: without authentication and TLS a server is reached from its own machine only.

use super::model::{ListenerConfig, ServerConfig, TlsMode};
use super::problem::{Origin, Problem};
use crate::security::Mode;

/// The environment variable that must be `1` as well: a flag alone is too easily copied.
const INSECURE_ENV: &str = "ISOGRID_INSECURE";

/// What the operator said about listening beyond this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// What was said on the command line: `--insecure-i-know`, or memcached's own `-l`.
    pub flag: bool,
    /// `ISOGRID_INSECURE=1` is set.
    pub env: bool,
}

impl Exposure {
    /// The flag as given, the variable as the environment has it.
    pub fn new(flag: bool) -> Self {
        Self { flag, env: std::env::var(INSECURE_ENV).is_ok_and(|value| value == "1") }
    }
}

/// Refuses a listener that other machines reach without a login and TLS, unless both the flag and
/// the variable are there.
pub fn refuse_exposure(config: &ServerConfig, said: Exposure) -> Result<(), Problem> {
    match exposed(config).into_iter().next() {
        Some(listener) if !(said.flag && said.env) => Err(refusal(config, &listener, said)),
        _ => Ok(()),
    }
}

/// The listeners that other machines reach without a login, or without TLS.
pub fn exposed(config: &ServerConfig) -> Vec<ListenerConfig> {
    let guarded = |listener: &ListenerConfig| {
        config.tls_of(listener) == TlsMode::On && config.auth.mode == Mode::On
    };
    let all = config.listeners().into_iter();
    all.filter(|listener| !listener.address.is_local() && !guarded(listener)).collect()
}

fn refusal(config: &ServerConfig, listener: &ListenerConfig, said: Exposure) -> Problem {
    let mut wanting = Vec::new();
    if config.auth.mode != Mode::On {
        wanting.push("`--set auth.mode=on`");
    }
    if config.tls_of(listener) != TlsMode::On {
        wanting.push("`--set tls.mode=on --set tls.cert=FILE --set tls.key=FILE`");
    }
    let what = format!(
        "{} can be reached from other machines, and not everybody there has to log in over TLS",
        listener.address
    );
    let missing = match (said.flag, said.env) {
        (true, _) => format!("set {INSECURE_ENV}=1 in the environment"),
        (false, true) => "add --insecure-i-know".to_owned(),
        (false, false) => format!("add --insecure-i-know and set {INSECURE_ENV}=1"),
    };
    let help = format!(
        "add {}; or listen on 127.0.0.1, [::1] or unix:PATH; or, on a network where everybody may \
         read and write everything, {missing}",
        wanting.join(" and ")
    );
    Problem::new(what, &Origin::Default, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Address, AuthConfig, ListenerTls, TlsConfig};

    fn config(address: &str, auth: Mode, tls: TlsMode, listener: ListenerTls) -> ServerConfig {
        let address = Address::Tcp(address.parse().unwrap());
        let listener = ListenerConfig { address, tls: listener, ..Default::default() };
        ServerConfig {
            memcached: vec![listener],
            auth: AuthConfig { mode: auth, ..Default::default() },
            tls: TlsConfig { mode: tls, ..Default::default() },
            ..Default::default()
        }
    }

    /// The address with each protocol.
    fn everywhere(
        address: &str,
        auth: Mode,
        tls: TlsMode,
        listener: ListenerTls,
    ) -> [ServerConfig; 3] {
        let memcached = config(address, auth, tls, listener);
        let bare = || ServerConfig { memcached: Vec::new(), ..memcached.clone() };
        let only = vec![Address::Tcp(address.parse().unwrap())];
        let native = ServerConfig { native: only.clone(), ..bare() };
        let http = ServerConfig { http: only, ..bare() };
        [memcached, native, http]
    }

    #[test]
    fn only_this_machine_unless_told_twice() {
        for (address, flag, env, allowed) in [
            ("127.0.0.1:1", false, false, true),
            ("[::1]:1", false, false, true),
            ("[::ffff:127.0.0.1]:1", false, false, true),
            ("0.0.0.0:1", false, false, false),
            ("0.0.0.0:1", true, false, false),
            ("[::]:1", false, true, false),
            ("10.0.0.1:1", true, true, true),
        ] {
            for config in everywhere(address, Mode::Auto, TlsMode::Off, ListenerTls::Node) {
                let result = refuse_exposure(&config, Exposure { flag, env });
                assert_eq!(result.is_ok(), allowed, "{result:?}");
            }
        }
    }

    /// Each way of logging in with each way of TLS, for a listener that other machines reach.
    #[test]
    fn others_log_in_over_tls_or_there_is_no_start() {
        let said = Exposure { flag: false, env: false };
        for auth in [Mode::Off, Mode::Auto, Mode::On] {
            for tls in [TlsMode::Off, TlsMode::Optional, TlsMode::On] {
                for listener in
                    [ListenerTls::Node, ListenerTls::Off, ListenerTls::Optional, ListenerTls::On]
                {
                    let config = config("10.0.0.1:1", auth, tls, listener);
                    let speaks_tls = listener == ListenerTls::On
                        || (listener == ListenerTls::Node && tls == TlsMode::On);
                    let result = refuse_exposure(&config, said);
                    let expected = auth == Mode::On && speaks_tls;
                    assert_eq!(result.is_ok(), expected, "{auth:?} {tls:?} {listener:?}");
                }
            }
        }
    }

    #[test]
    fn the_refusal_says_what_is_wanting() {
        let said = Exposure { flag: false, env: false };
        for (auth, tls, help, not) in [
            (Mode::Auto, TlsMode::On, "auth.mode=on", "tls.mode=on"),
            (Mode::On, TlsMode::Off, "tls.mode=on", "auth.mode=on"),
        ] {
            let config = config("0.0.0.0:1", auth, tls, ListenerTls::Node);
            let problem = format!("{:?}", refuse_exposure(&config, said).unwrap_err());
            assert!(problem.contains(help) && !problem.contains(not), "{problem}");
        }
    }
}
