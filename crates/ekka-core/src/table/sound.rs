//! What a peer says is looked at before anything is made of it: numbers that nobody can have got to, and names without end.
//!
//! What is refused here ends the connection and has changed nothing.

use super::available::Table;
use super::batch::Batch;
use super::message::{CopyHead, CopyPlace, Message, Report};
use super::vector::{OpId, Vector};
use super::version::Malformed;
use crate::id::Incarnation;
use crate::limits::{TABLE_KEY_MAX, TABLE_NUMBER_MAX, TABLE_ORIGINS_MAX, TABLE_ROWS_MAX};

/// Answers that wait for a peer: each of its questions has one, and who reads has some few.
const OUTBOX_MAX: usize = 1024;

/// A number that a peer said, where somebody can have got to it.
pub(super) fn believed(number: u64) -> Result<(), Malformed> {
    if number <= TABLE_NUMBER_MAX { Ok(()) } else { Err(Malformed("a number in it is one that nobody gets to")) }
}

fn vector(vector: &Vector) -> Result<usize, Malformed> {
    vector.iter().try_for_each(|(_, number)| believed(number))?;
    Ok(vector.len())
}

fn ids(ids: &[OpId]) -> Result<usize, Malformed> {
    ids.iter().try_for_each(|id| believed(id.number))?;
    Ok(ids.len())
}

fn report(report: &Report) -> Result<usize, Malformed> {
    let stored = report.stored.as_ref().map_or(Ok(0), vector)?;
    Ok(vector(&report.held)? + stored + ids(&report.closing)? + ids(&report.folded)?)
}

fn place(place: &CopyPlace) -> Result<usize, Malformed> {
    if place.rows > TABLE_ROWS_MAX {
        return Err(Malformed("no table has so many rows"));
    }
    if place.after.as_ref().is_some_and(|key| key.len() > TABLE_KEY_MAX) {
        return Err(Malformed("the key to go on after is too long"));
    }
    Ok(0)
}

impl Message {
    /// How many origins it names, at most; where it says nothing that cannot be.
    pub(super) fn names(&self) -> Result<usize, Malformed> {
        match self {
            Self::Report(said) => report(said),
            Self::Pull { have } | Self::EstateWanted { have } => vector(have),
            Self::CopyHead(CopyHead { held, folded, .. }) => Ok(vector(held)? + ids(folded)?),
            Self::CopyAsk { resume } => resume.as_ref().map_or(Ok(0), place),
            Self::Ops(batch)
            | Self::CopyRows { rows: batch, .. }
            | Self::CopyJournal { entries: batch, .. }
            | Self::Estate { versions: batch, .. } => Ok(Batch::origins(batch).len()),
            // What these say is taken for no more than there is, only compared, or not looked at.
            Self::Held { .. }
            | Self::CopyAgain { .. }
            | Self::CopyEnd { .. }
            | Self::EstateEnd { .. }
            | Self::Served
            | Self::TooFarBehind
            | Self::EstateTaken { .. }
            | Self::EstateOffer
            | Self::AbsorbedOffer
            | Self::NotNow => Ok(0),
        }
    }
}

impl Table {
    /// Whether a message of a peer says nothing that cannot be.
    pub(super) fn check_message(&self, from: Incarnation, message: &Message) -> Result<(), Malformed> {
        let names = message.names()?;
        if let Message::CopyHead(head) = message {
            // With it the numbers of this node would go on where nobody follows.
            let folded = head.folded.iter().filter(|last| last.origin == self.me).map(|last| last.number).max();
            if folded.unwrap_or(0).max(head.held.get(self.me)) > self.latest() {
                return Err(Malformed("it holds more of this node's operations than there are"));
            }
        }
        if self.peers.map.get(&from).is_some_and(|peer| peer.outbox.len() > OUTBOX_MAX) {
            return Err(Malformed("it asks for more than it takes"));
        }
        if self.origins.list().len() + names > TABLE_ORIGINS_MAX {
            return Err(Malformed("it names more origins than a table can have met"));
        }
        Ok(())
    }
}
