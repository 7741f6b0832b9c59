//! Mode `off`: both sides prove that they hold the cookie, and what they say in the handshake is bound to the proof.
//! What follows the handshake is in the clear.
//!
//! The dialling side sends a nonce; the accepting side answers with its own and a MAC over both; the dialling side
//! checks it and answers with its MAC. The label of each MAC names the role, so nothing that one side says is of use
//! as an answer of the other. The session key comes from both proofs; each frame of the handshake carries a MAC by it
//! over the role and everything said so far, so a man in the middle can neither swap nor repeat a Hello.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::credentials::AuthorityId;
use super::failure::Failure;
use super::kdf::{Root, mac, same};
use crate::env::BoxStream;

/// The first bytes of each side.
pub(super) const MAGIC: &[u8; 4] = b"ekka";
/// Goes on.
const YES: u8 = 1;
/// The other side's proof or mode is not accepted.
pub(super) const NO: u8 = 0;

const NONCE_LEN: usize = 32;
const MAC_LEN: usize = 32;

/// Which end of a connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Dial,
    Accept,
}

impl Side {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Dial => b"dialling side",
            Self::Accept => b"accepting side",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Dial => Self::Accept,
            Self::Accept => Self::Dial,
        }
    }
}

/// The keys of the trusted cookies, first the one that this node proves with.
pub(super) struct Challenge {
    keys: Vec<(AuthorityId, [u8; 32])>,
}

/// A finished challenge.
pub(super) struct Proven {
    pub(super) ours: AuthorityId,
    pub(super) theirs: AuthorityId,
    pub(super) seal: Seal,
}

impl Challenge {
    pub(super) fn new(roots: &[Root], cluster_name: &str) -> Self {
        let key = |root: &Root| {
            let key = root.key("challenge", cluster_name);
            (AuthorityId(mac(b"ekka challenge id", &[&key])), key)
        };
        Self { keys: roots.iter().map(key).collect() }
    }

    /// The place of a trusted cookie in their list.
    pub(super) fn place_of(&self, authority: &AuthorityId) -> Option<usize> {
        self.keys.iter().position(|(id, _)| id == authority)
    }

    /// The dialling side.
    pub(super) async fn dial(&self, stream: &mut BoxStream, nonce: [u8; 32]) -> Result<Proven, Failure> {
        let mut first = [0u8; 5 + NONCE_LEN];
        first[..4].copy_from_slice(MAGIC);
        first[4] = YES;
        first[5..].copy_from_slice(&nonce);
        stream.write_all(&first).await?;
        stream.flush().await?;
        let mut head = [0u8; 5];
        stream.read_exact(&mut head).await?;
        judge_head(head)?;
        let mut rest = [0u8; NONCE_LEN + MAC_LEN];
        stream.read_exact(&mut rest).await?;
        let (their_nonce, their_mac) = split(&rest);
        let nonces = [nonce, their_nonce];
        let Some(theirs) = self.proof_of(Side::Accept, &nonces, &their_mac) else {
            stream.write_all(&[NO]).await?;
            stream.flush().await?;
            return Err(Failure::Credentials("its answer to the challenge is not made with our cookie".to_owned()));
        };
        let ours = self.own()?;
        let proof = prove(&ours.1, Side::Dial, &nonces);
        let mut answer = [YES; 1 + MAC_LEN];
        answer[1..].copy_from_slice(&proof);
        stream.write_all(&answer).await?;
        stream.flush().await?;
        if stream.read_u8().await? != YES {
            return Err(refused());
        }
        let seal = Seal::Mac(Transcript::new(Side::Dial, &ours.1, &theirs.1, &nonces));
        Ok(Proven { ours: ours.0, theirs: theirs.0, seal })
    }

    /// The accepting side, once [`MAGIC`] was read.
    pub(super) async fn accept(&self, stream: &mut BoxStream, nonce: [u8; 32]) -> Result<Proven, Failure> {
        let mut first = [0u8; 1 + NONCE_LEN];
        stream.read_exact(&mut first).await?;
        if first[0] != YES {
            return Err(Failure::Garbage(format!("version {} of the challenge is unknown", first[0])));
        }
        let mut their_nonce = [0u8; NONCE_LEN];
        their_nonce.copy_from_slice(&first[1..]);
        let nonces = [their_nonce, nonce];
        let ours = self.own()?;
        let mut answer = Vec::with_capacity(5 + NONCE_LEN + MAC_LEN);
        answer.extend_from_slice(MAGIC);
        answer.push(YES);
        answer.extend_from_slice(&nonce);
        answer.extend_from_slice(&prove(&ours.1, Side::Accept, &nonces));
        stream.write_all(&answer).await?;
        stream.flush().await?;
        if stream.read_u8().await? != YES {
            return Err(refused());
        }
        let mut their_mac = [0u8; MAC_LEN];
        stream.read_exact(&mut their_mac).await?;
        let theirs = self.proof_of(Side::Dial, &nonces, &their_mac);
        stream.write_all(&[if theirs.is_some() { YES } else { NO }]).await?;
        stream.flush().await?;
        let Some(theirs) = theirs else {
            return Err(Failure::Credentials("its answer to the challenge is not made with our cookie".to_owned()));
        };
        let seal = Seal::Mac(Transcript::new(Side::Accept, &ours.1, &theirs.1, &nonces));
        Ok(Proven { ours: ours.0, theirs: theirs.0, seal })
    }

    fn own(&self) -> Result<&(AuthorityId, [u8; 32]), Failure> {
        self.keys.first().ok_or_else(|| Failure::Credentials("this node has no cookie".to_owned()))
    }

    fn proof_of(&self, side: Side, nonces: &[[u8; 32]; 2], found: &[u8; 32]) -> Option<&(AuthorityId, [u8; 32])> {
        self.keys.iter().find(|(_, key)| same(&prove(key, side, nonces), found))
    }
}

fn refused() -> Failure {
    Failure::Credentials("it refused our answer to its challenge".to_owned())
}

fn judge_head(head: [u8; 5]) -> Result<(), Failure> {
    if head[0] == TLS_ALERT || head[0] == super::secure::TLS_HANDSHAKE {
        return Err(Failure::Credentials("it speaks TLS, we do not".to_owned()));
    }
    match head.split_first_chunk::<4>() {
        Some((magic, [YES])) if magic == MAGIC => Ok(()),
        Some((magic, [NO])) if magic == MAGIC => Err(Failure::Credentials("it wants TLS, we do not".to_owned())),
        _ => Err(Failure::Garbage("its first bytes are not those of ekka".to_owned())),
    }
}

const TLS_ALERT: u8 = 21;

fn split(rest: &[u8; NONCE_LEN + MAC_LEN]) -> ([u8; NONCE_LEN], [u8; MAC_LEN]) {
    let mut nonce = [0u8; NONCE_LEN];
    let mut found = [0u8; MAC_LEN];
    nonce.copy_from_slice(&rest[..NONCE_LEN]);
    found.copy_from_slice(&rest[NONCE_LEN..]);
    (nonce, found)
}

fn prove(key: &[u8; 32], side: Side, nonces: &[[u8; 32]; 2]) -> [u8; 32] {
    mac(key, &[b"ekka proof v1", side.label(), &nonces[0], &nonces[1]])
}

/// What keeps a frame of the handshake from being changed: nothing more below TLS, a MAC in the clear.
pub(super) enum Seal {
    Plain,
    Mac(Transcript),
}

/// The session key and everything said so far.
pub(super) struct Transcript {
    side: Side,
    key: [u8; 32],
    so_far: [u8; 32],
}

impl Transcript {
    fn new(side: Side, ours: &[u8; 32], theirs: &[u8; 32], nonces: &[[u8; 32]; 2]) -> Self {
        let (dial, accept) = match side {
            Side::Dial => (ours, theirs),
            Side::Accept => (theirs, ours),
        };
        let half = |key: &[u8; 32]| mac(key, &[b"ekka session v1", &nonces[0], &nonces[1]]);
        Self { side, key: mac(&half(dial), &[&half(accept)]), so_far: [0; 32] }
    }

    fn next(&mut self, side: Side, body: &[u8]) -> [u8; 32] {
        self.so_far = mac(&self.key, &[side.label(), &self.so_far, body]);
        self.so_far
    }
}

impl Seal {
    /// The body as it goes out.
    pub(super) fn close(&mut self, mut body: Vec<u8>) -> Vec<u8> {
        if let Self::Mac(transcript) = self {
            let tag = transcript.next(transcript.side, &body);
            body.extend_from_slice(&tag);
        }
        body
    }

    /// The body as it came in, checked.
    pub(super) fn open(&mut self, mut body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        if let Self::Mac(transcript) = self {
            let changed = || Failure::Credentials("the handshake was changed on its way".to_owned());
            let (_, tag) = body.split_last_chunk::<MAC_LEN>().ok_or_else(changed)?;
            let tag = *tag;
            body.truncate(body.len() - MAC_LEN);
            if !same(&transcript.next(transcript.side.other(), &body), &tag) {
                return Err(changed());
            }
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cookie::CookieSet;
    use super::super::kdf::Kdf;
    use super::*;

    fn challenge(cookies: &str) -> Challenge {
        Challenge::new(&CookieSet::parse(cookies, "test").unwrap().roots(Kdf::cheap()).unwrap(), "ekka")
    }

    async fn meet(dial: &Challenge, accept: &Challenge) -> (Result<Proven, Failure>, Result<Proven, Failure>) {
        let (a, b) = tokio::io::duplex(1024);
        let (mut a, mut b): (BoxStream, BoxStream) = (Box::new(a), Box::new(b));
        let dialling = async {
            let result = dial.dial(&mut a, [1; 32]).await;
            drop(a);
            result
        };
        let accepting = async {
            let mut magic = [0; 4];
            b.read_exact(&mut magic).await?;
            let result = accept.accept(&mut b, [2; 32]).await;
            drop(b);
            result
        };
        tokio::join!(dialling, accepting)
    }

    #[tokio::test]
    async fn one_common_cookie_is_enough_in_both_directions() {
        for (dial, accept) in [("a", "a"), ("a\nb", "b\na"), ("a\nb\nc", "c\na"), ("b\na", "a\nb")] {
            let (dialled, accepted) = meet(&challenge(dial), &challenge(accept)).await;
            let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
            assert_eq!((dialled.ours, dialled.theirs), (accepted.theirs, accepted.ours));
            let sent = dialled.seal.close(b"hello".to_vec());
            assert_eq!(accepted.seal.open(sent).unwrap(), b"hello");
            let sent = accepted.seal.close(b"welcome".to_vec());
            assert_eq!(dialled.seal.open(sent).unwrap(), b"welcome");
        }
    }

    #[tokio::test]
    async fn other_cookies_are_refused_by_both() {
        for (dial, accept) in [("a", "b"), ("a", "b\na"), ("b\na", "a")] {
            let (dialled, accepted) = meet(&challenge(dial), &challenge(accept)).await;
            assert!(matches!(dialled, Err(Failure::Credentials(_))), "{dial:?} to {accept:?}");
            assert!(matches!(accepted, Err(Failure::Credentials(_))), "{dial:?} to {accept:?}");
        }
    }

    #[tokio::test]
    async fn a_mirror_proves_nothing() {
        // The stranger dials, and answers the challenge of the accepting side with that side's own words.
        let victim = challenge("a");
        let (a, b) = tokio::io::duplex(1024);
        let (mut a, mut b): (BoxStream, BoxStream) = (Box::new(a), Box::new(b));
        let stranger = async {
            a.write_all(&[[YES].as_slice(), &[9; 32]].concat()).await.unwrap();
            let mut answer = [0u8; 5 + NONCE_LEN + MAC_LEN];
            a.read_exact(&mut answer).await.unwrap();
            a.write_all(&[YES]).await.unwrap();
            a.write_all(&answer[5 + NONCE_LEN..]).await.unwrap();
            a.read_u8().await.unwrap()
        };
        let (status, accepted) = tokio::join!(stranger, victim.accept(&mut b, [2; 32]));
        assert_eq!(status, NO);
        assert!(matches!(accepted, Err(Failure::Credentials(_))));
    }

    #[tokio::test]
    async fn changed_swapped_and_repeated_frames_are_refused() {
        let pair = || async {
            let (dialled, accepted) = meet(&challenge("a"), &challenge("a")).await;
            (dialled.unwrap().seal, accepted.unwrap().seal)
        };
        let (mut dial, mut accept) = pair().await;
        let mut sent = dial.close(b"hello".to_vec());
        sent[0] ^= 1;
        assert!(accept.open(sent).is_err());

        let (mut dial, mut accept) = pair().await;
        let sent = dial.close(b"hello".to_vec());
        assert!(dial.open(sent.clone()).is_err(), "a frame is of no use to the side that sent it");
        assert!(accept.open(sent.clone()).is_ok());
        assert!(accept.open(sent).is_err(), "a frame is of no use twice");
        assert!(accept.open(vec![1; 5]).is_err());
    }
}
