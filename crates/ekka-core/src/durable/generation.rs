//! The generation of a cluster: how often it was recovered, and who the survivor was.
//!
//! Two survivors that are cut from each other may both be told to go on, against all advice. Were they one generation,
//! neither would give way when they meet. So a generation names its survivor: the number of recoveries stands in the high
//! 32 bits, and below it the end of the id of the store that the survivor votes with from then on. The larger one wins. It
//! stays below 2^53, which every language reads exactly: tokens are used up long before 2^21 recoveries.

use alloc::format;
use alloc::string::String;

/// Bits that name the survivor.
const SURVIVOR_BITS: u32 = 32;

/// The generation that follows `before` where a survivor with this new store goes on.
#[must_use]
pub fn next(before: u64, store: u128) -> u64 {
    let count = (before >> SURVIVOR_BITS).saturating_add(1);
    // Never 0, which would look like a count without a survivor.
    (count << SURVIVOR_BITS) | u64::from(low_bits(store)).max(1)
}

/// Its survivor, as a number below 2^32: of two that have recovered equally often the larger one wins.
pub(super) fn survivor(generation: u64) -> u64 {
    u64::from(low_bits(generation.into()))
}

/// For people: how often the cluster was recovered, and a suffix that tells survivors apart.
#[must_use]
pub fn words(generation: u64) -> String {
    match (generation >> SURVIVOR_BITS, survivor(generation)) {
        (0, plain) => format!("{plain}"),
        (count, survivor) => format!("{count}-{survivor:08x}"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
fn low_bits(id: u128) -> u32 {
    id as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_grow_and_two_survivors_never_share_one() {
        let (one, other) = (next(0, 0x3fa2_c1b0), next(0, (7 << 64) + 5));
        assert!(one > other && other > 0, "the larger survivor wins");
        assert!(next(other, 1) > one, "whoever has recovered more often is later");
        assert_ne!(next(0, 1 << 64), next(0, 5), "an id that ends in zeros names a survivor too");
        assert!(next(one, u128::MAX) < 1 << 53);
        let said = [0, one, next(one, 10)].map(words);
        assert_eq!(said, ["0", "1-3fa2c1b0", "2-0000000a"]);
    }
}
