//! The schedules that showed what each rule is needed for, as they were written down.

use ekka_core::table::{Ack, Faults, OpId, TooFewCopies};

use crate::table_world::world::World;

const K: &[u8] = b"k";

fn put(world: &mut World, i: usize) -> OpId {
    world.ms += 1;
    world.write(i, K, false, None).expect("it is written")
}

fn delete(world: &mut World, i: usize) -> OpId {
    world.ms += 1;
    world.write(i, K, true, None).expect("it is written")
}

fn journaled(world: &World, i: usize, id: OpId) -> bool {
    world.table(i).journal().any(|version| world.table(i).id_of(version) == id)
}

fn all_read(world: &World, id: OpId) -> bool {
    (0..world.nodes.len()).all(|i| {
        let table = world.table(i);
        table.get(K, world.nodes[i].now(world.ms).wall).is_some_and(|row| table.id_of(row) == id)
    })
}

fn none_reads(world: &World) -> bool {
    world.read(K).iter().all(Option::is_none)
}

/// What two members acknowledged that were cleaned then, and of which one returns.
pub(crate) fn s1_10(faults: Faults) -> Result<(), String> {
    let mut world = World::scripted_with(4, faults);
    world.flow_for(1_000);
    world.cut_off(&[2, 3]);
    let id = put(&mut world, 2);
    world.flow_for(1_000);
    assert!(world.truth.writes[&id].acked);
    world.clean_node(2);
    world.clean_node(3);
    world.kill_node(2);
    world.mend();
    world.rest()?;
    if all_read(&world, id) { Ok(()) } else { Err("what was acknowledged is not read".into()) }
}

#[test]
fn s1_10_what_two_cleaned_members_acknowledged_survives_the_return_of_one() {
    s1_10(Faults::default()).unwrap();
}

#[test]
fn s1_10_what_was_deleted_behind_the_back_of_a_cleaned_member_stays_deleted() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    world.cut_off(&[2]);
    let behind = put(&mut world, 2);
    put(&mut world, 0);
    delete(&mut world, 0);
    world.clean_node(2);
    world.flow_for(5_000);
    assert_eq!(world.table(0).rows().len() + world.table(1).rows().len(), 0, "the tombstone is dropped");
    world.mend();
    world.rest().unwrap();
    assert!(none_reads(&world));
    assert!((0..3).all(|i| journaled(&world, i, behind)), "its fate was unknown, so it is kept for people");
}

#[test]
fn s1_11_an_operation_counts_only_with_all_earlier_ones_of_its_origin() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    let first = put(&mut world, 0);
    world.pump(0, 1, 0);
    world.pump(0, 2, 0);
    let second = put(&mut world, 0);
    // Node 2 gets the second without the first.
    world.pump(0, 2, 0);
    world.lose_first(0, 2);
    while world.deliver(0, 2, 0) {}
    assert!(!world.table(2).holds(second) && !world.table(2).holds(first));
    while world.deliver(0, 1, 0) {}
    assert!(world.table(1).holds(first) && !world.table(1).holds(second));
    world.rest().unwrap();
    assert!(all_read(&world, second));
}

#[test]
fn s2_11_the_journal_has_the_concurrent_loser_and_not_what_a_writer_had_seen() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    let seen = put(&mut world, 0);
    world.flow_for(1_000);
    world.cut_off(&[2]);
    let loser = put(&mut world, 0);
    let winner = put(&mut world, 2);
    world.mend();
    world.rest().unwrap();
    assert!(all_read(&world, winner));
    assert!((0..3).all(|i| journaled(&world, i, loser) && !journaled(&world, i, seen)));
}

#[test]
fn s2_12_one_copy_is_said_and_is_an_error_where_it_must_not_be() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    world.cut_off(&[0]);
    let id = put(&mut world, 0);
    let answer = world.table(0).answer(id.number, Ack::Two, false, &[]).expect("nobody is waited for").unwrap();
    assert!(answer.lonely && answer.copies == 1 && !answer.durable);
    assert_eq!(world.table(0).answer(id.number, Ack::Two, true, &[]), Some(Err(TooFewCopies)));
    let other = world.nodes[1].id;
    assert_eq!(world.table(0).answer(id.number, Ack::Two, true, &[other]), None);
    assert_eq!(world.table(0).watermark(Ack::Two, &[other]), 0);
    world.mend();
    world.rest().unwrap();
    let answer = world.table(0).answer(id.number, Ack::All, true, &[other]).expect("it has it").unwrap();
    assert!(answer.copies == 2 && !answer.lonely);
}

#[test]
fn m1_a_tombstone_waits_for_older_operations_that_are_on_their_way() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    // The others hear nothing of what 2 writes; all hear what 1 does.
    let older = put(&mut world, 2);
    put(&mut world, 1);
    delete(&mut world, 1);
    world.pass(1, 0);
    world.pass(1, 2);
    for _ in 0..5 {
        world.ms += 1_000;
        for i in 0..3 {
            world.tick(i);
        }
        for (from, to) in [(1, 0), (0, 1), (0, 2), (1, 2)] {
            world.pass(from, to);
        }
        // What 2 says of itself gets there, its older put does not.
        world.hold_ops(2, 0);
        world.hold_ops(2, 1);
    }
    assert_eq!(world.table(0).rows().len(), 1, "0 keeps the tombstone");
    world.rest().unwrap();
    assert!(none_reads(&world) && journaled(&world, 0, older));
    assert!(world.table(0).rows().is_empty());
}

/// A cleaned member gives to a node that still has a tombstone which another has dropped.
pub(crate) fn m2(faults: Faults) -> Result<(), String> {
    let mut world = World::scripted_with(3, faults);
    world.flow_for(1_000);
    world.cut_off(&[1]);
    let behind = put(&mut world, 1);
    put(&mut world, 0);
    delete(&mut world, 0);
    world.clean_node(1);
    // 2 has both and drops the tombstone; 0 keeps it.
    for _ in 0..4 {
        world.ms += 1_000;
        world.tick(2);
        world.pass(0, 2);
        world.pass(2, 0);
        world.report(0);
        world.pass(0, 2);
    }
    world.ms += 1_000;
    world.tick(2);
    assert!(world.table(2).rows().is_empty() && world.table(0).rows().len() == 1);
    world.mend();
    world.give_estate_to(1, 0);
    world.rest()?;
    let same = none_reads(&world) && (0..3).all(|i| journaled(&world, i, behind));
    if same { Ok(()) } else { Err("it is back somewhere, or kept nowhere".into()) }
}

#[test]
fn m2_the_verdict_on_what_a_cleaned_member_gives_is_the_same_for_all() {
    m2(Faults::default()).unwrap();
}

/// A node in memory whose clock is behind restarts after it has seen a tombstone that is dropped, and writes at once.
pub(crate) fn m5(faults: Faults) -> Result<(), String> {
    let mut world = World::scripted_with(3, faults);
    world.nodes[2].ahead_ms -= 20_000;
    world.flow_for(1_000);
    put(&mut world, 0);
    world.flow_for(1_000);
    delete(&mut world, 1);
    world.flow_for(5_000);
    world.kill_node(2);
    world.start_all();
    let id = put(&mut world, 2);
    world.rest()?;
    if all_read(&world, id) { Ok(()) } else { Err("the later write is not read".into()) }
}

#[test]
fn m5_a_new_start_writes_above_what_the_one_before_it_saw() {
    m5(Faults::default()).unwrap();
}

#[test]
fn m3_the_estate_is_kept_until_the_copy_of_its_judge_is_in() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    let id = put(&mut world, 2);
    world.pass(2, 0);
    world.pass(0, 2);
    assert!(world.truth.writes[&id].acked);
    world.cut_off(&[2]);
    world.clean_node(2);
    // 1 has not heard of it yet, and 0, which has, dies in the middle of the return.
    world.mend();
    world.give_estate_to(2, 0);
    for _ in 0..4 {
        world.pump(2, 0, 1);
        world.deliver(2, 0, 1);
        world.pump(0, 2, 0);
        world.deliver(0, 2, 0);
    }
    world.kill_node(0);
    world.start_all();
    world.rest().unwrap();
    assert!(all_read(&world, id));
}

#[test]
fn m4_a_full_copy_carries_the_journal() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    let loser = put(&mut world, 1);
    let winner = put(&mut world, 0);
    world.pass(1, 0);
    world.table_mut(1).drop_log();
    world.pass(0, 1);
    world.table_mut(0).drop_log();
    world.rest().unwrap();
    assert!(world.tried.copies > 0, "2 takes a full copy");
    assert!(all_read(&world, winner) && (0..3).all(|i| journaled(&world, i, loser)));
}

#[test]
fn m6_what_a_node_wrote_behind_a_cut_survives_that_it_was_declared_gone() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    put(&mut world, 1);
    world.flow_for(1_000);
    world.cut_off(&[1]);
    let id = put(&mut world, 1);
    world.declare(1);
    world.flow_for(10_000);
    world.mend();
    world.rest().unwrap();
    assert!(all_read(&world, id));
}

#[test]
fn m6_what_a_cleaned_member_brings_of_a_folded_origin_is_still_new() {
    let mut world = World::scripted(3);
    world.flow_for(1_000);
    world.write(0, b"other", false, None).expect("it is written");
    world.flow_for(1_000);
    let id = put(&mut world, 0);
    world.pass(0, 1);
    world.pass(1, 0);
    assert!(world.truth.writes[&id].acked);
    // 2 never hears of it; 0 dies and comes back, and its first start is folded by 0 and 2.
    world.kill_node(0);
    world.cut_off(&[1]);
    world.clean_node(1);
    world.start_all();
    world.flow_for(10_000);
    assert!(world.tried.folded > 0, "the origin is folded");
    world.mend();
    world.rest().unwrap();
    assert!(all_read(&world, id));
}

/// Section 8, rule 6: both had rows, and none of them had seen the other's.
#[test]
fn an_absorbed_cluster_brings_its_rows_also_those_older_than_what_was_deleted_here() {
    let mut world = World::scripted(4);
    world.cut_off(&[2, 3]);
    let write = |world: &mut World, i: usize, key: &[u8], delete: bool| {
        world.ms += 1;
        world.write(i, key, delete, None).expect("it is written")
    };
    let young = write(&mut world, 2, b"young", false);
    world.flow_for(1_000);
    let lonely = write(&mut world, 3, b"lonely", false);
    let loser = write(&mut world, 3, K, false);
    let both = write(&mut world, 0, K, false);
    write(&mut world, 1, b"gone", false);
    write(&mut world, 1, b"gone", true);
    // What they know of as members are all four here, so nothing is dropped before they are two and two.
    for (i, members) in [(0, [0, 1]), (1, [0, 1]), (2, [2, 3]), (3, [2, 3])] {
        let members = members.map(|member| world.nodes[member].id.node_id);
        world.table_mut(i).members_are(members);
    }
    world.flow_for(5_000);
    let floor = world.table(0).gc_floor();
    assert!(floor > world.table(2).stamp_of(world.table(2).rows().get(b"young").expect("a row")), "it was dropped");
    // Their names are others over there.
    for id in [young, lonely, loser] {
        world.truth.writes.remove(&id);
    }
    world.absorb(&[0, 1], &[2, 3]);
    let after = put(&mut world, 2);
    world.rest().unwrap();
    for i in 0..4 {
        let (table, wall) = (world.table(i), world.nodes[i].now(world.ms).wall);
        assert!(table.get(b"young", wall).is_some() && table.get(b"lonely", wall).is_some(), "of node {i}");
        assert!(table.get(b"gone", wall).is_none() && table.get(K, wall).is_some());
        let keys: Vec<&[u8]> = table.journal().map(ekka_core::table::Version::key).collect();
        assert!(keys.iter().all(|key| *key == K), "what both of them brought counts once: {keys:?}");
        assert!(journaled(&world, i, both) || all_read(&world, both) || all_read(&world, after));
    }
}
