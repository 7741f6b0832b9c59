//! Who is who: copies, restored directories, names, clocks; section 4.

use ekka_core::event::EventKind;
use ekka_core::id::Guid;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, converged, name};

use crate::regress::support::{SECOND, cut, guids, listed, run, together, view, wait};

/// S1-2: a newer start under the same name, on another disc, supersedes nothing while the holder lives.
#[test]
fn s1_2_a_twin_of_the_name_is_refused_and_the_holder_goes_on() {
    let mut world = together(3, 7);
    let before = guids(&world);
    let twin = NodeSpec { name: name(0), ..world.machines[0].spec.clone() };
    let twin = world.add(twin, ekka_sim::core_world::Disc::default());
    // It claims the name of machine 0, but is reached elsewhere.
    world.machines[twin].endpoint = name(200).endpoint(4370).unwrap();
    world.start(twin);
    run(&mut world, SECOND * 8);
    assert!((0..3).all(|i| view(&world, i).status == Status::Up));
    assert_eq!(
        (0..3).map(|i| view(&world, i).guid()).collect::<Vec<_>>(),
        before,
        "{}",
        world.failed("").trace.join("\n")
    );
    assert_eq!(view(&world, 1).members.len(), 3);
    if world.machines[twin].process.is_some() {
        assert_ne!(view(&world, twin).status, Status::Up);
    }
    let conflict = |e: &ekka_core::event::Event| matches!(&e.kind, EventKind::MemberConflict { .. });
    assert!((0..3).any(|i| world.events[i].iter().any(conflict)), "nobody said that two claim one name");
}

/// S1-2: every node restarts with the address of another one; identity is not an address.
#[test]
fn s1_2_permuted_addresses_are_no_new_nodes() {
    let mut world = together(3, 3);
    let ids: Vec<_> = (0..3).map(|i| view(&world, i).me.node_id).collect();
    (0..3).for_each(|i| world.kill(i));
    run(&mut world, SECOND);
    for i in 0..3 {
        world.machines[i].rename(&name((i + 1) % 3));
        world.start(i);
    }
    let took = wait(&mut world, "together at permuted addresses", 10, converged);
    assert!(took <= SECOND * 10);
    assert_eq!(world.watch.ids.len(), 1);
    for i in 0..3 {
        let view = view(&world, i);
        assert_eq!(view.me.node_id, ids[i]);
        let mut members: Vec<_> = view.members.iter().map(|m| m.id.node_id).collect();
        members.sort_unstable();
        let mut all = ids.clone();
        all.sort_unstable();
        assert_eq!(members, all);
    }
}

/// S1-2: a copied data directory with a right clock is the newer start: it is refused, and the healthy one goes on.
#[test]
fn s1_2_a_copied_directory_stops_and_the_original_goes_on() {
    let mut world = together(3, 11);
    let before = guids(&world);
    let spec = NodeSpec { name: name(50), ..world.machines[0].spec.clone() };
    let disc = world.machines[0].disc.clone();
    let copy = world.add(spec, disc);
    world.start(copy);
    wait(&mut world, "the copy stops", 10, |w| w.machines[copy].process.is_none());
    run(&mut world, SECOND * 5);
    assert!(converged(&world));
    assert_eq!(
        (0..3).map(|i| view(&world, i).guid()).collect::<Vec<_>>(),
        before,
        "{}",
        world.failed("").trace.join("\n")
    );
    let told = |e: &ekka_core::event::Event| matches!(&e.kind, EventKind::NodeRefused { reason, .. } if reason == "duplicate_identity");
    assert!(world.events[copy].iter().any(told), "{:?}", world.events[copy]);
}

/// S2-6: a clock that stands in 1970 or in the year 9999 is told so; it neither leads nor moves the others' guids.
#[test]
fn s2_6_a_dead_clock_is_told_so_and_moves_nobody() {
    for offset_ms in [-1_800_000_000_000, 250_000_000_000_000] {
        let mut world = together(3, 31);
        world.kill(0);
        world.machines[0].spec.clock_offset_ms = offset_ms;
        let before: Vec<Guid> = (1..3).map(|i| view(&world, i).guid()).collect();
        world.start(0);
        run(&mut world, SECOND * 15);
        assert_ne!(view(&world, 0).status, Status::Up, "up with a clock that is off by {offset_ms} ms");
        let words: Vec<String> = view(&world, 0).reasons.iter().map(|r| r.text.clone()).collect();
        assert!(words.iter().any(|text| text.contains("clock")), "{words:?}");
        assert_eq!((1..3).map(|i| view(&world, i).guid()).collect::<Vec<_>>(), before);
        assert!((1..3).all(|i| view(&world, i).status == Status::Up));
        assert_eq!(view(&world, 1).leader.map(|id| id == view(&world, 0).me.node_id), Some(false));
        // Set right, it comes back, above every guid that it had.
        world.machines[0].spec.clock_offset_ms = 0;
        world.kill(0);
        world.start(0);
        wait(&mut world, "all together again", 30, converged);
        assert!(world.machines[0].guids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

/// Section 4: a directory that comes back from an old copy is told so, and joins as a new node.
#[test]
fn s1_2_a_restored_directory_is_told_so_and_joins_as_new() {
    let mut world = together(3, 41);
    let old = world.machines[0].disc.clone();
    let node_id = view(&world, 0).me.node_id;
    for _ in 0..2 {
        world.kill(0);
        world.start(0);
        wait(&mut world, "back", 10, converged);
    }
    world.kill(0);
    wait(&mut world, "seen down", 5, |w| (1..3).all(|i| view(w, i).members.iter().any(|m| m.status == Status::Down)));
    world.machines[0].disc = old;
    world.start(0);
    wait(&mut world, "it is a new node", 20, |w| {
        w.machines[0].process.is_some() && view(w, 0).me.node_id != node_id && view(w, 0).status == Status::Up
    });
    assert_eq!(world.watch.ids.len(), 1);
}

/// Two machines that claim one name at their first start are not counted as two voters.
#[test]
fn two_machines_with_one_name_are_one_vote() {
    for seed in 0..20 {
        let mut world = listed(3, seed);
        // The third of the list claims the name of the first, and is reached elsewhere.
        world.machines[2].spec.name = name(0);
        world.machines[2].endpoint = name(60).endpoint(4370).unwrap();
        cut(&mut world, 1, 0);
        cut(&mut world, 1, 2);
        world.start(0);
        world.start(2);
        run(&mut world, SECOND * 10);
        assert!(world.watch.ids.is_empty(), "two machines of one name are no majority of three names");
        world.start(1);
        world.mend_all();
        wait(&mut world, "one of them and the other name form", 30, |w| {
            view(w, 1).status == Status::Up && view(w, 1).members.len() == 2
        });
        assert_eq!(world.watch.ids.len(), 1);
    }
}
