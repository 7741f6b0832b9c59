//! The smallest history that shows a violation, in words.

use super::{Answer, Entry, Op, Outcome};

/// A violating history made small.
pub(super) struct Witness {
    pub(super) entries: Vec<Entry>,
    /// Operations that the whole history of the key has.
    pub(super) whole: usize,
}

/// The shortest beginning that is still wrong, and of that only the reads that matter. Both keep a linearizable history
/// linearizable, so what is still wrong was wrong before; leaving out a change would not.
pub(super) fn smallest(entries: Vec<&Entry>, wrong: impl Fn(&[&Entry]) -> bool) -> Witness {
    let whole = entries.len();
    let judge = |entries: &[Entry]| wrong(&entries.iter().collect::<Vec<_>>());
    let mut ends: Vec<u64> = entries.iter().filter_map(|entry| entry.ended.as_ref().map(|(ended, _)| *ended)).collect();
    ends.sort_unstable();
    // The first end that makes it wrong: what is wrong at one end is wrong at every later one.
    let first = ends.partition_point(|end| !judge(&until(&entries, *end)));
    let mut kept = match ends.get(first) {
        Some(end) => until(&entries, *end),
        None => entries.into_iter().cloned().collect(),
    };
    let mut at = 0;
    while at < kept.len() {
        if kept[at].op == Op::Read {
            let mut without = kept.clone();
            without.remove(at);
            if judge(&without) {
                kept = without;
                continue;
            }
        }
        at += 1;
    }
    Witness { entries: kept, whole }
}

/// The history as it stood at a place: what ended later is open.
fn until(entries: &[&Entry], end: u64) -> Vec<Entry> {
    let begun = entries.iter().filter(|entry| entry.called <= end);
    begun
        .map(|entry| {
            let ended = entry.ended.clone().filter(|(ended, _)| *ended <= end);
            Entry { ended, ..(*entry).clone() }
        })
        .collect()
}

/// The witness, a line for each operation.
pub(super) fn tell(entries: &[Entry], whole: usize) -> String {
    let mut lines = vec![format!("no order explains these {} of {whole} operations:", entries.len())];
    lines.extend(entries.iter().map(line));
    lines.join("\n")
}

fn line(entry: &Entry) -> String {
    let asked = match &entry.op {
        Op::Read => "read".to_owned(),
        Op::Write(value) => format!("write {value}"),
        Op::Cas { from, to } => format!("replace {from:?} by {to}"),
        Op::Append(value) => format!("append {value}"),
    };
    let (ended, heard) = match &entry.ended {
        Some((ended, Outcome::Ok(Answer::Value(value)))) => (ended.to_string(), format!("it holds {value:?}")),
        Some((ended, Outcome::Ok(Answer::Done))) => (ended.to_string(), "done".to_owned()),
        Some((ended, Outcome::Ok(Answer::Swapped(true)))) => (ended.to_string(), "replaced".to_owned()),
        Some((ended, Outcome::Ok(Answer::Swapped(false)))) => (ended.to_string(), "it held something else".to_owned()),
        Some((ended, Outcome::Fail)) => (ended.to_string(), "not done".to_owned()),
        Some((_, Outcome::Unknown)) | None => (String::new(), "no answer".to_owned()),
    };
    format!("  {:>5}..{ended:<5} client {}: {asked}: {heard}", entry.called, entry.client)
}
