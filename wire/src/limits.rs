//! The limits that a decoder keeps, passed in, never global.

/// What a decoder accepts. Every length is checked before a byte is stored for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes. memcached: 250.
    pub key_len_max: usize,
    /// Largest item in bytes, as memcached's `-I`: key, value and memcached's own item header
    /// (about 50 bytes) together must fit.
    pub item_size_max: usize,
    /// Longest command line in bytes, line end not included; `get` and `gets` lines are held to
    /// [`Limits::get_line_len_max`] instead. memcached: 2048.
    pub line_len_max: usize,
    /// Longest `get`/`gets`/`gat`/`gats` line in bytes. memcached has no limit here; we do.
    pub get_line_len_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            key_len_max: 250,
            item_size_max: 1 << 20,
            line_len_max: 2048,
            get_line_len_max: 1 << 20,
        }
    }
}
