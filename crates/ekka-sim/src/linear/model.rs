//! The register as the checker sees it.

use porcupine_rs::{Model, Operation};

use super::{Answer, Entry, Op, Outcome, Value};

/// An operation, with its answer where one came.
#[derive(Clone, Debug)]
pub(super) struct Step {
    op: Op,
    answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub(super) struct Register;

impl Model for Register {
    type State = Value;
    type Op = Step;
    type Metadata = ();

    fn init() -> Value {
        Value::new()
    }

    fn step(state: &Value, step: &Step) -> (bool, Value) {
        let (after, answer) = step.op.apply(state);
        (step.answer.as_ref().is_none_or(|heard| *heard == answer), after)
    }
}

/// The operations that bear on linearizability: answered ones, and changes whose outcome is unknown, which may take
/// effect at any time after their call (at the very end is as good as never).
pub(super) fn operations(entries: &[&Entry]) -> Vec<Operation<Register>> {
    let place = |place: u64| i64::try_from(place).expect("fewer operations than 2^63");
    entries
        .iter()
        .filter_map(|entry| {
            let (ended, answer) = match &entry.ended {
                Some((ended, Outcome::Ok(answer))) => (place(*ended), Some(answer.clone())),
                Some((_, Outcome::Unknown)) | None if entry.op.changes() => (i64::MAX, None),
                Some((_, Outcome::Fail | Outcome::Unknown)) | None => return None,
            };
            let op = Step { op: entry.op.clone(), answer };
            let client_id = Some(entry.client);
            Some(Operation { client_id, call_time: place(entry.called), return_time: ended, op, metadata: None })
        })
        .collect()
}
