//! Protected mode: without authentication and TLS a server is reached from its own machine only, and
//! without certificates so are its peers.

use super::model::{ClusterConfig, ListenerConfig, ServerConfig, TlsMode};
use super::problem::{Origin, Problem};
use crate::security::Mode;

/// The environment variable that must be `1` as well: a flag alone is too easily copied.
const INSECURE_ENV: &str = "ISOGRID_INSECURE";

/// The words of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    login: &'static str,
    tls: &'static str,
}

/// Those of `isogrid serve`.
const OURS: Words = Words {
    login: "`--set auth.mode=on`",
    tls: "`--set tls.mode=on --set tls.cert=FILE --set tls.key=FILE`",
};

/// Those of memcached.
const MEMCACHED: Words = Words {
    login: "`-Y FILE` (or `-S`, with the file in MEMCACHED_SASL_PWDB)",
    tls: "`-Z -o ssl_chain_cert=FILE,ssl_key=FILE`",
};

/// What the operator said about listening beyond this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// What was said on the command line: `--insecure-i-know`, or memcached's own `-l`.
    pub flag: bool,
    /// `ISOGRID_INSECURE=1` is set.
    pub env: bool,
    /// How he says things.
    pub words: Words,
}

impl Exposure {
    /// The flag as given, the variable as the environment has it.
    pub fn new(flag: bool) -> Self {
        let env = std::env::var(INSECURE_ENV).is_ok_and(|value| value == "1");
        Self { flag, env, words: OURS }
    }

    /// Whoever replaces memcached has said `-l`, and says the rest with memcached's flags.
    pub fn of_memcached() -> Self {
        Self { words: MEMCACHED, ..Self::new(true) }
    }

    /// What is still to be said to be allowed everything.
    fn missing(self) -> String {
        match (self.flag, self.env) {
            (true, _) => format!("set {INSECURE_ENV}=1 in the environment"),
            (false, true) => "add --insecure-i-know".to_owned(),
            (false, false) => format!("add --insecure-i-know and set {INSECURE_ENV}=1"),
        }
    }
}

/// Refuses a listener that other machines reach without a login and TLS, and peers that they reach
/// without a certificate, unless both the flag and the variable are there.
pub fn refuse_exposure(config: &ServerConfig, said: Exposure) -> Result<(), Problem> {
    if said.flag && said.env {
        return Ok(());
    }
    if let Some(listener) = exposed(config).first() {
        return Err(refusal(config, listener, said));
    }
    if has_exposed_peer(&config.cluster) { Err(peer_refusal(config, said)) } else { Ok(()) }
}

/// Whether other machines could speak as peers without a certificate.
fn has_exposed_peer(cluster: &ClusterConfig) -> bool {
    let files = [&cluster.tls_cert, &cluster.tls_key, &cluster.tls_ca];
    cluster.is_on() && !cluster.peer.is_local() && files.iter().any(|file| file.is_none())
}

fn peer_refusal(config: &ServerConfig, said: Exposure) -> Problem {
    let what = format!(
        "{} can be reached from other machines, and whoever reaches it could join the cluster",
        config.cluster.peer
    );
    let help = format!(
        "give the peers certificates (`--set cluster.tls_cert=FILE --set cluster.tls_key=FILE --set \
         cluster.tls_ca=FILE`); or listen on 127.0.0.1 or [::1] (`--peer`); or, on a network where \
         everybody may read and write everything, {}",
        said.missing()
    );
    Problem::new(what, &Origin::Default, help)
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
        wanting.push(said.words.login);
    }
    if config.tls_of(listener) != TlsMode::On {
        wanting.push(said.words.tls);
    }
    let what = format!(
        "{} can be reached from other machines, and not everybody there has to log in over TLS",
        listener.address
    );
    let help = format!(
        "add {}; or listen on 127.0.0.1, [::1] or unix:PATH; or, on a network where everybody may \
         read and write everything, {}",
        wanting.join(" and "),
        said.missing()
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
                let said = Exposure { flag, env, words: OURS };
                let result = refuse_exposure(&config, said);
                assert_eq!(result.is_ok(), allowed, "{result:?}");
            }
        }
    }

    /// Each way of logging in with each way of TLS, for a listener that other machines reach.
    #[test]
    fn others_log_in_over_tls_or_there_is_no_start() {
        let said = Exposure { flag: false, env: false, words: OURS };
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
    fn peers_have_certificates_or_are_of_this_machine() {
        for (peer, expect, has_tls, flag, env, allowed) in [
            ("127.0.0.1:1", 3, false, false, false, true),
            ("[::1]:1", 3, false, false, false, true),
            ("0.0.0.0:1", 3, false, false, false, false),
            ("10.0.0.1:1", 3, false, true, false, false),
            ("10.0.0.1:1", 3, false, true, true, true),
            ("10.0.0.1:1", 3, true, false, false, true),
            // It is of no cluster, and listens for nobody.
            ("10.0.0.1:1", 0, false, false, false, true),
        ] {
            let file = has_tls.then(|| "file.pem".to_owned());
            let cluster = ClusterConfig {
                peer: Address::Tcp(peer.parse().unwrap()),
                bootstrap_expect: expect,
                tls_cert: file.clone(),
                tls_key: file.clone(),
                tls_ca: file,
                ..Default::default()
            };
            let config = ServerConfig { cluster, ..Default::default() };
            let result = refuse_exposure(&config, Exposure { flag, env, words: OURS });
            assert_eq!(result.is_ok(), allowed, "{peer} {has_tls} {flag} {env}: {result:?}");
        }
    }

    #[test]
    fn the_refusal_says_what_is_wanting() {
        let said = Exposure { flag: false, env: false, words: OURS };
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
