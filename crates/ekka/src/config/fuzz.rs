//! Entry points for fuzzing: any bytes, no panic, bounded time and memory.

use std::path::Path;

use super::auto::Machine;
use super::checked::{self, Reader};
use super::raw::{Entry, Raws, Twice};
use super::{cuttlefish, effective, erlang};

/// Reads the bytes as a `.conf` file and checks what they give.
pub fn fuzz_conf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut raws = Raws::default();
    let entries = cuttlefish::parse(Path::new("fuzz.conf"), text, &mut raws.errors);
    check(raws, entries);
}

/// Reads the bytes as a `.config` file and checks what they give.
pub fn fuzz_erlang(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut raws = Raws::default();
    let entries = erlang::parse(Path::new("fuzz.config"), text, &mut raws.errors, &mut raws.notices);
    check(raws, entries);
}

/// The checks behind the parsers see whatever came through them.
fn check(mut raws: Raws, mut entries: Vec<Entry>) {
    // `auto` would ask the resolver of the machine, which takes as long as it likes.
    entries.retain(|entry| entry.key != "node.name" || !entry.value.shown().to_ascii_lowercase().contains("auto"));
    raws.add(entries, Twice::Refused);
    let vars = [("HOME".to_owned(), "/home/fuzz".to_owned())];
    let mut reader = Reader { raws: &raws, vars: &vars, around: &Machine, errors: Vec::new(), notices: Vec::new() };
    let config = checked::config(&mut reader);
    if raws.errors.is_empty() && reader.errors.is_empty() {
        let shown = effective::values(&config, &raws);
        assert!(!shown.is_empty(), "a checked configuration has values");
        drop(super::explain(&config, None));
    }
}
