//! The harness is proven: every fault put in on purpose is caught.

use ekka_sim::mutants::Mutant;

#[test]
fn every_planted_fault_is_caught() {
    // Those of the tables of whole nodes are caught in `stack_tables`, by fewer and slower seeds.
    for mutant in Mutant::ALL.into_iter().filter(|mutant| !matches!(mutant, Mutant::Tables(_))) {
        let caught = mutant.hunt(1_500);
        assert!(caught.is_some(), "1,500 seeds do not see that {mutant}");
    }
}

#[test]
fn the_plans_that_catch_them_pass_without_the_fault() {
    for seed in 0..20 {
        for plan in [ekka_sim::core_world::Plan::crashes_in_the_vote(seed), ekka_sim::core_world::Plan::from_seed(seed)]
        {
            if let Err(failure) = plan.run() {
                panic!("{}", failure.tell("core", seed));
            }
        }
    }
}
