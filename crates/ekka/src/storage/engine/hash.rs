//! Sums that tell whether bytes are those that were written.
//!
//! SHA-256, cut to 64 bits: the processor has instructions for it, `ring` is there anyway, and the sums stay the same
//! over versions of this program, which those of `std` do not promise.

use ring::digest::{Context, SHA256};

/// A sum over parts, each with its length, so that no two lists of parts are alike.
pub(super) fn sum(parts: &[&[u8]]) -> u64 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let (head, _) = digest.as_ref().split_at(8);
    u64::from_be_bytes(head.try_into().expect("split at eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_between_parts_counts() {
        assert_ne!(sum(&[b"ab", b"c"]), sum(&[b"a", b"bc"]));
        assert_ne!(sum(&[b"ab"]), sum(&[b"ab", b""]));
    }

    #[test]
    fn the_sum_is_the_same_for_ever() {
        assert_eq!(sum(&[b"ekka"]), 0xe15e_7bcb_34e5_7e26);
    }
}
