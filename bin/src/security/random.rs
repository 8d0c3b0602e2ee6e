//! Random bytes from the kernel, for secrets, salts and nonces.

/// Fresh random bytes.
///
/// # Panics
/// When the kernel has none to give: nothing secret can be made then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    assert!(filled.is_ok(), "the kernel gives no random bytes");
    bytes
}

/// A secret that a person can copy: 256 bits as 43 letters, digits, `-` and `_`.
#[must_use]
pub fn secret() -> String {
    let text = isogrid_wire::base64::text(&bytes::<32>());
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}
