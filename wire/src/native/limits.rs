//! The limits of a connection. The server announces its own in `WELCOME`.

/// What one side accepts from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of one frame in bytes. Default: 1 MiB.
    pub frame_len_max: usize,
    /// Largest message in bytes, put together from fragments. Default: 16 MiB.
    pub message_len_max: usize,
    /// Longest key in bytes. Default: 1024.
    pub key_len_max: usize,
    /// Largest value in bytes. Default: 8 MiB.
    pub value_len_max: usize,
    /// Streams open at once. Default: 4096.
    pub streams_max: usize,
    /// Requests under way at once, above which the server stops reading. Default: 1024.
    pub inflight_max: usize,
    /// Keys in one request of many. Default: 1000.
    pub keys_max: usize,
}

impl Limits {
    /// What is accepted before the client has proved who it is: small frames, none of them cut.
    #[must_use]
    pub fn before_auth(self) -> Limits {
        let frame_len_max = self.frame_len_max.min(BEFORE_AUTH_LEN_MAX);
        Limits { frame_len_max, message_len_max: frame_len_max, ..self }
    }
}

/// Largest frame before authentication, in bytes.
pub const BEFORE_AUTH_LEN_MAX: usize = 16 << 10;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_len_max: 1 << 20,
            message_len_max: 16 << 20,
            key_len_max: 1024,
            value_len_max: 8 << 20,
            streams_max: 4096,
            inflight_max: 1024,
            keys_max: 1000,
        }
    }
}
