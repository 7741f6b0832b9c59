//! Reading a backup: every byte is looked at, and what is wrong is named with its place.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};

use ring::digest::{Context, SHA256};

use super::form::{FORM, Head, LENGTH, MAGIC, PIECE_MAX, Piece, SUM, SavedRow, TableHead};

/// A backup is damaged, or is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at byte {at}, in {within}: {what}")]
pub struct Damaged {
    /// The byte at which what is wrong begins.
    pub at: u64,
    /// In which part of it.
    pub within: String,
    /// What is wrong.
    pub what: String,
}

/// Why a backup could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is damaged, or is none.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The system refuses.
    #[error("at byte {at}: {error}")]
    Io {
        /// How far it was read.
        at: u64,
        /// What the system says.
        error: io::Error,
    },
}

/// Where in a backup the reader is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Start,
    Between,
    Table { name: String, rows: u64, origins: usize, last: Option<Vec<u8>> },
    Ended,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("its head"),
            Self::Between => f.write_str("what follows a table"),
            Self::Table { name, rows, .. } => write!(f, "the table {name}, after {rows} of its rows"),
            Self::Ended => f.write_str("its end"),
        }
    }
}

/// Reads a backup piece by piece.
pub struct Reader<R> {
    from: R,
    sum: Context,
    at: u64,
    place: Place,
    tables: (u64, u64),
    names: BTreeSet<String>,
    rows: u64,
}

impl<R: Read> Reader<R> {
    /// Begins to read: what is there of the head.
    ///
    /// # Errors
    /// It is no backup, is of another form, or its head is damaged.
    pub fn open(from: R) -> Result<(Self, Head), ReadError> {
        let mut reader = Self {
            from,
            sum: Context::new(&SHA256),
            at: 0,
            place: Place::Start,
            tables: (0, 0),
            names: BTreeSet::new(),
            rows: 0,
        };
        let magic = reader.bytes(MAGIC.len())?;
        if magic != MAGIC {
            return Err(reader.wrong(0, "it does not begin as a backup does".into()));
        }
        let form = reader.bytes(2)?;
        let form = u16::from_le_bytes([form[0], form[1]]);
        if form != FORM {
            return Err(reader.wrong(8, format!("it has the form {form}, and this version reads {FORM}")));
        }
        let begun = reader.at;
        match reader.piece()? {
            Piece::Head(head) => {
                reader.tables.1 = head.tables;
                reader.place = Place::Between;
                Ok((reader, head))
            }
            _ => Err(reader.wrong(begun, "its first piece is no head".into())),
        }
    }

    /// The next piece; `None` at the end, once the whole of it was found right.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece>, ReadError> {
        if self.place == Place::Ended {
            return Ok(None);
        }
        let begun = self.at;
        let piece = self.piece()?;
        self.follow(begun, &piece)?;
        if self.place == Place::Ended {
            self.end()?;
        }
        Ok(Some(piece))
    }

    fn follow(&mut self, begun: u64, piece: &Piece) -> Result<(), ReadError> {
        match (&mut self.place, piece) {
            (Place::Between, Piece::Table(head)) => {
                let name = head.schema.name.clone();
                if !self.names.insert(name.clone()) {
                    return Err(self.wrong(begun, format!("the table {name} stands in it twice")));
                }
                self.place = Place::Table { name, rows: 0, origins: head.origins.len(), last: None };
                self.tables.0 += 1;
                Ok(())
            }
            (Place::Table { rows, origins, last, .. }, Piece::Rows(more)) => {
                if let Some(what) = complaint(more, *origins, last) {
                    return Err(self.wrong(begun, what.into()));
                }
                *rows += more.len() as u64;
                self.rows += more.len() as u64;
                Ok(())
            }
            (Place::Table { rows, .. }, Piece::TableEnd { rows: given }) if rows == given => {
                self.place = Place::Between;
                Ok(())
            }
            (Place::Between, Piece::End { tables, rows })
                if (*tables, *rows) == (self.tables.0, self.rows) && *tables == self.tables.1 =>
            {
                self.place = Place::Ended;
                Ok(())
            }
            _ => Err(self.wrong(begun, "a piece does not follow from those before it".into())),
        }
    }

    fn piece(&mut self) -> Result<Piece, ReadError> {
        let begun = self.at;
        let len = self.bytes(LENGTH)?;
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        if len > PIECE_MAX {
            return Err(self.wrong(begun, format!("a piece of {len} bytes, and none has more than {PIECE_MAX}")));
        }
        let packed = self.bytes(len)?;
        let is = self.sum.clone().finish();
        if self.bytes(SUM)? != is.as_ref()[..SUM] {
            let what = format!("the {len} bytes of the piece that begins there, or their sum, are not those written");
            return Err(self.wrong(begun, what));
        }
        postcard::from_bytes(&packed)
            .map_err(|error| self.wrong(begun, format!("a piece that this version does not know: {error}")))
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let is = self.sum.clone().finish();
        let begun = self.at;
        if self.bytes(is.as_ref().len())? != is.as_ref() {
            return Err(self.wrong(begun, "the SHA-256 is not that of what is in front of it".into()));
        }
        let mut more = [0];
        match self.from.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.wrong(self.at, "something follows the end".into())),
            Err(error) => Err(ReadError::Io { at: self.at, error }),
        }
    }

    /// The next so many bytes, counted into the sum.
    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(len as u64).read_to_end(&mut bytes);
        read.map_err(|error| ReadError::Io { at: self.at, error })?;
        self.sum.update(&bytes);
        self.at += bytes.len() as u64;
        if bytes.len() < len {
            let what = format!("it is cut off: {} bytes are missing at least", len - bytes.len());
            return Err(self.wrong(self.at, what));
        }
        Ok(bytes)
    }

    fn wrong(&self, at: u64, what: String) -> ReadError {
        Damaged { at, within: self.place.to_string(), what }.into()
    }
}

/// What is wrong with rows, where something is.
fn complaint(rows: &[SavedRow], origins: usize, last: &mut Option<Vec<u8>>) -> Option<&'static str> {
    for row in rows {
        if last.as_deref().is_some_and(|last| last >= &*row.key) {
            return Some("rows are not in the order of their keys");
        }
        if origins > 0 && row.origin as usize >= origins {
            return Some("a row is of nobody who is listed");
        }
        *last = Some(row.key.to_vec());
    }
    None
}

/// A table of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSummary {
    /// What stands before its rows.
    pub head: TableHead,
    /// How many rows it has.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// What is in a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Where it comes from.
    pub head: Head,
    /// Its tables.
    pub tables: Vec<TableSummary>,
    /// How long it is.
    pub bytes: u64,
}

impl Summary {
    /// The rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// Reads a backup whole.
///
/// # Errors
/// What is wrong, and where.
pub fn check(from: impl Read) -> Result<Summary, ReadError> {
    let (mut reader, head) = Reader::open(from)?;
    let mut tables: Vec<TableSummary> = Vec::new();
    while let Some(piece) = reader.next_piece()? {
        match (piece, tables.last_mut()) {
            (Piece::Table(head), _) => tables.push(TableSummary { head, rows: 0, bytes: 0 }),
            (Piece::Rows(rows), Some(table)) => {
                table.rows += rows.len() as u64;
                table.bytes += rows.iter().map(|row| (row.key.len() + row.value.len()) as u64).sum::<u64>();
            }
            _ => {}
        }
    }
    Ok(Summary { head, tables, bytes: reader.at })
}
