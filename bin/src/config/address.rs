//! Addresses as people write them: `127.0.0.1:11211`, `[::1]:0`, `unix:/run/x.sock?mode=770`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::field::{Field, Form, Raw};
use super::model::{Address, ListenerConfig};

impl Field for Address {
    fn parse(raw: &Raw, _: &Form) -> Result<Self, String> {
        parse_address(raw.one()?)
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::One(self.to_string())
    }
}

impl Field for Vec<Address> {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        if raw.one().is_ok_and(str::is_empty) {
            return Err(form.refusal(""));
        }
        raw.list().into_iter().map(parse_address).collect()
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::Many(self.iter().map(Address::to_string).collect())
    }
}

impl Field for Vec<ListenerConfig> {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        let listener = |address| ListenerConfig { address, ..Default::default() };
        Ok(<Vec<Address>>::parse(raw, form)?.into_iter().map(listener).collect())
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::Many(self.iter().map(|listener| listener.address.to_string()).collect())
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    let address = match text.strip_prefix("unix:") {
        Some(path) => parse_unix(path),
        None => parse_tcp(text).map(Address::Tcp),
    };
    address.ok_or_else(|| Form::Address.refusal(text))
}

fn parse_tcp(text: &str) -> Option<SocketAddr> {
    let local = |port: &str| Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into());
    text.parse().ok().or_else(|| text.strip_prefix("localhost:").and_then(local))
}

fn parse_unix(text: &str) -> Option<Address> {
    let (path, mode) = text.split_once("?mode=").unwrap_or((text, "700"));
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o777)?;
    (!path.is_empty()).then(|| Address::Unix(PathBuf::from(path), mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Raw {
        Raw::One(text.to_owned())
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::1]:11211", Some("[::1]:11211")),
            ("localhost:11211", Some("127.0.0.1:11211")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("unix:/run/x.sock?mode=770", Some("unix:/run/x.sock?mode=770")),
            ("unix:", None),
            ("unix:/x?mode=999", None),
            ("11211", None),
            ("127.0.0.1:99999", None),
            ("example.com:1", None),
        ] {
            let address = Address::parse(&one(text), &Form::Address);
            assert_eq!(address.ok().map(|a| a.show(&Form::Address)), shown.map(one), "{text}");
        }
    }

    #[test]
    fn lists_come_as_arrays_or_with_commas() {
        let listeners = |raw| <Vec<ListenerConfig>>::parse(&raw, &Form::Addresses).unwrap().len();
        assert_eq!(listeners(one("off")), 0);
        assert_eq!(listeners(one("127.0.0.1:1, 127.0.0.1:2")), 2);
        assert_eq!(listeners(Raw::Many(vec!["127.0.0.1:1".into(), "unix:/x".into()])), 2);
        assert_eq!(listeners(Raw::Many(Vec::new())), 0);
        let nothing = <Vec<ListenerConfig>>::parse(&one(" "), &Form::Addresses);
        assert!(nothing.is_err(), "an empty variable is a slip, and would serve nobody");
    }
}
