//! Clients of all nodes take tokens and read the ceiling while voters are killed, frozen and cut off: what they saw is
//! what one counter would have answered. Real processes on loopback.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::ask::{ceiling, get, settled};
use support::history::{Heard, check, longest_gap};
use support::load::{Load, Mix};
use support::{Cluster, Figures, duration};

const NODES: usize = 3;
const LIMIT: Duration = Duration::from_secs(90);
/// The promise: with a majority up there is a leader again within this time.
const LEADERLESS: Duration = Duration::from_secs(5);
/// Clients leave the machine some time.
const MIX: Mix = Mix { takers: 2, readers: 2, pause: Duration::from_millis(40), stale: false };

/// How long: `EKKA_MINUTES`, or five minutes with `EKKA_SOAK`, or what CI has.
fn time() -> Duration {
    match std::env::var("EKKA_MINUTES") {
        Ok(text) => Duration::from_secs_f64(60.0 * text.parse::<f64>().expect("EKKA_MINUTES is a number")),
        Err(_) => duration(Duration::from_secs(10), Duration::from_secs(300)),
    }
}

/// Chance by a seed: which fault, where, how long.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: the low bits are the weak ones.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// Three voters whose networks have a gate.
struct Gated {
    cluster: Cluster,
    gates: Vec<PathBuf>,
}

impl Gated {
    fn formed() -> Self {
        let mut cluster = Cluster::on_loopback(u8::try_from(NODES).expect("a few"));
        let gates: Vec<PathBuf> = cluster.agents.iter().map(|agent| agent.data().with_file_name("gate")).collect();
        for (agent, gate) in cluster.agents.iter_mut().zip(&gates) {
            agent.start_with(&["--gate", &gate.display().to_string()]);
        }
        let gated = Self { cluster, gates };
        gated.mended();
        gated
    }

    fn start(&mut self, index: usize) {
        let gate = self.gates[index].display().to_string();
        self.cluster.agents[index].start_with(&["--gate", &gate]);
    }

    /// Cuts the ways between a node and all others. A gate holds what its own node dialled: both ends close theirs.
    fn cut(&self, index: usize) {
        let members = self.cluster.agents[index].json(&["members"]).unwrap_or_else(|error| panic!("{error}"));
        let rows: Vec<_> = members.as_array().into_iter().flatten().collect();
        let own = &self.cluster.agents[index].name;
        for (agent, gate) in self.cluster.agents.iter().zip(&self.gates) {
            let at_other_end = rows.iter().filter(|row| (row["name"] == **own) != (agent.name == *own));
            let dead =
                at_other_end.filter_map(|row| row["address"].as_str()).map(|address| format!("{address} both\n"));
            fs::write(gate, dead.collect::<String>()).expect("a gate can be written");
        }
    }

    fn open(&self) {
        self.gates.iter().for_each(|gate| fs::write(gate, "").expect("a gate can be written"));
    }

    /// Waits until all is as it should be.
    fn mended(&self) {
        self.cluster.wait("all are one, and vote", LIMIT, |cluster| settled(cluster, NODES));
    }

    /// The node that leads where one says so, else any.
    fn leader(&self, chance: &mut Chance) -> usize {
        let any = usize::try_from(chance.below(NODES as u64)).expect("a small number");
        let Ok(status) = get(&self.cluster.agents[any].data(), "/v1/status") else { return any };
        self.cluster.agents.iter().position(|agent| status["leader"] == *agent.name).unwrap_or(any)
    }

    /// For as long as a fault is there: the processes of the others live.
    fn others_live(&self, at: usize, time: Duration) {
        self.cluster.throughout("the other processes live", time, |cluster| {
            let mut others = cluster.agents.iter().enumerate().filter(|(index, _)| *index != at);
            let dead = others.find(|(_, agent)| !std::path::Path::new(&format!("/proc/{}", agent.pid())).exists());
            dead.map_or(Ok(()), |(_, agent)| Err(format!("{} has ended", agent.name)))
        });
    }

    /// One fault at one node, and its end. A majority of the voters is up and connected all the time.
    fn harm(&mut self, chance: &mut Chance) {
        let at =
            if chance.below(2) == 0 { self.leader(chance) } else { usize::try_from(chance.below(3)).expect("small") };
        let held = Duration::from_millis(500 + chance.below(2_500));
        match chance.below(3) {
            0 => {
                self.cluster.agents[at].kill();
                self.others_live(at, held);
                self.start(at);
            }
            1 => {
                self.cluster.agents[at].freeze();
                self.others_live(at, held);
                self.cluster.agents[at].thaw();
            }
            _ => {
                self.cut(at);
                self.others_live(at, held);
                self.open();
            }
        }
        // The next fault may hit another voter: this one has to be back, or there is no majority.
        self.mended();
    }
}

#[test]
fn tokens_and_reads_are_linearizable_while_voters_are_killed_frozen_and_cut_off() {
    let mut leaderless = Figures::new("one fault at a time: longest time without a commit", LEADERLESS);
    let seed = std::env::var("EKKA_SEED").map_or(1, |text| text.parse().expect("EKKA_SEED is a number"));
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ seed);
    let mut gated = Gated::formed();
    let load = Load::begin(gated.cluster.agents.iter().map(support::Agent::data), MIX);
    let mut faults = 0;
    while load.now() < time() {
        gated.harm(&mut chance);
        faults += 1;
    }
    let until = load.now();
    let ops = load.end();
    let report = || gated.cluster.report();
    let counts = check(&ops).unwrap_or_else(|found| panic!("seed {seed}: {found}\n{}", report()));
    for agent in &gated.cluster.agents {
        let seen = ceiling(&agent.data()).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()));
        assert!(seen >= counts.ceiling, "{} reads {seen} after {counts:?}", agent.name);
    }
    let (gap, at) = longest_gap(&ops, (Duration::ZERO, until), &[]);
    println!("FIGURE linearizable: {faults} faults in {until:.1?}, {counts:?}; longest gap at {at:.1?}");
    leaderless.add(gap);
    leaderless.assert_each();
    assert!(counts.took > 100 && counts.read > 100, "only {counts:?}");
}

#[test]
fn a_read_of_old_state_that_passes_for_a_linearizable_one_is_caught() {
    let gated = Gated::formed();
    let writer = Mix { takers: 1, readers: 0, ..MIX };
    let mut load = Load::begin([gated.cluster.agents[0].data()], writer);
    let stale = Mix { takers: 0, readers: 1, stale: true, ..MIX };
    load.also_at(&gated.cluster.agents[1].data(), stale);
    gated.cut(1);
    // The gate is read now and then: before it closes nothing is stale.
    gated.cluster.wait("it is cut off", LIMIT, |cluster| {
        let status = get(&cluster.agents[1].data(), "/v1/status")?;
        let in_reach = &status["quorum"]["in_reach"];
        if *in_reach == 1 { Ok(()) } else { Err(format!("{in_reach} voters are in its reach")) }
    });
    let before = ceiling(&gated.cluster.agents[0].data()).unwrap_or_else(|error| panic!("{error}"));
    gated.cluster.wait("the others go on without the one that is cut off", LIMIT, |cluster| {
        let now = ceiling(&cluster.agents[0].data())?;
        if now > before + 20 { Ok(()) } else { Err(now.to_string()) }
    });
    gated.open();
    let ops = load.end();
    assert!(ops.iter().any(|op| matches!(op.heard, Heard::Read { .. })), "nobody read");
    let found = check(&ops).expect_err("a stale read is seen");
    assert!(found.contains("answered before the other was asked for"), "{found}");
    let honest: Vec<_> = ops.into_iter().filter(|op| !matches!(op.heard, Heard::Read { .. })).collect();
    check(&honest).unwrap_or_else(|found| panic!("the rest is whole: {found}"));
}
