#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::id::Guid;
use crate::time::Wall;

const MINUTE: u64 = 60_000;
const LIMIT: Duration = Duration::from_millis(5 * MINUTE);

/// The leader, in a room of so many voters.
struct Bench {
    room: Autoclean,
    now_ms: u64,
    wall_ms: u64,
    term: u64,
    given: Vec<Output>,
}

fn node(n: u128) -> NodeId {
    NodeId::from_u128(n)
}

fn id(n: u128) -> Incarnation {
    Incarnation { node_id: node(n), guid: Guid::from_u128(n) }
}

fn down(n: u128) -> Down {
    Down { id: id(n), over: true, heals: false }
}

impl Bench {
    fn new(voters: u128) -> Self {
        Self::with(voters, Faults::default())
    }

    fn with(voters: u128, faults: Faults) -> Self {
        let room = Autoclean::new(node(1), Some(LIMIT), faults);
        let mut bench = Self { room, now_ms: 1_000, wall_ms: 1_000, term: 1, given: Vec::new() };
        bench.give(Input::Voters(vec![(1..=voters).map(node).collect()]));
        bench.give(Input::Standing { term: 1, leads: true });
        bench
    }

    fn give(&mut self, input: Input) {
        let now = self.now();
        self.room.handle(input, now, &mut self.given);
        self.room.check();
    }

    fn now(&self) -> Now {
        Now { mono: Instant::from_nanos(self.now_ms * 1_000_000), wall: Wall::from_millis(self.wall_ms) }
    }

    /// So long with this seen by the leader, and this said by those voters, each second.
    fn pass(&mut self, ms: u64, seen: &[Down], by: &[u128]) -> Vec<Output> {
        let end = self.now_ms + ms;
        loop {
            self.give(Input::Down(seen.to_vec()));
            for voter in by {
                let down = seen.iter().map(|one| one.id).collect();
                self.give(Input::Report { voter: node(*voter), down });
            }
            let now = self.now();
            self.room.tick(now, &mut self.given);
            self.room.check();
            if self.now_ms >= end {
                return core::mem::take(&mut self.given);
            }
            let step = (end - self.now_ms).min(1_000);
            self.now_ms += step;
            self.wall_ms = self.wall_ms.wrapping_add(step);
        }
    }
}

fn cleaned(given: &[Output]) -> Vec<Incarnation> {
    given.iter().filter_map(|one| if let Output::Clean(case, _) = one { Some(case.id) } else { None }).collect()
}

/// Section 10: at the set time, once, with who saw it.
#[test]
fn who_is_down_for_the_limit_is_cleaned_once() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.pass(5 * MINUTE - 1_000, &[down(3)], &[1, 2]), []);
    let given = bench.pass(MINUTE, &[down(3)], &[1, 2]);
    let [Output::Clean(case, grounds)] = given.as_slice() else { panic!("{given:?}") };
    assert_eq!(grounds.case().as_ref(), Some(case), "its record comes to the same");
    assert_eq!((case.id, case.limit, &case.seen_by), (id(3), LIMIT, &vec![node(1), node(2)]));
    assert!(case.down_for >= LIMIT && case.down_for <= LIMIT + CLEAN_LOOK, "{:?}", case.down_for);
}

/// EKKA_SPEC 10, rows 4 and 5: `off` cleans nobody, however long.
#[test]
fn off_cleans_nobody() {
    let mut bench = Bench::new(3);
    bench.give(Input::Limit(None));
    assert_eq!(bench.pass(60 * MINUTE, &[down(3)], &[1, 2]), []);
}

/// S2-3, S1-8: what one node sees is nothing without a majority of the voters.
#[test]
fn a_minority_of_the_voters_cleans_nobody() {
    let mut bench = Bench::new(5);
    let all = [down(3), down(4), down(5)];
    assert_eq!(bench.pass(60 * MINUTE, &all, &[1, 2]), []);
    // A word of the third is enough, and those who have no vote have no say.
    assert_eq!(bench.pass(MINUTE, &all, &[1, 2, 9, 10]), []);
    assert_eq!(cleaned(&bench.pass(MINUTE, &[down(4), down(5)], &[1, 2, 3])), [id(4), id(5)]);
}

/// USERS 4: of two nodes one is no majority.
#[test]
fn two_nodes_clean_nobody() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.pass(600 * MINUTE, &[down(2)], &[1]), []);
}

/// While a joint change is under way each set must say so.
#[test]
fn each_set_of_a_joint_change_has_its_majority() {
    let mut bench = Bench::new(3);
    let sets = vec![[1, 2, 3].map(node).into(), [1, 4, 5].map(node).into()];
    bench.give(Input::Voters(sets));
    assert_eq!(bench.pass(60 * MINUTE, &[down(9)], &[1, 2]), []);
    assert_eq!(cleaned(&bench.pass(MINUTE, &[down(9)], &[1, 2, 4])), [id(9)]);
}

/// Section 10: what the others said must be of now.
#[test]
fn words_that_are_old_do_not_count() {
    let mut bench = Bench::new(3);
    bench.pass(4 * MINUTE, &[down(3)], &[1, 2]);
    assert_eq!(bench.pass(60 * MINUTE, &[down(3)], &[1]), []);
}

/// Section 10: without a break.
#[test]
fn a_break_counts_anew() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.pass(5 * MINUTE - 2_000, &[down(3)], &[1, 2]), []);
    bench.give(Input::Down(vec![]));
    assert_eq!(bench.pass(5 * MINUTE - 1_000, &[down(3)], &[1, 2]), []);
    assert_eq!(cleaned(&bench.pass(2_000, &[down(3)], &[1, 2])), [id(3)]);
}

/// A later start that ended is another absence.
#[test]
fn a_later_start_counts_anew() {
    let mut bench = Bench::new(3);
    bench.pass(5 * MINUTE - 2_000, &[down(3)], &[1, 2]);
    let later = Down { id: Incarnation { guid: Guid::from_u128(99), ..id(3) }, ..down(3) };
    assert_eq!(bench.pass(4 * MINUTE, &[later], &[1, 2]), []);
    assert_eq!(cleaned(&bench.pass(MINUTE + 1_000, &[later], &[1, 2])), [later.id]);
}

/// Section 10, S2-3: counted anew after a change of leader, and by the same one in a new term.
#[test]
fn a_new_term_counts_anew() {
    for leads in [false, true] {
        let mut bench = Bench::new(3);
        bench.pass(5 * MINUTE - 2_000, &[down(3)], &[1, 2]);
        bench.give(Input::Standing { term: 2, leads });
        assert_eq!(bench.pass(4 * MINUTE, &[down(3)], &[1, 2]), []);
        bench.give(Input::Standing { term: 3, leads: true });
        assert_eq!(bench.pass(4 * MINUTE, &[down(3)], &[1, 2]), []);
        assert_eq!(cleaned(&bench.pass(MINUTE + 1_000, &[down(3)], &[1, 2])), [id(3)]);
    }
}

/// S2-3: who does not lead cleans nobody, and takes back what it asked for while it led.
#[test]
fn who_leads_no_more_takes_it_back() {
    let mut bench = Bench::new(3);
    assert_eq!(cleaned(&bench.pass(6 * MINUTE, &[down(3)], &[1, 2])), [id(3)]);
    bench.give(Input::Standing { term: 1, leads: false });
    assert_eq!(bench.pass(60 * MINUTE, &[down(3)], &[1, 2]), [Output::Withdraw(node(3))]);
}

/// S2-3: the wall clock says nothing, wherever it jumps.
#[test]
fn a_wall_clock_that_jumps_by_a_year_cleans_nobody() {
    const YEAR: u64 = 365 * 24 * 60 * MINUTE;
    let mut bench = Bench::new(3);
    bench.pass(MINUTE, &[down(3)], &[1, 2]);
    for wall_ms in [YEAR, 0, 30 * YEAR, u64::MAX] {
        bench.wall_ms = wall_ms;
        assert_eq!(bench.pass(MINUTE - 10_000, &[down(3)], &[1, 2]), []);
    }
}

/// A process that stood still, or whose machine slept, saw nobody in that time.
#[test]
fn the_time_in_which_the_process_stood_still_does_not_count() {
    let mut bench = Bench::new(3);
    bench.pass(MINUTE, &[down(3)], &[1, 2]);
    bench.now_ms += 24 * 60 * MINUTE;
    assert_eq!(bench.pass(4 * MINUTE - 1_000, &[down(3)], &[1, 2]), []);
    assert_eq!(cleaned(&bench.pass(2_000, &[down(3)], &[1, 2])), [id(3)]);
}

/// Section 10: not while a heal with that member is under way; and not before its start is gone.
#[test]
fn who_heals_or_is_not_gone_yet_waits() {
    let mut bench = Bench::new(3);
    let (heals, lives) = (Down { heals: true, ..down(3) }, Down { over: false, ..down(3) });
    assert_eq!(bench.pass(60 * MINUTE, &[heals], &[1, 2]), []);
    assert_eq!(bench.pass(60 * MINUTE, &[lives], &[1, 2]), []);
    assert_eq!(cleaned(&bench.pass(2_000, &[down(3)], &[1, 2])), [id(3)]);
}

/// Its vote may take long to move: whatever makes it stay meanwhile is heeded.
#[test]
fn a_removal_under_way_is_taken_back() {
    let back = |bench: &mut Bench| bench.give(Input::Down(vec![]));
    let heals = |bench: &mut Bench| bench.give(Input::Down(vec![Down { heals: true, ..down(3) }]));
    let off = |bench: &mut Bench| bench.give(Input::Limit(None));
    let longer = |bench: &mut Bench| bench.give(Input::Limit(Some(LIMIT * 2)));
    let causes: [&dyn Fn(&mut Bench); 4] = [&back, &heals, &off, &longer];
    for cause in causes {
        let mut bench = Bench::new(3);
        assert_eq!(cleaned(&bench.pass(6 * MINUTE, &[down(3)], &[1, 2])), [id(3)]);
        cause(&mut bench);
        assert_eq!(core::mem::take(&mut bench.given), [Output::Withdraw(node(3))]);
    }
}

/// EKKA_SPEC 10, row 34 (emqx#16544): the limit can change at any time, and what was counted goes on.
#[test]
fn a_limit_that_changes_is_in_effect_at_once() {
    let mut bench = Bench::new(3);
    bench.give(Input::Limit(None));
    assert_eq!(bench.pass(10 * MINUTE, &[down(3)], &[1, 2]), []);
    bench.give(Input::Limit(Some(LIMIT * 4)));
    assert_eq!(bench.pass(5 * MINUTE, &[down(3)], &[1, 2]), []);
    bench.give(Input::Limit(Some(LIMIT)));
    assert_eq!(cleaned(&bench.pass(2_000, &[down(3)], &[1, 2])), [id(3)]);
}

/// A refused removal is tried again, and not at once.
#[test]
fn a_refused_removal_is_tried_again_later() {
    let mut bench = Bench::new(3);
    assert_eq!(cleaned(&bench.pass(6 * MINUTE, &[down(3)], &[1, 2])), [id(3)]);
    bench.give(Input::Ended(node(3)));
    assert_eq!(bench.pass(9_000, &[down(3)], &[1, 2]), []);
    assert_eq!(cleaned(&bench.pass(2_000, &[down(3)], &[1, 2])), [id(3)]);
}

/// The planted fault does what the forebears did (emqx#1720, #2470): each side forgets the other.
#[test]
fn the_planted_fault_cleans_in_a_minority() {
    let mut bench = Bench::with(5, Faults { minority: true });
    bench.give(Input::Standing { term: 1, leads: false });
    assert_eq!(cleaned(&bench.pass(6 * MINUTE, &[down(3)], &[1])), [id(3)]);
}

#[derive(Clone, Debug)]
enum Step {
    Pass { ms: u64, down: Vec<bool>, by: Vec<bool> },
    Stand { leads: bool, newer: bool },
    Sleep(u64),
    Ended(u128),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..4 * MINUTE, prop::collection::vec(prop::bool::weighted(0.8), 5), prop::collection::vec(any::<bool>(), 5))
            .prop_map(|(ms, down, by)| Step::Pass { ms, down, by }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(leads, newer)| Step::Stand { leads, newer }),
        1 => (1u64..100 * MINUTE).prop_map(Step::Sleep),
        1 => (1u128..6).prop_map(Step::Ended),
    ];
    prop::collection::vec(step, 1..12)
}

proptest! {
    /// Whatever happens: nobody is cleaned but by who leads, after the whole limit, by a majority's word of now.
    #[test]
    fn nobody_is_cleaned_against_the_rules(steps in steps()) {
        let mut bench = Bench::new(5);
        // By node: for how long it was down in one term of this leader, as a plain count.
        let mut held = [0u64; 6];
        let mut leads = true;
        for step in steps {
            match step {
                Step::Pass { ms, down: is_down, by } => {
                    let seen: Vec<Down> =
                        (2u128..=5).zip(&is_down).filter(|(_, down)| **down).map(|(n, _)| down(n)).collect();
                    let by: Vec<u128> = (1u128..=5).zip(&by).filter(|(_, says)| **says).map(|(n, _)| n).collect();
                    for (n, down) in (2usize..=5).zip(&is_down) {
                        held[n] = if *down { held[n] + ms } else { 0 };
                    }
                    let majority = by.len() >= 3;
                    for case in cleaned(&bench.pass(ms, &seen, &by)) {
                        let n = usize::try_from(case.node_id.as_u128()).unwrap();
                        prop_assert!(leads && majority, "{leads} {by:?}");
                        prop_assert!(u128::from(held[n]) >= LIMIT.as_millis(), "{} ms", held[n]);
                    }
                    // What was said is old by the next step; that it stood still counts for nothing.
                    bench.now_ms += 3_001;
                }
                Step::Stand { leads: now_leads, newer } => {
                    if newer || now_leads != leads {
                        held = [0; 6];
                    }
                    bench.term += u64::from(newer);
                    leads = now_leads;
                    bench.give(Input::Standing { term: bench.term, leads });
                }
                Step::Sleep(ms) => bench.now_ms += ms,
                Step::Ended(n) => bench.give(Input::Ended(node(n))),
            }
            bench.given.retain(|one| !matches!(one, Output::Withdraw(_)));
        }
    }
}
