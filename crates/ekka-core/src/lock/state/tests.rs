use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;

use super::*;

const TERM: u64 = 3;

fn session(node: u128, number: u64) -> SessionId {
    SessionId { node_id: NodeId::from_u128(node), guid: Guid::from_u128(10), number }
}

fn name(text: &str) -> LockName {
    text.parse().unwrap()
}

fn want(text: &str) -> Want {
    Want { name: name(text), mode: Mode::Exclusive }
}

/// A state, and what it said of others.
#[derive(Default)]
struct Table {
    state: State,
    events: Vec<Event>,
}

impl Table {
    /// With tokens, and these sessions open.
    fn of(sessions: &[SessionId]) -> Self {
        let mut table = Self::default();
        table.apply(Command::Tokens { from: 1, to: 10_000_000 });
        for session in sessions {
            assert_eq!(table.open(*session), Answer::Done);
        }
        table
    }

    fn apply(&mut self, command: Command) -> Answer {
        let answer = self.state.apply(TERM, command, &mut self.events);
        self.state.check();
        answer
    }

    fn open(&mut self, session: SessionId) -> Answer {
        self.apply(Command::Open {
            session,
            ttl_ms: 15_000,
            own: false,
            label: alloc::format!("client {}", session.number),
        })
    }

    fn acquire(&mut self, session: SessionId, request: u64, wants: Vec<Want>, wait: bool) -> Answer {
        self.apply(Command::Acquire { session, request, wants, owner: request, again: false, wait, floor: 0 })
    }

    fn one(&mut self, session: SessionId, request: u64, text: &str) -> Answer {
        self.acquire(session, request, vec![want(text)], true)
    }

    fn release(&mut self, session: SessionId, request: u64) -> Answer {
        self.apply(Command::Release { session, request })
    }

    /// Who was let in since.
    fn let_in(&mut self) -> Vec<(SessionId, u64)> {
        let granted = |event: Event| match event {
            Event::Granted { session, request, .. } => Some((session, request)),
            _ => None,
        };
        core::mem::take(&mut self.events).into_iter().filter_map(granted).collect()
    }
}

fn token(answer: &Answer) -> u64 {
    match answer {
        Answer::Granted(held) => held[0].token,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn waiters_are_let_in_in_the_order_in_which_they_came() {
    let ids: Vec<SessionId> = (1..=1_000).map(|number| session(1, number)).collect();
    let mut table = Table::of(&ids);
    let first = token(&table.one(ids[0], 1, "billing"));
    for (before, id) in ids[1..].iter().enumerate() {
        let waits = Answer::Waits { name: name("billing"), before: before as u64 };
        assert_eq!(table.one(*id, 1, "billing"), waits);
    }
    let mut last = first;
    for pair in ids.windows(2) {
        assert_eq!(table.release(pair[0], 1), Answer::Done);
        assert_eq!(table.let_in(), [(pair[1], 1)]);
        let now = token(&table.one(pair[1], 1, "billing"));
        assert!(now > last, "tokens grow");
        last = now;
    }
}

#[test]
fn who_shares_waits_behind_who_came_before_and_wants_it_alone() {
    let ids: Vec<SessionId> = (1..=4).map(|number| session(1, number)).collect();
    let mut table = Table::of(&ids);
    let shared = || vec![Want { name: name("rows"), mode: Mode::Shared }];
    token(&table.acquire(ids[0], 1, shared(), true));
    token(&table.acquire(ids[1], 1, shared(), true));
    assert!(matches!(table.one(ids[2], 1, "rows"), Answer::Waits { before: 0, .. }));
    assert!(
        matches!(table.acquire(ids[3], 1, shared(), true), Answer::Waits { before: 1, .. }),
        "writers do not starve"
    );
    table.release(ids[0], 1);
    assert_eq!(table.let_in(), []);
    table.release(ids[1], 1);
    assert_eq!(table.let_in(), [(ids[2], 1)]);
    table.release(ids[2], 1);
    assert_eq!(table.let_in(), [(ids[3], 1)]);
}

#[test]
fn a_semaphore_has_its_permits_and_no_more() {
    let ids: Vec<SessionId> = (1..=4).map(|number| session(1, number)).collect();
    let mut table = Table::of(&ids);
    let permit = |of| vec![Want { name: name("jobs"), mode: Mode::Permit { of } }];
    token(&table.acquire(ids[0], 1, permit(2), true));
    token(&table.acquire(ids[1], 1, permit(2), true));
    assert!(matches!(table.acquire(ids[2], 1, permit(2), true), Answer::Waits { .. }));
    let other = Answer::Refused(Refusal::OtherPermits { name: name("jobs"), of: 2 });
    assert_eq!(table.acquire(ids[3], 1, permit(3), true), other);
    assert_eq!(table.acquire(ids[3], 2, permit(0), true), Answer::Refused(Refusal::BadWants));
    table.release(ids[1], 1);
    assert_eq!(table.let_in(), [(ids[2], 1)]);
}

#[test]
fn several_locks_are_taken_in_one_order_so_that_nobody_waits_in_a_circle() {
    let (a, b) = (session(1, 1), session(2, 1));
    let mut table = Table::of(&[a, b]);
    let granted = table.acquire(a, 1, vec![want("y"), want("x")], true);
    let Answer::Granted(held) = granted else { panic!("{granted:?}") };
    assert_eq!(held.iter().map(|held| held.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
    assert!(matches!(table.acquire(b, 1, vec![want("x"), want("y")], true), Answer::Waits { .. }));
    assert!(matches!(table.acquire(b, 2, vec![want("z"), want("y")], false), Answer::Busy { .. }));
    assert_eq!(table.state.rows().count(), 2, "who may not wait holds no part of what it wanted");
    table.release(a, 1);
    assert_eq!(table.let_in(), [(b, 1)]);
    assert_eq!(table.acquire(b, 3, vec![want("x"), want("x")], true), Answer::Refused(Refusal::BadWants));
}

#[test]
fn the_same_owner_comes_in_again_only_where_it_asks_to() {
    let a = session(1, 1);
    let mut table = Table::of(&[a]);
    let again = |request, again| Command::Acquire {
        session: a,
        request,
        wants: vec![want("x")],
        owner: 7,
        again,
        wait: true,
        floor: 0,
    };
    let first = token(&table.apply(again(1, true)));
    assert_eq!(table.apply(again(2, false)), Answer::Refused(Refusal::HeldByOwner(name("x"))));
    assert_eq!(token(&table.apply(again(3, true))), first, "one hold, one token");
    table.release(a, 1);
    assert!(matches!(table.one(a, 4, "x"), Answer::Waits { .. }), "another owner of the session waits like anybody");
    table.release(a, 3);
    assert_eq!(table.let_in(), [(a, 4)]);
}

#[test]
fn a_request_that_ended_does_not_begin_again_when_it_comes_late() {
    let (a, b) = (session(1, 1), session(2, 1));
    let mut table = Table::of(&[a, b]);
    let first = table.one(a, 1, "x");
    assert_eq!(table.one(a, 1, "x"), first, "an answer that was lost is given again");
    assert_eq!(table.one(a, 1, "y"), Answer::Refused(Refusal::Differs));
    table.release(a, 1);
    assert_eq!(table.one(a, 1, "x"), Answer::Refused(Refusal::Ended));
    assert_eq!(table.release(a, 1), Answer::Refused(Refusal::Ended));
    // It overtook the request that it ends.
    assert_eq!(table.release(a, 2), Answer::Refused(Refusal::NoRequest));
    assert_eq!(table.one(a, 2, "x"), Answer::Refused(Refusal::Ended));
    let floor = |request, floor| Command::Acquire {
        session: a,
        request,
        wants: vec![want("z")],
        owner: request,
        again: false,
        wait: true,
        floor,
    };
    token(&table.apply(floor(9, 9)));
    assert_eq!(table.apply(floor(5, 9)), Answer::Refused(Refusal::Ended));
    token(&table.apply(floor(9, 10)));
    assert_eq!(table.release(b, 1), Answer::Refused(Refusal::NoRequest));
    assert_eq!(table.release(a, 9), Answer::Done);
}

/// A copy of it stands later in the log than the one that was answered.
#[test]
fn a_try_that_was_answered_in_the_negative_holds_nothing_later() {
    let (a, b) = (session(1, 1), session(2, 1));
    let mut table = Table::of(&[a, b]);
    table.one(a, 1, "x");
    assert!(matches!(table.acquire(b, 1, vec![want("x")], false), Answer::Busy { .. }));
    table.release(a, 1);
    assert_eq!(table.acquire(b, 1, vec![want("x")], false), Answer::Refused(Refusal::Ended));
    token(&table.acquire(b, 2, vec![want("x")], false));
}

/// Both wait before the first of them holds.
#[test]
fn who_comes_in_again_does_so_in_the_mode_that_is_held() {
    let (a, b, c) = (session(1, 1), session(2, 1), session(3, 1));
    let mut table = Table::of(&[a, b, c]);
    table.one(c, 1, "x");
    let again = |request, mode| Command::Acquire {
        session: a,
        request,
        wants: vec![Want { name: name("x"), mode }],
        owner: 7,
        again: true,
        wait: true,
        floor: 0,
    };
    table.apply(again(1, Mode::Shared));
    table.apply(again(2, Mode::Exclusive));
    table.acquire(b, 1, vec![Want { name: name("x"), mode: Mode::Shared }], true);
    table.release(c, 1);
    assert_eq!(table.let_in(), [(a, 1)], "the second wants it alone, and waits");
    table.release(a, 1);
    assert_eq!(table.let_in(), [(a, 2)]);
}

/// S1-7, S1-4: what ends a session, and what does not.
#[test]
fn a_session_ends_by_its_client_its_leader_or_the_next_start_of_its_own_process() {
    let own = SessionId { guid: Guid::from_u128(20), ..session(1, 1) };
    let (client, waiter) = (SessionId { number: 2, ..own }, session(2, 1));
    let mut table = Table::of(&[waiter]);
    table.apply(Command::Open { session: own, ttl_ms: 1, own: true, label: String::new() });
    table.apply(Command::Open { session: client, ttl_ms: 1, own: false, label: String::new() });
    let (first, second) = (token(&table.one(own, 1, "a")), token(&table.one(client, 1, "b")));
    table.acquire(waiter, 1, vec![want("a")], true);
    table.acquire(waiter, 2, vec![want("b")], true);
    assert_eq!(table.apply(Command::Expire { session: client, term: TERM - 1 }), Answer::Refused(Refusal::OtherTerm));
    assert_eq!(table.let_in(), []);

    let id = Incarnation { node_id: own.node_id, guid: Guid::from_u128(21) };
    table.apply(Command::Started { id });
    let lost = Event::Lost { session: own, held: Held { name: name("a"), token: first }, cause: Cause::NodeGone };
    assert!(table.events.contains(&lost), "{:?}", table.events);
    assert_eq!(table.let_in(), [(waiter, 1)], "the end of an agent proves nothing about its clients");
    assert_eq!(table.open(SessionId { number: 9, ..own }), Answer::Refused(Refusal::Over), "of a start that is over");

    table.apply(Command::Expire { session: client, term: TERM });
    let lost = Event::Lost { session: client, held: Held { name: name("b"), token: second }, cause: Cause::Expired };
    assert!(table.events.contains(&lost), "{:?}", table.events);
    assert_eq!(table.let_in(), [(waiter, 2)]);
    assert_eq!(table.open(client), Answer::Refused(Refusal::Over), "late, and over");
}

#[test]
fn an_operator_takes_a_lock_and_the_next_token_is_higher() {
    let (a, b) = (session(1, 1), session(2, 1));
    let mut table = Table::of(&[a, b]);
    let Answer::Granted(held) = table.acquire(a, 1, vec![want("x"), want("y")], true) else { panic!("free") };
    table.one(b, 1, "x");
    let force = |text| Command::Force { name: name(text), by: "somebody".into() };
    assert_eq!(table.apply(force("nothing")), Answer::Refused(Refusal::NotHeld));
    assert_eq!(table.apply(force("x")), Answer::Forced { holders: 1 });
    let lost = table.events.iter().filter(|event| matches!(event, Event::Lost { cause: Cause::Forced, .. })).count();
    assert!(
        table.events.contains(&Event::Ended { session: a, request: 1, cause: Cause::Forced }),
        "{:?}",
        table.events
    );
    assert_eq!((lost, table.let_in()), (2, vec![(b, 1)]), "one request is one guard: it loses all of its locks");
    assert!(token(&table.one(b, 1, "x")) > held[0].token);
    assert_eq!(table.release(a, 1), Answer::Refused(Refusal::Ended));
}

/// S2-8: tokens come from ranges that nobody else has, and nobody is let in without one.
#[test]
fn without_tokens_all_wait_and_ranges_that_come_twice_give_none_twice() {
    let (a, b) = (session(1, 1), session(2, 1));
    let mut table = Table::default();
    table.open(a);
    table.open(b);
    assert!(matches!(table.one(a, 1, "x"), Answer::Waits { .. }), "free, and no token for it");
    assert_eq!(table.acquire(b, 1, vec![want("y")], false), Answer::Refused(Refusal::NotReady));
    assert!(table.events.contains(&Event::TokensWanted { left: 0 }));
    table.events.clear();
    table.apply(Command::Tokens { from: 100, to: 102 });
    assert_eq!(table.let_in(), [(a, 1)]);
    assert_eq!(token(&table.one(a, 1, "x")), 100);
    table.apply(Command::Tokens { from: 100, to: 102 });
    assert_eq!(token(&table.one(b, 2, "y")), 101);
    assert_eq!(table.state.tokens_left(), 0);
    table.apply(Command::Tokens { from: 50, to: 200 });
    assert_eq!(token(&table.one(b, 3, "z")), 102, "above all that were issued");
}

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    /// One of those before, once more.
    Again(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || (1u128..4, 1u64..3).prop_map(|(node, number)| session(node, number));
    let mode = prop_oneof![Just(Mode::Exclusive), Just(Mode::Shared), Just(Mode::Permit { of: 2 })];
    let wants = prop::collection::vec(
        (0usize..3, mode).prop_map(|(at, mode)| Want { name: name(["a", "b", "c"][at]), mode }),
        1..3,
    );
    let acquire =
        (id(), 0u64..12, wants, any::<bool>(), any::<bool>()).prop_map(|(session, request, wants, again, wait)| {
            Command::Acquire { session, request, wants, owner: request % 3, again, wait, floor: 0 }
        });
    let command = prop_oneof![
        2 => id().prop_map(|session| Command::Open { session, ttl_ms: 1, own: session.number == 1, label: String::new() }),
        6 => acquire,
        4 => (id(), 0u64..12).prop_map(|(session, request)| Command::Release { session, request }),
        1 => id().prop_map(|session| Command::Close { session }),
        1 => (id(), 2u64..4).prop_map(|(session, term)| Command::Expire { session, term }),
        1 => (1u128..4, 9u128..12).prop_map(|(node, guid)| Command::Started {
            id: Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
        }),
        1 => (0usize..3).prop_map(|at| Command::Force { name: name(["a", "b", "c"][at]), by: String::new() }),
        2 => (0u64..40, 0u64..8).prop_map(|(from, n)| Command::Tokens { from, to: from + n }),
    ];
    let step = prop_oneof![4 => command.prop_map(Step::Command), 1 => (0usize..80).prop_map(Step::Again)];
    prop::collection::vec(step, 0..80)
}

proptest! {
    /// Whatever comes, and whatever of it comes again: the invariants hold, no token is issued twice or out of order, what
    /// ended stays ended, and a snapshot goes on like the state that it was taken of.
    #[test]
    fn invariants_hold_over_commands_that_come_late_and_twice(steps in steps()) {
        let mut table = Table::default();
        let (mut said, mut last, mut ended) = (Vec::new(), None, BTreeSet::new());
        for step in steps {
            let command = match step {
                Step::Command(command) => command,
                Step::Again(at) if at < said.len() => Command::clone(&said[at]),
                Step::Again(_) => continue,
            };
            said.push(command.clone());
            let bytes = postcard::to_allocvec(&table.state).unwrap();
            let mut copy: State = postcard::from_bytes(&bytes).unwrap();
            let (mut events, mut copied) = (Vec::new(), Vec::new());
            let before: BTreeSet<u64> = table.state.rows().flat_map(|row| row.holders).map(|holder| holder.3).collect();
            let answer = table.state.apply(TERM, command.clone(), &mut events);
            prop_assert_eq!(&copy.apply(TERM, command.clone(), &mut copied), &answer);
            prop_assert_eq!((&copy, &copied), (&table.state, &events));
            table.state.check();
            let fresh: BTreeSet<u64> =
                table.state.rows().flat_map(|row| row.holders).map(|holder| holder.3).filter(|token| !before.contains(token)).collect();
            prop_assert!(fresh.iter().all(|token| last < Some(*token)), "{:?} after {:?}", fresh, last);
            last = last.max(fresh.last().copied());
            match (&command, &answer) {
                (Command::Release { session, request }, Answer::Done)
                | (Command::Acquire { session, request, .. }, Answer::Busy { .. }) => {
                    ended.insert((*session, *request));
                }
                (Command::Acquire { session, request, .. }, Answer::Granted(_) | Answer::Waits { .. }) => {
                    prop_assert!(!ended.contains(&(*session, *request)), "{} {} ended before", session, request);
                }
                _ => {}
            }
        }
    }
}
