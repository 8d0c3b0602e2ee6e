//! The standing warning of a server that other machines reach without authentication and TLS:
//! said at the start and then each hour, so that nobody forgets an override that was meant for a
//! day.

use crate::config::{ServerConfig, exposed};

/// Between two warnings, ms.
const PAUSE: u64 = 3_600_000;

/// The listeners that other machines reach, and when the next warning is due.
pub struct Exposed {
    addresses: Vec<String>,
    next: u64,
}

impl Exposed {
    /// The listeners that other machines reach without a login or without TLS; a first warning
    /// is due.
    pub fn new(config: &ServerConfig) -> Self {
        let addresses = exposed(config).into_iter().map(|listener| listener.address.to_string());
        Exposed { addresses: addresses.collect(), next: 0 }
    }

    /// Warns at `now` when it is time to; says whether it did.
    pub fn warn(&mut self, now: u64) -> bool {
        if self.addresses.is_empty() || now < self.next {
            return false;
        }
        self.next = now + PAUSE;
        tracing::warn!(
            event = "insecure",
            listeners = self.addresses.join(","),
            "other machines may read and write without a login or without TLS: set auth.mode=on \
             and tls.mode=on, or listen on 127.0.0.1, [::1] or unix:PATH to end this"
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, ListenerConfig};

    const START: u64 = 1_700_000_000_000;

    fn listening(addresses: &[&str]) -> Exposed {
        let listener = |text: &&str| ListenerConfig {
            address: Address::Tcp(text.parse().unwrap()),
            ..Default::default()
        };
        let memcached = addresses.iter().map(listener).collect();
        Exposed::new(&ServerConfig { memcached, ..Default::default() })
    }

    #[test]
    fn a_warning_at_the_start_and_each_hour() {
        let mut exposed = listening(&["127.0.0.1:1", "10.0.0.1:2"]);
        assert_eq!(exposed.addresses, ["10.0.0.1:2"]);
        let hour = 60 * 60 * 1_000;
        let warned: Vec<u64> =
            (0..=3 * hour).step_by(250).filter(|passed| exposed.warn(START + passed)).collect();
        assert_eq!(warned, [0, hour, 2 * hour, 3 * hour]);
    }

    #[test]
    fn on_this_machine_alone_there_is_nothing_to_say() {
        let mut exposed = listening(&["127.0.0.1:1", "[::1]:1"]);
        assert!(!exposed.warn(START));
    }
}
