//! Writes to a table by its name, whatever its kind.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::schema::{MergeRule, Shape};
use ekka_core::table::Acknowledged;
use ekka_core::time::Wall;
use tokio::time::Instant;

use super::super::acks::Terms;
use super::super::available::AvailableSlot;
use super::super::error::PutError;
use super::super::handle::{after, counted, removal, single};
use super::super::quorum::QuorumSlot;
use super::super::slot::Slot;
use super::{TableDoor, WriteTerms};

impl WriteTerms {
    fn terms(self) -> Terms {
        Terms { ack: self.ack, strict: self.strict }
    }
}

impl TableDoor {
    /// Writes a row: of a bag, adds the value; of counters, adds to one, or raises one, by the eight bytes of a signed
    /// number, the lowest first; of an `owned` table, the row of this node; of a `quorum` table by its majority,
    /// whatever the terms say of copies. `None`: there is no such table.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn put(
        &self,
        name: &str,
        (key, value): (&[u8], &[u8]),
        ttl: Option<Duration>,
        terms: WriteTerms,
    ) -> Option<Result<Acknowledged, PutError>> {
        Some(match self.tables.named(name)? {
            Slot::Available(slot) => {
                let expires_at = ttl.map(|ttl| after(slot.world.clock.now().wall, ttl));
                put_available(&slot, key, value, expires_at, terms).await
            }
            Slot::Quorum(slot) => change_quorum(&slot, key, Some(value), ttl, terms.deadline).await,
            Slot::Owned(_) if ttl.is_some() => {
                let text = format!("{name} is owned: its rows go with their owner, and do not expire");
                Err(PutError::WrongKind(text))
            }
            Slot::Owned(slot) => slot.put_many(&[(key.to_vec(), value.to_vec())], terms.terms(), terms.deadline).await,
        })
    }

    /// Writes a row of a quorum table where the one that is there was written at this revision; 0: where there is none.
    /// `None`: there is no such table.
    ///
    /// # Errors
    /// See [`PutError`]: `Conflict` where it is another one.
    pub async fn put_at(
        &self,
        name: &str,
        (key, value): (&[u8], &[u8]),
        ttl: Option<Duration>,
        (revision, deadline): (u64, Duration),
    ) -> Option<Result<Acknowledged, PutError>> {
        let Slot::Quorum(slot) = self.tables.named(name)? else {
            let text = format!("{name} is no quorum table: its rows cannot be written at a revision only");
            return Some(Err(PutError::WrongKind(text)));
        };
        let put = async {
            let write = slot.change(key, Some(value), ttl)?.only_at((revision > 0).then_some(revision));
            let written = slot.write(write, Instant::now() + deadline).await?;
            Ok(slot.acknowledged(written))
        };
        Some(put.await)
    }

    /// Deletes what there is of a key; of an `owned` table, what this node has. `None`: there is no such table.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn delete(&self, name: &str, key: &[u8], terms: WriteTerms) -> Option<Result<Acknowledged, PutError>> {
        Some(match self.tables.named(name)? {
            Slot::Available(slot) => slot.put(removal(&slot.schema, key), terms.terms(), terms.deadline).await,
            Slot::Owned(slot) => slot.delete_many(&[key.to_vec()], terms.terms(), terms.deadline).await,
            Slot::Quorum(slot) => change_quorum(&slot, key, None, None, terms.deadline).await,
        })
    }
}

async fn change_quorum(
    slot: &QuorumSlot,
    key: &[u8],
    value: Option<&[u8]>,
    ttl: Option<Duration>,
    deadline: Duration,
) -> Result<Acknowledged, PutError> {
    let until = Instant::now() + deadline;
    let written = slot.write(slot.change(key, value, ttl)?, until).await?;
    Ok(slot.acknowledged(written))
}

async fn put_available(
    slot: &Arc<AvailableSlot>,
    key: &[u8],
    value: &[u8],
    expires_at: Option<Wall>,
    terms: WriteTerms,
) -> Result<Acknowledged, PutError> {
    let schema = &slot.schema;
    let write = match (schema.shape, schema.merge) {
        (Shape::Set | Shape::OrderedSet, MergeRule::Sum | MergeRule::Max) => {
            counted(schema, key, number(&schema.name, value)?)?
        }
        _ => single(schema, key, value, expires_at)?,
    };
    slot.put(write, terms.terms(), terms.deadline).await
}

fn number(table: &str, value: &[u8]) -> Result<i64, PutError> {
    let eight = value.try_into().map_err(|_| {
        PutError::WrongKind(format!("{table} has counters, which take a whole number, and {} bytes came", value.len()))
    })?;
    Ok(i64::from_le_bytes(eight))
}
