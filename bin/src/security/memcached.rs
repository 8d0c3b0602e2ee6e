//! What each memcached request does, for the table of permissions. A request without a row here
//! does not compile.

use isogrid_wire::memcached::{Get, Request};

use super::access::OpClass;

/// The class of a request.
#[must_use]
pub fn class(request: &Request<'_>) -> OpClass {
    match request {
        Request::Get(get) => class_of_get(get),
        // An addition tells nobody the value it was added to.
        Request::Store(_) | Request::StoreTooLarge { .. } | Request::Touch { .. } => OpClass::Write,
        Request::Arithmetic(_) => OpClass::ReadWrite,
        Request::Delete(_) => OpClass::Delete,
        Request::Debug { .. } => OpClass::Read,
        Request::FlushAll { .. } => OpClass::Clear,
        Request::Dump { .. } => OpClass::Keys,
        Request::Stats { argument } => class_of_stats(argument),
        Request::Watch { .. } => OpClass::Monitor,
        Request::Verbosity { .. }
        | Request::MemoryLimit { .. }
        | Request::Shutdown { .. }
        | Request::RefreshCerts
        | Request::Accepted => OpClass::Admin,
        Request::Noop
        | Request::Version
        | Request::Quit
        | Request::SaslList
        | Request::SaslAuth { .. }
        | Request::Refused(_) => OpClass::Open,
    }
}

/// A get that gives a new expiry, creates the item or wins the right to store it changes it too.
fn class_of_get(get: &Get<'_>) -> OpClass {
    let changes = get.touch.is_some() || get.vivify.is_some() || get.recache.is_some();
    if changes { OpClass::ReadWrite } else { OpClass::Read }
}

fn class_of_stats(argument: &[u8]) -> OpClass {
    let mut words = argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    match words.next() {
        Some(b"cachedump") => OpClass::Keys,
        Some(b"reset" | b"detail") => OpClass::Admin,
        _ => OpClass::Monitor,
    }
}

/// The word for a request in the audit log.
#[must_use]
pub fn name(request: &Request<'_>) -> &'static str {
    match request {
        Request::Get(_) => "get",
        Request::Store(_) | Request::StoreTooLarge { .. } => "store",
        Request::Delete(_) => "delete",
        Request::Arithmetic(_) => "arithmetic",
        Request::Touch { .. } => "touch",
        Request::Debug { .. } => "debug",
        Request::FlushAll { .. } => "flush_all",
        Request::Noop => "noop",
        Request::Version => "version",
        Request::Verbosity { .. } => "verbosity",
        Request::Stats { .. } => "stats",
        Request::Quit => "quit",
        Request::Shutdown { .. } => "shutdown",
        Request::MemoryLimit { .. } => "cache_memlimit",
        Request::Dump { .. } => "dump",
        Request::Watch { .. } => "watch",
        Request::RefreshCerts => "refresh_certs",
        Request::SaslList | Request::SaslAuth { .. } => "sasl",
        Request::Accepted => "tuning",
        Request::Refused(_) => "refused",
    }
}
