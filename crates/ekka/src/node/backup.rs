//! Backups and comparisons of tables, as the handle of a node has them.

use std::fs::File;
use std::time::Duration;

use ekka_core::control::CommandError;
use ekka_core::limits::TOKEN_MAX;
use tokio::sync::mpsc;

use super::Node;
use crate::backup::{Summary, check};
use crate::table::{
    Backup, BackupError, Job, OpenError, RestoreError, RestoreMode, Restored, TableRestored, TableVerdict, pieces_of,
};

/// Time for a table to be open here once it is made.
const OPENED: Duration = Duration::from_secs(30);

impl Node {
    /// Begins a backup of all tables that are kept on disc. Each is cloned at one moment, all at nearly the same; writers go
    /// on. Whoever has taken all bytes says [`Backup::ended`].
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn back_up(&self) -> Result<Backup, BackupError> {
        let backup = self.inner.tables.back_up().await?;
        // After the rows: each token in them is below it. Where the group does not answer it is the one known here.
        let ceiling = match self.token_ceiling().await {
            Ok(ceiling) => Ok(ceiling),
            Err(_) => self.applied_token_ceiling(),
        };
        let ceiling = ceiling.map_err(|error| BackupError::Failed(error.to_string()))?;
        Ok(backup.with_tokens_below(ceiling))
    }

    /// Puts a backup back, or says what would become of it. The file is read whole before anything is changed. The work goes
    /// on while this is polled; how far it is goes to `progress` as far as that is read.
    ///
    /// # Errors
    /// See [`RestoreError`]. What was written until then stays, and the same again goes on.
    pub async fn restore(
        &self,
        file: File,
        (mode, plan): (RestoreMode, bool),
        progress: mpsc::Sender<TableRestored>,
    ) -> Result<Restored, RestoreError> {
        let tables = self.inner.tables.clone();
        let Some(_only) = tables.try_restore() else {
            return Err(RestoreError::Refused("another restore is under way on this node".into()));
        };
        let read = file.try_clone().map_err(|error| crate::backup::ReadError::Io { at: 0, error })?;
        let summary = self.inner.env.blocking(move || checked(read)).await?;
        self.fits(&summary)?;
        let mut restored = Restored::default();
        self.raise_tokens(&summary, plan, &mut restored).await?;
        let made = self.make_tables(&summary, plan).await?;
        if plan {
            restored.notes.extend(made.iter().map(|name| format!("the table {name} would be made")));
        }
        let of = (summary.head.cluster, mode, plan);
        restored.tables = Job::new(tables.clone(), of, made, progress).run(pieces_of(file)).await?;
        Ok(restored)
    }

    /// Whether each table is as the backup has it, or not there.
    fn fits(&self, summary: &Summary) -> Result<(), RestoreError> {
        let view = self.view();
        if view.cluster_id.is_none() {
            return Err(RestoreError::Refused("this node is in no cluster".into()));
        }
        for table in &summary.tables {
            let theirs = &table.head.schema;
            theirs.check().map_err(OpenError::from)?;
            if let Some((_, ours)) = self.tables().schema(&theirs.name)
                && ours != *theirs
            {
                let (ours, theirs) = (ours.options(), theirs.options());
                return Err(RestoreError::Mismatch { table: table.head.schema.name.clone(), ours, theirs });
            }
        }
        Ok(())
    }

    /// Tokens go on above all that were issued before the backup, in whichever cluster.
    async fn raise_tokens(&self, summary: &Summary, plan: bool, restored: &mut Restored) -> Result<(), RestoreError> {
        let failed = |error: CommandError| RestoreError::Tokens(error.to_string());
        let (wanted, mut ceiling) = (summary.head.token_ceiling, 0);
        if wanted > 0 {
            ceiling = self.token_ceiling().await.map_err(failed)?;
        }
        if wanted.saturating_sub(ceiling) > TOKEN_MAX / 2 {
            let words = format!("the backup says that {wanted} tokens were issued, and no cluster gets to as many");
            return Err(RestoreError::Refused(words));
        }
        if wanted > ceiling {
            restored.token_ceiling = Some(wanted);
        }
        // Ranges that were given before the backup of the same cluster are its own. Those that another one gave while this
        // one gave lower ones end: holders of rows of the backup may have seen tokens above them.
        let other = self.view().cluster_id != Some(summary.head.cluster);
        if wanted > ceiling || other && wanted > 0 {
            restored.notes.push(format!("no token below {wanted} is issued from then on"));
        } else {
            return Ok(());
        }
        if !plan {
            let ceiling = self.tokens_from(wanted).await.map_err(failed)?;
            restored.token_ceiling = restored.token_ceiling.map(|_| ceiling);
        }
        Ok(())
    }

    /// Makes the tables that are not there; their names.
    async fn make_tables(&self, summary: &Summary, plan: bool) -> Result<Vec<String>, RestoreError> {
        let mut made = Vec::new();
        for table in &summary.tables {
            let schema = &table.head.schema;
            let known = self.tables().schema(&schema.name);
            if known.is_none() {
                made.push(schema.name.clone());
            }
            if plan {
                continue;
            }
            let (id, _) = self.ensure_table(schema).await?;
            if !self.tables().loaded(id, OPENED).await {
                let why = format!("it is not open on this node within {} s", OPENED.as_secs());
                return Err(OpenError::NotLoaded { table: schema.name.clone(), why }.into());
            }
        }
        Ok(made)
    }

    /// Compares tables with each node that is up: one of this name, or all. `None`: there is no such table.
    pub async fn verify_tables(&self, name: Option<&str>) -> Option<Vec<TableVerdict>> {
        self.inner.tables.verify_all(&self.inner.calls, name).await
    }

    /// Whether the disc of the data directory has room for more (`storage.reserve`).
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.inner.shared.room().borrow().full
    }

    /// A file without a name in the data directory, for a backup that comes over the network.
    ///
    /// # Errors
    /// The disc has none.
    pub fn scratch(&self) -> std::io::Result<File> {
        self.inner.env.disk.scratch()
    }
}

fn checked(mut file: File) -> Result<Summary, crate::backup::ReadError> {
    use std::io::{BufReader, Seek};
    file.rewind().map_err(|error| crate::backup::ReadError::Io { at: 0, error })?;
    check(BufReader::new(file))
}
