use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// The ranges in which two tables differ at their cut, as `a` finds out.
fn differing(a: &Table, b: &Table, now: Now) -> Vec<usize> {
    let (mine, other) = (a.cut(), b.cut());
    let mut without = mine.above(other.held(), usize::MAX).unwrap();
    without.append(&mut other.above(mine.held(), usize::MAX).unwrap());
    mine.digest(&without, now.wall).differing(&other.digest(&without, now.wall))
}

fn whole(table: &Table, now: Now) -> Digest {
    table.cut().digest(&BTreeSet::new(), now.wall)
}

proptest! {
    #[test]
    fn equal_tables_have_equal_digests_in_whatever_order_it_came_and_one_row_more_is_one_range(
        steps in prop::collection::vec((0usize..3, 0u8..12, any::<u8>(), 0u8..6), 1..120),
        odd in any::<u8>(),
    ) {
        let mut tables = [table(1), table(2), table(3)];
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let [x, y] = tables.get_disjoint_mut([a, b]).unwrap();
            connect(x, y, at(0));
        }
        for (step, (who, key, value, kind)) in (0u64..).zip(steps) {
            let now = at(10 + step * 3);
            let expires_at = (kind == 4).then(|| at(step * 3 + u64::from(value)).wall);
            match kind {
                0 => drop(tables[who].delete(&[key], now.wall).unwrap()),
                1 => {
                    let [x, y] = tables.get_disjoint_mut([who, (who + 1) % 3]).unwrap();
                    exchange(x, y, now);
                }
                _ => drop(tables[who].put(&[key], &[value], expires_at, now.wall).unwrap()),
            }
            for (a, b) in [(0, 1), (1, 2), (2, 0)] {
                prop_assert_eq!(differing(&tables[a], &tables[b], now), Vec::<usize>::new());
            }
        }
        let now = at(1_000);
        for (a, b) in [(0, 1), (1, 2), (0, 2), (0, 1)] {
            let [x, y] = tables.get_disjoint_mut([a, b]).unwrap();
            exchange(x, y, now);
        }
        prop_assert_eq!(whole(&tables[0], now), whole(&tables[1], now));
        prop_assert_eq!(whole(&tables[0], now), whole(&tables[2], now));
        let before = whole(&tables[0], now);
        tables[0].put(&[odd], b"another value", None, now.wall).unwrap();
        let after = whole(&tables[0], now);
        prop_assert_eq!(before.differing(&after), [range_of(key_hash(&[odd]))]);
        prop_assert_ne!(before.whole(), after.whole());
        // What the other side cannot have yet does not count.
        prop_assert_eq!(differing(&tables[0], &tables[1], now), Vec::<usize>::new());
        prop_assert_eq!(behind(tables[0].cut().held(), tables[1].cut().held()), 1);
    }
}

#[test]
fn what_counts_and_is_not_merged_is_found_in_its_range() {
    let faults = Faults { counts_unmerged: true, ..Faults::default() };
    let settings = Settings { me: id(2), storage: Storage::Ram, bound: Hlc::ZERO, faults };
    let (mut a, mut b) = (table(1), Table::new(settings));
    b.bound_is(Hlc::at(Wall::from_millis(2 * START)));
    connect(&mut a, &mut b, at(0));
    a.put(b"lost", b"1", None, at(0).wall).unwrap();
    exchange(&mut a, &mut b, at(10));
    assert_eq!(a.held(), b.held(), "by the vectors they are in step");
    assert_eq!(differing(&a, &b, at(20)), [range_of(key_hash(b"lost"))]);
    assert_eq!(differing(&b, &a, at(20)), [range_of(key_hash(b"lost"))]);
}

#[test]
fn too_many_keys_above_the_cut_are_said_to_be() {
    let (mut a, b) = (table(1), table(2));
    for n in 0..5 {
        a.put(&[n], b"", None, at(0).wall).unwrap();
    }
    assert_eq!(a.cut().above(b.cut().held(), 4), None);
    assert_eq!(a.cut().above(b.cut().held(), 5).map(|keys| keys.len()), Some(5));
}
