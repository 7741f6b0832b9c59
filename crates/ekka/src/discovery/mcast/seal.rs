//! How an announcement is authenticated and kept from strangers.
//!
//! `HMAC-SHA256` over the cluster name and the whole datagram says that a holder of the cookie made it. Only then is the
//! body opened, which is sealed with `ChaCha20-Poly1305`, so that who merely listens learns no name and no address. Each
//! datagram has its own key for that, made from its fresh nonce; so the nonce of the cipher can be constant.
//! (Encrypt-then-MAC: Bellare and Namprempre, 2000.)

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::transport::Credentials;

/// Bytes of the code at the end of a datagram.
pub(super) const MAC_LEN: usize = 32;
/// Bytes by which sealing makes a body longer.
pub(super) const TAG_LEN: usize = 16;

/// The keys of all trusted cookies; the first signs.
#[derive(Clone)]
pub(super) struct Keys {
    pairs: Vec<Pair>,
    cluster_name: Vec<u8>,
}

#[derive(Clone)]
struct Pair {
    mac: hmac::Key,
    seal: hmac::Key,
}

impl Keys {
    /// Those of the credentials, if they hold a cookie.
    pub(super) fn of(credentials: &Credentials) -> Option<Self> {
        let key = |bytes: &[u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let (macs, seals) = (credentials.keys_for("mcast"), credentials.keys_for("mcast seal"));
        let pairs: Vec<Pair> =
            macs.iter().zip(&seals).map(|(mac, seal)| Pair { mac: key(mac), seal: key(seal) }).collect();
        (!pairs.is_empty()).then(|| Self { pairs, cluster_name: credentials.cluster_name().as_bytes().to_vec() })
    }

    /// Seals `body`, puts it behind `head`, and signs both. No two calls may have the same `head`.
    pub(super) fn seal(&self, head: &[u8], mut body: Vec<u8>) -> Vec<u8> {
        // `of` gives no empty list.
        let Some(pair) = self.pairs.first() else { return Vec::new() };
        let sealed = cipher(pair, head).seal_in_place_append_tag(constant_nonce(), Aad::from(head), &mut body);
        sealed.expect("a body is far shorter than what the cipher takes");
        let mut datagram = [head, &body].concat();
        let mac = hmac::sign(&pair.mac, &self.named(&datagram));
        datagram.extend_from_slice(mac.as_ref());
        datagram
    }

    /// The body, if a trusted cookie signed this.
    pub(super) fn open(&self, datagram: &[u8], head_len: usize) -> Option<Vec<u8>> {
        let (signed, mac) = datagram.split_at_checked(datagram.len().checked_sub(MAC_LEN)?)?;
        let (head, sealed) = signed.split_at_checked(head_len)?;
        // `ring` compares codes in constant time; it takes the message whole, so the name goes in front of it.
        let named = self.named(signed);
        let pair = self.pairs.iter().find(|pair| hmac::verify(&pair.mac, &named, mac).is_ok())?;
        let mut body = sealed.to_vec();
        let len = cipher(pair, head).open_in_place(constant_nonce(), Aad::from(head), &mut body).ok()?.len();
        body.truncate(len);
        Some(body)
    }

    /// The cluster name with its length, then what is signed: no two pairs look the same.
    fn named(&self, signed: &[u8]) -> Vec<u8> {
        let len = (self.cluster_name.len() as u64).to_be_bytes();
        [len.as_slice(), &self.cluster_name, signed].concat()
    }
}

/// The cipher of one datagram: its head holds a nonce that is never used twice.
fn cipher(pair: &Pair, head: &[u8]) -> LessSafeKey {
    let key = hmac::sign(&pair.seal, head);
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("a code of SHA-256 has the length of a key");
    LessSafeKey::new(key)
}

fn constant_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{CookieSet, Kdf, Mode};

    fn keys(cookies: &[&str], cluster_name: &str) -> Keys {
        let cookies = CookieSet::parse(&cookies.join("\n"), "test").unwrap();
        Keys::of(&Credentials::derive(&Mode::Off, &cookies, cluster_name, Kdf::cheap()).unwrap()).unwrap()
    }

    const OLD: &str = "old-cookie-old-cookie-old-cookie-old-cookie";
    const NEW: &str = "new-cookie-new-cookie-new-cookie-new-cookie";

    #[test]
    fn the_first_cookie_signs_and_every_trusted_one_opens() {
        let body = b"who and where".to_vec();
        let old = keys(&[OLD], "ekka").seal(b"head", body.clone());
        let both = keys(&[NEW, OLD], "ekka");
        assert_eq!(both.open(&old, 4), Some(body.clone()));
        let new = both.seal(b"head", body.clone());
        assert_eq!(keys(&[NEW], "ekka").open(&new, 4), Some(body));
        assert_eq!(keys(&[OLD], "ekka").open(&new, 4), None);
        assert_eq!(keys(&[NEW], "other").open(&new, 4), None);
    }

    #[test]
    fn what_is_changed_anywhere_does_not_open_and_the_body_is_not_seen() {
        let keys = keys(&[NEW], "ekka");
        let datagram = keys.seal(b"head", b"who and where".to_vec());
        assert!(!datagram.windows(3).any(|bytes| bytes == b"who"), "the body stands there in the clear");
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.open(&changed, 4), None, "bit {bit}");
        }
        for len in 0..datagram.len() {
            assert_eq!(keys.open(&datagram[..len], 4), None, "{len} bytes");
        }
    }
}
