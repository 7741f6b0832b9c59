//! Puts a snapshot together from its pieces, however they are cut, and believes nothing of it unseen.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::changes::Revision;
use super::command::TableId;
use super::contents::{Contents, Figures};
use super::hash::{chain, hash};
use super::pieces::{END, FORM, HEAD, LENGTH, RECORD_MAX, ROW, TABLE};
use super::row::Row;
use super::view::View;
use crate::limits::TABLE_NUMBER_MAX;
use crate::time::Wall;

/// Bytes that are no snapshot of quorum tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadSnapshot {
    /// A newer version wrote it.
    #[error("a snapshot of quorum tables of form {0}, this version reads form {FORM}")]
    Form(u16),
    /// It says something that cannot be.
    #[error("no snapshot of quorum tables: {0}")]
    Malformed(&'static str),
}

/// Reads the pieces of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// The beginning of a record of which the rest has not come.
    begun: Vec<u8>,
    head: Option<Head>,
    tables: BTreeMap<TableId, Contents>,
    table: Option<Table>,
    /// What the end has to say.
    seal: u64,
    ended: bool,
    failed: Option<BadSnapshot>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    revision: Revision,
    clock: Wall,
    tables: u64,
}

/// The table of which rows come.
#[derive(Clone, Debug)]
struct Table {
    id: TableId,
    expected: Figures,
    contents: Contents,
    last: Option<Row>,
}

impl Reader {
    /// Takes the next piece.
    ///
    /// # Errors
    /// It does not go on as a snapshot does. Nothing can be made of this reader any more.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), BadSnapshot> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.records(piece).inspect_err(|error| self.failed = Some(*error))
    }

    /// The state, once all pieces have been taken.
    ///
    /// # Errors
    /// It ends too early, or was none.
    pub fn finish(self) -> Result<View, BadSnapshot> {
        match (self.failed, self.head) {
            (Some(failed), _) => Err(failed),
            (None, Some(Head { revision, clock, .. })) if self.ended && self.begun.is_empty() => {
                Ok(View { tables: Arc::new(self.tables), revision, clock })
            }
            (None, _) => Err(BadSnapshot::Malformed("it ends within a record or before its end")),
        }
    }

    fn records(&mut self, mut piece: &[u8]) -> Result<(), BadSnapshot> {
        while !self.begun.is_empty() {
            let lacking = wanted(&self.begun)? - self.begun.len();
            let (some, rest) = piece.split_at(lacking.min(piece.len()));
            self.begun.extend_from_slice(some);
            piece = rest;
            if some.len() < lacking {
                return Ok(());
            }
            if self.begun.len() == wanted(&self.begun)? {
                let record = core::mem::take(&mut self.begun);
                self.record(&record[LENGTH..])?;
            }
        }
        loop {
            let wanted = wanted(piece)?;
            if piece.len() < wanted || piece.is_empty() {
                self.begun.extend_from_slice(piece);
                return Ok(());
            }
            let (record, rest) = piece.split_at(wanted);
            self.record(&record[LENGTH..])?;
            piece = rest;
        }
    }

    fn record(&mut self, record: &[u8]) -> Result<(), BadSnapshot> {
        let (kind, said) = record.split_first().ok_or(BadSnapshot::Malformed("a record is empty"))?;
        if self.ended {
            return Err(BadSnapshot::Malformed("something follows its end"));
        }
        match (*kind, self.head) {
            (HEAD, None) => self.head(said)?,
            (TABLE, Some(_)) => self.begin_table(said)?,
            (ROW, Some(head)) => return self.row(head, said),
            (END, Some(head)) => return self.end(head, said),
            _ => return Err(BadSnapshot::Malformed("a record is not where it belongs")),
        }
        self.seal = chain(self.seal, hash(said));
        Ok(())
    }

    fn head(&mut self, said: &[u8]) -> Result<(), BadSnapshot> {
        let (form, rest) = said.split_first_chunk().ok_or(BadSnapshot::Malformed("its head is too short"))?;
        let form = u16::from_le_bytes(*form);
        if form != FORM {
            return Err(BadSnapshot::Form(form));
        }
        let [revision, clock, tables] = numbers(rest)?;
        if revision > TABLE_NUMBER_MAX {
            return Err(BadSnapshot::Malformed("its revision is one that nobody gets to"));
        }
        self.head = Some(Head { revision, clock: Wall::from_millis(clock), tables });
        Ok(())
    }

    fn begin_table(&mut self, said: &[u8]) -> Result<(), BadSnapshot> {
        self.end_table()?;
        let [id, rows, bytes, digest] = numbers(said)?;
        if self.tables.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(BadSnapshot::Malformed("its tables are not in order"));
        }
        let expected = Figures { rows, bytes, digest };
        self.table = Some(Table { id, expected, contents: Contents::default(), last: None });
        Ok(())
    }

    fn row(&mut self, head: Head, said: &[u8]) -> Result<(), BadSnapshot> {
        let table = self.table.as_mut().ok_or(BadSnapshot::Malformed("a row is in no table"))?;
        let row = Row::read(said).map_err(BadSnapshot::Malformed)?;
        if row.version() == 0 || row.version() > head.revision {
            return Err(BadSnapshot::Malformed("a row has a version that there is not yet"));
        }
        if table.last.as_ref().is_some_and(|last| last.key() >= row.key()) {
            return Err(BadSnapshot::Malformed("its rows are not in order"));
        }
        table.last = Some(row.clone());
        table.contents.put(&row);
        Ok(())
    }

    fn end(&mut self, head: Head, said: &[u8]) -> Result<(), BadSnapshot> {
        self.end_table()?;
        let [seal] = numbers(said)?;
        if seal != self.seal || self.tables.len() as u64 != head.tables {
            return Err(BadSnapshot::Malformed("its end is not that of what came before"));
        }
        self.ended = true;
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), BadSnapshot> {
        let Some(table) = self.table.take() else { return Ok(()) };
        if table.contents.figures() != table.expected {
            return Err(BadSnapshot::Malformed("the rows of a table are not those that it had"));
        }
        self.tables.insert(table.id, table.contents);
        Ok(())
    }
}

/// How long something is that begins like this: a length, or the record with it.
fn wanted(begun: &[u8]) -> Result<usize, BadSnapshot> {
    let Some(len) = begun.first_chunk() else { return Ok(LENGTH) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > RECORD_MAX { Err(BadSnapshot::Malformed("a record is too long")) } else { Ok(LENGTH + len) }
}

/// So many numbers, and nothing else.
fn numbers<const N: usize>(bytes: &[u8]) -> Result<[u64; N], BadSnapshot> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let chunks: &[[u8; 8]; N] = chunks.try_into().map_err(|_| BadSnapshot::Malformed("a record has another length"))?;
    if rest.is_empty() {
        Ok(chunks.map(u64::from_le_bytes))
    } else {
        Err(BadSnapshot::Malformed("a record has another length"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QuorumTables, Transaction};
    use super::*;
    use crate::consensus::StateMachine as _;
    use crate::limits::QUORUM_PIECE_BYTES;
    use crate::rng::Rng;

    fn some_tables() -> QuorumTables {
        let mut tables = QuorumTables::default();
        for table in [3, 5, u64::MAX] {
            tables.apply_command(&super::super::Command::Create { table });
        }
        for n in 0..20u8 {
            let at = (n % 3 == 0).then(|| Wall::from_millis(1_000 + u64::from(n)));
            let put = Transaction::put(3 + 2 * u64::from(n % 2), &[n], &[n; 30], at, Wall::from_millis(5)).unwrap();
            tables.apply_command(&put.into());
        }
        tables
    }

    fn read(bytes: &[u8]) -> Result<View, BadSnapshot> {
        let mut reader = Reader::default();
        reader.take(bytes)?;
        reader.finish()
    }

    #[test]
    fn a_snapshot_may_be_cut_anywhere() {
        let bytes = some_tables().snapshot();
        for size in 1..60 {
            let mut reader = Reader::default();
            bytes.chunks(size).for_each(|piece| reader.take(piece).unwrap());
            let mut later = QuorumTables::default();
            later.adopt(reader.finish().unwrap());
            assert_eq!(later.snapshot(), bytes, "pieces of {size}");
        }
        assert_eq!(
            QuorumTables::default().snapshot(),
            read(&QuorumTables::default().snapshot()).unwrap().pieces().next().unwrap()
        );
    }

    #[test]
    fn a_large_table_comes_in_pieces_with_every_row_once() {
        let mut tables = QuorumTables::default();
        tables.apply_command(&super::super::Command::Create { table: 1 });
        for n in 0..500u32 {
            let value = alloc::vec![7; 10_000];
            let put = Transaction::put(1, &n.to_be_bytes(), &value, None, Wall::default()).unwrap();
            tables.apply_command(&put.into());
        }
        let pieces: Vec<Vec<u8>> = tables.view().pieces().collect();
        assert_eq!(pieces.len(), 5);
        assert!(pieces.iter().all(|piece| piece.len() < QUORUM_PIECE_BYTES + 10_100));
        assert_eq!(read(&pieces.concat()).unwrap().figures(1), tables.view().figures(1));
    }

    #[test]
    fn what_is_no_snapshot_is_refused_and_the_state_stays() {
        let mut tables = some_tables();
        let bytes = tables.snapshot();
        let mut rng = Rng::new(7);
        for n in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[n] ^= 1 << rng.below(8);
            assert!(read(&wrong).is_err(), "byte {n} is not looked at");
            assert!(tables.restore(&bytes[..n]).is_err(), "cut at {n}");
        }
        for _ in 0..2_000 {
            let len = rng.index(200);
            let random: Vec<u8> = (0..len).map(|_| rng.next_u64().to_le_bytes()[0] % 8).collect();
            assert!(tables.restore(&random).is_err());
            let mut after = bytes.clone();
            after.extend_from_slice(&random);
            assert!(tables.restore(&after).is_err() || random.is_empty());
        }
        let mut newer = bytes.clone();
        newer[LENGTH + 1] = 2;
        assert_eq!(read(&newer).map(|_| ()), Err(BadSnapshot::Form(2)));
        assert_eq!(tables.snapshot(), bytes);
    }
}
