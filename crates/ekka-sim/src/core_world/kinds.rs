//! Kinds of faults. Each seed of a swarm has only some of them, so that rare mixtures come up (swarm testing: Groce
//! et al., ISSTA 2012).

use std::collections::BTreeSet;

use ekka_core::rng::Rng;

/// One kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// `kill -9` and starts.
    Crashes,
    /// Cuts of any shape.
    Cuts,
    /// SIGSTOP and SIGCONT.
    Pauses,
    /// Lost segments.
    Loss,
    /// Writes of single machines that take seconds.
    SlowDiscs,
    /// Discovery names dead, foreign and doubled nodes, is empty, or fails.
    Lies,
    /// `ekka stop`.
    Stops,
    /// `ekka leave` while the network is whole, and `ekka join` at any time.
    Leaves,
    /// `ekka force-leave` of a member that is down.
    ForceLeaves,
    /// `ekka drain` on a minority.
    Drains,
    /// `ekka form` on a node that waits.
    Forms,
    /// Clocks jump by seconds.
    Clocks,
    /// The clock of one machine is off by a year for a while.
    Year,
    /// A data directory is set back to an older state.
    Restores,
    /// Machines swap addresses; one moves to a new one.
    Moves,
    /// A copied directory starts beside its original, where every peer that it reaches has a link to that.
    Copies,
    /// A copied directory starts beside its original, anywhere.
    CopiesAnywhere,
    /// `ekka join` in the process that left.
    JoinsAlive,
    /// Whoever was killed between the word and the answer of `join` is outside in everybody's eyes, or inside in all.
    HalfJoins,
    /// `ekka leave` whatever the network does.
    LeavesCutOff,
    /// `ekka join` on a member of a cluster with others.
    JoinsElsewhere,
    /// The clocks of a minority are off by a year.
    YearOfMany,
    /// `ekka drain` on anybody.
    DrainsOfAll,
    /// Two machines with one name and different discs start at once.
    Twins,
    /// A pause of minutes leaves the belief in the own clock untouched.
    LongPauses,
    /// `ekka force-leave` of a member that has not yet written down that it is one.
    ForceLeavesOfNew,
    /// [`Kind::Moves`] beside members that go and join again.
    MovesBesideJoins,
}

impl Kind {
    /// All kinds that must pass.
    pub const ALL: [Self; 26] = [
        Self::Crashes,
        Self::Cuts,
        Self::Pauses,
        Self::Loss,
        Self::SlowDiscs,
        Self::Lies,
        Self::Stops,
        Self::Leaves,
        Self::ForceLeaves,
        Self::Drains,
        Self::Clocks,
        Self::Restores,
        Self::Moves,
        Self::Copies,
        Self::Forms,
        Self::Year,
        Self::JoinsAlive,
        Self::HalfJoins,
        Self::CopiesAnywhere,
        Self::LeavesCutOff,
        Self::JoinsElsewhere,
        Self::DrainsOfAll,
        Self::Twins,
        Self::LongPauses,
        Self::ForceLeavesOfNew,
        Self::MovesBesideJoins,
    ];

    /// Kinds of which the core does not keep all that could be wished: where a node sees more wrong clocks than right
    /// ones (a part of the machines, while the others are cut off), it cannot tell which are wrong.
    pub const AWAITED: [Self; 1] = [Self::YearOfMany];

    /// Draws the kinds of a seed; of the awaited ones only those that are wanted.
    ///
    /// Each kind has a coin of its own, so that a seed keeps its meaning when a kind is added (at the end) or when one
    /// that was awaited must pass.
    pub(super) fn draw(seed: u64, awaited: &[Self]) -> BTreeSet<Self> {
        let sparse = 2 + Rng::new(seed).below(3);
        let coin = |kind: &Self| {
            let of_kind = (*kind as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Rng::new(seed ^ of_kind).below(sparse) == 0
        };
        let mut drawn: BTreeSet<Self> = Self::ALL.iter().chain(awaited).copied().filter(coin).collect();
        // A directory that is set back under a clock that is behind takes the same guid again: nobody can tell.
        if [Self::Clocks, Self::Year, Self::YearOfMany].iter().any(|kind| drawn.contains(kind)) {
            drawn.remove(&Self::Restores);
        }
        // The identity that is given up stays a voter that is down; with others taken out too, a majority may be lost
        // for good, which is an operator's matter.
        let removals = [Self::Leaves, Self::LeavesCutOff, Self::ForceLeaves, Self::ForceLeavesOfNew];
        if removals.iter().any(|kind| drawn.contains(kind)) {
            drawn.remove(&Self::Restores);
            if !awaited.contains(&Self::MovesBesideJoins) {
                drawn.remove(&Self::Moves);
            }
        }
        // Whoever goes out, or forms, and wants in under a name that its twin has by then is refused, as it should be.
        if drawn.contains(&Self::Twins) {
            let out = [Self::Leaves, Self::HalfJoins, Self::LeavesCutOff];
            let words =
                [Self::Forms, Self::JoinsAlive, Self::JoinsElsewhere].into_iter().chain(out).collect::<Vec<_>>();
            drawn.retain(|kind| !words.contains(kind));
        }
        drawn
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.into_iter().chain(Self::AWAITED);
        let found = all().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("{text} is no kind of fault: {:?} are there", all().collect::<Vec<_>>()))
    }
}
