//! Percent-encoding (RFC 3986, section 2.1).

/// Encodes all but unreserved characters and those that are named `plain`: names and tokens come from outside, and must
/// stay one piece.
pub(crate) fn percent_encoded(bytes: &[u8], plain: &[u8]) -> String {
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || plain.contains(&byte);
    bytes.iter().map(|b| if stays(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}
