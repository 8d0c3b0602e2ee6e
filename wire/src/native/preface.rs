//! The first eight bytes each way. They are frozen for all versions of the protocol.

/// The first byte of a client: no text in ASCII or UTF-8 begins with it, so that one port can tell
/// the protocols apart.
pub const FIRST_BYTE: u8 = 0xf7;
/// Bytes of a preface.
pub const PREFACE_LEN: usize = 8;
/// The lowest and the highest version that this code speaks.
pub const VERSIONS: (u8, u8) = (1, 1);

const MAGIC: [u8; 4] = [FIRST_BYTE, b'G', b'R', b'D'];

/// What a client says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientPreface {
    /// The lowest version it speaks.
    pub version_min: u8,
    /// The highest version it speaks.
    pub version_max: u8,
}

/// What the server says to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerPreface {
    /// The version that is spoken from here on; 0: none, and the connection is closed.
    pub chosen: u8,
    /// The lowest version that the server speaks.
    pub version_min: u8,
    /// The highest version that the server speaks.
    pub version_max: u8,
}

/// These bytes are no preface: the peer speaks something else. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotGnp;

impl std::fmt::Display for NotGnp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the peer does not speak GNP")
    }
}

impl std::error::Error for NotGnp {}

impl ClientPreface {
    /// What this code says as a client.
    pub const OURS: ClientPreface =
        ClientPreface { version_min: VERSIONS.0, version_max: VERSIONS.1 };

    /// The bytes.
    #[must_use]
    pub fn encode(self) -> [u8; PREFACE_LEN] {
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, self.version_min, self.version_max, 0, 0]
    }

    /// Reads the first bytes of a client; `None`: there are fewer than eight, and those are right.
    /// The last two bytes are not looked at.
    ///
    /// # Errors
    ///
    /// [`NotGnp`] as soon as a byte is wrong.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, NotGnp> {
        Ok(behind_magic(input)?
            .map(|[version_min, version_max, ..]| ClientPreface { version_min, version_max }))
    }
}

impl ServerPreface {
    /// The answer of this code to a client: the highest version that both speak.
    #[must_use]
    pub fn answer(client: ClientPreface) -> Self {
        let (version_min, version_max) = VERSIONS;
        let best = client.version_max.min(version_max);
        let fits = best >= client.version_min.max(version_min);
        ServerPreface { chosen: if fits { best } else { 0 }, version_min, version_max }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(self) -> [u8; PREFACE_LEN] {
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, self.chosen, self.version_min, self.version_max, 0]
    }

    /// Reads the first bytes of a server; `None`: there are fewer than eight, and those are right.
    ///
    /// # Errors
    ///
    /// [`NotGnp`] as soon as a byte is wrong.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, NotGnp> {
        Ok(behind_magic(input)?.map(|[chosen, version_min, version_max, _]| ServerPreface {
            chosen,
            version_min,
            version_max,
        }))
    }
}

/// The four bytes behind the magic, once they are there.
fn behind_magic(input: &[u8]) -> Result<Option<[u8; 4]>, NotGnp> {
    if input.iter().zip(MAGIC).any(|(is, expected)| *is != expected) {
        return Err(NotGnp);
    }
    Ok(input.get(MAGIC.len()..).and_then(<[u8]>::first_chunk).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        for (version_min, version_max, chosen) in
            [(1, 1, 1), (1, 9, 1), (0, 1, 1), (2, 9, 0), (0, 0, 0), (9, 1, 0)]
        {
            let client = ClientPreface { version_min, version_max };
            assert_eq!(ServerPreface::answer(client).chosen, chosen, "{client:?}");
        }
    }

    #[test]
    fn a_wrong_byte_is_refused_before_the_rest_comes() {
        let bytes = ClientPreface::OURS.encode();
        for len in 0..bytes.len() {
            assert_eq!(ClientPreface::decode(&bytes[..len]), Ok(None));
        }
        assert_eq!(ClientPreface::decode(&bytes), Ok(Some(ClientPreface::OURS)));
        for len in 1..=4 {
            let mut wrong = bytes[..len].to_vec();
            wrong[len - 1] ^= 1;
            assert_eq!(ClientPreface::decode(&wrong), Err(NotGnp));
            assert_eq!(ServerPreface::decode(&wrong), Err(NotGnp));
        }
    }
}
