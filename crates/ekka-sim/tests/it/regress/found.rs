//! Seeds of the swarm that found something, with what it was.
//!
//! Open, of seeds 9,000 to 14,000 and 20,000 to 23,000, each an operator's error beside a fault (`cargo xtask sim --kind
//! swarm --seed …`):
//! - `0x2c36`, `0x31ca`, `0x32c3`, `0x4e71`: an operator said `form` to some of those who voted; the others founded with them,
//!   and wait for them until somebody says `join`;
//! - `0x2ef5`: a node with the name of another was admitted while that one started again, and whoever heard it first keeps the
//!   other out;
//! - `0x4f5b`: names moved between machines while two of five were enough to form: two clusters.

use ekka_sim::core_world::Plan;

const FOUND: [(u64, &str); 12] = [
    (0x42, "a cluster went into one that had never begun: one of its two founders was in the younger"),
    (0x299, "the only voter of the volatile group left before another one had what it held"),
    (0x378, "a clock that was set was compared with peers of no common cluster never again"),
    (0x38a, "newcomers waited for the cluster with the smallest id, in which nobody could let them in"),
    (0x3c9, "a node that was admitted while it formed its own cluster said farewell to one that was coming into that"),
    (0x475, "as 0x378, with six newcomers that wait for one node"),
    (0x48f, "as 0x378, after `ekka form` on a node whose clock is a year ahead"),
    (0x12d9, "one of two founders was told to form alone while it voted, and the other one waited for it for ever"),
    (0x1532, "a node that comes back to the cluster that it left for another one has to ask twice"),
    (0x17c6, "the volatile group was to become a set of which no majority was up, and waited for it for ever"),
    (0x18b0, "as 0x17c6: two of five were down when a third one left"),
    (0x19f6, "quick restarts behind a cut filled the record of the volatile group, and no voter came in any more"),
];

#[test]
fn what_the_swarm_found_once_it_does_not_find_again() {
    for (seed, what) in FOUND {
        if let Err(failure) = Plan::swarm(seed, &[]).run() {
            panic!("{what}\n{}", failure.tell("swarm", seed));
        }
    }
}
