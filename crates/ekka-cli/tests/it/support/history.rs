//! What clients of the token counter saw, and whether one counter can have answered so.
//!
//! Taking tokens is a fetch-and-add, so the order of all answers is known from their numbers: what is left to check is
//! that no number was given twice, that no read saw half of a range, and that the order does not contradict the clocks of
//! the clients. That is the whole of linearizability here, in the time of a sort: an order that agrees with every pair of
//! operations of which one had ended before the other began is one in which all of them can have taken effect.

use std::time::Duration;

/// What a client heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// These tokens, `from` and above, below `to`, are its own.
    Took { from: u64, to: u64 },
    /// All tokens that were ever taken are below this.
    Read { ceiling: u64 },
    /// Whether it was done is not known.
    Unknown,
    /// Nothing was done.
    Refused,
}

/// One operation, in the time since the load began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Op {
    pub(crate) client: usize,
    pub(crate) asked: Duration,
    pub(crate) answered: Duration,
    pub(crate) heard: Heard,
}

/// Figures of a history that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) took: usize,
    pub(crate) read: usize,
    pub(crate) unknown: usize,
    pub(crate) refused: usize,
    /// Below which all tokens are that a client got.
    pub(crate) ceiling: u64,
}

/// Whether one counter can have given these answers.
///
/// # Errors
/// Two operations that contradict each other, or a range of which a read saw a part.
pub(crate) fn check(ops: &[Op]) -> Result<Counts, String> {
    let mut counts = Counts::default();
    // A read of a ceiling comes before the range that begins there.
    let mut ordered: Vec<((u64, u8), &Op)> = Vec::new();
    for op in ops {
        match op.heard {
            Heard::Took { from, to } => {
                counts.took += 1;
                counts.ceiling = counts.ceiling.max(to);
                if from >= to {
                    return Err(format!("no range: {op:?}"));
                }
                ordered.push(((from, 1), op));
            }
            Heard::Read { ceiling } => {
                counts.read += 1;
                ordered.push(((ceiling, 0), op));
            }
            Heard::Unknown => counts.unknown += 1,
            Heard::Refused => counts.refused += 1,
        }
    }
    ordered.sort_by_key(|(place, _)| *place);
    let mut end: Option<(u64, &Op)> = None;
    // Among all that come before: the one that was asked for last. What comes after must not have been answered by then.
    let mut last_asked: Option<&Op> = None;
    for same in ordered.chunk_by(|(one, _), (other, _)| one == other) {
        for ((number, _), op) in same {
            if let Some((to, range)) = end
                && *number < to
            {
                return Err(format!("one range reaches into the other, or was read in part: {range:?}, {op:?}"));
            }
            if let Some(earlier) = last_asked
                && earlier.asked > op.answered
            {
                return Err(format!("answered before the other was asked for, and yet above it: {op:?}, {earlier:?}"));
            }
        }
        if let [(_, op)] = same
            && let Heard::Took { to, .. } = op.heard
        {
            end = Some((to, op));
        } else if let Some((_, op)) = same.iter().find(|(_, op)| matches!(op.heard, Heard::Took { .. })) {
            return Err(format!("given to two: {op:?}, {:?}", same[1].1));
        }
        last_asked = same.iter().map(|(_, op)| *op).chain(last_asked).max_by_key(|op| op.asked);
    }
    Ok(counts)
}

/// The longest time in `from..to` in which nobody got a token, and when it began. Spans in which nobody could are left
/// out, with whatever reaches into them from before or behind.
pub(crate) fn longest_gap(
    ops: &[Op],
    (from, to): (Duration, Duration),
    excused: &[(Duration, Duration)],
) -> (Duration, Duration) {
    let mut marks: Vec<Duration> = ops
        .iter()
        .filter(|op| matches!(op.heard, Heard::Took { .. }))
        .map(|op| op.answered)
        .filter(|at| (from..to).contains(at))
        .chain([from, to])
        .collect();
    marks.sort_unstable();
    let mut longest = (Duration::ZERO, from);
    for pair in marks.windows(2) {
        let [begin, end] = [pair[0], pair[1]];
        // What an excuse leaves of the gap at either side is measured for itself.
        let mut parts = vec![(begin, end)];
        for (out, back) in excused {
            parts = parts
                .into_iter()
                .flat_map(|(begin, end)| [(begin, end.min(*out)), (begin.max(*back), end)])
                .filter(|(begin, end)| begin < end)
                .collect();
        }
        for (begin, end) in parts {
            longest = longest.max((end.saturating_sub(begin), begin));
        }
    }
    longest
}
