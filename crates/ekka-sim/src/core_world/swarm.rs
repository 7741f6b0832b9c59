//! Draws the plan of a swarm: which kinds of faults, and the steps of each.

use std::time::Duration;

use ekka_core::id::NodeName;
use ekka_core::rng::Rng;

use super::discovery::Stranger;
use super::kinds::Kind;
use super::node::NodeSpec;
use super::plan::{Plan, lists};
use super::steps::{Schedule, Step, name};
use super::world::World;

/// A year in milliseconds.
const YEAR_MS: i64 = 365 * 86_400_000;
/// Names from here on are dead or foreign.
const STRANGERS: usize = 300;
/// Names from here on are second names of machines.
const ALIASES: usize = 400;
/// The address of a machine that claims the name of another one.
const TWIN: usize = 500;
/// The address to which a machine moves.
const MOVED: usize = 60;
/// Steps of faults in one plan.
const STEPS: u64 = 40;

/// What the steps of one plan are drawn from.
struct Draw {
    n: usize,
    /// Machines from here on may go out of the cluster, or have wrong clocks: a minority.
    minority: usize,
    /// Once in a plan: every identity that is given up stays a voter that is down.
    may_restore: bool,
    /// Once in a plan: there is one address to go to.
    may_move: bool,
    rng: Rng,
}

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.rng.index(bound)
    }

    fn any(&mut self) -> usize {
        self.below(self.n)
    }

    fn one_of_few(&mut self) -> usize {
        self.minority + self.below(self.n - self.minority)
    }

    fn heads(&mut self) -> bool {
        self.rng.below(2) == 0
    }
}

pub(super) fn plan(seed: u64, awaited: &[Kind]) -> Plan {
    let mut rng = Rng::new(seed ^ 0x0073_7761_726d);
    let kinds = Kind::draw(seed, awaited);
    let n = 3 + rng.index(5);
    let mut names: Vec<NodeName> = (0..n).map(name).collect();
    let one_list = rng.below(6) > 0;
    let listed = if n >= 5 && rng.below(3) == 0 { 3 } else { n };
    let mut seeds = names[..listed].to_vec();
    if kinds.contains(&Kind::Lies) && !kinds.contains(&Kind::Moves) && listed >= 5 && rng.below(2) == 0 {
        seeds.push(name(STRANGERS)); // A seed that is lost for good.
    }
    if kinds.contains(&Kind::Twins) {
        names.push(name(n - 1));
    }
    // A list without the node itself means another one once the node has another name.
    let whole = kinds.contains(&Kind::Moves);
    let mut list = |own| if whole { seeds.clone() } else { lists(&seeds, own, one_list, &mut rng) };
    let mut specs: Vec<NodeSpec> = names.iter().map(|own| NodeSpec::new(own, &list(own))).collect();
    let minority = n - (n - 1) / 2;
    if kinds.contains(&Kind::Year) || kinds.contains(&Kind::YearOfMany) {
        specs[n - 1].clock_offset_ms = [YEAR_MS, -YEAR_MS, 0][rng.index(3)];
    }
    let mut draw = Draw { n, minority, may_restore: true, may_move: true, rng };
    let schedule = schedule(&kinds.iter().copied().collect::<Vec<_>>(), names.len(), &mut draw);
    let mut rng = draw.rng;
    let disc_delay = Duration::from_millis([2, 10, 100, 600][rng.index(4)]);
    // The other endings count every machine in.
    let plain = [Kind::Twins, Kind::Moves, Kind::Lies].iter().all(|kind| !kinds.contains(kind));
    let discovery_dies = plain && rng.below(4) == 0;
    let copies = kinds.contains(&Kind::Copies) || kinds.contains(&Kind::CopiesAnywhere);
    let stale_copy = plain && (one_list || whole) && !copies && rng.below(4) == 0;
    Plan { seed, specs, one_list: one_list || whole, schedule, disc_delay, discovery_dies, stale_copy, kinds }
}

fn schedule(kinds: &[Kind], machines: usize, draw: &mut Draw) -> Schedule {
    let mut schedule: Schedule = Vec::new();
    let apart = Duration::from_millis(if draw.heads() { 20 } else { 2_000 });
    for i in 0..machines {
        schedule.push((draw.rng.up_to(apart), Step::Start(i)));
    }
    let pace = Duration::from_millis(50 + draw.rng.below(3_000));
    let steps = draw.rng.below(STEPS);
    for _ in 0..steps {
        if let Some(kind) = kinds.get(draw.below(kinds.len())) {
            let wait = draw.rng.up_to(pace);
            let steps = steps_of(*kind, draw);
            schedule.extend(
                steps.into_iter().enumerate().map(|(at, (then, step))| (if at == 0 { wait } else { then }, step)),
            );
        }
    }
    schedule
}

/// A few steps of one kind, with the waits before each but the first.
fn steps_of(kind: Kind, draw: &mut Draw) -> Schedule {
    let s = Duration::from_secs;
    let (a, b) = (draw.any(), draw.any());
    let few = draw.one_of_few();
    let heads = draw.heads();
    let one = |step: Step| vec![(Duration::ZERO, step)];
    match kind {
        Kind::Crashes => one(if heads { Step::Kill(a) } else { Step::Start(a) }),
        Kind::Cuts => one(cut(a, b, draw)),
        Kind::Pauses | Kind::LongPauses => one(if heads { Step::Pause(a) } else { Step::Resume(a) }),
        Kind::Loss => one(Step::Loss(if heads { draw.rng.below(300) } else { 0 })),
        Kind::SlowDiscs => one(Step::SlowDisc(a, Duration::from_millis(draw.rng.below(3_000)))),
        Kind::Lies => one(match draw.below(2) {
            0 => Step::EmptyList(a, heads),
            _ => Step::DiscoveryDown(a, heads),
        }),
        Kind::Stops => one(if heads { Step::Stop(a) } else { Step::Start(a) }),
        Kind::Leaves if heads => {
            let calm = [(s(0), Step::MendAll), (s(0), Step::Loss(0)), (s(3), Step::Leave(few))];
            calm.into_iter().chain([(s(2), Step::Loss(0))]).collect()
        }
        Kind::LeavesCutOff if heads => one(Step::Leave(few)),
        Kind::JoinsAlive => one(Step::Join(few, a)),
        Kind::ForceLeaves | Kind::ForceLeavesOfNew if heads => {
            let down = draw.rng.up_to(s(6));
            let word = if kind == Kind::ForceLeaves { Step::ForceLeave(a, few) } else { Step::ForceLeaveNew(a, few) };
            vec![(s(0), Step::Kill(few)), (down, word), (s(1), Step::Start(few))]
        }
        Kind::Leaves | Kind::LeavesCutOff | Kind::ForceLeaves | Kind::ForceLeavesOfNew => rejoin(few, a),
        Kind::Drains => one(if heads { Step::Drain(few) } else { Step::Undrain(few) }),
        Kind::DrainsOfAll => one(if draw.below(4) > 0 { Step::Drain(a) } else { Step::Undrain(a) }),
        Kind::Forms => one(Step::Form(a)),
        Kind::Clocks => one(Step::Clock(draw.below(draw.n - 1), jump(draw))),
        Kind::Year => one(Step::Clock(draw.n - 1, [0, YEAR_MS, -YEAR_MS][draw.below(3)])),
        Kind::YearOfMany => one(Step::Clock(few, [0, YEAR_MS, -YEAR_MS][draw.below(3)])),
        Kind::Restores if std::mem::take(&mut draw.may_restore) => {
            let restart = [(s(0), Step::BackUp(few)), (s(0), Step::Kill(few)), (s(0), Step::Start(few))];
            restart.into_iter().chain([(draw.rng.up_to(s(8)), Step::Restore(few))]).collect()
        }
        Kind::Moves if heads && a != b => one(Step::Swap(a, b)),
        Kind::Moves if std::mem::take(&mut draw.may_move) => one(Step::Move(draw.n - 1, MOVED)),
        Kind::JoinsElsewhere => one(Step::JoinAnyway(few, a)),
        Kind::Moves
        | Kind::Restores
        | Kind::Copies
        | Kind::CopiesAnywhere
        | Kind::HalfJoins
        | Kind::MovesBesideJoins
        | Kind::Twins => Vec::new(),
    }
}

fn rejoin(who: usize, to: usize) -> Schedule {
    let s = Duration::from_secs;
    vec![(s(0), Step::Kill(who)), (s(0), Step::Start(who)), (s(1), Step::Join(who, to))]
}

fn cut(a: usize, b: usize, draw: &mut Draw) -> Step {
    match draw.below(6) {
        0 if a != b => Step::Cut(a, b),
        1 if a != b => Step::CutOneWay(a, b),
        2 => Step::Isolate(a),
        3 | 4 => Step::Mend(a, b),
        _ => Step::MendAll,
    }
}

fn jump(draw: &mut Draw) -> i64 {
    i64::try_from(draw.rng.below(10_000)).unwrap_or(0) - 5_000
}

/// Tells the world of a swarm who is where, and what discovery makes up.
pub(super) fn prepare(plan: &Plan, world: &mut World) {
    if plan.kinds.contains(&Kind::Twins)
        && let Some(twin) = world.machines.last_mut()
    {
        twin.endpoint = name(TWIN).endpoint(4370).expect("a port below 65536");
    }
    if !plan.kinds.contains(&Kind::Lies) {
        return;
    }
    let mut rng = Rng::new(plan.seed ^ 0x006c_6965_7321);
    for i in 0..rng.index(8) {
        let stranger = Stranger::ALL[rng.index(Stranger::ALL.len())];
        let endpoint = world.lies.name(&name(STRANGERS + i));
        world.net.strangers.insert(endpoint.clone(), stranger);
        world.watch.made_up.insert(endpoint);
    }
    for i in 0..world.machines.len() {
        if rng.below(3) == 0 {
            let endpoint = world.lies.name(&name(ALIASES + i));
            world.net.aliases.insert(endpoint.clone(), i);
            world.watch.made_up.insert(endpoint);
        }
    }
}
