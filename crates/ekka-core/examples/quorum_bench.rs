//! What a row of a quorum table costs: time to put and get, bytes, a snapshot, at a million rows of 16 and 100 bytes.
#![allow(clippy::print_stdout, reason = "an example says what it has found")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time, outside of the core")]

use std::fs;
use std::time::Instant;

use ekka_core::rng::Rng;
use ekka_core::table::quorum::{Answer, Command, Draft, QuorumTables, Reader, Transaction};
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

fn put_all(tables: &mut QuorumTables, keys: &[[u8; 16]], expires_at: Option<Wall>) -> u128 {
    let begun = Instant::now();
    for key in keys {
        let put = Transaction::put(1, key, &[7; 100], expires_at, Wall::default()).expect("small");
        let answer = tables.apply_bytes(&Command::from(put).encode());
        assert!(matches!(answer, Answer::Committed { .. }), "{answer:?}");
    }
    ns_each(begun)
}

fn main() {
    let mut tables = QuorumTables::default();
    tables.apply_command(&Command::Create { table: 1 });
    let mut rng = Rng::new(1);
    let keys: Vec<[u8; 16]> = (0..ROWS).map(|_| rng.next_u128().to_le_bytes()).collect();
    let before = resident_bytes();

    println!("put, {ROWS} new rows in random order: {} ns each", put_all(&mut tables, &keys, None));
    let held = resident_bytes().saturating_sub(before);
    println!("memory: {} bytes a row, with the changes that are kept for watchers", held / ROWS);

    let begun = Instant::now();
    let found = keys.iter().filter(|key| matches!(tables.view().get(1, &key[..]), Ok(Some(_)))).count();
    println!("get: {} ns each, {found} found", ns_each(begun));

    println!("put over: {} ns each", put_all(&mut tables, &keys, None));
    let few: Vec<[u8; 16]> = keys.iter().cycle().take(16).copied().collect();
    let same: Vec<[u8; 16]> = few.iter().cycle().take(keys.len()).copied().collect();
    println!("put over 16 rows, so without the cost of a large map: {} ns each", put_all(&mut tables, &same, None));

    let begun = Instant::now();
    for key in &keys {
        let mut draft = Draft::new(tables.view().clone());
        let row = draft.get(1, key).expect("the table is there");
        draft.put(1, key, row.as_ref().map_or(&[][..], |row| row.value()), None).expect("small");
        let command = draft.finish(Wall::default()).expect("small");
        let answer = tables.apply_bytes(&command.encode());
        assert!(matches!(answer, Answer::Committed { .. }), "{answer:?}");
    }
    println!("read and put over in a transaction: {} ns each", ns_each(begun));

    let (begun, mut bytes, mut longest, mut reader) = (Instant::now(), 0, 0, Reader::default());
    let pieces: Vec<Vec<u8>> = tables.view().pieces().collect();
    println!("snapshot in {} pieces: {} ns a row", pieces.len(), ns_each(begun));
    let begun = Instant::now();
    for piece in &pieces {
        (bytes, longest) = (bytes + piece.len() as u64, longest.max(piece.len()));
        reader.take(piece).expect("it is a snapshot");
    }
    tables.adopt(reader.finish().expect("it is whole"));
    println!("restore: {} ns a row, {} bytes a row, longest piece {longest}", ns_each(begun), bytes / ROWS);

    let later = Some(Wall::from_millis(1_000_000));
    println!("put over, to expire: {} ns each", put_all(&mut tables, &keys, later));
}
