//! `ekka recover`, and what the plans of the other commands say.

use std::collections::BTreeMap;

use crate::durable_common::{Log, admission, cluster, entry, name, node, nodes, returned, start, store, voter};
use ekka_core::consensus::LogPlace;
use ekka_core::durable::absorb::MergeRecord;
use ekka_core::durable::recover::{self, LogInReach};
use ekka_core::durable::voters::{Candidate, Look};
use ekka_core::durable::{Admission, Change, Command, Entry, Faults, Founder, Outcome, Proof, Record, Refusal, plan};
use ekka_core::limits::{RECOVER_TOKENS, TOKEN_MAX};
use ekka_core::view::Role;

/// Three voters and a fourth member; the first and the fourth survive.
fn before() -> Log {
    let mut log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
    log.done(Command::Admit(admission(4, 1, log.record.number())));
    log.tokens(1_000);
    log
}

fn survivor(n: u128) -> Founder {
    Founder { id: start(n, 2), name: name(n), role: Role::Core, store: 777 }
}

/// The first generation in which this survivor goes on.
const FIRST: u64 = (1 << 32) + 777;
/// So far above the last ceiling its tokens begin.
const TOKENS: u64 = RECOVER_TOKENS + 777 * (RECOVER_TOKENS >> 32);

fn log_of(n: u128, generation: u64, term: u64, index: u64) -> LogInReach {
    LogInReach { node_id: node(n), name: name(n), generation, last: LogPlace { term, index } }
}

/// The log of the recovered cluster: a new one, with the recovery as its first entry.
fn recovered(before: &Record, given_up: &[u128]) -> (Log, Vec<Change>) {
    let mut log = Log::new(Faults::default());
    let command = recover::command(before, survivor(1), given_up.iter().copied().map(node).collect());
    let changes = log.done(command);
    (log, changes)
}

#[test]
fn a_recovered_cluster_goes_on_with_its_roster_one_generation_later() {
    let old = before();
    let (mut log, changes) = recovered(&old.record, &[2, 3]);
    let record = &log.record;
    assert_eq!((record.cluster(), record.generation()), (Some(cluster(5)), FIRST));
    assert_eq!(record.members().keys().copied().collect::<Vec<_>>(), [node(1), node(4)]);
    assert!(record.number() > old.record.number(), "places grow on although the log is new");
    assert_eq!(record.token_floor(), 1_000 + TOKENS);
    for n in [2, 3] {
        assert!(changes.contains(&Change::Ended { id: start(n, 1), proof: Proof::GivenUp }));
        assert!(record.is_over(start(n, 1)), "whatever it does behind the cut");
    }
    assert_eq!(record.member(node(1)).unwrap().store, Some(777));
    assert_eq!(record.member(node(4)).unwrap().store, None, "its store has the log that was given up");
    // The seats of gossip follow, the removals too.
    let (was, now) = (old.record.seats(), log.record.seats());
    assert!([2, 3].iter().all(|n| now[&node(*n)].number > was[&node(*n)].number && now[&node(*n)].removed.is_some()));
    // Who was given up and lives is told so, and comes back by word only, under a new guid.
    log.refused(Refusal::Over, Command::Admit(admission(2, 1, log.record.number())));
    log.refused(Refusal::TakenOut, Command::Admit(admission(2, 2, log.record.number())));
    let who = Admission { asked: true, ..admission(2, 2, log.record.number()) };
    log.done(Command::Admit(who));
    log.done(Command::StoreChanged { node_id: node(4), from: None, to: store(4) });
}

/// Each of them has given up the other, and both go on from one log.
#[test]
fn two_survivors_begin_different_generations_and_the_later_one_has_the_higher_tokens() {
    let old = before().record;
    let go_on = |n: u128, store: u128, given_up: [u128; 2]| {
        let survivor = Founder { store, ..survivor(n) };
        let mut log = Log::new(Faults::default());
        log.done(recover::command(&old, survivor, given_up.iter().copied().map(node).collect()));
        log.record
    };
    let (one, other) = (go_on(1, 0xa000_0000, [2, 3]), go_on(2, 0xa100_0000, [1, 3]));
    assert!(one.generation() < other.generation());
    assert!(one.token_floor() + 10_000_000_000 < other.token_floor(), "what both issue before they meet differs");
    assert_ne!(one.volatile().number(), other.volatile().number());
    let words = recover::outranked(one.generation(), &name(2), other.generation()).unwrap();
    assert!(words.contains("generation 1-a1000000") && words.contains("this node in 1-a0000000"), "{words}");
    assert_eq!(recover::outranked(other.generation(), &name(1), one.generation()), None);
    // Whoever has recovered twice is later than any that did so once, and its tokens are higher too.
    let mut again = Log::new(Faults::default());
    again.done(recover::command(&one, Founder { store: 1, ..survivor(1) }, vec![node(4)]));
    assert!(again.record.generation() > other.generation() && again.record.token_floor() > other.token_floor());
}

#[test]
fn a_recovery_is_the_first_entry_of_a_log_and_follows_the_generation_before() {
    let old = before();
    let (mut log, _) = recovered(&old.record, &[2, 3]);
    log.already(recover::command(&old.record, survivor(1), vec![node(2), node(3)]));
    let mut other = Log::founded(cluster(6), &[9], Faults::default());
    other.refused(Refusal::OtherCluster, recover::command(&old.record, survivor(1), Vec::new()));
    let refused = |command: Command| {
        let mut record = Record::default();
        let (outcome, changes) = record.commit(LogPlace { term: 1, index: 1 }, &entry(command));
        assert!(changes.is_empty() && record.cluster().is_none());
        matches!(outcome, Outcome::Refused { .. })
    };
    assert!(refused(recover::command(&old.record, survivor(9), Vec::new())), "no member");
    assert!(refused(recover::command(&old.record, survivor(1), vec![node(1)])), "gives itself up");
    let Command::Recover(mut jump) = recover::command(&old.record, survivor(1), Vec::new()) else { panic!() };
    jump.generation += 1 << 32;
    assert!(refused(Command::Recover(jump)));
}

#[test]
fn m10_a_cluster_that_was_to_go_into_a_lost_one_serves_again() {
    let mut old = before();
    old.merge_into(cluster(2));
    // Also with all of its voters in reach: it is the other one that is lost.
    let found = recover::plan(&old.record, &survivor(1), &[log_of(1, 0, 3, 9)], &nodes([1, 2, 3, 4]));
    let said = format!("it was to go into {}", cluster(2));
    assert!(found.refused.is_none() && found.lines.iter().any(|line| line.contains(&said)), "{found:?}");
    let (mut log, _) = recovered(&old.record, &[2, 3]);
    assert_eq!(log.record.merging(), None);
    assert_eq!(log.tokens(5).0, 1_000 + TOKENS);
    // The other one was not lost after all, and the two meet again: it takes the ceiling of now, not that of then.
    let mut other = Log::founded(cluster(2), &[8], Faults::default());
    let (first, again) = (old.record.merging().unwrap(), log.merge_into(cluster(2)));
    other.done(Command::Merged { chain: vec![first] });
    assert_eq!(other.record.token_floor(), 1_000);
    other.done(Command::Merged { chain: vec![again] });
    assert_eq!(other.record.merged().get(cluster(5)), Some(&again));
    assert_eq!(other.record.token_floor(), 1_005 + TOKENS);
    other.already(Command::Merged { chain: vec![first] });
}

#[test]
fn every_entry_after_a_recovery_is_read_alike_by_log_and_snapshot() {
    let (mut log, _) = recovered(&before().record, &[2, 3]);
    log.vote(&[1]);
    log.done(returned(4, 2));
    let copy = Record::from_snapshot(&log.record.to_snapshot()).unwrap();
    assert_eq!(copy, log.record);
    let mut again = Record::default();
    for (at, bytes) in &log.entries {
        let read = Entry::decode(bytes).unwrap();
        again.commit(*at, &read);
    }
    assert_eq!(again.seats(), log.record.seats());
}

#[test]
fn the_plan_says_what_is_given_up_and_where_the_newest_log_is() {
    let record = before().record;
    let logs = [log_of(1, 0, 3, 9), log_of(4, 0, 3, 7)];
    let found = recover::plan(&record, &survivor(1), &logs, &nodes([1, 4]));
    assert_eq!(found.refused, None);
    let text = found.lines.join("\n");
    for part in [
        "1 of 3 voters in reach, 2 needed",
        "that of n1@h1: term 3, entry 9",
        "given up: n2@h2, n3@h3",
        "generation 1-00000309",
        "quorum tables",
        "none of them may recover beside this node",
        &format!("fencing tokens begin at {}", 1_000 + TOKENS),
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert_eq!(recover::given_up(&record, &nodes([1, 4])), [node(2), node(3)]);
}

#[test]
fn recovery_is_refused_where_it_would_lose_what_need_not_be_lost() {
    let record = before().record;
    let refused = |logs: &[LogInReach], in_reach: &[u128]| {
        let in_reach = nodes(in_reach.iter().copied());
        recover::plan(&record, &survivor(1), logs, &in_reach).refused.unwrap_or_default()
    };
    let mine = log_of(1, 0, 3, 9);
    assert!(refused(std::slice::from_ref(&mine), &[1, 2]).contains("a majority"));
    assert!(refused(&[mine.clone(), log_of(3, 0, 3, 10)], &[1]).contains("n3@h3 is newer"));
    assert!(refused(&[mine.clone(), log_of(3, 0, 4, 2)], &[1]).contains("n3@h3 is newer"), "terms come first");
    assert!(refused(&[mine.clone(), log_of(3, 1, 1, 1)], &[1]).contains("n3@h3 is newer"), "generations before terms");
    assert!(refused(&[], &[1]).contains("no log"));
    assert_eq!(refused(&[mine, log_of(3, 0, 3, 9)], &[1]), "", "as new as this one");
    let nothing = recover::plan(&Record::default(), &survivor(1), &[], &nodes([]));
    assert!(nothing.refused.is_some_and(|why| why.contains("nothing to recover")));
}

#[test]
fn a_replicant_never_goes_on_and_the_plan_of_a_witness_says_what_it_is() {
    let plan = |record: &Record, role| {
        let found = recover::plan(record, &Founder { role, ..survivor(4) }, &[log_of(4, 0, 3, 9)], &nodes([4]));
        (found.refused.unwrap_or_default(), found.lines.join("\n"))
    };
    let record = before().record;
    let (refused, text) = plan(&record, Role::Witness);
    assert!(refused.is_empty() && text.contains("n4@h4 is a witness"), "{refused}\n{text}");
    assert!(!plan(&record, Role::Core).1.contains("witness"));
    assert!(plan(&record, Role::Replicant).0.contains("is a replicant, which never voted"));
    // A new role makes no voter of it as long as no entry says so.
    let mut log = before();
    let who = Admission { role: Role::Replicant, ..admission(4, 2, log.record.number()) };
    log.done(Command::Returned { id: who.id, name: who.name, role: who.role });
    assert!(plan(&log.record, Role::Core).0.contains("is a replicant, which never voted"));
}

#[test]
fn tokens_end_before_numbers_do() {
    let mut log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
    log.done(Command::RaiseCeiling { by: TOKEN_MAX - 5 - 1_000 });
    let found = recover::plan(&log.record, &survivor(1), &[log_of(1, 0, 1, 1)], &nodes([1]));
    assert!(found.refused.is_some_and(|why| why.contains("used up")));
}

#[test]
fn a_node_of_a_lower_generation_stops_at_once_and_no_other_does() {
    assert_eq!(recover::outranked(1, &name(2), 1), None);
    assert_eq!(recover::outranked(2, &name(2), 1), None);
    let words = recover::outranked(0, &name(2), 1).unwrap();
    assert!(words.contains("n2@h2 is in generation 1"), "{words}");
}

fn look(log: &Log, voting: &[u128]) -> Look {
    let candidate = |n: u128, member: &ekka_core::durable::Member| Candidate {
        name: member.name.clone(),
        role: member.role,
        store: Some(store(n)),
        since: member.since,
        zone: String::new(),
        up: true,
        caught_up: false,
        leaving: false,
        follows: false,
        lost: false,
        leads: false,
    };
    let members: BTreeMap<_, _> =
        log.record.members().iter().map(|(id, member)| (*id, candidate(id.as_u128(), member))).collect();
    let voters = vec![voting.iter().copied().map(voter).collect()];
    let configuration = ekka_core::consensus::Configuration { voters, ..Default::default() };
    Look { members, configuration, replace: None }
}

#[test]
fn the_plan_of_leave_names_the_successor_and_what_can_be_lost() {
    let log = before();
    let found = plan::leave(&log.record, look(&log, &[1, 2, 3]), node(2));
    let text = found.lines.join("\n");
    assert!(text.contains("n4@h4 votes in place of n2@h2") && text.contains("3 members stay"), "{text}");
    assert!(text.contains("3 voters: 1 can be lost"), "{text}");
    let mut alone = Log::founded(cluster(5), &[1], Faults::default());
    alone.vote(&[1]);
    let last = plan::leave(&alone.record, look(&alone, &[1]), node(1));
    assert!(last.refused.is_some_and(|why| why.contains("only member")));
}

#[test]
fn the_plan_of_leave_to_two_voters_says_that_none_can_be_lost() {
    let log = Log::founded(cluster(5), &[1, 2, 3], Faults::default());
    let found = plan::leave(&log.record, look(&log, &[1, 2, 3]), node(3));
    assert!(found.lines.join("\n").contains("witness"), "{:?}", found.lines);
}

#[test]
fn the_plan_of_force_leave_is_refused_without_a_majority() {
    let log = before();
    let found = plan::force_leave(&log.record, look(&log, &[1, 2, 3]), node(2), Some(node(4)), &nodes([1]));
    assert!(found.refused.is_some_and(|why| why.contains("recover --plan")));
    let found = plan::force_leave(&log.record, look(&log, &[1, 2, 3]), node(2), Some(node(4)), &nodes([1, 3, 4]));
    assert_eq!(found.refused, None);
    assert!(found.lines.join("\n").contains("n4@h4 votes in place of n2@h2"), "{:?}", found.lines);
    let unknown = plan::force_leave(&log.record, look(&log, &[1, 2, 3]), node(99), None, &nodes([1, 3]));
    assert!(unknown.refused.is_some());
}

/// EKKA_SPEC row 5: a plan says what then happens to the majority, and to rows that nobody else has.
#[test]
fn the_plan_of_one_without_a_vote_says_that_the_voters_go_on() {
    let log = before();
    let left = plan::leave(&log.record, look(&log, &[1, 2, 3]), node(4)).lines.join("\n");
    assert!(left.contains("it has no vote") && left.contains("3 of them are up, 2 are a majority"), "{left}");
    let found = plan::force_leave(&log.record, look(&log, &[1, 2, 3]), node(4), None, &nodes([1, 2, 3]));
    let text = found.lines.join("\n");
    assert!(text.contains("it has no vote") && text.contains("what only it has of tables"), "{text}");
}

#[test]
fn only_a_core_that_is_up_and_has_no_vote_yet_takes_the_place_of_a_voter() {
    let mut log = before();
    for (n, role) in [(5, Role::Replicant), (6, Role::Witness)] {
        log.done(Command::Admit(Admission { role, ..admission(n, 1, log.record.number()) }));
    }
    let here = nodes([1, 3, 4, 5, 6]);
    let refused = |old: u128, new: u128, in_reach: &_| {
        let look = look(&log, &[1, 2, 3]);
        plan::force_leave(&log.record, look, node(old), Some(node(new)), in_reach).refused.unwrap_or_default()
    };
    assert_eq!(refused(2, 4, &here), "");
    for (new, word) in [
        (2, "is the one that is to go"),
        (3, "votes already"),
        (5, "a replicant, which never votes"),
        (6, "is a witness"),
        (9, "is no member"),
    ] {
        let why = refused(2, new, &here);
        assert!(why.contains(word) && why.contains("takes a core member that is up"), "{why}");
    }
    assert!(refused(2, 4, &nodes([1, 3])).contains("n4@h4 is down"));
    assert!(refused(4, 5, &here).contains("no vote that could move"));
}

#[test]
fn the_plan_of_an_admission_says_what_it_raises_and_why_it_is_refused() {
    let log = before();
    let chain = vec![MergeRecord { from: cluster(9), into: cluster(5), ceiling: 123, generation: 0 }];
    let who = Admission { chain, ..admission(8, 1, log.record.number()) };
    let found = plan::admit(&log.record, &who);
    assert_eq!(found.refused, None);
    assert!(found.lines.join("\n").contains("above 123"), "{:?}", found.lines);
    assert_eq!(log.record.token_floor(), 0, "a plan changes nothing");
    assert!(plan::admit(&log.record, &admission(2, 1, 9)).refused.is_some_and(|why| why.contains("member already")));
}
