//! Protected mode: without authentication and TLS a server is reached from its own machine only.

use super::model::{ListenerConfig, ServerConfig};
use super::problem::{Origin, Problem};

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

/// Refuses a listener that other machines reach, unless both the flag and the variable are there.
pub fn refuse_exposure(config: &ServerConfig, said: Exposure) -> Result<(), Problem> {
    let exposed = |listener: &ListenerConfig| !listener.address.is_local();
    match config.listeners().into_iter().find(exposed) {
        Some(listener) if !(said.flag && said.env) => Err(refusal(&listener, said)),
        _ => Ok(()),
    }
}

fn refusal(listener: &ListenerConfig, said: Exposure) -> Problem {
    let what = format!(
        "{} can be reached from other machines, and this version has neither authentication \
         nor TLS",
        listener.address
    );
    let missing = match (said.flag, said.env) {
        (true, _) => format!("set {INSECURE_ENV}=1 in the environment"),
        (false, true) => "add --insecure-i-know".to_owned(),
        (false, false) => format!("add --insecure-i-know and set {INSECURE_ENV}=1"),
    };
    let help = format!(
        "listen on 127.0.0.1, [::1] or unix:PATH; or, on a network where everybody may read and \
         write everything, {missing}"
    );
    Problem::new(what, &Origin::Default, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

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
            let address = Address::Tcp(address.parse().unwrap());
            let listener = ListenerConfig { address: address.clone(), ..Default::default() };
            for config in [
                ServerConfig { memcached: vec![listener], ..Default::default() },
                ServerConfig { native: vec![address.clone()], ..Default::default() },
                ServerConfig { http: vec![address], ..Default::default() },
            ] {
                let result = refuse_exposure(&config, Exposure { flag, env });
                assert_eq!(result.is_ok(), allowed, "{result:?}");
            }
        }
    }
}
