//! The schedules that bear a number, each as it was found.

use std::collections::BTreeSet;
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::lease::{
    Cause, Faults, GoneTable, Holder, HolderInput, HolderOutput, Keeper, KeeperInput, KeeperOutput, Message, Terms,
};
use ekka_core::machine::Machine;
use ekka_core::time::{Instant, Now, Wall};

use crate::lease_world::world::{Entry, Event, MS, Plan, SECOND, World};

const GONE_AFTER: Duration = Duration::from_secs(15);
/// The node whose lease is at stake: no voter.
const H: usize = 3;

/// Voters 0, 1 and 2, of which 0 leads, all admitted, and nothing happens that the test does not do.
fn scripted(faults: Faults, fast: [u64; 5]) -> World {
    let plan = Plan { seed: 1, gone_after: GONE_AFTER, voters: 3, chaos: false, lies: true, faults };
    let mut world = World::new(plan);
    world.scripted = true;
    for (node, fast) in world.nodes.iter_mut().zip(fast) {
        node.fast = fast;
    }
    world.elect_before(0, &[1, 2]);
    for i in 0..5 {
        world.boot(i);
        let id = world.nodes[i].id;
        world.group.append(0, Entry::Admit(id));
    }
    settle(&mut world, 0);
    world
}

/// The leader brings all that it reaches up to date.
fn settle(world: &mut World, l: usize) {
    for _ in 0..2 {
        for v in 0..3 {
            if v != l && world.linked(l, v) {
                world.replicate(l, v);
            }
        }
        world.advance(l);
    }
}

/// Lets time pass, with the leader's beats in it and everybody reported as down.
fn pass(world: &mut World, l: usize, long: u64) {
    for _ in 0..long / SECOND {
        world.run_until(world.now + SECOND);
        settle(world, l);
        report(world);
    }
}

fn report(world: &mut World) {
    let down: BTreeSet<Incarnation> = world.nodes.iter().map(|node| node.id).collect();
    for to in 0..3 {
        for voter in 0..3 {
            if world.linked(to, voter) {
                let voter = NodeId::from_u128(voter as u128 + 1);
                world.keep(to, KeeperInput::Report { voter, down: down.clone() });
            }
        }
    }
}

fn violated(world: &mut World, until: u64) -> bool {
    world.run_until(until);
    world.violation.is_some()
}

/// S2-2: the link between the holder and the leader alone is cut, and the other voters hear both.
#[test]
fn s2_2_a_lease_is_renewed_by_way_of_a_voter_where_one_link_is_cut() {
    for holder in [H, 1] {
        let mut world = scripted(Faults::default(), [0; 5]);
        pass(&mut world, 0, 5 * SECOND);
        world.severed = Some((0, holder));
        for _ in 0..60 {
            pass(&mut world, 0, SECOND);
            assert!(world.nodes[holder].holder.holds(world.clock(holder)), "node {holder} holds its lease");
        }
        assert!(!violated(&mut world, 0));
        assert_eq!(world.gone_count, 0);
        // Nobody passes on what nobody else can answer.
        world.side[0] = 1;
        world.run_until(world.now + 11 * SECOND);
        assert!(!world.nodes[holder].holder.holds(world.clock(holder)), "no leader, no lease");
    }
}

/// M7 (a): a renewal is on its way while `gone` is proposed, is answered before it commits, and the answer counts.
fn m7a(faults: Faults) -> bool {
    let mut world = scripted(faults, [0; 5]);
    pass(&mut world, 0, 5 * SECOND);
    world.side[H] = 1;
    pass(&mut world, 0, 14 * SECOND);
    // Time for the proposal, and no step of the log: it is in the leader's log alone.
    for _ in 0..3 {
        world.run_until(world.now + SECOND);
        report(&mut world);
    }
    assert!(
        world.group.replicas[0].log.iter().any(|(_, entry)| matches!(entry, Some(Entry::Gone(_)))),
        "gone is proposed"
    );
    world.side[H] = 0;
    // The holder asks again, and has its answer if it gets one.
    world.run_until(world.now + 2 * SECOND);
    settle(&mut world, 0);
    assert!(world.gone_count > 0, "gone is committed");
    violated(&mut world, 0)
}

#[test]
fn m7_a_a_renewal_that_comes_after_gone_was_proposed_is_not_answered() {
    assert!(!m7a(Faults::default()));
    assert!(m7a(Faults { log_unseen: true, ..Faults::default() }), "the schedule is as it was found");
}

/// M7 (b): a deposed leader that does not know it answers, while the new one counts to `gone`.
fn m7b(faults: Faults) -> bool {
    let mut world = scripted(faults, [0; 5]);
    pass(&mut world, 0, 5 * SECOND);
    // 0 and the holder on one side, the majority on the other.
    (world.side[0], world.side[H]) = (1, 1);
    world.elect_before(1, &[2]);
    pass(&mut world, 1, 20 * SECOND);
    assert!(world.gone_count > 0, "gone is committed");
    violated(&mut world, 0)
}

#[test]
fn m7_b_a_deposed_leader_answers_nobody() {
    assert!(!m7b(Faults::default()));
    assert!(m7b(Faults { unconfirmed: true, ..Faults::default() }), "the schedule is as it was found");
}

/// M7 (c): `gone` in the log of a deposed leader; the new one answers before it has committed in its term; the old one
/// is elected again, and commits.
fn m7c(faults: Faults) -> bool {
    let mut world = scripted(faults, [0; 5]);
    pass(&mut world, 0, 5 * SECOND);
    (world.side[0], world.side[H]) = (1, 2);
    for _ in 0..17 {
        world.run_until(world.now + SECOND);
        world.side[0] = 0;
        report(&mut world);
        world.side[0] = 1;
    }
    assert!(
        world.group.replicas[0].log.iter().any(|(_, entry)| matches!(entry, Some(Entry::Gone(_)))),
        "gone is proposed"
    );
    // 1 is elected by 2, and no entry of its term gets anywhere.
    world.side[H] = 0;
    world.elect_before(1, &[2]);
    world.run_until(world.now + 2 * SECOND);
    // 0 is elected again by 2, with the longer log.
    world.side[0] = 0;
    world.elect_before(0, &[2]);
    world.replicate(0, 2);
    world.advance(0);
    if faults == Faults::default() {
        assert!(world.gone_count > 0, "gone is committed in the end");
    }
    violated(&mut world, 0)
}

#[test]
fn m7_c_a_new_leader_answers_nobody_before_an_entry_of_its_own_term() {
    assert!(!m7c(Faults::default()));
    assert!(m7c(Faults { unready: true, ..Faults::default() }), "the schedule is as it was found");
}

/// Beyond M7: `gone` lies in a queue of a deposed leader and is passed on to a later one, which has answered since.
#[test]
fn a_proposal_that_is_passed_on_to_a_later_term_is_void() {
    for (term_unseen, expected) in [(false, false), (true, true)] {
        let mut world = scripted(Faults { term_unseen, ..Faults::default() }, [0; 5]);
        pass(&mut world, 0, 5 * SECOND);
        let (id, term) = (world.nodes[H].id, world.group.replicas[0].term);
        let cause = Cause::Silent { unheard_ms: 15_000, seen_down_by: Vec::new() };
        let entry = ekka_core::lease::GoneEntry { id, term, cause };
        world.elect_before(1, &[0, 2]);
        settle(&mut world, 1);
        world.after(0, Event::Append { node: 0, entry: Entry::Gone(entry) });
        pass(&mut world, 1, 3 * SECOND);
        assert!(world.group.committed.iter().any(|(_, entry)| matches!(entry, Some(Entry::Gone(_)))), "it got in");
        assert_eq!(violated(&mut world, 0), expected);
    }
}

/// M8: whatever `gone_after` is, clocks a tenth apart leave the holder fenced first; and it keeps half of the time.
#[test]
fn m8_the_margin_covers_clocks_a_tenth_apart_for_every_value() {
    for seconds in [10, 15, 30, 55, 60, 120, 300, 600] {
        let gone_after = Duration::from_secs(seconds);
        let plan = Plan { seed: seconds, gone_after, voters: 3, chaos: false, lies: true, faults: Faults::default() };
        let mut world = World::new(plan);
        world.scripted = true;
        for (node, fast) in world.nodes.iter_mut().zip([100_000, 100_000, 100_000, 0, 0]) {
            node.fast = fast;
        }
        world.elect_before(0, &[1, 2]);
        for i in 0..5 {
            world.boot(i);
            let id = world.nodes[i].id;
            world.group.append(0, Entry::Admit(id));
        }
        settle(&mut world, 0);
        pass(&mut world, 0, 3 * SECOND);
        world.side[H] = 1;
        let cut_at = world.now;
        let (mut fenced_at, mut gone_at) = (None, None);
        while gone_at.is_none() {
            pass(&mut world, 0, SECOND);
            let at = world.now - cut_at;
            if !world.holds(H) && fenced_at.is_none() {
                fenced_at = Some(at);
            }
            if world.gone_count > 0 {
                gone_at = Some(at);
            }
            assert!(at < 2 * seconds * SECOND, "it ends");
        }
        let (fenced_at, gone_at) = (fenced_at.expect("fenced first"), gone_at.expect("ended so"));
        assert!(world.violation.is_none() && fenced_at < gone_at, "{seconds} s: {fenced_at} {gone_at}");
        assert!(fenced_at >= seconds * SECOND / 2, "{seconds} s: fenced after {} ms", fenced_at / MS);
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_millis(ms), wall: Wall::from_millis(ms) }
}

fn id(node: u128, guid: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
}

/// A leader of one voter that has admitted node 2, with what it proposes at these times.
fn proposals(report: bool, ended: Option<Cause>, times: &[u64]) -> Vec<(u64, Cause)> {
    let me = NodeId::from_u128(1);
    let mut keeper = Keeper::new(me, Terms::new(GONE_AFTER), GoneTable::default(), Faults::default());
    let mut out = Vec::new();
    keeper.handle(KeeperInput::Voters(vec![[me].into()]), at(0), &mut out);
    keeper.handle(KeeperInput::Starts { present: [id(2, 9)].into(), removed: BTreeSet::new() }, at(0), &mut out);
    keeper.handle(KeeperInput::Standing { term: 1, leader: Some(me), ready: true }, at(0), &mut out);
    if let Some(cause) = ended {
        keeper.handle(KeeperInput::Ended(id(2, 9), cause), at(0), &mut out);
    }
    let mut proposed = Vec::new();
    for ms in times {
        if report {
            keeper.handle(KeeperInput::Report { voter: me, down: [id(2, 9)].into() }, at(*ms), &mut out);
        }
        out.clear();
        keeper.tick(at(*ms), &mut out);
        proposed.extend(out.iter().filter_map(|output| match output {
            KeeperOutput::Propose(entry) => Some((*ms, entry.cause.clone())),
            _ => None,
        }));
    }
    proposed
}

/// S1-7: a refused connection, a reset, a gossip verdict is no proof. Down without a lease run out is nothing; a lease
/// run out without a majority that sees it down is nothing; proof works at once.
#[test]
fn s1_7_only_a_proven_end_or_a_lease_run_out_is_gone() {
    let seconds: Vec<u64> = (1..60).map(|second| second * 1_000).collect();
    assert!(proposals(true, None, &seconds[..14]).is_empty(), "down from the first second on, and not gone before 15");
    assert!(proposals(false, None, &seconds).is_empty(), "silent, but no voter sees it down");
    let silent = proposals(true, None, &seconds);
    assert!(matches!(silent[..], [(15_000, Cause::Silent { unheard_ms: 15_000, .. })]), "{silent:?}");
    for cause in [Cause::Goodbye, Cause::NewerStart] {
        assert_eq!(proposals(false, Some(cause.clone()), &[1]), [(1, cause)]);
    }
}

/// S2-4: a node that was declared gone comes back under another guid, so its second death is another one.
#[test]
fn s2_4_each_incarnation_is_gone_once_and_a_node_as_often_as_it_starts() {
    let mut world = scripted(Faults::default(), [0; 5]);
    pass(&mut world, 0, 3 * SECOND);
    let first = world.nodes[H].id;
    for round in 1..=2 {
        world.side[H] = 1;
        pass(&mut world, 0, 20 * SECOND);
        assert_eq!(world.gone_count, round, "once, however long it is away");
        world.side[H] = 0;
        pass(&mut world, 0, 5 * SECOND);
        assert!(world.holds(H), "back under a new guid");
    }
    let last = world.nodes[H].id;
    assert!(first.guid < last.guid && first.node_id == last.node_id);
    assert!(world.gone.is_gone(first) && !world.gone.is_gone(last) && world.violation.is_none());
}

/// S2-9: a process that was stopped past its lease is fenced by its clock, not by whether its tasks ran.
#[test]
fn s2_9_a_stopped_process_is_fenced_by_its_clock_whatever_it_hears_first() {
    let me = id(2, 9);
    let mut holder = Holder::new(me, Faults::default());
    let mut out = Vec::new();
    holder.handle(HolderInput::Voters([NodeId::from_u128(1)].into()), at(0), &mut out);
    holder.tick(at(0), &mut out);
    holder.handle(HolderInput::Message(Message::Renewed { id: me, ask: 1, gone_after_ms: 15_000 }), at(50), &mut out);
    assert!(holder.holds(at(9_999).mono));
    for first in [
        HolderInput::Leader(None),
        HolderInput::Message(Message::Renewed { id: me, ask: 1, gone_after_ms: 15_000 }),
        HolderInput::Message(Message::Gone { id: me }),
        HolderInput::Goodbye,
    ] {
        let (mut woken, mut out) = (holder.clone(), Vec::new());
        assert!(!woken.holds(at(10_000).mono), "asked at waking, before any input");
        woken.handle(first, at(10_000), &mut out);
        assert!(matches!(out[0], HolderOutput::Fenced { .. }), "the first thing that is said: {out:?}");
    }
}

/// A member was taken out while it may live: no lease of it is renewed from then on, and it is over once the last one, or
/// one that a leader before this one may have given, has run out. Nobody need see it down.
#[test]
fn who_was_taken_out_is_over_once_its_lease_has_run_out() {
    let me = NodeId::from_u128(1);
    for elected_late in [false, true] {
        let mut keeper = Keeper::new(me, Terms::new(GONE_AFTER), GoneTable::default(), Faults::default());
        let mut out = Vec::new();
        let leads = |term| KeeperInput::Standing { term, leader: Some(me), ready: true };
        let starts = |present: &[Incarnation], removed: &[Incarnation]| KeeperInput::Starts {
            present: present.iter().copied().collect(),
            removed: removed.iter().copied().collect(),
        };
        keeper.handle(KeeperInput::Voters(vec![[me].into()]), at(0), &mut out);
        keeper.handle(starts(&[id(2, 9)], &[]), at(0), &mut out);
        keeper.handle(leads(1), at(0), &mut out);
        (0..4_000).step_by(500).for_each(|ms| keeper.tick(at(ms), &mut out));
        let renew = KeeperInput::Message { from: id(2, 9).node_id, message: Message::Renew { id: id(2, 9), ask: 1 } };
        keeper.handle(renew.clone(), at(4_000), &mut out);
        let round = out.iter().find_map(|output| match output {
            KeeperOutput::Confirm { round, .. } => Some(*round),
            _ => None,
        });
        keeper.handle(KeeperInput::Confirmed { round: round.unwrap(), ok: true }, at(4_000), &mut out);
        // Who is not called for two seconds was stopped, and knows nothing of what came meanwhile.
        (5_000..9_000).step_by(500).for_each(|ms| keeper.tick(at(ms), &mut out));
        keeper.handle(starts(&[], &[id(2, 9)]), at(9_000), &mut out);
        let over_at = if elected_late {
            keeper.handle(KeeperInput::Standing { term: 2, leader: None, ready: false }, at(9_100), &mut out);
            keeper.handle(leads(3), at(9_500), &mut out);
            9_500 + 15_000
        } else {
            4_000 + 15_000
        };
        out.clear();
        keeper.handle(renew, at(10_000), &mut out);
        for ms in (10_000..over_at).step_by(500) {
            keeper.tick(at(ms), &mut out);
            keeper.check();
        }
        assert!(out.is_empty(), "neither renewed nor over before: {out:?}");
        keeper.tick(at(over_at), &mut out);
        let proposed: Vec<_> = out.iter().filter(|o| matches!(o, KeeperOutput::Propose(_))).collect();
        let [KeeperOutput::Propose(entry)] = proposed[..] else { panic!("{out:?}") };
        assert_eq!((entry.id, &entry.cause), (id(2, 9), &Cause::Removed { unheard_ms: 15_000 }));
    }
}
