//! Following a table under a name: this node keeps how far that has come.

use ekka_core::schema::Storage;

use super::super::error::ReadError;
use super::super::key::TableKey;
use super::available::{Change, Watch};
use super::kept::{Found, Kept, Slip};

/// Why a table cannot be followed under a name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// It is no name of a cursor.
    #[error("{0:?} is no name of a cursor: a-z, 0-9, '.', '_' and '-', at most 64 of them")]
    Name(String),
    /// Somebody follows the table under this name already.
    #[error("the cursor {0} is in use on this node")]
    InUse(String),
    /// How far it has come cannot be read, or kept.
    #[error("how far the cursor has come: {0}")]
    Storage(String),
}

/// Follows a table as [`Watch`] does, and goes on where it was the next time it is opened on this node.
///
/// **At least once.** What was given and not [committed](Self::commit) comes again: after a crash, or when it is opened
/// anew. So a change that has an effect elsewhere has it again where the node ends between effect and commit; to have it
/// once, let the effect be one that can be repeated.
///
/// Within one start of the node what was committed does not come again, and every other change comes. After another start,
/// of a table on disc, each row that is another one than it was comes, once, as it is now, or as deleted; what it was in
/// between is not known, and where more changes waited at the last commit some that were committed may come again. Where
/// even that is not known (of a table in ram always; of one on disc where it was away for more than the op log holds, or
/// took a full copy, or rows may have expired and gone meanwhile) [`Change::Resync`] comes first, and all rows anew.
pub struct CursorWatch<K, V> {
    watch: Watch<K, V>,
    slip: Slip,
    kept: Option<Kept>,
}

impl<K: TableKey, V> Watch<K, V> {
    /// Follows the table under a name, from where that came to the last time: see [`CursorWatch`]. The first time it
    /// begins with all rows.
    ///
    /// # Errors
    /// See [`CursorError`].
    pub fn cursor(mut self, name: &str) -> Result<CursorWatch<K, V>, CursorError> {
        let raw = self.raw();
        let slot = raw.slot().clone();
        let cursors = slot.world.cursors.as_ref().ok_or_else(|| CursorError::Storage("there is no store".into()))?;
        let slip = cursors.open(slot.id, name)?;
        if slot.schema.storage == Storage::Disc {
            raw.keep_marks();
        }
        let kept = match slip.read()? {
            Found::Nothing => None,
            Found::Unknown => {
                raw.begin_anew();
                None
            }
            Found::Kept(kept) => {
                if kept.history == slot.history {
                    raw.go_on_after(kept.revision);
                } else if kept.position.as_ref().is_none_or(|position| raw.go_on_from(position).is_err()) {
                    raw.begin_anew();
                }
                Some(kept)
            }
        };
        Ok(CursorWatch { watch: self, slip, kept })
    }
}

impl<K: TableKey, V> CursorWatch<K, V> {
    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    ///
    /// # Errors
    /// A row is not of this type; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<Change<K, V>>, ReadError> {
        self.watch.next().await
    }

    /// All that was given is done with, and on disc once this has returned. Within a snapshot there is nothing to keep
    /// before its end. *Dropping the future does not undo.*
    ///
    /// # Errors
    /// `Storage`: it may come again.
    pub async fn commit(&mut self) -> Result<(), CursorError> {
        let even = self.watch.is_even();
        let raw = self.watch.raw();
        let Some(revision) = raw.given().filter(|_| even) else { return Ok(()) };
        // Between two marks a later start goes on from the first of them.
        let earlier = self.kept.as_ref().and_then(|kept| kept.position.clone());
        let position = raw.mark_at(revision).map(|mark| mark.position).or(earlier);
        let kept = Kept { history: raw.history().to_owned(), revision, position };
        if self.kept.as_ref() != Some(&kept) {
            self.slip.write(Some(&kept)).await?;
            self.kept = Some(kept);
        }
        Ok(())
    }

    /// Forgets how far it has come: the next one of this name begins with all rows.
    ///
    /// # Errors
    /// `Storage`: it may be known still.
    pub async fn forget(self) -> Result<(), CursorError> {
        self.slip.write(None).await
    }
}
