//! What a row costs: time to put, apply and get, and bytes, at a million rows of 16 and 100 bytes.
#![allow(clippy::print_stdout, reason = "an example says what it has found")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time, outside of the core")]

use std::fs;
use std::time::Instant;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::rng::Rng;
use ekka_core::table::{Faults, Hlc, Settings, Storage, Table};
use ekka_core::time::Wall;

const ROWS: u64 = 1_000_000;

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

fn ns_each(begun: Instant) -> u128 {
    begun.elapsed().as_nanos() / u128::from(ROWS)
}

fn main() {
    let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(1) };
    let mut table = Table::new(Settings { me, storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() });
    let wall = Wall::from_millis(1_000_000);
    table.bound_is(table.wanted_bound(wall).unwrap_or_default());
    let (mut rng, value) = (Rng::new(1), [7; 100]);
    let keys: Vec<[u8; 16]> = (0..ROWS).map(|_| rng.next_u128().to_le_bytes()).collect();
    let before = resident_bytes();

    let begun = Instant::now();
    for key in &keys {
        table.put(key, &value, None, wall).expect("a write is taken");
    }
    println!("put, {ROWS} new rows in random order: {} ns each", ns_each(begun));
    table.drop_log();
    let after_log = resident_bytes().saturating_sub(before);
    println!("memory: {} bytes a row, with the changes that are kept for watchers", after_log / ROWS);

    let begun = Instant::now();
    let found = keys.iter().filter(|key| table.get(&key[..], wall).is_some()).count();
    println!("get: {} ns each, {found} found", ns_each(begun));

    let begun = Instant::now();
    for key in &keys {
        table.put(key, &value, None, wall).expect("a write is taken");
    }
    println!("put over: {} ns each", ns_each(begun));

    let small = [3; 8];
    let begun = Instant::now();
    for n in 0..ROWS {
        table.put(&(n % 16).to_le_bytes(), &small, None, wall).expect("a write is taken");
    }
    println!("put over 16 rows, so without the cost of a large map: {} ns each", ns_each(begun));
}
