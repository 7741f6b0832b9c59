//! The harness is proven: every fault put in on purpose is caught. One test each, so that they run beside each
//! other, and one that grows slow is named.
//!
//! Those of the tables of whole nodes are caught in `stack_tables`, by fewer and slower seeds.

use ekka::testing::PlantedFault;
use ekka_sim::core_world::{BackendPlan, Plan, Source};
use ekka_sim::mutants::Mutant;

/// Hunts one fault, says how many seeds that took, and sees that it was the fault that was caught.
fn is_caught(mutant: Mutant) {
    let (seed, _) = mutant.prove(1_500).unwrap_or_else(|why| panic!("{why}"));
    println!("{mutant}: caught by seed {seed}");
}

#[test]
fn a_node_that_forms_alone_is_caught() {
    is_caught(Mutant::FormAlone);
}

#[test]
fn an_unsaved_promise_is_caught() {
    is_caught(Mutant::PromiseUnsaved);
}

#[test]
fn a_down_member_never_contacted_is_caught() {
    is_caught(Mutant::NoRecontact);
}

#[test]
fn a_stale_incarnation_that_wins_is_caught() {
    is_caught(Mutant::StaleWins);
}

/// S2-3, emqx#1720, #2470: two clusters come of one cut where a minority cleans.
#[test]
fn a_minority_that_cleans_is_caught() {
    is_caught(Mutant::MinorityCleans);
}

#[test]
fn a_lost_claim_that_wins_is_caught() {
    is_caught(Mutant::LostClaimWins);
}

#[test]
fn ignored_replicas_are_caught() {
    is_caught(Mutant::IgnoreReplicas);
}

#[test]
fn a_stale_read_is_caught() {
    is_caught(Mutant::Replica(PlantedFault::StaleRead));
}

#[test]
fn a_forgotten_vote_is_caught() {
    is_caught(Mutant::Replica(PlantedFault::ForgottenVote));
}

#[test]
fn a_command_applied_twice_is_caught() {
    is_caught(Mutant::Replica(PlantedFault::DoubleApply));
}

/// No fault without its test: a new one fails to compile here until it has its own.
#[test]
fn all_of_them_are_hunted() {
    for mutant in Mutant::ALL {
        match mutant {
            Mutant::FormAlone
            | Mutant::PromiseUnsaved
            | Mutant::NoRecontact
            | Mutant::StaleWins
            | Mutant::MinorityCleans
            | Mutant::LostClaimWins
            | Mutant::IgnoreReplicas
            | Mutant::Replica(PlantedFault::StaleRead | PlantedFault::ForgottenVote | PlantedFault::DoubleApply)
            | Mutant::Tables(_) => {}
        }
    }
}

#[test]
fn the_plans_that_catch_them_pass_without_the_fault() {
    for seed in 0..20 {
        for plan in [Plan::crashes_in_the_vote(seed), Plan::from_seed(seed)] {
            if let Err(failure) = plan.run() {
                panic!("{}", failure.tell("core", seed));
            }
        }
        for source in [Source::Etcd, Source::K8s] {
            if let Err(failure) = BackendPlan::start_in_trouble(source, seed).run() {
                panic!("{}", failure.tell(source.name(), seed));
            }
        }
    }
}
