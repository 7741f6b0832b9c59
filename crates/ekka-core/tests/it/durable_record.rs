//! The record of the cluster: named schedules, and laws that hold for every log.

use std::collections::BTreeSet;

use crate::durable_common::{
    Log, admission, cluster, entry, found, gone, node, nodes, returned, silent, start, store, voter,
};
use ekka_core::consensus::{Configuration, LogPlace, StateMachine, VoterId};
use ekka_core::durable::{Change, Command, Faults, Gave, InReach, Outcome, Proof, Record, Refusal, Removal};
use ekka_core::id::Incarnation;
use ekka_core::lease::{Agreed, Cause, GoneEntry};
use ekka_core::limits::{FORGOTTEN_MAX, TOKEN_MAX};
use ekka_core::membership::RemovalCause;
use ekka_core::volatile::{Generation, Proposal, Version};
use proptest::prelude::*;

fn three() -> Log {
    Log::founded(cluster(1), &[1, 2, 3], Faults::default())
}

#[test]
fn founders_have_a_place_each_in_the_order_of_the_vote() {
    let log = Log::founded(cluster(1), &[2, 3, 1], Faults::default());
    assert_eq!(log.record.by_seniority(), [node(2), node(3), node(1)]);
    assert_eq!(log.record.number(), 4, "three founders and the configuration");
}

#[test]
fn a_log_has_one_first_entry() {
    let mut log = three();
    log.already(found(cluster(1), [1, 2, 3]));
    log.refused(Refusal::OtherCluster, found(cluster(2), [1]));
    let mut empty = Log::new(Faults::default());
    empty.refused(Refusal::NotFounded, returned(1, 2));
    empty.refused(Refusal::Senseless, found(cluster(1), [1, 1]));
}

#[test]
fn s1_6_a_renewal_of_gossip_is_no_new_incarnation() {
    // A node that was declared down renews its name in gossip and keeps its guid: what it says of itself afterwards is
    // what the record holds already, so nobody becomes younger, no start is over, no voter moves.
    let mut log = three();
    let (before, voters) = (log.record.by_seniority(), log.record.voters());
    for n in 1..=3 {
        log.already(returned(n, 1));
        log.already(Command::Admit(admission(n, 1, log.record.number())));
    }
    assert_eq!((log.record.by_seniority(), log.record.voters()), (before, voters));
    assert!((1..=3).all(|n| log.record.is_present(start(n, 1))));
}

#[test]
fn s1_8_majority_is_of_the_voters_and_of_nobody_else() {
    // Three cores and four replicants.
    let mut log = three();
    for n in 4..=7 {
        log.done(Command::Admit(admission(n, 1, log.record.number())));
    }
    assert!(nodes([1, 2, 3]).is_majority_of(log.record.configuration()));
    assert!(!nodes(4..=7).is_majority_of(log.record.configuration()), "four of seven members, and none of them votes");
    // Seven cores of which three vote.
    assert!(nodes([1, 2]).is_majority_of(log.record.configuration()));
    assert!(!nodes(3..=7).is_majority_of(log.record.configuration()), "five of seven cores, one of them votes");
    // One of them is heard with another store than that which votes: its vote is lost.
    let here = |store_of_2| InReach::new([(node(1), Some(store(1))), (node(2), Some(store_of_2))]);
    assert!(here(store(2)).is_majority_of(log.record.configuration()));
    assert!(!here(store(9)).is_majority_of(log.record.configuration()));
    // A joint change: a majority of both sets.
    let sets = vec![vec![voter(1), voter(2), voter(3)], vec![voter(1), voter(4), voter(5)]];
    let at = LogPlace { term: 2, index: 50 };
    log.record.reconfigured(&Configuration { voters: sets, learners: Vec::new(), at, committed: true });
    assert!(!nodes([1, 2]).is_majority_of(log.record.configuration()));
    assert!(nodes([1, 2, 4]).is_majority_of(log.record.configuration()));
    assert!(!nodes([1, 2, 3]).is_majority_of(Record::default().configuration()), "no voters, no majority");
}

#[test]
fn s1_9_a_store_is_named_once_and_late_news_of_older_ones_is_outdated() {
    let mut log = three();
    let changed = |from, to| Command::StoreChanged { node_id: node(2), from: Some(from), to };
    log.done(changed(store(2), 7));
    log.already(changed(store(2), 7));
    log.done(changed(7, 8));
    log.refused(Refusal::Outdated, changed(store(2), 9));
    log.already(changed(7, 8));
    assert_eq!(log.record.member(node(2)).unwrap().store, Some(8));
    // The store that was voted with is another voter for as long as the configuration names it.
    assert!(log.record.voters().contains(&voter(2)));
    assert!(!log.record.voters().contains(&VoterId { node_id: node(2), start: 8 }));
}

#[test]
fn s2_4_gone_is_said_once_and_a_return_takes_a_new_guid() {
    let mut log = three();
    let changes = log.done(log.gone(2, silent()));
    assert_eq!(changes, [Change::Ended { id: start(2, 1), proof: Proof::Lease }]);
    log.already(log.gone(2, Cause::Goodbye));
    log.refused(Refusal::Over, returned(2, 1));
    log.refused(Refusal::Over, Command::Admit(admission(2, 1, log.record.number())));
    // Under a new guid it is back, and its second end is another one.
    let changes = log.done(returned(2, 2));
    assert!(!changes.iter().any(|change| matches!(change, Change::Ended { .. })), "said once: {changes:?}");
    assert!(log.record.is_present(start(2, 2)));
    assert_eq!(log.done(log.gone(2, silent())).len(), 1);
    log.already(log.gone(2, silent()));
}

#[test]
fn m7_gone_that_got_into_another_term_is_void() {
    let mut log = three();
    let late = GoneEntry { id: start(2, 1), term: 7, cause: silent() };
    log.refused(Refusal::Outdated, Command::Gone(late));
    assert!(log.record.is_present(start(2, 1)));
    let agreed = Agreed { given_ms: 10_000, waited_ms: 10_000 };
    log.refused(Refusal::Outdated, Command::Leases { term: 7, agreed });
    log.refused(Refusal::Senseless, Command::Leases { term: 1, agreed: Agreed { waited_ms: 9_000, ..agreed } });
    log.done(Command::Leases { term: 1, agreed });
    log.already(Command::Leases { term: 1, agreed });
    assert_eq!(Record::from_snapshot(&log.record.to_snapshot()).unwrap().leases(), Some(agreed));
}

#[test]
fn a_newer_start_ends_the_older_one_and_an_older_one_changes_nothing() {
    let mut log = three();
    let changes = log.done(returned(3, 5));
    assert!(changes.contains(&Change::Ended { id: start(3, 1), proof: Proof::NewerStart }));
    log.refused(Refusal::Over, returned(3, 1));
    log.refused(Refusal::Superseded, returned(3, 4));
    log.already(gone(start(3, 1), silent()));
    log.refused(Refusal::Outdated, gone(start(3, 9), silent()));
}

#[test]
fn s2_6_seniority_is_the_place_of_the_entry_that_admitted_the_start() {
    let mut log = three();
    // A node whose clock is in the year 1970 has the smallest guid of all and is the youngest all the same.
    log.done(Command::Admit(admission(9, 0, log.record.number())));
    assert_eq!(log.record.by_seniority(), [node(1), node(2), node(3), node(9)]);
    // One in the year 9999 moves nobody.
    log.done(Command::Admit(admission(8, u128::MAX >> 1, log.record.number())));
    assert_eq!(log.record.by_seniority().last(), Some(&node(8)));
    log.done(returned(1, 2));
    assert_eq!(log.record.by_seniority(), [node(2), node(3), node(9), node(8), node(1)]);
    assert_eq!(log.record.member(node(1)).unwrap().since, 1, "as a member it is as old as before");
}

#[test]
fn a_seat_of_gossip_only_grows() {
    let mut log = three();
    let mut last = log.record.seats();
    let commands = [
        |log: &Log| Command::Admit(admission(4, 1, log.record.number())),
        |_: &Log| returned(4, 2),
        |log: &Log| log.removal(4, RemovalCause::Leave),
        |log: &Log| {
            let asked = true;
            Command::Admit(ekka_core::durable::Admission { asked, ..admission(4, 2, log.record.number()) })
        },
    ];
    for command in commands {
        log.done(command(&log));
        let seats = log.record.seats();
        for (id, seat) in &seats {
            assert!(last.get(id).is_none_or(|before| before.number <= seat.number));
        }
        assert_ne!(last, seats);
        last = seats;
    }
}

#[test]
fn removed_stays_removed_until_somebody_asks_after_it() {
    let mut log = three();
    log.done(Command::Admit(admission(4, 1, log.record.number())));
    let late = Command::Admit(admission(4, 1, log.record.number()));
    let removal = log.removal(4, RemovalCause::Leave);
    log.done(removal.clone());
    log.already(removal);
    // A copy of the admission that comes now was for the time before.
    log.refused(Refusal::Outdated, late);
    let mut again = admission(4, 1, log.record.number());
    log.refused(Refusal::TakenOut, Command::Admit(again.clone()));
    again.asked = true;
    log.done(Command::Admit(again));
}

#[test]
fn voters_the_last_member_and_living_starts_are_not_removed() {
    let mut log = three();
    assert!(log.refused(Refusal::Votes, log.removal(2, RemovalCause::Force)).contains("vote"));
    log.vote(&[1, 3]);
    log.refused(Refusal::NotOver, log.removal(2, RemovalCause::Autoclean));
    log.done(log.gone(2, silent()));
    let stale = log.removal(2, RemovalCause::Autoclean);
    log.done(returned(2, 2));
    log.refused(Refusal::Outdated, stale);
    log.done(log.removal(2, RemovalCause::Leave));
    log.vote(&[1]);
    log.done(log.removal(3, RemovalCause::Leave));
    log.refused(Refusal::Last, log.removal(1, RemovalCause::Leave));
}

#[test]
fn who_was_cleaned_returns_by_itself_under_a_new_guid() {
    let mut log = three();
    log.vote(&[1, 3]);
    log.done(log.gone(2, silent()));
    log.done(log.removal(2, RemovalCause::Autoclean));
    log.refused(Refusal::Over, Command::Admit(admission(2, 1, log.record.number())));
    log.done(Command::Admit(admission(2, 2, log.record.number())));
    assert!(log.record.forgotten().is_empty());
}

#[test]
fn the_latest_removals_are_remembered_and_older_admissions_are_outdated() {
    let mut log = three();
    let basis = log.record.number();
    for n in 0..=FORGOTTEN_MAX as u128 {
        log.done(Command::Admit(admission(1_000 + n, 1, log.record.number())));
        log.done(log.gone(1_000 + n, Cause::Goodbye));
        log.done(log.removal(1_000 + n, RemovalCause::Autoclean));
    }
    assert_eq!(log.record.forgotten().len(), FORGOTTEN_MAX);
    assert!(!log.record.forgotten().contains_key(&node(1_000)), "the oldest went");
    log.refused(Refusal::Outdated, Command::Admit(admission(1_000, 1, basis)));
    log.done(Command::Admit(admission(1_000, 2, log.record.number())));
}

#[test]
fn whose_answer_was_lost_has_no_tokens_and_nobody_has_them_twice() {
    let mut log = three();
    assert_eq!(log.tokens(10), (0, 10));
    // The answer to this one is lost; what is proposed again takes others.
    log.done(Command::RaiseCeiling { by: 7 });
    assert_eq!(log.tokens(7), (17, 24));
    log.refused(Refusal::Full, Command::RaiseCeiling { by: TOKEN_MAX - 23 });
    log.refused(Refusal::Full, Command::RaiseCeiling { by: u64::MAX });
    log.refused(Refusal::Senseless, Command::RaiseCeiling { by: 0 });
    assert_eq!(log.record.token_ceiling(), 24);
}

#[test]
fn tokens_begin_where_another_cluster_ended() {
    let mut log = three();
    assert_eq!(log.tokens(10), (0, 10));
    log.done(Command::TokensFrom { floor: 25 });
    assert_eq!((log.record.token_floor(), log.record.token_ceiling()), (25, 25));
    // A range that was given before is below the floor; the next one is not.
    assert_eq!(log.tokens(10), (25, 35));
    log.done(Command::TokensFrom { floor: 30 });
    assert_eq!((log.record.token_floor(), log.record.token_ceiling()), (30, 35));
    log.already(Command::TokensFrom { floor: 30 });
    log.already(Command::TokensFrom { floor: 7 });
    log.refused(Refusal::Full, Command::TokensFrom { floor: TOKEN_MAX + 1 });
    assert_eq!((log.record.token_floor(), log.record.token_ceiling()), (30, 35));
}

/// The generation of this number that follows the record of the one before as it was made.
fn generation(number: u64, of: &[u128]) -> Command {
    let founders: BTreeSet<Incarnation> = of.iter().map(|n| start(*n, 1)).collect();
    let version = |number| Version { number, revision: 0 };
    let next = Generation {
        version: version(number),
        founders: founders.clone(),
        sets: vec![founders],
        from: None,
        lost: false,
    };
    Command::Generation(Proposal { expected: version(number - 1), next })
}

/// Two nodes propose the same next generation with other voters: both are told the outcome.
fn two_proposers(faults: Faults) -> (Outcome, Outcome) {
    let mut log = Log::founded(cluster(1), &[1, 2, 3], faults);
    log.done(generation(1, &[1, 2, 3]));
    let first = log.commit(generation(2, &[1, 2])).0;
    (first, log.commit(generation(2, &[2, 3])).0)
}

#[test]
fn a_generation_is_decided_once() {
    let (first, second) = two_proposers(Faults::default());
    assert!(matches!(first, Outcome::Done { .. }));
    assert!(matches!(second, Outcome::Refused { code: Refusal::Outdated, .. }), "{second:?}");
    let mut log = three();
    log.refused(Refusal::Outdated, generation(2, &[1]));
    log.done(generation(1, &[1]));
    log.already(generation(1, &[1]));
}

#[test]
fn a_generation_is_proposed_on_the_revision_that_was_looked_at() {
    let mut log = three();
    log.done(generation(1, &[1, 2, 3]));
    let looked_at = log.record.volatile().clone();
    let version = Version { number: 1, revision: 1 };
    let sets = vec![looked_at.voters(), BTreeSet::from([start(1, 1), start(2, 1), start(3, 2)])];
    let change = Proposal { expected: looked_at.version, next: Generation { version, sets, ..looked_at } };
    log.done(Command::Generation(change.clone()));
    log.already(Command::Generation(change));
    log.refused(Refusal::Outdated, generation(2, &[1, 2, 3]));
    let nobody = Generation { version: Version { number: 2, revision: 0 }, ..Generation::default() };
    log.refused(Refusal::Senseless, Command::Generation(Proposal { expected: version, next: nobody }));
}

#[test]
fn mutant_generations_without_compare_and_set_are_caught() {
    let (first, second) = two_proposers(Faults { generations_unchecked: true, ..Faults::default() });
    assert!(first.holds() && second.holds(), "two groups have one number: the test above sees it");
}

#[test]
fn s1_5_after_merging_nothing_is_admitted_granted_or_written() {
    let mut log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
    log.refused(Refusal::Senseless, Command::Merging { into: cluster(6), by_word: true });
    log.tokens(40);
    let record = log.merge_into(cluster(4));
    assert_eq!(record.ceiling, 40);
    log.commit(Command::Merging { into: cluster(4), by_word: false });
    let admit = Command::Admit(admission(9, 1, log.record.number()));
    for command in [
        admit,
        Command::RaiseCeiling { by: 50 },
        generation(1, &[1]),
        Command::QuorumRows,
        Command::Merging { into: cluster(3), by_word: true },
        Command::Merged { chain: Vec::new() },
    ] {
        let words = log.refused(Refusal::Merging, command);
        assert!(words.contains(&cluster(4).to_string()), "{words}");
    }
    // Its own members start again and end as before.
    log.done(returned(2, 2));
    log.done(log.gone(2, Cause::Goodbye));
}

#[test]
fn s1_5_a_cluster_whose_quorum_tables_have_held_rows_moves_by_word_only() {
    let mut log = Log::founded(cluster(5), &[1], Faults::default());
    log.done(Command::QuorumRows);
    log.already(Command::QuorumRows);
    let words = log.refused(Refusal::HasRows, Command::Merging { into: cluster(4), by_word: false });
    assert!(words.contains("--absorb"), "{words}");
    log.done(Command::Merging { into: cluster(4), by_word: true });
}

#[test]
fn what_a_newer_version_wrote_changes_nothing_and_is_answered_as_such() {
    let mut log = three();
    let before = log.record.seats();
    for command in [Command::Schema(vec![1]), Command::DutyDone { token: 1 }] {
        assert!(matches!(log.commit(command).0, Outcome::Unknown { .. }));
    }
    let at = LogPlace { term: 1, index: log.record.applied().index + 1 };
    let answer = log.record.apply(at, &[9, 9, 9]);
    assert!(matches!(Outcome::decode(&answer), Ok(Outcome::Unknown { .. })));
    assert_eq!((log.record.seats(), log.record.applied()), (before, at));
}

fn commands() -> impl Strategy<Value = Command> {
    let n = 1u128..7;
    let guid = 1u128..5;
    let cause = prop_oneof![Just(RemovalCause::Leave), Just(RemovalCause::Force), Just(RemovalCause::Autoclean)];
    prop_oneof![
        4 => (n.clone(), guid.clone(), any::<bool>(), 0u64..40).prop_map(|(n, guid, asked, basis)| {
            Command::Admit(ekka_core::durable::Admission { asked, ..admission(n, guid, basis) })
        }),
        4 => (n.clone(), guid.clone()).prop_map(|(n, guid)| returned(n, guid)),
        3 => (n.clone(), guid).prop_map(|(n, guid)| gone(start(n, guid), silent())),
        3 => (n.clone(), 0u64..40, cause, n.clone()).prop_map(|(n, seniority, cause, by)| {
            Command::Remove(Removal { node_id: node(n), seniority, cause, by: node(by) })
        }),
        2 => (n, 0u128..4, 0u128..4).prop_map(|(n, from, to)| Command::StoreChanged {
            node_id: node(n),
            from: Some(if from == 0 { store(n) } else { from }),
            to,
        }),
        2 => (1u64..100).prop_map(|by| Command::RaiseCeiling { by }),
        2 => (1u64..4, 1u128..4).prop_map(|(number, of)| generation(number, &[of])),
        1 => Just(Command::QuorumRows),
        1 => (1u64..300).prop_map(|floor| Command::TokensFrom { floor }),
        1 => (1u128..9, any::<bool>()).prop_map(|(into, by_word)| Command::Merging { into: cluster(into), by_word }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Places, tokens, generations and ends only grow, whatever is committed; what holds at once is in `check`.
    #[test]
    fn whatever_is_committed_places_tokens_and_ends_only_grow(commands in prop::collection::vec(commands(), 0..60)) {
        let mut log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
        log.vote(&[1]);
        for command in commands {
            let before = log.record.clone();
            let (outcome, changes) = log.commit(command);
            let done = matches!(outcome, Outcome::Done { .. });
            prop_assert!(done || changes.is_empty());
            let now = &log.record;
            prop_assert!(now.number() > before.number());
            prop_assert!(now.token_ceiling() >= before.token_ceiling() && now.token_floor() >= before.token_floor());
            prop_assert!(now.volatile().version >= before.volatile().version);
            for n in 1..7 {
                prop_assert!(now.over(node(n)) >= before.over(node(n)));
            }
            for change in changes {
                if let Change::Admitted { number, .. } | Change::Returned { number, .. } = change {
                    prop_assert_eq!(number, now.number());
                }
            }
        }
    }

    /// Proposers repeat what they got no answer for: at once or later, the second copy changes nothing that still holds.
    #[test]
    fn a_repeat_right_after_it_was_done_changes_nothing(commands in prop::collection::vec(commands(), 0..40)) {
        let mut log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
        log.vote(&[1]);
        for command in commands {
            let (first, _) = log.commit(command.clone());
            let (second, changes) = log.commit(command.clone());
            if let (Command::RaiseCeiling { .. }, Outcome::Done { gave: Gave::Tokens { to, .. }, .. }) = (&command, &first) {
                // The one command that is no repeat: what it gives belongs to one proposal.
                let others = matches!(second, Outcome::Done { gave: Gave::Tokens { from, .. }, .. } if from == *to);
                prop_assert!(others || !second.holds(), "{second:?} after {first:?}");
                continue;
            }
            if first.holds() {
                let again = matches!(second, Outcome::Already { .. });
                prop_assert!(again, "{}: {:?}", command.words(), second);
            } else {
                prop_assert_eq!(first, second);
            }
            prop_assert!(changes.is_empty());
        }
    }

    /// Two copies of one log are equal, also where one of them was restored from a snapshot on the way.
    #[test]
    fn a_snapshot_is_as_good_as_its_log(commands in prop::collection::vec(commands(), 1..60), cut in any::<prop::sample::Index>()) {
        let mut log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
        for command in commands {
            log.commit(command);
        }
        let cut = cut.index(log.entries.len());
        let (mut whole, mut first) = (Record::default(), Record::default());
        for (at, bytes) in &log.entries {
            whole.apply(*at, bytes);
        }
        for (at, bytes) in &log.entries[..cut] {
            first.apply(*at, bytes);
        }
        let mut restored = Record::default();
        prop_assert_eq!(restored.restore(&first.snapshot()), Ok(()));
        for (at, bytes) in &log.entries[cut..] {
            prop_assert_eq!(restored.apply(*at, bytes), first.apply(*at, bytes));
        }
        prop_assert_eq!(&restored, &whole);
        prop_assert_eq!(&first, &whole);
    }
}

#[test]
fn a_snapshot_that_is_none_leaves_the_record_as_it_was() {
    let mut log = three();
    let before = log.record.clone();
    assert!(log.record.restore(&[7, 7]).is_err());
    assert!(log.record.restore(&[]).is_err());
    assert_eq!(log.record, before);
    assert_eq!(entry(Command::QuorumRows).encode(), entry(Command::QuorumRows).encode());
}

/// S2-4, section 9: who left or was taken out is no member from then on, and its start is over by another entry, once its
/// lease has run out.
#[test]
fn a_removal_is_not_the_end_of_a_start() {
    for cause in [RemovalCause::Force, RemovalCause::Leave] {
        let mut log = three();
        log.vote(&[1, 2]);
        let seniority = log.record.member(node(3)).unwrap().seniority;
        log.done(Command::Remove(Removal { node_id: node(3), seniority, cause, by: node(1) }));
        assert!(!log.record.is_over(start(3, 1)));
        assert_eq!(log.record.removed().collect::<Vec<_>>(), [start(3, 1)]);
        let changes = log.done(gone(start(3, 1), Cause::Removed { unheard_ms: 15_000 }));
        assert_eq!(changes, [Change::Ended { id: start(3, 1), proof: Proof::Removed }]);
        assert_eq!(log.record.removed().count(), 0);
        log.refused(Refusal::Over, Command::Admit(admission(3, 1, log.record.number())));
    }
}
