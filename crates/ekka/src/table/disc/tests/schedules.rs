//! Random schedules of writes, foreign writes, full copies, syncs, checkpoints and crashes, each by a seed.

use std::time::Duration;

use ekka_core::rng::Rng;
use ekka_core::table::{Faults, OpId, PeerClocks, Table};
use ekka_core::time::Wall;

use super::life::{Around, Life, assert_journal, id, other_rows};
use crate::table::available::Write;
use crate::testing::CrashingDisc;

/// How many seeds are run, unless `EKKA_DISC_SEEDS` says another number.
const SEEDS: u64 = 300;

fn after(wall: Wall, ms: u64) -> Wall {
    Wall::from_millis(wall.as_millis() + ms)
}

/// One step.
async fn step(rng: &mut Rng, around: &Around, life: &mut Life, peer: &mut Table, full: &mut bool, disc: &CrashingDisc) {
    let (key, value) = ([b'k', u8::try_from(rng.below(12)).unwrap()], vec![7; rng.index(120)]);
    let wall = around.now().wall;
    let ttl = (rng.below(4) == 0).then(|| after(wall, rng.below(5000)));
    match rng.below(16) {
        0..=4 => life.write(Write::Put { key: &key, value: &value, expires_at: ttl }),
        5 => life.write(Write::Delete { key: &key }),
        6 => life.write(Write::Add { key: b"bag", value: &value, expires_at: None }),
        7 => life.write(Write::Remove { key: b"bag", value: None }),
        8 => life.write(Write::Sum { key: b"sum", by: 1 }),
        9 | 10 => drop(peer.put(&key, &value, ttl, wall)),
        11 => drop(peer.delete(&key, wall)),
        12 => peer.drop_log(),
        13 => {
            life.slot.tick(PeerClocks::default(), life.now());
            peer.tick(life.now());
        }
        14 if rng.below(4) == 0 => {
            *full = !*full;
            disc.set_full(*full);
        }
        _ => life.exchange(peer),
    }
    if rng.below(3) == 0 {
        life.pass(rng.up_to(Duration::from_millis(2))).await;
    }
}

/// What must be on the disc after a crash at any of these changes.
fn check(around: &Around, disc: &CrashingDisc, crash: usize, life: (&[(OpId, usize)], &Table)) {
    let (acked, shadow) = life;
    let table = around.read(&disc.first(crash), id(1, 1000));
    table.check();
    for (op, at) in acked {
        assert!(
            *at > crash || table.holds(*op),
            "{op:?} was acknowledged at {at} changes, and the crash is at {crash}"
        );
    }
    for (origin, number) in table.all_held().iter() {
        assert!(number <= shadow.all_held().get(origin), "more is on disc than there was");
    }
    if table.all_held() == shadow.all_held() {
        let wall = around.now().wall;
        assert_eq!(other_rows(&table, shadow, wall), [], "rows after {crash} changes");
        assert_journal(&table, shadow);
    }
}

async fn run(seed: u64, faults: Faults) {
    let mut rng = Rng::new(seed);
    let around = Around::with_faults(faults);
    let mut disc = CrashingDisc::default();
    let mut peer = around.peer();
    peer.members_are([id(1, 1).node_id, id(2, 1).node_id]);
    let lives = 2 + rng.below(3);
    let mut all_acked = Vec::new();
    for guid in 1..=u128::from(lives) {
        let mut life = Life::begin(&around, &disc, guid).await;
        if guid > 1 {
            peer.gone(id(1, guid - 1));
        }
        life.connect(&mut peer);
        let mut full = false;
        for _ in 0..20 + rng.below(60) {
            step(&mut rng, &around, &mut life, &mut peer, &mut full, &disc).await;
        }
        disc.set_full(false);
        if rng.below(3) == 0 {
            life.pass(Duration::from_secs(2)).await;
            life.settle().await;
        }
        let settled = life.waiting() == 0 && life.slot.read().stored() == life.slot.read().held();
        let acked = life.acked.clone();
        let (synced, changes) = disc.changes();
        let shadow = life.crash(&mut peer).await;
        for _ in 0..4 {
            check(&around, &disc, rng.index(changes + 1), (&acked, &shadow));
        }
        let crash = synced + rng.index(changes - synced + 1);
        check(&around, &disc, crash, (&acked, &shadow));
        disc = disc.first(crash);
        if settled {
            assert_eq!(around.read(&disc, id(1, 1000)).all_held(), shadow.all_held(), "all was on disc");
        }
        all_acked.extend(acked.into_iter().map(|(op, _)| op));
    }
    let last = u128::from(lives);
    let mut life = Life::begin(&around, &disc, last + 1).await;
    peer.gone(id(1, last));
    life.connect(&mut peer);
    life.converge(&mut peer).await;
    life.settle().await;
    let wall = around.now().wall;
    // Who has overwritten a version before it met a concurrent one does not have it in its journal.
    assert_eq!(other_rows(&life.slot.read(), &peer, wall), [], "both have the same rows in the end");
    for op in all_acked {
        assert!(peer.holds(op), "{op:?} was acknowledged, and got to nobody");
    }
}

#[test]
fn what_was_acknowledged_survives_crashes_at_random_moments() {
    let seeds = std::env::var("EKKA_DISC_SEEDS").ok().and_then(|number| number.parse().ok()).unwrap_or(SEEDS);
    let only = std::env::var("EKKA_DISC_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..seeds, |seed: u64| seed..seed + 1) {
        if let Err(panic) = caught(seed, Faults::default()) {
            println!("seed {seed}: repeat it with EKKA_DISC_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs a seed, and gives what it panics with.
fn caught(seed: u64, faults: Faults) -> std::thread::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed, faults))))
}

#[test]
fn a_table_that_acknowledges_what_is_not_synced_is_seen() {
    let faults = Faults { unsynced_counts: true, ..Faults::default() };
    assert!((0..20).any(|seed| caught(seed, faults).is_err()));
}
