//! The message of SASL PLAIN (RFC 4616).

/// Who wants to log in, and the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The user's name.
    pub user: &'a [u8],
    /// The password.
    pub password: &'a [u8],
}

/// Reads `[authzid] NUL authcid NUL password`. `None` when it is not that, or somebody wants to
/// act as another user.
#[must_use]
pub fn parse(message: &[u8]) -> Option<Plain<'_>> {
    let mut parts = message.split(|byte| *byte == 0);
    let (acting_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let alone = parts.next().is_none() && (acting_as.is_empty() || acting_as == user);
    (alone && !user.is_empty()).then_some(Plain { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for (message, user) in [
            ("\0alice\0secret", Some("alice")),
            ("alice\0alice\0secret", Some("alice")),
            ("bob\0alice\0secret", None),
            ("\0alice\0", Some("alice")),
            ("\0\0secret", None),
            ("\0alice", None),
            ("", None),
            ("\0alice\0secret\0", None),
        ] {
            let plain = parse(message.as_bytes());
            assert_eq!(plain.map(|plain| plain.user), user.map(str::as_bytes), "{message:?}");
        }
    }
}
