//! What strangers and holders of the cookie can feed to the decoder: any input must come back, none may panic.

use ekka_core::id::NodeId;
use ekka_core::time::{Instant, Now};

use super::message::{Announcement, Kind, datagram};
use super::rules::{Datagram, Means, Reaction, Rules};
use super::seal::Keys;
use crate::discovery::Me;
use crate::transport::{CookieSet, Credentials, Kdf, Mode};

/// Takes `data` as a datagram of a stranger, and as the body of one that a holder of the cookie signed.
///
/// # Panics
/// A stranger is believed, or what decodes encodes to something else.
pub fn fuzz_mcast(data: &[u8]) {
    let Some(keys) = keys() else { return };
    let Ok(name) = "ekka@10.0.0.1".parse::<ekka_core::id::NodeName>() else { return };
    let Some(endpoint) = name.endpoint(4370) else { return };
    let me = Me { name, endpoint, node_id: NodeId::from_u128(1) };
    let mut rules = Rules::new(me, keys.clone());
    rules.set_listed(true);
    let reply = ([10, 0, 0, 1], 4369).into();
    let means = |fresh| Means { now: Now::default(), fresh, reply };
    let from = ([10, 0, 0, 9], 4369).into();
    rules.ask(means(0));

    assert_eq!(rules.handle(&Datagram { bytes: data, from }, means(1)), Reaction::default(), "a stranger is believed");
    for kind in [Kind::Ping, Kind::Pong] {
        let bytes = datagram(kind, 2, data.to_vec(), &keys);
        rules.handle(&Datagram { bytes: &bytes, from }, means(3));
        if let Ok(announcement) = Announcement::decode(&bytes, &keys) {
            assert_eq!(Announcement::decode(&announcement.encode(&keys), &keys), Ok(announcement));
        }
    }
    assert!(rules.known(Instant::ZERO).count() <= 1);
}

fn keys() -> Option<Keys> {
    let cookies = CookieSet::parse("a-cookie-for-fuzzing-a-cookie-for-fuzzing", "fuzz").ok()?;
    Keys::of(&Credentials::derive(&Mode::Off, &cookies, "ekka", Kdf::cheap()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ekka_core::rng::Rng;

    use super::*;
    use crate::discovery::mcast::message::tests::ping;

    fn mutated(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut data = corpus[rng.index(corpus.len())].clone();
        for _ in 0..rng.index(6) {
            let at = rng.index(data.len() + 1);
            match rng.index(5) {
                0 => data.truncate(at),
                1 => data.insert(at, rng.next_u64().to_le_bytes()[0]),
                2 => {
                    // The largest numbers, where a length may stand.
                    let end = (at + 9).min(data.len());
                    drop(data.splice(at..end, [0xff; 9]));
                }
                3 => {
                    let end = (at + rng.index(24)).min(data.len());
                    let piece = data[at..end].to_vec();
                    let to = rng.index(data.len() + 1);
                    drop(data.splice(to..to, piece));
                }
                _ => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte ^= 1 << rng.index(8);
                    }
                }
            }
        }
        data
    }

    #[test]
    fn decoder_survives_mutated_announcements_and_believes_no_stranger() {
        let keys = super::super::message::tests::keys("another");
        let mut corpus = vec![vec![0; 2000]];
        for name in ["ekka@10.0.0.1", "n1@[fd77::1]", "broker@node-3.example:9"] {
            let announcement = ping(name, 7);
            corpus.push(announcement.encode(&keys));
            corpus.push(postcard::to_allocvec(&announcement.body).unwrap());
        }
        let until = Instant::now() + Duration::from_secs(2);
        let mut rounds = 0;
        while Instant::now() < until {
            rounds += 1;
            let data = mutated(&mut Rng::new(rounds), &corpus);
            let survived = std::panic::catch_unwind(|| fuzz_mcast(&data)).is_ok();
            assert!(survived, "round {rounds} panics on {data:02x?}");
        }
        assert!(rounds > 100, "only {rounds} rounds");
    }
}
