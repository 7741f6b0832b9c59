//! Tables, as the handle of a node opens them.

use std::time::Duration;

use ekka_core::control::{Command, CommandError, Reply};
use ekka_core::decision::DecisionId;
use ekka_core::durable::SchemaChange;
use ekka_core::schema::Schema;

use super::Node;
use crate::table::{NotLoaded, OpenError, Table, TableDef, TableDoor, TableKey, TableKind};

/// Time for a table to be made where there is none, and to get from its peers what they hold.
const OPEN: Duration = Duration::from_secs(30);

impl Node {
    /// Opens a table: makes it where the cluster has none of this name, which takes a majority, or checks that it is the
    /// same; then waits until it has got from its peers what they hold, for 30 s at most. *Cancel safe.*
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn table<K: TableKey, V: 'static, C: TableKind>(
        &self,
        def: &TableDef<K, V, C>,
    ) -> Result<Table<K, V, C>, OpenError> {
        let schema = def.schema();
        schema.check()?;
        let (id, _) = self.ensure_table(&schema).await?;
        if !self.tables().loaded(id, OPEN).await {
            if self.inner.tables.is_stopped() {
                return Err(OpenError::Stopping);
            }
            let waits = self.tables().waits(&schema.name).unwrap_or_else(|| "it is not open on this node".into());
            let why = format!("{waits}, for {} s now", OPEN.as_secs());
            return Err(OpenError::NotLoaded { table: schema.name, why });
        }
        self.inner.tables.typed(id, def).ok_or(OpenError::Stopping)
    }

    /// Waits until each of these tables is there and has got from its peers what they hold, so long at most. *Cancel
    /// safe.*
    ///
    /// # Errors
    /// [`NotLoaded`] names those that are not there, or wait, with what they wait for. Nothing was changed: trying again
    /// is right.
    pub async fn wait_for_tables(&self, names: &[&str], limit: Duration) -> Result<(), NotLoaded> {
        let door = self.tables();
        let all = async {
            for name in names {
                door.loaded_by_name(name).await;
            }
        };
        let mut stopping = false;
        tokio::select! {
            biased;
            () = self.inner.tables.stopped() => stopping = true,
            _ = tokio::time::timeout(limit, all) => {}
        }
        let tables: Vec<(String, String)> =
            names.iter().filter_map(|name| Some(((*name).to_owned(), door.waits(name)?))).collect();
        if tables.is_empty() && !stopping { Ok(()) } else { Err(NotLoaded { tables, stopping }) }
    }

    /// The tables by their names.
    #[must_use]
    pub fn tables(&self) -> TableDoor {
        TableDoor::new(self.inner.tables.clone())
    }

    /// Has a table made where there is none of this name; its number, and the record of the decision where one was needed.
    ///
    /// # Errors
    /// `Mismatch`, `Schema`, `NotMade`.
    pub async fn ensure_table(&self, schema: &Schema) -> Result<(u64, Option<DecisionId>), OpenError> {
        schema.check()?;
        let mismatch = |theirs: &Schema| OpenError::Mismatch { ours: schema.to_string(), theirs: theirs.to_string() };
        let held = |table: &str| self.tables().schema(table);
        match held(&schema.name) {
            Some((id, theirs)) if theirs == *schema => return Ok((id, None)),
            Some((_, theirs)) => return Err(mismatch(&theirs)),
            None => {}
        }
        let made = self.command(Command::Schema(SchemaChange::Create(schema.clone()))).await;
        match (made, held(&schema.name)) {
            (Ok(Reply::Schema { table, decision }), _) => Ok((table, Some(decision))),
            (Err(_), Some((id, theirs))) if theirs == *schema => Ok((id, None)),
            (Err(_), Some((_, theirs))) => Err(mismatch(&theirs)),
            (Err(why), None) => Err(OpenError::NotMade { table: schema.name.clone(), why }),
            (Ok(other), None | Some(_)) => {
                let why = CommandError::Failed(format!("an answer without a table: {other:?}"));
                Err(OpenError::NotMade { table: schema.name.clone(), why })
            }
        }
    }

    /// Has a table dropped, with all its rows, on all nodes; the record of the decision. `None`: there is none.
    ///
    /// # Errors
    /// No majority answers, as far as is known.
    pub async fn drop_table(&self, name: &str) -> Result<Option<DecisionId>, CommandError> {
        let Some((id, _)) = self.tables().schema(name) else { return Ok(None) };
        match self.command(Command::Schema(SchemaChange::Drop { name: name.to_owned(), id })).await? {
            Reply::Schema { decision, .. } => Ok(Some(decision)),
            other => Err(CommandError::Failed(format!("an answer of another kind: {other:?}"))),
        }
    }
}
