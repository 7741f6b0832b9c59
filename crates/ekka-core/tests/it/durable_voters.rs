//! Who votes: the policy of section 12, step by step, against the schedules that broke earlier drafts.

use std::collections::BTreeSet;

use ekka_core::consensus::{Configuration, VoterId};
use ekka_core::durable::voters::{Candidate, Look, Step, next_step, wanted};
use ekka_core::id::NodeId;
use ekka_core::rng::Rng;
use ekka_core::view::Role;

fn id(n: u128) -> NodeId {
    NodeId::from_u128(n)
}

fn voter(n: u128) -> VoterId {
    VoterId { node_id: id(n), start: n * 100 }
}

fn core(n: u128) -> Candidate {
    Candidate {
        name: format!("n{n}@h{n}").parse().expect("a name"),
        role: Role::Core,
        store: Some(n * 100),
        since: u64::try_from(n).expect("few nodes"),
        zone: String::new(),
        up: true,
        caught_up: true,
        leaving: false,
        follows: false,
        lost: false,
        leads: false,
    }
}

/// Cores 1 to `cores`, of whom the first `voting` vote.
fn look(cores: u128, voting: u128) -> Look {
    let configuration = Configuration { voters: vec![(1..=voting).map(voter).collect()], ..Configuration::default() };
    Look { members: (1..=cores).map(|n| (id(n), core(n))).collect(), configuration, replace: None }
}

/// Does every step at once until none is left; each voter set on the way, the first one included.
fn settle(look: &mut Look) -> Vec<BTreeSet<VoterId>> {
    let mut sets = vec![look.configuration.voters[0].iter().copied().collect()];
    for _ in 0..100 {
        match next_step(look) {
            Step::Learn { learners, .. } => look.configuration.learners = learners.into_iter().collect(),
            Step::Change { voters, .. } => {
                look.configuration.learners.retain(|learner| !voters.contains(learner));
                look.configuration.voters = vec![voters.iter().copied().collect()];
                sets.push(voters);
            }
            Step::Nothing { .. } => return sets,
        }
    }
    panic!("the policy does not come to rest: {look:?}");
}

fn set(of: &[u128]) -> BTreeSet<VoterId> {
    of.iter().copied().map(voter).collect()
}

#[test]
fn all_cores_up_to_two_then_the_largest_odd_number_up_to_seven() {
    for cores in 1..=12 {
        let mut look = look(cores, 1);
        let last = settle(&mut look).pop().unwrap();
        assert_eq!(last.len(), wanted(usize::try_from(cores).unwrap()), "{cores} cores");
        assert!(last.contains(&voter(1)), "the first keeps its place");
    }
}

#[test]
fn a_learner_comes_before_the_vote_and_catches_up_first() {
    let mut look = look(3, 2);
    look.members.get_mut(&id(3)).unwrap().caught_up = false;
    let Step::Learn { learners, .. } = next_step(&look) else { panic!("learns first") };
    assert_eq!(learners, set(&[3]));
    look.configuration.learners = vec![voter(3)];
    let Step::Nothing { why } = next_step(&look) else { panic!("waits") };
    assert!(why.contains("n3@h3 catches up"), "{why}");
    look.members.get_mut(&id(3)).unwrap().caught_up = true;
    assert!(matches!(next_step(&look), Step::Change { voters, .. } if voters == set(&[1, 2, 3])));
}

#[test]
fn s2_7_no_voter_moves_in_a_rolling_restart() {
    // In each there is a core that does not vote and would take a place, were it free for a moment.
    for (cores, voting) in [(4, 3), (6, 5)] {
        let mut look = look(cores, voting);
        settle(&mut look);
        let before = look.configuration.clone();
        assert_eq!((before.voters[0].len(), before.learners.len()), (wanted(usize::try_from(cores).unwrap()), 1));
        for n in (1..=cores).chain(1..=cores) {
            // Down, back, behind for a while: nobody comes, nobody goes, nothing is copied.
            for (up, caught_up) in [(false, false), (true, false), (true, true)] {
                let member = look.members.get_mut(&id(n)).unwrap();
                (member.up, member.caught_up) = (up, caught_up);
                assert_eq!(settle(&mut look).len(), 1, "{cores} cores, n{n}: up {up}");
                assert_eq!(look.configuration, before, "{cores} cores, n{n}: up {up}");
            }
        }
    }
}

#[test]
fn s2_7_two_cores_both_vote_and_the_fifth_core_makes_three_voters_five() {
    let mut two = look(2, 1);
    assert_eq!(settle(&mut two).last(), Some(&set(&[1, 2])));
    let mut five = look(4, 3);
    assert_eq!(settle(&mut five).last(), Some(&set(&[1, 2, 3])));
    five.members.insert(id(5), core(5));
    assert_eq!(settle(&mut five).last(), Some(&set(&[1, 2, 3, 4, 5])));
    five.members.remove(&id(5));
    assert_eq!(settle(&mut five).last(), Some(&set(&[1, 2, 3])));
}

#[test]
fn the_longest_member_replaces_one_that_leaves_and_never_are_there_fewer() {
    let mut look = look(6, 5);
    look.members.get_mut(&id(2)).unwrap().leaving = true;
    let sets = settle(&mut look);
    assert_eq!(sets.last(), Some(&set(&[1, 3, 4, 5, 6])));
    assert!(sets.iter().all(|voters| voters.len() >= 5), "{sets:?}");
}

#[test]
fn the_only_voter_hands_over_to_one_that_votes_already() {
    let mut look = look(2, 1);
    look.members.get_mut(&id(1)).unwrap().leaving = true;
    assert_eq!(settle(&mut look), [set(&[1]), set(&[1, 2]), set(&[2])]);
}

#[test]
fn s1_12_any_number_may_leave_one_after_the_other_down_to_one() {
    let mut look = look(7, 7);
    for n in (2..=7).rev() {
        look.members.get_mut(&id(n)).unwrap().leaving = true;
        settle(&mut look);
        assert!(!look.configuration.voters[0].contains(&voter(n)), "n{n} may go");
        look.members.remove(&id(n));
        settle(&mut look);
        assert_eq!(look.configuration.voters[0].len(), wanted(usize::try_from(n - 1).unwrap()));
    }
}

#[test]
fn who_was_down_for_autoclean_is_replaced_and_shorter_absences_are_not() {
    let mut look = look(4, 3);
    settle(&mut look);
    look.members.get_mut(&id(1)).unwrap().up = false;
    assert_eq!(settle(&mut look).last(), Some(&set(&[1, 2, 3])));
    look.members.get_mut(&id(1)).unwrap().lost = true;
    assert_eq!(settle(&mut look).last(), Some(&set(&[2, 3, 4])));
}

/// Section 10: a new leader would count anew for autoclean, so the one that has a voter cleaned does not give up its own vote.
#[test]
fn who_leads_stays_where_the_group_can_do_without_one() {
    for leader in 2..=5 {
        let mut look = look(5, 5);
        look.members.get_mut(&id(leader)).unwrap().leads = true;
        look.members.get_mut(&id(1)).unwrap().lost = true;
        let left = settle(&mut look).pop().unwrap();
        assert!(left.len() == 3 && left.contains(&voter(leader)) && !left.contains(&voter(1)), "{leader}: {left:?}");
    }
}

#[test]
fn s1_9_another_store_is_another_voter_that_learns_before_the_old_one_goes() {
    let mut look = look(3, 3);
    let member = look.members.get_mut(&id(2)).unwrap();
    (member.store, member.caught_up) = (Some(777), false);
    let new = VoterId { node_id: id(2), start: 777 };
    assert!(matches!(next_step(&look), Step::Learn { learners, .. } if learners.contains(&new)));
    look.configuration.learners = vec![new];
    assert!(matches!(next_step(&look), Step::Nothing { .. }), "the old voter stays until the new one has the log");
    look.members.get_mut(&id(2)).unwrap().caught_up = true;
    let sets = settle(&mut look);
    assert_eq!(sets.last(), Some(&[voter(1), new, voter(3)].into()));
    assert!(sets.iter().all(|voters| voters.len() == 3));
}

#[test]
fn s1_13_two_nodes_and_a_witness_vote() {
    let mut two = look(3, 2);
    two.members.get_mut(&id(3)).unwrap().role = Role::Witness;
    assert_eq!(settle(&mut two).last(), Some(&set(&[1, 2, 3])));
    // A third core leaves the witness its place; a second witness finds none beside one core.
    two.members.insert(id(4), core(4));
    assert_eq!(settle(&mut two).last(), Some(&set(&[1, 2, 3])));
    let mut one = look(3, 1);
    for n in [2, 3] {
        one.members.get_mut(&id(n)).unwrap().role = Role::Witness;
    }
    assert_eq!(settle(&mut one).last(), Some(&set(&[1, 2])));
}

fn witness(n: u128) -> Candidate {
    Candidate { role: Role::Witness, ..core(n) }
}

#[test]
fn s1_13_witnesses_are_never_more_than_half_whoever_is_down_and_whatever_the_zones() {
    // Cores 1, 2, 3 and witnesses 4, 5 vote; the third is down, the second leaves.
    let mut five = look(5, 5);
    for n in [4, 5] {
        five.members.insert(id(n), witness(n));
    }
    five.members.get_mut(&id(3)).unwrap().up = false;
    let mut zones = five.clone();
    five.members.get_mut(&id(2)).unwrap().leaving = true;
    assert_eq!(settle(&mut five).last(), Some(&set(&[1, 3, 4])), "a core that is down before a second witness");
    // The cores share a zone, and still they stay.
    for (n, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c")] {
        zones.members.get_mut(&id(n)).unwrap().zone = zone.into();
    }
    zones.members.get_mut(&id(2)).unwrap().leaving = true;
    assert_eq!(settle(&mut zones).last(), Some(&set(&[1, 3, 4])));
}

#[test]
fn s1_13_a_witness_too_many_gives_its_place_to_a_core_once_that_has_the_log() {
    let mut look = look(4, 4);
    look.configuration.voters = vec![vec![voter(1), voter(3), voter(4)]];
    for n in [3, 4] {
        look.members.insert(id(n), witness(n));
    }
    look.members.get_mut(&id(2)).unwrap().caught_up = false;
    assert!(matches!(next_step(&look), Step::Learn { learners, .. } if learners == set(&[2])));
    look.configuration.learners = vec![voter(2)];
    assert!(matches!(next_step(&look), Step::Nothing { why } if why.contains("n2@h2 catches up")));
    look.members.get_mut(&id(2)).unwrap().caught_up = true;
    assert_eq!(settle(&mut look), [set(&[1, 3, 4]), set(&[1, 2, 3])]);
}

#[test]
fn replicants_follow_the_log_and_never_vote_and_nodes_without_a_store_do_neither() {
    let mut look = look(4, 1);
    look.members.get_mut(&id(2)).unwrap().role = Role::Replicant;
    look.members.get_mut(&id(3)).unwrap().store = None;
    settle(&mut look);
    assert_eq!(look.configuration.voters[0], [voter(1), voter(4)]);
    assert_eq!(look.configuration.learners, [voter(2)]);
}

#[test]
fn voters_are_spread_over_zones_and_keep_their_place_all_the_same() {
    let mut look = look(6, 1);
    for (n, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "c")] {
        look.members.get_mut(&id(n)).unwrap().zone = zone.into();
    }
    look.members.retain(|node_id, _| node_id.as_u128() != 5);
    look.members.get_mut(&id(3)).unwrap().up = false;
    look.members.get_mut(&id(2)).unwrap().up = false;
    assert_eq!(settle(&mut look).last(), Some(&set(&[1, 4, 6])), "one of each zone");
    look.members.get_mut(&id(2)).unwrap().up = true;
    assert_eq!(settle(&mut look).last(), Some(&set(&[1, 4, 6])), "four cores still have three voters");
}

#[test]
fn force_leave_with_a_successor_waits_for_it_and_for_nobody_else() {
    // Five cores are up to take the vote of the second; only the sixth, which is not ready, may.
    let mut look = look(6, 5);
    settle(&mut look);
    look.replace = Some((id(2), id(6)));
    look.members.get_mut(&id(6)).unwrap().caught_up = false;
    assert!(matches!(next_step(&look), Step::Nothing { why } if why.contains("n6@h6")));
    // On its way out it learns no more, or it could never go.
    look.members.get_mut(&id(6)).unwrap().leaving = true;
    assert!(matches!(next_step(&look), Step::Learn { learners, .. } if learners.is_empty()));
    look.members.insert(id(6), core(6));
    look.configuration.learners.clear();
    look.members.get_mut(&id(6)).unwrap().store = None;
    assert!(matches!(next_step(&look), Step::Nothing { why } if why.contains("n6@h6 cannot vote yet")));
    look.members.insert(id(6), core(6));
    let sets = settle(&mut look);
    assert_eq!(sets.last(), Some(&set(&[1, 3, 4, 5, 6])));
    assert!(sets.iter().all(|voters| voters.len() == 5), "{sets:?}");
}

#[test]
fn a_successor_that_votes_already_replaces_nobody() {
    let mut look = look(3, 3);
    look.replace = Some((id(2), id(3)));
    assert_eq!(settle(&mut look).last(), Some(&set(&[1, 3])));
}

#[test]
fn in_any_history_sets_overlap_and_none_is_smaller_than_the_one_that_it_replaces_without_need() {
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let cores = 1 + u128::from(rng.below(9));
        let mut look = look(cores, 1);
        let witnesses = rng.below(4) == 0;
        for member in look.members.values_mut().skip(1) {
            if witnesses && rng.below(2) == 0 {
                member.role = Role::Witness;
            }
        }
        for round in 0..12 {
            for member in look.members.values_mut() {
                match rng.below(8) {
                    0 => member.up = !member.up,
                    1 => member.caught_up = !member.caught_up,
                    2 => member.zone = ["a", "b", "c"][rng.index(3)].into(),
                    3 if round % 4 == 0 => member.leaving = rng.below(4) == 0,
                    4 if round % 5 == 0 => member.store = Some(rng.next_u128()),
                    _ => {}
                }
            }
            let sets = settle(&mut look);
            for pair in sets.windows(2) {
                assert!(!pair[0].is_disjoint(&pair[1]), "seed {seed}: sets overlap");
                let kept = pair[0].iter().filter(|voter| {
                    let member = &look.members[&voter.node_id];
                    member.store == Some(voter.start) && !member.leaving && !member.lost
                });
                let kept: Vec<_> = kept.collect();
                let witnesses = |set: &BTreeSet<VoterId>| {
                    set.iter().filter(|voter| look.members[&voter.node_id].role == Role::Witness).count()
                };
                assert!(witnesses(&pair[1]) * 2 <= pair[1].len(), "seed {seed}: half are no witnesses: {pair:?}");
                let all: BTreeSet<VoterId> = kept.iter().map(|voter| **voter).collect();
                let cores = kept.len() - witnesses(&all);
                let size = wanted(cores + cores.min(witnesses(&all)));
                let stay = kept.iter().filter(|voter| pair[1].contains(voter)).count();
                assert!(stay >= size.min(kept.len()), "seed {seed}: who may stay stays: {pair:?}");
            }
        }
    }
}

/// A set of voters that cannot have its majority would stop the group before it is in force: with one of three down none of
/// the other two can go.
#[test]
fn no_change_is_begun_whose_new_voters_are_not_up_by_majority() {
    let mut look = look(3, 3);
    look.members.get_mut(&id(3)).unwrap().up = false;
    look.members.get_mut(&id(2)).unwrap().leaving = true;
    let Step::Nothing { why } = next_step(&look) else { panic!("{:?}", next_step(&look)) };
    assert!(why.contains("1 of the 2 that would vote are up, 2 needed"), "{why}");
    look.members.get_mut(&id(3)).unwrap().up = true;
    assert!(matches!(next_step(&look), Step::Change { voters, .. } if voters == set(&[1, 3])));
}

/// Who leaves and is needed by the volatile group has no vote, and learns.
#[test]
fn who_leaves_and_is_needed_follows_without_a_vote() {
    let mut look = look(4, 3);
    let leaver = look.members.get_mut(&id(2)).unwrap();
    (leaver.leaving, leaver.follows) = (true, true);
    settle(&mut look);
    assert_eq!(look.configuration.voters[0].iter().copied().collect::<BTreeSet<_>>(), set(&[1, 3, 4]));
    assert_eq!(look.configuration.learners, [voter(2)]);
    look.members.get_mut(&id(2)).unwrap().follows = false;
    settle(&mut look);
    assert!(look.configuration.learners.is_empty());
}
