//! A hash of 64 bits that is the same on every node and in every version, to compare replicas. No defence against
//! somebody who looks for collisions.

const START: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const END: u64 = 0xbf58_476d_1ce4_e5b9;

/// Both halves of a product, one over the other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64) ^ a.wrapping_mul(b)
}

/// The hash of a list of things, each by its own hash, with one more at its end.
pub(in crate::table) fn chain(before: u64, hash: u64) -> u64 {
    fold(before ^ hash, FACTOR).rotate_left(1)
}

/// The hash of some bytes.
pub(in crate::table) fn hash(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut state = START;
    for word in words.by_ref() {
        let mut whole = [0; 8];
        whole.copy_from_slice(word);
        state = fold(state ^ u64::from_le_bytes(whole), FACTOR);
    }
    let mut rest = [0; 8];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    state = fold(state ^ u64::from_le_bytes(rest), FACTOR);
    fold(state ^ bytes.len() as u64, END)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec;

    use super::*;

    #[test]
    fn it_stays_as_it_is_and_sees_every_bit() {
        assert_eq!(hash(b""), 0xffe3_bfbb_b919_47c1);
        assert_eq!(hash(b"a key and a value"), 0x058e_b2d5_f88e_6959);
        let mut seen = BTreeSet::new();
        for len in 0..40 {
            let mut bytes = vec![0u8; len];
            assert!(seen.insert(hash(&bytes)), "{len} zeros");
            for bit in 0..len * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(hash(&bytes)), "{len} bytes with bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
