//! What became of the datagrams that came, in numbers and in words.

use std::net::SocketAddr;

/// Why a datagram was ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ignored {
    /// No announcement at all, or cut off.
    Malformed,
    /// An announcement of a version that this one does not speak.
    Version,
    /// Not signed with a trusted cookie for this cluster name.
    Unauthentic,
    /// One's own, come back.
    Own,
    /// A ping that is not newer than one that was heard before.
    Replayed,
    /// A ping of a node that was answered less than a second ago.
    TooSoon,
    /// A pong to no ping of one's own, or to one that is too old.
    Unasked,
    /// A second pong of a node to one ping.
    Repeated,
    /// There is no room to remember another node.
    Full,
}

impl Ignored {
    pub(super) const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Version,
        Self::Unauthentic,
        Self::Own,
        Self::Replayed,
        Self::TooSoon,
        Self::Unasked,
        Self::Repeated,
        Self::Full,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Unauthentic => "unauthentic",
            Self::Own => "own",
            Self::Replayed => "replayed",
            Self::TooSoon => "too_soon",
            Self::Unasked => "unasked",
            Self::Repeated => "repeated",
            Self::Full => "full",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Malformed => "cut off or of another program",
            Self::Version => "of another version of ekka",
            Self::Unauthentic => "of another cookie or cluster name, forged or damaged (which of these cannot be told)",
            Self::Own => "this node's own",
            Self::Replayed => "a ping heard before, or older than one",
            Self::TooSoon => "a ping within a second of the one before",
            Self::Unasked => "an answer to no ping of the last 5 s",
            Self::Repeated => "a second answer to one ping",
            Self::Full => "of more nodes than there is room for",
        }
    }

    /// Whether it happens where all is well: own ones come back, networks send twice, nodes ask twice.
    fn is_harmless(self) -> bool {
        matches!(self, Self::Own | Self::TooSoon | Self::Repeated)
    }
}

/// Totals since the strategy was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Pings answered.
    pub(super) answered: u64,
    /// Pongs believed.
    pub(super) believed: u64,
    ignored: [u64; Ignored::ALL.len()],
    /// Where the last ignored one that is not harmless claimed to come from. For people; nothing relies on it.
    from: Option<SocketAddr>,
}

impl Counts {
    /// One more was ignored.
    pub(super) fn ignore(&mut self, reason: Ignored, from: SocketAddr) {
        let count = &mut self.ignored[reason as usize];
        *count = count.saturating_add(1);
        if !reason.is_harmless() {
            self.from = Some(from);
        }
    }

    /// How many were ignored for a reason.
    #[cfg(test)]
    pub(super) fn of(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize]
    }

    /// A row of a metric for each reason.
    pub(super) fn rows(&self) -> Vec<(&'static str, u64)> {
        Ignored::ALL.iter().map(|reason| (reason.label(), self.ignored[*reason as usize])).collect()
    }

    /// How many were ignored for reasons that do not occur where all is well.
    pub(super) fn strange(&self) -> u64 {
        let strange = Ignored::ALL.iter().filter(|reason| !reason.is_harmless());
        strange.map(|reason| self.ignored[*reason as usize]).sum()
    }

    /// What a person should know, if there is anything.
    pub(super) fn words(&self) -> Option<String> {
        let told = Ignored::ALL.iter().map(|reason| (self.ignored[*reason as usize], reason));
        let told: Vec<String> = told
            .filter(|(count, reason)| *count > 0 && **reason != Ignored::Own)
            .map(|(count, reason)| format!("{count} {}", reason.words()))
            .collect();
        if told.is_empty() {
            return None;
        }
        let last = self.from.map(|from| format!("; the last came from {from}")).unwrap_or_default();
        Some(format!("ignored: {}{last}", told.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_words_and_own_ones_are_not_told() {
        let from = "10.0.0.9:5".parse().unwrap();
        let mut counts = Counts::default();
        for (place, reason) in Ignored::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
            counts.ignore(*reason, from);
        }
        assert_eq!(counts.strange(), 6);
        let words = counts.words().unwrap();
        assert!(words.contains("1 a ping heard before") && words.contains("10.0.0.9:5"), "{words}");
        assert!(!words.contains("own"), "{words}");
        let mut only_own = Counts::default();
        only_own.ignore(Ignored::Own, from);
        assert_eq!(only_own.words(), None);
    }
}
