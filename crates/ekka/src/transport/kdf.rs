//! One slow derivation for each cookie; every key comes from its result by a label of its own.
//!
//! The cookie is stretched once (argon2id, fixed salt); the cluster name goes into the labelled keys, not into the
//! salt, so that the fingerprint shown to people does not change with the name and the price is paid once.

use argon2::{Algorithm, Argon2, Params, Version};
use ring::hmac;

/// What the derivation costs. Part of the protocol: other parameters give other authorities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kdf {
    /// Memory in KiB, at least 8.
    pub memory_kib: u32,
    /// Passes over it, at least 1.
    pub passes: u32,
}

impl Kdf {
    /// 64 MiB, three passes: about 150 ms of one core.
    #[must_use]
    pub const fn production() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3 }
    }

    /// As cheap as argon2 allows. For tests and simulation only.
    #[must_use]
    pub const fn cheap() -> Self {
        Self { memory_kib: 8, passes: 1 }
    }
}

impl Default for Kdf {
    fn default() -> Self {
        Self::production()
    }
}

/// The stretched cookie. Never leaves this module whole.
#[derive(Clone)]
pub(super) struct Root([u8; 32]);

impl Root {
    pub(super) fn stretch(cookie: &str, kdf: Kdf) -> Result<Self, argon2::Error> {
        let params = Params::new(kdf.memory_kib, kdf.passes, 1, Some(32))?;
        let mut root = [0u8; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            cookie.as_bytes(),
            SALT,
            &mut root,
        )?;
        Ok(Self(root))
    }

    /// The key for one use in one cluster.
    pub(super) fn key(&self, label: &str, cluster_name: &str) -> [u8; 32] {
        mac(&self.0, &[b"ekka key v1", label.as_bytes(), cluster_name.as_bytes()])
    }

    /// 48 bits in the form `3f9a-02c1-77de`. A guess costs the whole derivation.
    pub(super) fn fingerprint(&self) -> String {
        let bytes = self.key("fingerprint", "");
        format!("{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5])
    }
}

const SALT: &[u8] = b"ekka cookie v1";

/// HMAC-SHA256 over parts, each with its length before it, so that no two lists of parts look the same.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0u8; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Compares two MACs in a time that does not depend on them.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_cookie_label_and_cluster_and_are_the_same_again() {
        let root = |cookie| Root::stretch(cookie, Kdf::cheap()).unwrap();
        let key = root("one").key("authority", "ekka");
        assert_eq!(key, root("one").key("authority", "ekka"));
        assert_ne!(key, root("two").key("authority", "ekka"));
        assert_ne!(key, root("one").key("challenge", "ekka"));
        assert_ne!(key, root("one").key("authority", "other"));
        assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"a", b"bc"]));
    }

    #[test]
    fn fingerprint_has_three_groups_of_four_digits() {
        let text = Root::stretch("one", Kdf::cheap()).unwrap().fingerprint();
        let groups: Vec<&str> = text.split('-').collect();
        assert_eq!(groups.len(), 3);
        assert!(groups.iter().all(|g| g.len() == 4 && g.bytes().all(|b| b.is_ascii_hexdigit())), "{text}");
    }
}
