//! How many connections each client address has open, so that one machine does not take all the
//! places. An address without a connection is forgotten: the table holds at most as many entries
//! as there are connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// The bits of an IPv6 address that name a network; the rest is the client's own to choose.
const IPV6_NETWORK: u128 = !0 << 64;

/// Open connections by address.
pub struct Addresses {
    /// Connections that one address may have; `None` = as many as there are places.
    max: Option<usize>,
    open: BTreeMap<IpAddr, usize>,
}

impl Addresses {
    /// None yet, at most `max` for each.
    pub fn new(max: Option<usize>) -> Self {
        Addresses { max, open: BTreeMap::new() }
    }

    /// Counts a connection from `address`; false when the address has as many as it may have.
    pub fn enter(&mut self, address: IpAddr) -> bool {
        let Some(max) = self.max else { return true };
        let open = self.open.entry(counted_as(address)).or_default();
        let may = *open < max;
        *open += usize::from(may);
        may
    }

    /// Takes back a connection that [`Addresses::enter`] counted.
    pub fn leave(&mut self, address: IpAddr) {
        let address = counted_as(address);
        if let Some(open) = self.open.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&address);
            }
        }
    }
}

/// An IPv4 address as itself, however it came; an IPv6 address as its /64, because whoever has
/// one address of a /64 has all of them.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & IPV6_NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_count() {
        let mut addresses = Addresses::new(Some(2));
        for (address, enters) in [
            ("10.0.0.1", true),
            ("10.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("10.0.0.2", true),
            ("2001:db8:1:2::1", true),
            ("2001:db8:1:2:ffff::1", true),
            ("2001:db8:1:2::3", false),
            ("2001:db8:1:3::1", true),
        ] {
            assert_eq!(addresses.enter(ip(address)), enters, "{address}");
        }
    }

    #[test]
    fn who_leaves_makes_room_and_is_forgotten() {
        let mut addresses = Addresses::new(Some(1));
        for round in 0..1_000 {
            let address = ip(&format!("10.0.{}.{}", round / 250, round % 250));
            assert!(addresses.enter(address));
            assert!(!addresses.enter(address));
            addresses.leave(address);
            assert!(addresses.enter(address));
            addresses.leave(address);
        }
        assert!(addresses.open.is_empty());
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut addresses = Addresses::new(None);
        assert!((0..10_000).all(|_| addresses.enter(ip("10.0.0.1"))));
        assert!(addresses.open.is_empty());
    }
}
