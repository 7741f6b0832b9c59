//! Registers as rows of quorum tables, over the state machine that nodes run.
//!
//! Each register is two rows, in two tables, that every change writes in one transaction. A reader that finds them
//! different answers with [`TORN`], which no register ever held.

use std::sync::{Arc, Mutex, MutexGuard};

use ekka::consensus::Group;
use ekka_core::consensus::{Configuration, Frozen, LogPlace, Restored, Restorer, StateMachine};
use ekka_core::table::quorum::{self, Command, Draft, QuorumTables, TableId, Transaction, View, Write};
use ekka_core::time::Wall;

use super::client::outcome;
use super::{Answer, Op, Outcome, RegisterClient, Value};

/// What a reader answers that has seen a half of a transaction.
pub const TORN: u32 = u32::MAX;

const TABLES: [TableId; 2] = [1, 2];
/// How often a transaction is tried where others are faster.
const TRIES: u32 = 20;

/// Quorum tables that can be read beside the group.
#[derive(Default)]
pub struct TablesMachine {
    tables: Arc<Mutex<QuorumTables>>,
}

/// Reads what one replica has applied.
#[derive(Clone)]
pub struct TablesReader {
    tables: Arc<Mutex<QuorumTables>>,
}

fn lock(tables: &Mutex<QuorumTables>) -> MutexGuard<'_, QuorumTables> {
    tables.lock().expect("no holder of this lock panics")
}

impl TablesMachine {
    /// Reads what this replica has applied.
    #[must_use]
    pub fn reader(&self) -> TablesReader {
        TablesReader { tables: Arc::clone(&self.tables) }
    }
}

impl TablesReader {
    fn view(&self) -> View {
        lock(&self.tables).view().clone()
    }
}

impl StateMachine for TablesMachine {
    fn apply(&mut self, _at: LogPlace, command: &[u8]) -> Vec<u8> {
        lock(&self.tables).apply_bytes(command).encode()
    }

    fn reconfigured(&mut self, _configuration: &Configuration) {}

    fn snapshot(&self) -> Vec<u8> {
        lock(&self.tables).snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        lock(&self.tables).restore(snapshot)
    }

    fn freeze(&self) -> Arc<dyn Frozen> {
        lock(&self.tables).freeze()
    }

    fn restorer(&self) -> Restorer {
        lock(&self.tables).restorer()
    }

    fn adopt(&mut self, restored: Restored) -> Result<Vec<u8>, String> {
        StateMachine::adopt(&mut *lock(&self.tables), restored)
    }
}

/// A client of a group whose state machine is a [`TablesMachine`].
pub struct TablesClient<G: ?Sized> {
    group: Arc<G>,
    reader: TablesReader,
}

/// What a step of an operation came to.
enum Step {
    Done(Outcome),
    /// Others were faster, or the tables had to be made: nothing of it was done.
    Again,
}

fn bytes(value: &Value) -> Vec<u8> {
    value.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn value(row: Option<&quorum::Row>) -> Value {
    let (numbers, _) = row.map_or(&[][..], quorum::Row::value).as_chunks::<4>();
    numbers.iter().map(|number| u32::from_le_bytes(*number)).collect()
}

/// What a register holds, read by a transaction: of both its rows.
fn read(draft: &mut Draft, key: &str) -> Result<Value, quorum::NoTable> {
    let [first, second] = TABLES.map(|table| draft.get(table, key.as_bytes()).map(|row| value(row.as_ref())));
    let (first, second) = (first?, second?);
    Ok(if first == second { first } else { vec![TORN] })
}

impl<G: Group + ?Sized> TablesClient<G> {
    /// Reads wait for a barrier, and then take what the replica of that reader has applied.
    #[must_use]
    pub fn new(group: Arc<G>, reader: TablesReader) -> Self {
        Self { group, reader }
    }

    async fn draft(&self) -> Result<Draft, Outcome> {
        // Whatever became of it, nothing of the operation was done: a change that counts as open makes the judgement harder.
        self.group.barrier().await.map_err(|_| Outcome::Fail)?;
        Ok(Draft::new(self.reader.view()))
    }

    async fn propose(&self, command: &Command) -> Result<quorum::Answer, Outcome> {
        let applied = self.group.propose(command.encode()).await.map_err(|error| outcome(&error))?;
        Ok(quorum::Answer::decode(&applied.answer).expect("an answer of this version"))
    }

    /// Makes the tables. Done twice it is done once.
    async fn make(&self) -> Result<Step, Outcome> {
        for table in TABLES {
            // Whatever became of it, nothing of the operation was done.
            self.propose(&Command::Create { table }).await.map_err(|_| Outcome::Fail)?;
        }
        Ok(Step::Again)
    }

    async fn commit(&self, command: &Command, done: Answer, conflict: Option<Answer>) -> Result<Step, Outcome> {
        match self.propose(command).await? {
            quorum::Answer::Committed { .. } => Ok(Step::Done(Outcome::Ok(done))),
            quorum::Answer::Conflict { .. } => Ok(conflict.map_or(Step::Again, |no| Step::Done(Outcome::Ok(no)))),
            quorum::Answer::NoTable { .. } => self.make().await,
            other => panic!("no answer to what was asked: {other:?}"),
        }
    }

    async fn step(&self, key: &str, op: &Op) -> Result<Step, Outcome> {
        if let Op::Write(new) = op {
            let put = |table| Write::Put {
                table,
                key: key.as_bytes().into(),
                value: bytes(&vec![*new])[..].into(),
                expires_at: None,
            };
            let transaction = Transaction { writes: TABLES.map(put).into(), ..Transaction::default() };
            return self.commit(&transaction.into(), Answer::Done, None).await;
        }
        let mut draft = self.draft().await?;
        let Ok(held) = read(&mut draft, key) else {
            return if *op == Op::Read {
                Ok(Step::Done(Outcome::Ok(Answer::Value(Value::new()))))
            } else {
                self.make().await
            };
        };
        let (after, answer) = op.apply(&held);
        if matches!(answer, Answer::Value(_) | Answer::Swapped(false)) {
            return Ok(Step::Done(Outcome::Ok(answer)));
        }
        for table in TABLES {
            draft.put(table, key.as_bytes(), &bytes(&after), None).expect("the table is there, and the row short");
        }
        let command = draft.finish(Wall::default()).expect("a short transaction");
        // No value comes twice, so a row that changed since does not hold what was expected.
        let conflict = matches!(op, Op::Cas { .. }).then_some(Answer::Swapped(false));
        self.commit(&command, answer, conflict).await
    }
}

impl<G: Group + ?Sized> RegisterClient for TablesClient<G> {
    async fn apply(&mut self, key: &str, op: Op) -> Outcome {
        for _ in 0..TRIES {
            match self.step(key, &op).await {
                Ok(Step::Done(outcome)) | Err(outcome) => return outcome,
                Ok(Step::Again) => {}
            }
        }
        Outcome::Fail
    }
}
