//! Backends of discovery that mislead: section 8, schedule S2-10, and what users of others suffered from.

use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::view::Status;
use ekka_sim::core_world::{Backend, NodeSpec, Source, Step, World, apply, converged, name};

use crate::regress::support::{SECOND, cut, names, run, view, wait};

/// `n` machines that ask this backend, not yet started.
fn asking(source: Source, n: usize, seed: u64) -> World {
    let specs = names(n).into_iter().map(|own| NodeSpec { source: Some(source), ..NodeSpec::new(&own, &[]) });
    let mut world = World::new(specs.collect(), seed);
    let mut backend = Backend::new(source, seed);
    if source == Source::K8s {
        backend.replicas = Some(u32::try_from(n).expect("few"));
    }
    world.backend = Some(backend);
    world.watch.one_id_promised = matches!(source, Source::K8s | Source::Etcd);
    world
}

fn backend(world: &mut World) -> &mut Backend {
    world.backend.as_mut().expect("these worlds have one")
}

/// The same, up and together.
fn formed(source: Source, n: usize, seed: u64) -> World {
    let mut world = asking(source, n, seed);
    (0..n).for_each(|i| world.start(i));
    wait(&mut world, "all together", 60, converged);
    assert_eq!(world.watch.ids.len(), 1, "started at once, listed at once");
    world
}

fn waits(world: &World, i: usize) -> String {
    view(world, i).reasons.iter().map(|reason| reason.text.clone()).collect::<Vec<_>>().join("; ")
}

/// S2-10: a cache keeps "no such name" for 30 s. A node that is in no answer itself is not alone, it is not listed yet.
#[test]
fn s2_10_three_pods_behind_a_negative_cache_form_one_cluster() {
    for seed in 0..40 {
        let mut world = asking(Source::Dns, 3, seed);
        // The records come a moment after the first question of some, who are told of nobody until their caches end.
        backend(&mut world).trouble.late = Duration::from_millis(1_500);
        backend(&mut world).trouble.negative = SECOND * u32::try_from(20 + seed).unwrap();
        (0..3).for_each(|i| world.start(i));
        wait(&mut world, "one cluster", 300, converged);
        assert_eq!(world.watch.ids.len(), 1, "seed {seed}");
    }
}

/// S2-10: a Service that lists nobody before it is ready: nobody forms alone, and everybody says what is missing.
#[test]
fn s2_10_where_nobody_is_listed_until_ready_all_wait_and_say_so() {
    for source in [Source::Dns, Source::K8s] {
        let mut world = asking(source, 3, 7);
        backend(&mut world).trouble.late = Duration::from_secs(1_000_000);
        (0..3).for_each(|i| world.start(i));
        run(&mut world, SECOND * 600);
        assert_eq!(world.watch.ids.len(), 0);
        assert!((0..3).all(|i| waits(&world, i).contains("nobody else is listed yet")), "{}", world.words());
    }
}

/// S2-10: two groups that find only each other. With the number of replicas known one of them waits; without it both
/// form, and become one as soon as they meet.
#[test]
fn s2_10_two_groups_become_one_cluster() {
    for source in [Source::K8s, Source::Dns, Source::Mcast] {
        for seed in 0..20 {
            let mut world = asking(source, 5, seed);
            for (a, b) in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)] {
                cut(&mut world, a, b);
            }
            (0..5).for_each(|i| world.start(i));
            run(&mut world, SECOND * 60);
            let up = (0..5).filter(|i| view(&world, *i).status == Status::Up).count();
            assert!(if source == Source::K8s { up == 3 } else { up >= 3 }, "{source:?}: {}", world.words());
            world.mend_all();
            wait(&mut world, "one cluster", 60, converged);
        }
    }
}

/// S2-10: etcd loses everything, and a newcomer starts before the members have registered again.
#[test]
fn s2_10_a_newcomer_beside_an_emptied_etcd_joins() {
    for seed in 0..60 {
        let mut world = asking(Source::Etcd, 4, seed);
        world.watch.one_id_promised = true;
        (0..3).for_each(|i| world.start(i));
        wait(&mut world, "three together", 30, |w| (0..3).all(|i| view(w, i).status == Status::Up));
        let now = world.now;
        backend(&mut world).wipe(now);
        world.start(3);
        wait(&mut world, "four together", 60, converged);
    }
}

/// EKKA_SPEC 10.17, USERS 12: with etcd gone for ten minutes a formed cluster does not change, crashes included; whoever
/// starts then finds the others by what is on its disc.
#[test]
fn spec_10_17_users_12_ten_minutes_without_the_backend_change_nothing() {
    for source in Source::ALL {
        let mut world = formed(source, 3, 3);
        backend(&mut world).down = true;
        let id = view(&world, 0).cluster_id;
        run(&mut world, SECOND * 300);
        assert!(converged(&world), "{source:?}: {}", world.words());
        world.kill(1);
        world.start(1);
        run(&mut world, SECOND * 300);
        assert!(converged(&world) && view(&world, 1).cluster_id == id, "{source:?}: {}", world.words());
    }
}

/// EKKA_SPEC 10.11: a search that fails for long is never over.
#[test]
fn spec_10_11_a_backend_that_comes_after_ten_minutes_is_not_too_late() {
    for source in Source::ALL {
        let mut world = asking(source, 3, 11);
        backend(&mut world).down = true;
        (0..3).for_each(|i| world.start(i));
        run(&mut world, SECOND * 600);
        assert_eq!(world.watch.ids.len(), 0, "nobody forms while the backend cannot be asked");
        assert!((0..3).all(|i| waits(&world, i).contains("the backend is down")), "{}", world.words());
        backend(&mut world).down = false;
        wait(&mut world, "all together", 30, converged);
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// EKKA_SPEC 10.12: a node that is killed at any moment of its arrival is in after its next start.
#[test]
fn spec_10_12_a_node_killed_while_it_arrives_is_in_after_its_next_start() {
    for moment in 0..80 {
        for source in [Source::K8s, Source::Etcd] {
            let mut world = formed_of(source, 3, 4, moment);
            world.start(3);
            run(&mut world, Duration::from_millis(moment * 50));
            world.kill(3);
            run(&mut world, SECOND);
            world.start(3);
            wait(&mut world, "all four together", 60, converged);
            assert_eq!(world.watch.ids.len(), 1);
        }
    }
}

/// The first `up` of `n` machines, up and together.
fn formed_of(source: Source, up: usize, n: usize, seed: u64) -> World {
    let mut world = asking(source, n, seed);
    (0..up).for_each(|i| world.start(i));
    wait(&mut world, "the first ones together", 60, |w| (0..up).all(|i| view(w, i).status == Status::Up));
    world
}

/// EKKA_SPEC 10.13: whoever left is still listed for a while, and is not brought back by that.
#[test]
fn spec_10_13_who_left_stays_out_although_it_is_listed() {
    for source in [Source::Dns, Source::Mcast, Source::Etcd, Source::K8s] {
        let mut world = formed(source, 3, 13);
        apply(&mut world, &Step::Leave(2));
        wait(&mut world, "it is out", 20, |w| view(w, 2).cluster_id.is_none());
        run(&mut world, SECOND * 300);
        assert!(view(&world, 2).cluster_id.is_none() && view(&world, 0).members.len() == 2, "{}", world.words());
        apply(&mut world, &Step::Join(2, 0));
        wait(&mut world, "a word brings it back", 60, converged);
    }
}

/// USERS 8: all pods are deleted and made anew, without discs, at once: one cluster, always.
#[test]
fn users_8_deleting_all_pods_yields_one_cluster() {
    for source in [Source::K8s, Source::Dns] {
        for seed in 0..50 {
            let mut world = formed(source, 2, seed);
            world.watch.one_id_promised = false;
            backend(&mut world).trouble.late = Duration::from_secs(seed % 30);
            for i in 0..2 {
                world.kill(i);
                world.backend_removes(i);
                world.machines[i].forget_identity();
                world.machines[i].rename(&name(20 + i));
            }
            let before = world.watch.ids.len();
            (0..2).for_each(|i| world.start(i));
            wait(&mut world, "both in one new cluster", 300, converged);
            assert_eq!(world.watch.ids.len(), before + 1, "{source:?}, seed {seed}");
        }
    }
}

/// USERS 13: the first node runs half a day alone, then the others come: they join what is there.
#[test]
fn users_13_late_comers_join_whoever_ran_alone() {
    let mut world = asking(Source::Dns, 3, 13);
    world.start(0);
    wait(&mut world, "up alone after half a minute", 60, |w| view(w, 0).status == Status::Up);
    let id = view(&world, 0).cluster_id;
    run(&mut world, SECOND * 3600 * 12);
    world.start(1);
    world.start(2);
    wait(&mut world, "all together", 60, converged);
    assert_eq!(view(&world, 2).cluster_id, id);
}

/// USERS 28: nodes start while they are cut off from the others: whoever was in a cluster waits for it, and whoever is
/// new does not make another one.
#[test]
fn users_28_starts_behind_a_cut_make_no_second_cluster() {
    for source in [Source::K8s, Source::Etcd] {
        for seed in 0..20 {
            let mut world = formed_of(source, 3, 4, seed);
            backend(&mut world).replicas = backend(&mut world).replicas.map(|_| 4);
            let victim = usize::try_from(seed % 3).unwrap();
            apply(&mut world, &Step::Isolate(victim));
            apply(&mut world, &Step::Isolate(3));
            world.kill(victim);
            world.start(victim);
            world.start(3);
            run(&mut world, SECOND * 120);
            assert_eq!(world.watch.ids.len(), 1, "{source:?}: {}", world.words());
            world.mend_all();
            wait(&mut world, "all together", 60, converged);
        }
    }
}

/// USERS 6, StatefulSet: pods restart one after the other, each with its disc and a new address.
#[test]
fn users_6_a_rolling_restart_with_new_addresses_keeps_the_cluster_whole() {
    for seed in 0..100 {
        let mut world = formed(Source::K8s, 3, seed);
        backend(&mut world).trouble.late = Duration::from_secs(seed % 20);
        let id = view(&world, 0).cluster_id;
        for i in 0..3 {
            apply(&mut world, &Step::Stop(i));
            wait(&mut world, "it has stopped", 20, |w| w.machines[i].process.is_none());
            apply(&mut world, &Step::Move(i, 20 + i));
            wait(&mut world, "whole again", 120, converged);
            assert_eq!(view(&world, i).cluster_id, id, "seed {seed}");
        }
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// USERS 37: all pods come back at once, each with its disc and a new address: the same cluster, and it commits.
#[test]
fn users_37_all_at_once_with_new_addresses_resume_the_cluster() {
    for (n, seed) in [3, 5].into_iter().flat_map(|n| (0..6).map(move |seed| (n, seed * 4))) {
        let mut world = formed(Source::K8s, n, seed);
        backend(&mut world).trouble.late = Duration::from_secs(seed);
        let (id, ids) = (view(&world, 0).cluster_id, nodes(&world));
        (0..n).for_each(|i| world.kill(i));
        (0..n).for_each(|i| apply(&mut world, &Step::Move(i, 20 + i)));
        wait(&mut world, "all together", 120, converged);
        wait(&mut world, "they commit", 20, |w| (0..n).all(|i| view(w, i).ready_quorum));
        assert_eq!((view(&world, 0).cluster_id, nodes(&world)), (id, ids), "seed {seed}: the same nodes");
        assert_eq!(world.watch.ids.len(), 1);
    }
}

fn nodes(world: &World) -> Vec<NodeId> {
    (0..world.machines.len()).map(|i| view(world, i).me.node_id).collect()
}

/// USERS 6, Deployment: each pod leaves, and one without a disc takes its place under a new address.
#[test]
fn users_6_a_rolling_replacement_keeps_the_cluster_whole() {
    for seed in 0..100 {
        let mut world = formed(Source::K8s, 3, seed);
        backend(&mut world).trouble.late = Duration::from_secs(seed % 20);
        let id = view(&world, 0).cluster_id;
        for i in 0..3 {
            apply(&mut world, &Step::Leave(i));
            wait(&mut world, "it has left", 20, |w| view(w, i).cluster_id.is_none());
            world.kill(i);
            world.machines[i].forget_identity();
            apply(&mut world, &Step::Move(i, 20 + i));
            wait(&mut world, "whole again", 120, converged);
            assert_eq!(view(&world, i).cluster_id, id, "seed {seed}");
        }
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// A founder that dies right after its offer to etcd blocks nobody: the value names all who were there.
#[test]
fn a_claimer_that_dies_blocks_nobody() {
    for moment in 0..60 {
        for victim in 0..3 {
            let mut world = asking(Source::Etcd, 3, moment);
            (0..3).for_each(|i| world.start(i));
            run(&mut world, Duration::from_millis(2_900 + 20 * moment));
            world.kill(victim);
            wait(&mut world, "the other two form", 60, |w| {
                (0..3).filter(|i| *i != victim).all(|i| view(w, i).status == Status::Up)
            });
            world.start(victim);
            wait(&mut world, "all three together", 60, converged);
            assert_eq!(world.watch.ids.len(), 1, "victim {victim}, {moment}");
        }
    }
}

/// A holder that is frozen before it claims, for longer than its entry lives, forms no second cluster.
#[test]
fn a_frozen_holder_forms_no_second_cluster() {
    for seed in 0..20 {
        let mut world = asking(Source::Etcd, 3, seed);
        world.start(0);
        run(&mut world, Duration::from_millis(2_500));
        world.pause(0);
        world.start(1);
        world.start(2);
        wait(&mut world, "the other two form", 60, |w| [1, 2].iter().all(|i| view(w, *i).status == Status::Up));
        run(&mut world, SECOND * 90);
        world.resume(0);
        wait(&mut world, "all three together", 60, converged);
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// Whoever loses its disc and is no founder any more waits for the cluster that etcd names, says so, and an operator's
/// word decides.
#[test]
fn where_etcd_names_a_lost_cluster_all_wait_until_a_word() {
    let mut world = formed(Source::Etcd, 2, 5);
    world.watch.one_id_promised = false;
    for i in 0..2 {
        world.kill(i);
        world.machines[i].forget_identity();
    }
    (0..2).for_each(|i| world.start(i));
    run(&mut world, SECOND * 120);
    assert!((0..2).all(|i| waits(&world, i).contains("if it is lost for good: ekka form")), "{}", world.words());
    apply(&mut world, &Step::Form(0));
    wait(&mut world, "both in the new one", 60, converged);
    // The word replaced the record: a third one, alone with it, does not wait for the lost cluster.
    run(&mut world, SECOND * 5);
    assert_eq!(backend(&mut world).decided(), view(&world, 0).cluster_id);
}

/// S2-10, ADR 0007: what a backend once said of replicas holds over a reload, and over an outage.
#[test]
fn s2_10_a_reload_forgets_no_number_of_replicas() {
    for seed in 0..20 {
        let mut world = asking(Source::K8s, 5, seed);
        for (a, b) in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)] {
            cut(&mut world, a, b);
        }
        (0..2).for_each(|i| world.start(i));
        run(&mut world, SECOND * 20);
        backend(&mut world).down = true;
        world.reload(0);
        run(&mut world, SECOND * 60);
        assert_eq!(world.watch.ids.len(), 0, "two of five: {}", world.words());
        backend(&mut world).down = false;
        (2..5).for_each(|i| world.start(i));
        wait(&mut world, "the other three form", 60, |w| (2..5).all(|i| view(w, i).status == Status::Up));
        world.mend_all();
        wait(&mut world, "one cluster", 60, converged);
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// Whom a source named is not forgotten while it is down: nodes that meet only then know each other.
#[test]
fn who_was_named_is_known_through_an_outage_of_the_source() {
    for source in [Source::Dns, Source::K8s] {
        let mut world = asking(source, 5, 3);
        for a in 0..5 {
            for b in 0..a {
                cut(&mut world, a, b);
            }
        }
        (0..5).for_each(|i| world.start(i));
        run(&mut world, SECOND * 20);
        backend(&mut world).down = true;
        world.mend(0, 1);
        world.mend(1, 0);
        run(&mut world, SECOND * 900);
        assert_eq!(world.watch.ids.len(), 0, "two of five listed: {}", world.words());
        world.mend_all();
        wait(&mut world, "all five by what they were told", 60, converged);
    }
}

/// S2-10: a newcomer waits while etcd is down; etcd comes back empty.
#[test]
fn s2_10_a_newcomer_that_waits_for_an_emptied_etcd_joins() {
    for seed in 0..60 {
        let mut world = formed_of(Source::Etcd, 3, 4, seed);
        backend(&mut world).down = true;
        run(&mut world, SECOND);
        world.start(3);
        run(&mut world, SECOND * 10 + Duration::from_millis(seed * 37));
        let now = world.now;
        backend(&mut world).wipe(now);
        backend(&mut world).down = false;
        wait(&mut world, "four together", 60, converged);
        assert_eq!(world.watch.ids.len(), 1, "seed {seed}");
    }
}

/// A founder whose disc was set back to before the cluster does not found it once more: the record names no founders once
/// all are in.
#[test]
fn a_founder_that_was_set_back_founds_nothing_again() {
    for forgets in [false, true] {
        for seed in 0..10 {
            let mut world = asking(Source::Etcd, 3, seed);
            world.start(0);
            run(&mut world, Duration::from_millis(500));
            let before = world.machines[0].disc.clone();
            wait(&mut world, "it forms alone", 30, |w| view(w, 0).status == Status::Up);
            world.start(1);
            world.start(2);
            wait(&mut world, "all together", 60, converged);
            world.kill(0);
            if forgets {
                world.machines[0].disc.forget_cluster();
            } else {
                world.watch.may_be_restored(0);
                world.machines[0].disc = before;
            }
            apply(&mut world, &Step::Isolate(0));
            world.start(0);
            run(&mut world, SECOND * 60);
            assert!(!view(&world, 0).ready_quorum, "two majorities: {}", world.words());
        }
    }
}

/// Whom the API server lists is contacted also while the number of replicas is not read: who starts joins what is there.
#[test]
fn without_the_number_of_replicas_newcomers_join_and_nobody_forms() {
    for seed in 0..20 {
        let mut world = formed_of(Source::K8s, 3, 4, seed);
        backend(&mut world).number_is_down = true;
        world.start(3);
        wait(&mut world, "four together", 60, converged);
        assert_eq!(world.watch.ids.len(), 1, "seed {seed}");

        let mut world = asking(Source::K8s, 3, seed);
        backend(&mut world).number_is_down = true;
        (0..3).for_each(|i| world.start(i));
        run(&mut world, SECOND * 120);
        assert_eq!(world.watch.ids.len(), 0, "seed {seed}: {}", world.words());
        assert!((0..3).all(|i| waits(&world, i).contains("the number cannot be read")), "{}", world.words());
        backend(&mut world).number_is_down = false;
        wait(&mut world, "all together", 60, converged);
        assert_eq!(world.watch.ids.len(), 1, "seed {seed}");
    }
}

/// A reload that exchanges the sources, with answers and offers under way, at any moment of the start.
#[test]
fn sources_that_are_exchanged_while_a_cluster_forms_make_no_second_one() {
    for source in [Source::K8s, Source::Etcd] {
        for seed in 0..60 {
            let mut world = asking(source, 3, seed);
            backend(&mut world).trouble.delay = SECOND;
            (0..3).for_each(|i| world.start(i));
            run(&mut world, Duration::from_millis(100 * seed));
            world.exchange_sources(usize::try_from(seed % 3).unwrap());
            run(&mut world, Duration::from_millis(300));
            world.exchange_sources(usize::try_from((seed + 1) % 3).unwrap());
            wait(&mut world, "all together", 60, converged);
            assert_eq!(world.watch.ids.len(), 1, "{source:?}, seed {seed}");
        }
    }
}
