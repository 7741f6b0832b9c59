//! The room itself: what it proposes, what it does with answers that get lost, and what only the leader does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::durable_common::{
    admission, cluster, entry, found, founder, gone, name, node, returned, silent, start, store, voter,
};
use ekka_core::consensus::{Configuration, LogPlace, Standing};
use ekka_core::durable::{
    Admission, Ask, Command, Durable, Entry, Fact, Failure, Faults, Gave, Input, Outcome, Output, Refusal, Reply, Wish,
};
use ekka_core::event::EventKind;
use ekka_core::id::Incarnation;
use ekka_core::lease::{Agreed, Cause, GoneEntry, Terms};
use ekka_core::limits::{TOKEN_STEP, WISHES_MAX};
use ekka_core::machine::Machine;
use ekka_core::membership::RemovalCause;
use ekka_core::time::{Instant, Now};
use ekka_core::view::Role;
use ekka_core::volatile::{Generation, Proposal, Version};

struct Bench {
    room: Durable,
    now: Now,
    index: u64,
}

impl Bench {
    /// A room of node 1 in a cluster of three founders.
    fn new() -> Self {
        let mut bench = Self { room: Durable::new(start(1, 1), Faults::default()), now: Now::default(), index: 0 };
        bench.configure(&[1, 2, 3]);
        bench.apply(found(cluster(1), [1, 2, 3]));
        bench
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.room.handle(input, self.now, &mut out);
        self.room.check();
        out
    }

    fn at(&mut self) -> LogPlace {
        self.index += 1;
        LogPlace { term: 1, index: self.index }
    }

    fn apply(&mut self, command: Command) -> Vec<Output> {
        let at = self.at();
        self.give(Input::Applied { at, command: entry(command).encode(), replay: false })
    }

    fn configure(&mut self, of: &[u128]) -> Vec<Output> {
        let at = self.at();
        let voters = vec![of.iter().copied().map(voter).collect()];
        self.give(Input::Configured(Configuration { voters, learners: Vec::new(), at, committed: true }))
    }

    /// These learn beside nodes 1, 2 and 3.
    fn learners(&mut self, of: &[u128]) -> Vec<Output> {
        let (at, learners) = (self.at(), of.iter().copied().map(voter).collect());
        let voters = vec![[1, 2, 3].map(voter).to_vec()];
        self.give(Input::Configured(Configuration { voters, learners, at, committed: true }))
    }

    fn lead(&mut self) -> Vec<Output> {
        let configuration = self.room.record().configuration().clone();
        self.give(Input::Standing(Standing { term: 1, leads: true, configuration, ..Standing::default() }))
    }

    fn wish(&mut self, id: u64, wish: Wish) -> Vec<Output> {
        self.give(Input::Wish { id, wish, decision: 9, evidence: vec!["seen".into()] })
    }

    fn pass(&mut self, millis: u64) -> Vec<Output> {
        self.now.mono = self.now.mono + Duration::from_millis(millis);
        let mut out = Vec::new();
        self.room.tick(self.now, &mut out);
        out
    }

    fn fail(&mut self, token: u64, failure: Failure) -> Vec<Output> {
        self.give(Input::Answered { token, result: Err(failure) })
    }

    fn answer(&mut self, token: u64, outcome: &Outcome) -> Vec<Output> {
        self.give(Input::Answered { token, result: Ok(outcome.encode()) })
    }

    fn facts(&mut self, change: impl Fn(u128, &mut Fact)) -> Vec<Output> {
        self.facts_of(3, change)
    }

    fn facts_of(&mut self, nodes: u128, change: impl Fn(u128, &mut Fact)) -> Vec<Output> {
        let mut facts = BTreeMap::new();
        for n in 1..=nodes {
            let mut fact = Fact {
                id: start(n, 1),
                name: name(n),
                role: Role::Core,
                store: Some(store(n)),
                zone: String::new(),
                up: true,
                leaving: false,
                caught_up: true,
            };
            change(n, &mut fact);
            facts.insert(node(n), fact);
        }
        self.give(Input::Facts(facts))
    }
}

fn proposals(out: &[Output]) -> Vec<(u64, Command)> {
    let proposed = out.iter().filter_map(|output| match output {
        Output::Ask(Ask::Propose { token, command }) => {
            Some((*token, Entry::decode(command).expect("an entry").command))
        }
        _ => None,
    });
    proposed.collect()
}

fn only(out: &[Output]) -> (u64, Command) {
    let mut all = proposals(out);
    assert_eq!(all.len(), 1, "{out:?}");
    all.remove(0)
}

fn reply(out: &[Output]) -> Option<&Reply> {
    out.iter().find_map(|output| match output {
        Output::Reply { reply, .. } => Some(reply),
        _ => None,
    })
}

fn goodbye(n: u128) -> Wish {
    Wish::Gone(GoneEntry { id: start(n, 1), term: 1, cause: Cause::Goodbye })
}

fn removal(n: u128, cause: RemovalCause) -> Wish {
    Wish::Remove { node_id: node(n), cause, by: node(1), replace_with: None }
}

#[test]
fn the_very_same_is_proposed_again_after_an_answer_that_was_lost() {
    let mut bench = Bench::new();
    let (token, first) = only(&bench.wish(1, Wish::Admit(admission(7, 1, 0))));
    let Command::Admit(who) = &first else { panic!("{first:?}") };
    assert_eq!(who.basis, bench.room.record().number(), "decided on what this node has read");
    // Meanwhile the record moves on; the wish means what it meant.
    bench.apply(Command::RaiseCeiling { by: 5 });
    assert!(proposals(&bench.fail(token, Failure::Unknown("lost".into()))).is_empty(), "not at once");
    let (token, second) = only(&bench.pass(300));
    assert_eq!(first, second);
    let out = bench.answer(token, &Outcome::Already { number: 8, gave: Gave::Nothing });
    assert_eq!(reply(&out), Some(&Reply::Done { number: 8, gave: Gave::Nothing }));
}

#[test]
fn who_waits_is_told_whether_it_may_have_been_done() {
    for (failure, unknown) in [(Failure::NoQuorum("none".into()), false), (Failure::Unknown("lost".into()), true)] {
        let mut bench = Bench::new();
        let (mut token, _) = only(&bench.wish(1, goodbye(2)));
        let told = loop {
            bench.fail(token, failure.clone());
            let out = bench.pass(1_000);
            if let Some(reply) = reply(&out) {
                break reply.clone();
            }
            (token, _) = only(&out);
        };
        assert!(matches!(told, Reply::TryAgain { unknown: said, .. } if said == unknown), "{failure:?}: {told:?}");
    }
    // No answer at all.
    let mut bench = Bench::new();
    bench.wish(1, goodbye(2));
    assert_eq!(bench.room.deadline(), Some(Instant::ZERO + Duration::from_secs(10)));
    assert!(matches!(reply(&bench.pass(10_000)), Some(Reply::TryAgain { unknown: true, .. })));
}

#[test]
fn a_refusal_after_a_lost_answer_is_not_said_to_be_certain_where_the_group_refuses() {
    let mut bench = Bench::new();
    let (token, _) = only(&bench.wish(1, goodbye(2)));
    bench.fail(token, Failure::Unknown("lost".into()));
    let (token, _) = only(&bench.pass(300));
    let out = bench.fail(token, Failure::Refused("closed".into()));
    assert!(matches!(reply(&out), Some(Reply::TryAgain { unknown: true, .. })));
    let (token, _) = only(&bench.wish(2, goodbye(3)));
    let words = String::from("no start of it was admitted");
    let out = bench.answer(token, &Outcome::Refused { code: Refusal::Outdated, words: words.clone() });
    assert_eq!(reply(&out), Some(&Reply::Refused { code: Some(Refusal::Outdated), words }));
}

#[test]
fn tokens_that_somebody_else_may_have_are_left_to_them() {
    let mut bench = Bench::new();
    let (token, first) = only(&bench.wish(1, Wish::Tokens(TOKEN_STEP)));
    assert_eq!(first, Command::RaiseCeiling { by: TOKEN_STEP });
    bench.fail(token, Failure::Unknown("lost".into()));
    let (token, again) = only(&bench.pass(300));
    assert_eq!(again, first);
    let gave = Gave::Tokens { from: TOKEN_STEP, to: 2 * TOKEN_STEP };
    let out = bench.answer(token, &Outcome::Done { number: 9, gave: gave.clone() });
    assert_eq!(reply(&out), Some(&Reply::Done { number: 9, gave }));
}

#[test]
fn a_voter_goes_by_the_leader_only_and_its_vote_goes_first() {
    let mut bench = Bench::new();
    assert!(matches!(reply(&bench.wish(1, removal(3, RemovalCause::Force))), Some(Reply::AskLeader { .. })));
    bench.lead();
    bench.facts(|_, _| {});
    let out = bench.wish(2, removal(3, RemovalCause::Force));
    assert!(proposals(&out).is_empty());
    let change = out.iter().find_map(|output| match output {
        Output::Ask(Ask::ChangeVoters { token, voters }) => Some((*token, voters.clone())),
        _ => None,
    });
    let (token, voters) = change.expect("the vote goes first");
    assert_eq!(voters, [voter(1), voter(2)].into());
    bench.configure(&[1, 2]);
    let latest = bench.room.record().configuration().at;
    let out = bench.give(Input::Reconfigured { token, result: Ok(()), latest });
    // The wish was tried as soon as the configuration was there; nothing else is changed.
    assert!(!out.iter().any(|output| matches!(output, Output::Ask(Ask::ChangeVoters { .. }))));
    let number = bench.room.record().member(node(3)).unwrap().seniority;
    let again = bench.wish(3, removal(3, RemovalCause::Force));
    assert!(matches!(only(&again).1, Command::Remove(out) if out.seniority == number));
}

/// Cores 1, 2, 3 vote and core 4 learns; the third is to be replaced with the fourth, which has not caught up.
fn replacing() -> Bench {
    let mut bench = Bench::new();
    bench.apply(Command::Admit(admission(4, 1, 9)));
    bench.lead();
    bench.facts_of(4, |n, fact| fact.caught_up = n != 4);
    bench.learners(&[4]);
    bench.lead();
    let out = bench.wish(1, replacement(4));
    assert!(reply(&out).is_none() && proposals(&out).is_empty(), "it waits: {out:?}");
    bench
}

fn replacement(new: u128) -> Wish {
    let Wish::Remove { node_id, cause, by, .. } = removal(3, RemovalCause::Force) else { panic!("a removal") };
    Wish::Remove { node_id, cause, by, replace_with: Some(node(new)) }
}

fn refused(out: &[Output]) -> Option<(Refusal, &str)> {
    match reply(out) {
        Some(Reply::Refused { code: Some(code), words }) => Some((*code, words)),
        _ => None,
    }
}

#[test]
fn a_replacement_ends_where_its_successor_is_gone_or_goes() {
    let mut bench = replacing();
    let out = bench.apply(gone(start(4, 1), silent()));
    let (code, words) = refused(&out).expect("it ends");
    assert!(code == Refusal::Over && words.contains("n4@h4, which was to take the vote of n3@h3, is gone"), "{words}");
    let kept = |output: &Output| matches!(output, Output::Decision { kind: "command", what, .. } if what.contains("keeps its vote"));
    assert!(out.iter().any(kept), "{out:?}");
    assert_eq!(bench.room.look().replace, None, "and other votes may move");

    let mut bench = replacing();
    let out = bench.facts_of(4, |n, fact| (fact.caught_up, fact.leaving) = (n != 4, n == 4));
    assert!(refused(&out).is_some_and(|(code, words)| code == Refusal::Outdated && words.contains("on its way out")));
    assert_eq!(bench.room.look().replace, None);

    let mut bench = replacing();
    let out = bench.wish(2, removal(4, RemovalCause::Force));
    let out = if refused(&out).is_some() { out } else { bench.pass(0) };
    assert!(refused(&out).is_some_and(|(_, words)| words.contains("on its way out")), "{out:?}");
    assert_eq!(bench.room.look().replace, None);
}

#[test]
fn once_the_vote_has_moved_the_end_of_the_successor_stops_nothing() {
    let mut bench = replacing();
    let out = bench.configure(&[1, 2, 4]);
    let removes = |command: &Command| matches!(command, Command::Remove(out) if out.node_id == node(3));
    assert!(proposals(&out).iter().any(|(_, command)| removes(command)), "{out:?}");
    let out = bench.apply(gone(start(4, 1), silent()));
    assert!(reply(&out).is_none(), "{out:?}");
}

#[test]
fn a_later_word_on_the_same_member_takes_the_place_of_the_earlier() {
    let mut bench = replacing();
    bench.apply(Command::Admit(admission(5, 1, 10)));
    let out = bench.wish(2, replacement(5));
    assert!(refused(&out).is_some_and(|(_, words)| words.contains("a later word")), "{out:?}");
    assert_eq!(bench.room.look().replace, Some((node(3), node(5))));
    let out = bench.wish(3, replacement(5));
    assert!(refused(&out).is_none(), "the same again takes nobody's place: {out:?}");
    // Without a successor: the policy alone says who votes.
    let out = bench.wish(4, removal(3, RemovalCause::Force));
    assert_eq!(out.iter().filter(|output| matches!(output, Output::Reply { id: 2 | 3, .. })).count(), 2, "{out:?}");
    assert_eq!(bench.room.look().replace, None);
}

#[test]
fn one_change_of_the_voters_at_a_time_and_the_next_after_it_is_read() {
    let mut bench = Bench::new();
    bench.lead();
    let leaves = |n: u128, fact: &mut Fact| fact.leaving = n == 3;
    let changes = |out: &[Output]| out.iter().filter(|o| matches!(o, Output::Ask(Ask::ChangeVoters { .. }))).count();
    let out = bench.facts(leaves);
    assert_eq!(changes(&out), 1);
    let Some(Output::Ask(Ask::ChangeVoters { token, .. })) =
        out.into_iter().find(|o| matches!(o, Output::Ask(Ask::ChangeVoters { .. })))
    else {
        panic!("it was there")
    };
    assert_eq!(changes(&bench.facts(leaves)), 0, "one at a time");
    let latest = LogPlace { term: 1, index: bench.index + 1 };
    let out = bench.give(Input::Reconfigured { token, result: Ok(()), latest });
    assert_eq!(changes(&out), 0, "the record is behind the log");
    bench.configure(&[1, 2]);
    assert_eq!(changes(&bench.lead()), 0, "and as it should be once it is not");
}

#[test]
fn who_does_not_lead_changes_no_voters_and_founds_nothing() {
    let mut bench = Bench::new();
    let out = bench.facts(|n, fact| {
        fact.leaving = n == 3;
        fact.id = start(n, 2);
    });
    assert!(out.is_empty(), "{out:?}");
    let mut fresh = Durable::new(start(1, 1), Faults::default());
    let mut out = Vec::new();
    let founders = vec![founder(1), founder(2)];
    fresh.handle(Input::Found { cluster_id: cluster(1), founders }, Now::default(), &mut out);
    assert_eq!(out, [Output::Ask(Ask::Found { voters: [voter(1), voter(2)].into() })]);
    out.clear();
    fresh.handle(Input::Standing(Standing { leads: true, ..Standing::default() }), Now::default(), &mut out);
    assert!(matches!(only(&out).1, Command::Found { founders, .. } if founders.len() == 2));
    out.clear();
    fresh.tick(Now::default(), &mut out);
    assert!(out.is_empty(), "one proposal of it is under way");
}

#[test]
fn the_leader_commits_what_members_say_of_themselves() {
    let mut bench = Bench::new();
    bench.lead();
    let out = bench.facts(|n, fact| {
        if n == 2 {
            fact.id = start(2, 9);
        }
        if n == 3 {
            fact.store = Some(5);
        }
    });
    let commands: Vec<Command> = proposals(&out).into_iter().map(|(_, command)| command).collect();
    let store_changed = Command::StoreChanged { node_id: node(3), from: Some(store(3)), to: 5 };
    assert_eq!(commands, [returned(2, 9), store_changed]);
}

#[test]
fn cleaning_ends_where_the_member_is_back_and_waits_until_it_is_gone() {
    let mut bench = Bench::new();
    bench.lead();
    bench.facts(|_, _| {});
    let out = bench.wish(1, removal(3, RemovalCause::Autoclean));
    assert!(matches!(reply(&out), Some(Reply::Refused { code: Some(Refusal::Outdated), .. })));
    bench.facts(|n, fact| fact.up = n != 3);
    bench.wish(2, removal(3, RemovalCause::Autoclean));
    bench.configure(&[1, 2]);
    assert!(proposals(&bench.pass(1_000)).is_empty(), "not gone yet");
    let out = bench.apply(gone(start(3, 1), silent()));
    assert!(matches!(only(&out).1, Command::Remove(_)));
}

/// The answer to a removal was lost, and the node was admitted anew before it is proposed again.
#[test]
fn who_has_left_and_was_admitted_anew_is_not_taken_out_a_second_time() {
    let mut bench = Bench::new();
    bench.lead();
    bench.configure(&[1, 2]);
    let (token, Command::Remove(out)) = only(&bench.wish(1, removal(3, RemovalCause::Leave))) else { panic!() };
    bench.fail(token, Failure::Unknown("lost".into()));
    bench.apply(Command::Remove(out));
    bench.apply(Command::Admit(Admission { asked: true, ..admission(3, 1, bench.room.record().number()) }));
    assert!(bench.room.record().member(node(3)).is_some());
    let (token, again) = only(&bench.pass(300));
    assert_eq!(again, Command::Remove(out), "the very same");
    let words = String::from("it has moved on");
    bench.answer(token, &Outcome::Refused { code: Refusal::Outdated, words });
    let out = bench.pass(300);
    assert!(proposals(&out).is_empty(), "{out:?}");
    assert!(matches!(reply(&out), Some(Reply::Done { .. })), "{out:?}");
}

#[test]
fn every_member_records_what_was_decided_and_by_whom_and_replays_are_no_news() {
    let mut bench = Bench::new();
    let out = bench.apply(gone(start(2, 1), Cause::Goodbye));
    let decided = out.iter().any(|output| {
        matches!(output, Output::Decision { kind: "down", what, evidence, .. }
            if what.contains("goodbye") && evidence.iter().any(|line| line == "a test says so"))
    });
    assert!(decided, "{out:?}");
    let told =
        |output: &Output| matches!(output, Output::Event(EventKind::MemberGone { name: n, .. }) if *n == name(2));
    assert!(out.iter().any(told), "{out:?}");
    assert!(bench.apply(gone(start(2, 1), silent())).is_empty(), "said once");
    let at = bench.at();
    let out = bench.give(Input::Applied { at, command: entry(returned(3, 2)).encode(), replay: true });
    assert!(out.iter().any(|output| matches!(output, Output::Seats(seats) if seats[&node(3)].number == at.index + 2)));
    assert!(!out.iter().any(|output| matches!(output, Output::Decision { .. } | Output::Event(_))));
}

#[test]
fn a_later_generation_of_the_cluster_stops_this_node() {
    let mut bench = Bench::new();
    assert!(bench.give(Input::Heard { by: name(2), generation: 0 }).is_empty());
    let out = bench.give(Input::Heard { by: name(2), generation: 1 });
    assert!(matches!(out.as_slice(), [Output::Outranked { words }] if words.contains("n2@h2")));
}

#[test]
fn wishes_are_bounded_and_can_be_withdrawn() {
    let mut bench = Bench::new();
    for id in 0..WISHES_MAX as u64 {
        bench.wish(id, goodbye(2));
    }
    let out = bench.wish(9_999, goodbye(3));
    assert!(matches!(reply(&out), Some(Reply::TryAgain { unknown: false, .. })));
    bench.give(Input::Withdraw { id: 0 });
    assert_eq!(proposals(&bench.wish(10_000, goodbye(3))).len(), 1);
}

#[test]
fn a_snapshot_brings_the_seats() {
    let mut bench = Bench::new();
    let mut other = Durable::new(start(2, 1), Faults::default());
    bench.apply(returned(3, 2));
    let mut out = Vec::new();
    other.handle(Input::Restored(bench.room.record().to_snapshot()), Now::default(), &mut out);
    assert_eq!(out, [Output::Seats(bench.room.record().seats())]);
    assert_eq!(other.record(), bench.room.record());
}

/// A room whose node is configured with leases of so many seconds.
fn with_leases(bench: Bench, seconds: u64) -> Bench {
    let Bench { room, now, index } = bench;
    Bench { room: room.with_leases(Terms::new(Duration::from_secs(seconds))), now, index }
}

/// The one length of leases that is proposed; it is committed, and answered.
fn commits_leases(bench: &mut Bench, out: &[Output]) -> Agreed {
    let (token, command) = only(out);
    let Command::Leases { term: 1, agreed } = command else { panic!("{command:?}") };
    bench.apply(command);
    bench.answer(token, &Outcome::Done { number: 9, gave: Gave::Nothing });
    agreed
}

#[test]
fn the_leader_has_its_length_of_leases_committed_and_waits_for_longer_ones_after_a_cut() {
    let mut bench = with_leases(Bench::new(), 60);
    let out = bench.lead();
    let long = Agreed { given_ms: 60_000, waited_ms: 60_000 };
    assert_eq!(commits_leases(&mut bench, &out), long);
    assert!(proposals(&bench.pass(100_000)).is_empty(), "it is as it should be");
    // A leader that is configured with less.
    let mut bench = with_leases(bench, 10);
    let out = bench.pass(1);
    let cut = Agreed { given_ms: 10_000, waited_ms: 60_000 };
    assert_eq!(commits_leases(&mut bench, &out), cut);
    assert!(proposals(&bench.pass(59_000)).is_empty(), "the longer leases may be held");
    // Another one leads for a while, and who knows what it gave: counted anew.
    bench.give(Input::Standing(Standing { term: 2, ..Standing::default() }));
    bench.lead();
    assert!(proposals(&bench.pass(59_000)).is_empty());
    let out = bench.pass(1_000);
    assert_eq!(commits_leases(&mut bench, &out), Agreed { given_ms: 10_000, waited_ms: 10_000 });
}

/// The volatile group of these starts.
fn volatile(bench: &mut Bench, revision: u64, of: &[u128]) {
    let founders: BTreeSet<Incarnation> = of.iter().map(|n| start(*n, 1)).collect();
    let version = Version { number: 1, revision };
    let next = Generation { version, founders: founders.clone(), sets: vec![founders], from: None, lost: false };
    let expected = bench.room.record().volatile().version;
    bench.apply(Command::Generation(Proposal { expected, next }));
}

/// The wish of a member that leaves waits until the volatile group names it no more; until then it has no vote and follows
/// the log.
#[test]
fn who_leaves_hands_on_its_part_in_the_volatile_group_first() {
    let mut bench = Bench::new();
    volatile(&mut bench, 0, &[3]);
    bench.lead();
    bench.facts(|n, fact| fact.leaving = n == 3);
    let out = bench.wish(1, removal(3, RemovalCause::Leave));
    assert!(proposals(&out).is_empty() && reply(&out).is_none(), "{out:?}");
    // The vote goes, and it learns.
    bench.configure(&[1, 2]);
    bench.lead();
    let look = bench.room.look();
    assert!(look.members[&node(3)].leaving && look.members[&node(3)].follows);
    let out = bench.pass(300);
    assert!(proposals(&out).is_empty(), "{out:?}");
    volatile(&mut bench, 1, &[1, 2]);
    assert!(!bench.room.look().members[&node(3)].follows);
    bench.configure(&[1, 2]);
    let out = bench.wish(2, removal(3, RemovalCause::Leave));
    assert!(matches!(only(&out).1, Command::Remove(_)), "{out:?}");
}

/// A member that stays after all, or has started again, is not taken out for what it said before.
#[test]
fn a_wish_to_leave_ends_where_the_member_does_not_say_so_any_more() {
    let mut bench = Bench::new();
    volatile(&mut bench, 0, &[3]);
    bench.lead();
    bench.facts(|n, fact| fact.leaving = n == 3);
    assert_eq!(reply(&bench.wish(1, removal(3, RemovalCause::Leave))), None);
    let out = bench.facts(|_, _| {});
    assert!(matches!(reply(&out), Some(Reply::Refused { code: Some(Refusal::Outdated), .. })), "{out:?}");
    // One that is elsewhere has left, whatever it said.
    volatile(&mut bench, 1, &[1, 2]);
    bench.configure(&[1, 2]);
    bench.lead();
    bench.facts(|n, fact| fact.up = n != 3);
    assert!(matches!(only(&bench.wish(2, removal(3, RemovalCause::Leave))).1, Command::Remove(_)));
}

/// To whom.
fn heirs(out: &[Output]) -> BTreeSet<u128> {
    let among = out.iter().filter_map(|output| match output {
        Output::HandOver { among } => Some(among),
        _ => None,
    });
    among.flatten().map(|voter| voter.node_id.as_u128()).collect()
}

fn hands_over(out: &[Output]) -> bool {
    !heirs(out).is_empty()
}

fn changes_voters(out: &[Output]) -> bool {
    out.iter().any(|output| matches!(output, Output::Ask(Ask::ChangeVoters { .. })))
}

#[test]
fn a_leader_that_leaves_lets_another_one_lead_instead_of_taking_itself_out() {
    let mut bench = Bench::new();
    bench.facts(|n, fact| fact.leaving = n == 1);
    let out = bench.lead();
    assert!(hands_over(&out) && !changes_voters(&out), "{out:?}");
    // What comes to nothing is not tried at once again: nothing is committed meanwhile.
    for _ in 0..10 {
        let out = bench.pass(700);
        assert!(!hands_over(&out) && !changes_voters(&out), "{out:?}");
    }
    let out = bench.give(Input::HandOver);
    assert!(!hands_over(&out), "nor by another's word: {out:?}");
    // Nor where it was silent for so long that it did not lead for a moment.
    bench.give(Input::Standing(Standing { term: 1, ..Standing::default() }));
    let out = bench.lead();
    assert!(!hands_over(&out) && !changes_voters(&out), "{out:?}");
    assert!(hands_over(&bench.pass(1_100)), "a while later it is");

    // Of any other the leader moves the vote itself.
    let mut bench = Bench::new();
    bench.facts(|n, fact| fact.leaving = n == 2);
    let out = bench.lead();
    assert!(changes_voters(&out) && !hands_over(&out), "{out:?}");
}

#[test]
fn the_only_voter_takes_the_next_one_in_and_then_lets_it_lead() {
    let mut bench = Bench::new();
    bench.configure(&[1]);
    bench.facts_of(2, |n, fact| fact.leaving = n == 1);
    let asked = bench.lead();
    assert!(matches!(asked.as_slice(), [Output::Ask(Ask::SetLearners { .. }), ..]), "{asked:?}");
    let (at, learners) = (bench.at(), [2, 3].map(voter).to_vec());
    let both = Configuration { voters: vec![vec![voter(1)]], learners, at, committed: true };
    bench.give(Input::Configured(both));
    bench.give(Input::Reconfigured { token: 1, result: Ok(()), latest: at });
    let out = bench.lead();
    assert!(changes_voters(&out) && !hands_over(&out), "nobody else could lead yet: {out:?}");
    let (at, voters, learners) = (bench.at(), vec![[1, 2].map(voter).to_vec()], vec![voter(3)]);
    bench.give(Input::Configured(Configuration { voters, learners, at, committed: true }));
    bench.give(Input::Reconfigured { token: 2, result: Ok(()), latest: at });
    let out = bench.lead();
    assert!(hands_over(&out) && !changes_voters(&out), "{out:?}");
}

#[test]
fn who_goes_itself_is_not_let_lead() {
    let mut bench = Bench::new();
    bench.facts(|n, fact| fact.leaving = n < 3);
    assert_eq!(heirs(&bench.lead()), BTreeSet::from([3]));
    // By another's word, where none of them says that it goes.
    let mut bench = Bench::new();
    bench.facts(|n, fact| fact.up = n != 2);
    bench.lead();
    assert_eq!(heirs(&bench.give(Input::HandOver)), BTreeSet::from([3]), "to one that is up");
}

#[test]
fn those_that_are_new_vote_beside_a_leader_that_goes_before_it_hands_over() {
    let mut bench = Bench::new();
    bench.learners(&[4]);
    bench.apply(Command::Admit(admission(4, 1, 0)));
    // One is down: of the two that stay and are up neither may be one that can lead.
    let out = bench.facts_of(4, |n, fact| (fact.leaving, fact.up) = (n == 1, n != 2));
    assert!(!hands_over(&out), "{out:?}");
    let out = bench.lead();
    let voters = out.iter().find_map(|output| match output {
        Output::Ask(Ask::ChangeVoters { voters, .. }) => Some(voters.clone()),
        _ => None,
    });
    let voters: BTreeSet<u128> = voters.expect("a change").iter().map(|voter| voter.node_id.as_u128()).collect();
    assert_eq!(voters, BTreeSet::from([1, 2, 3, 4]));
    assert!(!hands_over(&out), "{out:?}");
}
