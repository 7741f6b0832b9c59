//! An announcement, and its form on the wire.
//!
//! Fixed head in the clear: `EKMC`, version, kind, length of the datagram (2 bytes), nonce (16 bytes). Then the sealed
//! body, in the wire form of the rest of the project (postcard), then the code (see `seal`). What costs nothing is
//! checked first: length, mark, version; then the code; only what a holder of the cookie sent is decoded.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ekka_core::id::{Endpoint, NodeId, NodeName};
use serde::{Deserialize, Serialize};

use super::seal::{Keys, MAC_LEN, TAG_LEN};

/// Bytes of the longest datagram: names are bounded, so that one never comes near it. Below every link's packet size.
pub(super) const DATAGRAM_MAX: usize = 1024;

const MARK: &[u8; 4] = b"EKMC";
const VERSION: u8 = 2;
const HEAD_LEN: usize = 24;

/// What it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// To the group: who is there?
    Ping,
    /// To who pinged: I am.
    Pong,
}

/// A number that is used once.
pub(super) type Nonce = u128;

/// A number that grows with each ping of a node: the time by its clock, in milliseconds, or one more than the last.
pub(super) type Stamp = u64;

/// An announcement of a holder of the cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Announcement {
    pub(super) kind: Kind,
    pub(super) nonce: Nonce,
    pub(super) body: Body,
}

/// What it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Body {
    /// Who sends.
    pub(super) node_id: NodeId,
    /// Its name.
    pub(super) name: NodeName,
    /// Where its peers dial it.
    pub(super) endpoint: Endpoint,
    /// Where its answers are to come. The address that the packet came from is not trusted.
    pub(super) reply: SocketAddr,
    /// The nonce of the ping that a pong answers; 0 in a ping.
    pub(super) answers: Nonce,
    /// Which of the sender's pings is newer; 0 in a pong.
    pub(super) stamp: Stamp,
}

/// Why a datagram is no announcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Too short, too long, cut off, or of another program.
    Malformed,
    /// Of a version that this one does not speak.
    Version,
    /// No trusted cookie signed it.
    Unauthentic,
}

impl Announcement {
    /// The datagram. The nonce must be fresh.
    pub(super) fn encode(&self, keys: &Keys) -> Vec<u8> {
        let body = postcard::to_allocvec(&self.body).expect("a body has nothing that cannot be written");
        let datagram = datagram(self.kind, self.nonce, body, keys);
        debug_assert!(datagram.len() <= DATAGRAM_MAX, "names are bounded");
        datagram
    }

    /// What a datagram says.
    ///
    /// # Errors
    /// It is none of ours.
    pub(super) fn decode(datagram: &[u8], keys: &Keys) -> Result<Self, Refusal> {
        let (kind, nonce) = head(datagram)?;
        let body = keys.open(datagram, HEAD_LEN).ok_or(Refusal::Unauthentic)?;
        let (body, rest) = postcard::take_from_bytes::<Body>(&body).map_err(|_| Refusal::Malformed)?;
        let whole = rest.is_empty() && is_endpoint(&body.endpoint) && is_one_node(body.reply);
        if whole { Ok(Self { kind, nonce, body }) } else { Err(Refusal::Malformed) }
    }
}

/// A datagram with any body.
pub(super) fn datagram(kind: Kind, nonce: Nonce, body: Vec<u8>, keys: &Keys) -> Vec<u8> {
    let len = HEAD_LEN + body.len() + TAG_LEN + MAC_LEN;
    let mut head = Vec::with_capacity(HEAD_LEN);
    head.extend_from_slice(MARK);
    head.push(VERSION);
    head.push(match kind {
        Kind::Ping => 1,
        Kind::Pong => 2,
    });
    head.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    head.extend_from_slice(&nonce.to_be_bytes());
    keys.seal(&head, body)
}

/// The checks that cost nothing.
fn head(datagram: &[u8]) -> Result<(Kind, Nonce), Refusal> {
    let head = datagram.first_chunk::<HEAD_LEN>().ok_or(Refusal::Malformed)?;
    if !head.starts_with(MARK) {
        return Err(Refusal::Malformed);
    }
    if head[4] != VERSION {
        return Err(Refusal::Version);
    }
    let kind = match head[5] {
        1 => Kind::Ping,
        2 => Kind::Pong,
        _ => return Err(Refusal::Malformed),
    };
    let len = usize::from(u16::from_be_bytes([head[6], head[7]]));
    if len != datagram.len() || !(HEAD_LEN + TAG_LEN + MAC_LEN..=DATAGRAM_MAX).contains(&len) {
        return Err(Refusal::Malformed);
    }
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&head[8..]);
    Ok((kind, Nonce::from_be_bytes(nonce)))
}

/// Whether a node could have that endpoint: what is after the `@` of a name has passed its parser, an endpoint has not.
fn is_endpoint(endpoint: &Endpoint) -> bool {
    let parsed = format!("x@{endpoint}").parse::<NodeName>();
    parsed.is_ok_and(|name| name.endpoint(1).as_ref() == Some(endpoint))
}

/// Whether one node can have that address: nobody makes us send to a group or to all.
fn is_one_node(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::transport::{CookieSet, Credentials, Kdf, Mode};

    pub(in super::super) fn keys(cookie: &str) -> Keys {
        let cookies = CookieSet::parse(&format!("{cookie:-<43}"), "test").unwrap();
        Keys::of(&Credentials::derive(&Mode::Off, &cookies, "ekka", Kdf::cheap()).unwrap()).unwrap()
    }

    pub(in super::super) fn ping(name: &str, nonce: Nonce) -> Announcement {
        let name: NodeName = name.parse().unwrap();
        let endpoint = name.endpoint(4370).unwrap();
        let node_id = NodeId::from_u128(nonce.wrapping_mul(77));
        let body = Body { node_id, name, endpoint, reply: "10.77.0.1:4369".parse().unwrap(), answers: 0, stamp: 1 };
        Announcement { kind: Kind::Ping, nonce, body }
    }

    #[test]
    fn an_announcement_decodes_as_it_was_and_the_longest_fits() {
        let keys = keys("a");
        let label = "h".repeat(63);
        let longest = format!("{}@{label}.{label}.{label}.{}:65535", "n".repeat(64), "h".repeat(61));
        for name in ["ekka@10.0.0.1", "n1@[fd77::1]", "broker@node-3.example:9", &longest] {
            for kind in [Kind::Ping, Kind::Pong] {
                let mut announcement = Announcement { kind, ..ping(name, 7) };
                announcement.body.reply = "[fd77::1]:4369".parse().unwrap();
                announcement.body.answers = Nonce::MAX;
                announcement.body.stamp = Stamp::MAX;
                let datagram = announcement.encode(&keys);
                assert!(datagram.len() <= DATAGRAM_MAX, "{} bytes", datagram.len());
                assert_eq!(Announcement::decode(&datagram, &keys), Ok(announcement));
            }
        }
    }

    #[test]
    fn what_is_cut_off_longer_or_of_another_program_is_refused_before_the_code_is_looked_at() {
        let keys = keys("a");
        let datagram = ping("ekka@10.0.0.1", 7).encode(&keys);
        let with = |at: usize, byte: u8| {
            let mut changed = datagram.clone();
            changed[at] = byte;
            head(&changed)
        };
        assert!(head(&datagram).is_ok());
        assert_eq!(with(0, b'X'), Err(Refusal::Malformed));
        for version in [1, VERSION + 1] {
            assert_eq!(with(4, version), Err(Refusal::Version));
        }
        assert_eq!(with(5, 3), Err(Refusal::Malformed));
        for len in 0..datagram.len() {
            assert_eq!(head(&datagram[..len]), Err(Refusal::Malformed), "{len} bytes");
        }
        assert_eq!(head(&[datagram.as_slice(), b"x"].concat()), Err(Refusal::Malformed));
    }

    #[test]
    fn a_holder_of_the_cookie_too_cannot_have_answers_sent_to_a_group_or_name_no_place() {
        let keys = keys("a");
        let mut wrong = Vec::new();
        for reply in ["239.192.0.1:4369", "255.255.255.255:4369", "0.0.0.0:1", "10.0.0.1:0", "[ff02::1]:4369"] {
            let mut announcement = ping("ekka@10.0.0.1", 7);
            announcement.body.reply = reply.parse().unwrap();
            wrong.push(announcement);
        }
        let mut nowhere = ping("ekka@10.0.0.1", 8);
        nowhere.body.endpoint.host = ekka_core::id::Host::Dns("two words".to_owned());
        wrong.push(nowhere);
        for announcement in wrong {
            assert_eq!(Announcement::decode(&announcement.encode(&keys), &keys), Err(Refusal::Malformed));
        }
    }
}
