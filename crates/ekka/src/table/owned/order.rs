//! Rows in the order of their keys: a tree takes neighbours faster than rows from anywhere, on each node that holds them.

/// A key and a value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Bytes of a key that are compared without going where it lies.
const HEAD: usize = 16;

/// The rows in the order of their keys; of those with one key, in the order in which they came.
pub(super) fn by_key(rows: &[Row]) -> Vec<&Row> {
    let shared = shared_prefix(rows);
    let mut order: Vec<(u128, usize)> =
        rows.iter().enumerate().map(|(at, (key, _))| (head(&key[shared..]), at)).collect();
    order.sort_unstable_by(|(one, at), (other, beside)| {
        one.cmp(other).then_with(|| rows[*at].0.cmp(&rows[*beside].0)).then(at.cmp(beside))
    });
    order.into_iter().map(|(_, at)| &rows[at]).collect()
}

/// How many bytes all keys begin with.
fn shared_prefix(rows: &[Row]) -> usize {
    let Some(((first, _), others)) = rows.split_first() else { return 0 };
    others.iter().fold(first.len(), |shared, (key, _)| {
        first[..shared].iter().zip(key).position(|(one, other)| one != other).unwrap_or(shared.min(key.len()))
    })
}

/// The first bytes as a number; what is missing counts as zero, so of two keys with one head either may be the lower.
fn head(key: &[u8]) -> u128 {
    let mut head = [0; HEAD];
    let length = key.len().min(HEAD);
    head[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_order_of_a_stable_sort(
            prefix in prop::collection::vec(0u8..2, 0..3),
            keys in prop::collection::vec(prop::collection::vec(0u8..2, 0..20), 0..40),
        ) {
            let rows: Vec<Row> =
                keys.iter().zip(0u8..).map(|(key, n)| ([&prefix[..], key].concat(), vec![n])).collect();
            let mut sorted: Vec<&Row> = rows.iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            prop_assert_eq!(by_key(&rows), sorted);
        }
    }
}
