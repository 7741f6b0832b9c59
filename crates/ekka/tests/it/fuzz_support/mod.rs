//! Seeded mutations of real inputs, for a bounded time.

use std::time::{Duration, Instant};

use ekka::core::rng::Rng;

fn mutated(rng: &mut Rng, corpus: &[&str], pieces: &[&str]) -> Vec<u8> {
    let mut data = corpus[rng.index(corpus.len())].as_bytes().to_vec();
    for _ in 0..=rng.index(8) {
        let at = rng.index(data.len() + 1);
        match rng.index(5) {
            0 => data.truncate(at),
            1 => drop(data.splice(at..at, pieces[rng.index(pieces.len())].bytes())),
            2 => {
                let end = (at + rng.index(40)).min(data.len());
                data.drain(at..end);
            }
            3 => {
                let end = (at + rng.index(200)).min(data.len());
                let copy = data[at..end].to_vec();
                let to = rng.index(data.len() + 1);
                drop(data.splice(to..to, copy));
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = u8::try_from(rng.index(256)).expect("below 256");
                }
            }
        }
    }
    data
}

/// Gives the target the corpus as it is, then mutations of it with pieces that parsers trip over, for two seconds.
pub(crate) fn run(name: &str, corpus: &[&str], pieces: &[&str], target: fn(&[u8])) {
    for text in corpus {
        target(text.as_bytes());
    }
    let until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0u64;
    while Instant::now() < until {
        rounds += 1;
        let data = mutated(&mut Rng::new(rounds), corpus, pieces);
        let started = Instant::now();
        let survived = std::panic::catch_unwind(|| target(&data)).is_ok();
        assert!(survived, "{name}: round {rounds} panics on {:?}", String::from_utf8_lossy(&data));
        assert!(started.elapsed() < Duration::from_secs(1), "{name}: round {rounds} takes {:?}", started.elapsed());
    }
    assert!(rounds > 100, "{name}: only {rounds} rounds");
}
