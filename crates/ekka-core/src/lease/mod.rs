//! Leases of incarnations: who still runs, who has to stop believing so, and who is `gone`.
//!
//! **Owns** the lease of this incarnation ([`Holder`]), the leases of all while this replica leads the durable group
//! ([`Keeper`]), and the table of incarnations that are over by a committed entry ([`GoneTable`]).
//!
//! **Inputs** who leads the durable group and who votes there, renewals and their answers, whether a majority confirmed
//! a term, what each voter says about who is down, what the durable group applied.
//!
//! **Outputs** messages, the wish to have a term confirmed, the proposal that an incarnation is gone, and to the node
//! itself: fenced, no longer fenced, over.
//!
//! **Invariants**: an incarnation is fenced, by its own clock, before `gone` of it can be committed for silence or for its
//! removal, and stays so; no renewal is answered after `gone` of its incarnation was proposed, by whomever, nor after its
//! member was taken out; a lease never reaches further than two thirds of `gone_after` from before its renewal was sent.
//!
//! **Why two thirds.** The keeper waits the whole of `gone_after` from a later moment than the one from which the
//! holder counts. So clocks may differ in rate by half before a holder believes longer than its keeper waits; the
//! promise is for a tenth (schedule M8).
//!
//! **Why an entry names its term.** A proposal may lie in a queue, or be passed on, and reach a log whose leader has
//! answered renewals since. [`GoneEntry::term`] makes it void there ([`GoneTable::apply`]); so the keeper knows every
//! `gone` that its log can hold: those of earlier terms are applied once an entry of its own is, and those of its own
//! term are its own.
//!
//! **Whose lease length.** Nodes may be configured with different lengths, for a while or by mistake. A keeper that waits
//! less than its predecessor gave would say `gone` of who still holds; so how long leases last is committed ([`Agreed`]):
//! the leader has its own length committed before it answers anybody, the answer tells the holder how long its lease is,
//! and after the length was cut the old one is waited for once more, counted by a leader from when it applied the cut.
//!
//! **Where one link is cut.** A holder whose leader does not answer asks every voter. One that does not lead says so, and
//! passes the question on to the leader, and the leader's answer back to the holder: once, and only what the holder itself
//! sent. A lease still counts from when its holder asked, and is answered by what the leader knows then; so a question that
//! was late on its way gives nothing that it should not.
//!
//! **Sources**: Gray and Cheriton, *Leases* (1989); section 9 of the design; schedules M7, M8, S1-6, S1-7, S2-2, S2-4, S2-9.

mod agreed;
mod gone;
mod holder;
mod keeper;

pub use agreed::Agreed;
pub use gone::{Cause, GoneEntry, GoneTable};
pub use holder::{Holder, HolderInput, HolderOutput};
pub use keeper::{Keeper, KeeperInput, KeeperOutput, Outcome};

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, NodeId};
use crate::limits::GONE_AFTER_MIN;

/// How long leases last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    gone_after: Duration,
}

impl Terms {
    /// From `cluster.gone_after`; less than [`GONE_AFTER_MIN`] counts as that.
    #[must_use]
    pub fn new(gone_after: Duration) -> Self {
        Self { gone_after: gone_after.max(GONE_AFTER_MIN) }
    }

    /// The same in milliseconds, as messages and entries have it.
    #[must_use]
    pub fn from_ms(gone_after_ms: u64) -> Self {
        Self::new(Duration::from_millis(gone_after_ms))
    }

    /// How long an incarnation must be unheard before it may be gone, on the keeper's clock.
    #[must_use]
    pub fn gone_after(self) -> Duration {
        self.gone_after
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn gone_after_ms(self) -> u64 {
        u64::try_from(self.gone_after.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a lease lasts on the holder's clock, counted from before the renewal was sent.
    #[must_use]
    pub fn fence_after(self) -> Duration {
        self.gone_after / 3 * 2
    }
}

/// A message between a holder and whoever may lead the durable group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// An incarnation wants its lease renewed.
    Renew {
        /// Which.
        id: Incarnation,
        /// Number of the question, by which the holder knows when it asked.
        ask: u64,
    },
    /// The lease is renewed, from when that question was sent.
    Renewed {
        /// Whose.
        id: Incarnation,
        /// The question.
        ask: u64,
        /// How long an incarnation must be unheard before it may be gone, by which the holder knows when to stop.
        gone_after_ms: u64,
    },
    /// By a committed entry this incarnation is over.
    Gone {
        /// Which.
        id: Incarnation,
    },
    /// Who was asked does not lead.
    NotLeading {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
}

/// Faults put in on purpose, so that a test can show that the harness sees them. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// The holder counts its lease from when the answer came.
    pub from_answer: bool,
    /// The holder believes what it last noted, and does not look at its clock before it answers.
    pub pause_unseen: bool,
    /// The keeper answers without having its term confirmed.
    pub unconfirmed: bool,
    /// The keeper answers before an entry of its own term is applied.
    pub unready: bool,
    /// The keeper does not care whether its log holds `gone` of who renews.
    pub log_unseen: bool,
    /// A new leader goes by what it remembers of leases.
    pub remembers: bool,
    /// `gone` counts in whatever term it gets into the log.
    pub term_unseen: bool,
}
