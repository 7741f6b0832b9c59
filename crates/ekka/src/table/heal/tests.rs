//! What says that a table is healed, and how it is said what it waits for.

use std::sync::Mutex;

use ekka_core::id::Guid;
use ekka_core::table::{Digest, Vector};

use super::super::digest::{Found, Step};
use super::equal::{NotEqual, judge};
use super::*;

fn id(node: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
}

fn vector(entries: &[(u128, u64)]) -> Vector {
    entries.iter().map(|(node, number)| (id(*node), *number)).collect()
}

fn found(step: Step, mine: &[(u128, u64)], theirs: &[(u128, u64)]) -> Found {
    Found { step, mine: Some(Digest::default()), held: Some((vector(mine), vector(theirs))), revision: None }
}

#[test]
fn a_table_is_healed_when_both_hold_what_was_collected_at_the_cut_and_are_equal() {
    let others = [(id(2), vector(&[(2, 5), (3, 2)])), (id(3), vector(&[(3, 4)]))];
    let collected = Collected::of(vector(&[(1, 7)]), others);
    let all = [(1, 7), (2, 5), (3, 4)];
    let on_the_way = || Err(NotEqual::NotSure("operations are on their way".into()));
    assert_eq!(judge(&collected, &found(Step::InStep, &all, &all)), Ok(()));
    let ahead = [(1, 9), (2, 5), (3, 4), (4, 1)];
    let behind = |peer, here| Step::Behind { peer, here };
    assert_eq!(judge(&collected, &found(behind(2, 0), &ahead, &all)), Ok(()), "both go on");
    assert_eq!(judge(&collected, &found(behind(0, 1), &[(1, 7), (2, 5), (3, 3)], &all)), on_the_way(), "not here");
    assert_eq!(judge(&collected, &found(behind(1, 0), &all, &[(1, 6), (2, 5), (3, 4)])), on_the_way(), "not there");
    let differs = Step::Differs { ranges: vec![3, 4] };
    assert_eq!(judge(&collected, &found(differs, &all, &all)), Err(NotEqual::Differs(2)));
    let not = Found { mine: None, held: None, ..found(Step::NotCompared("no".into()), &[], &[]) };
    assert_eq!(judge(&collected, &not), Err(NotEqual::NotSure("no".into())));
    let unknown = Found { held: None, ..found(Step::InStep, &[], &[]) };
    assert!(matches!(judge(&collected, &unknown), Err(NotEqual::NotSure(_))));
}

#[test]
fn what_is_lacking_is_what_any_of_them_held() {
    let others = [(id(2), vector(&[(2, 5), (3, 2)])), (id(3), vector(&[(3, 4)]))];
    let collected = Collected::of(vector(&[(1, 7)]), others);
    assert_eq!(collected.wanted(), vector(&[(1, 7), (2, 5), (3, 4)]));
    assert_eq!(collected.lacking(&vector(&[(1, 7), (2, 4)])), 5);
    assert_eq!(collected.lacking(&vector(&[(1, 8), (2, 5), (3, 4), (4, 9)])), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_is_said_when_it_is_another_thing_and_not_too_often() {
    let said = Mutex::new(Vec::new());
    let mut saying = Saying::new(|text| said.lock().unwrap().push(text));
    let node = |text: &str| Wait::Node(text.into());
    saying.say(&[node("a")]);
    saying.say(&[node("b")]);
    tokio::time::advance(SAY).await;
    saying.say(&[node("a")]);
    saying.say(&[]);
    saying.say(&[node("a"), node("b"), node("c"), node("d"), Wait::Rows("e".into())]);
    assert_eq!(*said.lock().unwrap(), ["a", "a; b; c; 2 more"]);
}
