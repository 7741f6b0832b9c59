//! A seeded generator for decisions that want chance (jitter, ballots' delays, whom to gossip with).
//!
//! xoshiro256++ (Blackman and Vigna, 2018), seeded by `SplitMix64`. Not for secrets.

use core::convert::Infallible;
use core::time::Duration;

use rand_core::TryRng;

/// The generator of one room of one node. Child seeds are `seed of the node + label of the room`.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

fn split_mix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// A generator from a seed; equal seeds give equal sequences.
    #[must_use]
    pub fn new(mut seed: u64) -> Self {
        let state = core::array::from_fn(|_| split_mix(&mut seed));
        Self { state }
    }

    /// An independent generator for the room `label`.
    #[must_use]
    pub fn child(&mut self, label: &str) -> Self {
        let mixed = label.bytes().fold(self.next_u64(), |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self::new(mixed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// The next 128 bits.
    pub fn next_u128(&mut self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// A number below `bound`; 0 where `bound` is 0. The bias of the modulo is below 2⁻³² for the bounds in use.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// A place in a list of `len` entries; 0 where it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        // Below `len`, so it fits.
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A duration in `[0, max)`.
    pub fn up_to(&mut self, max: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// `base` made up to a fifth longer, so that nodes which began together drift apart.
    pub fn jitter(&mut self, base: Duration) -> Duration {
        base + self.up_to(base / 5)
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}
