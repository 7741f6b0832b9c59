//! What clients do, by seed.

use ekka_core::rng::Rng;

use super::{Answer, Op, Outcome, Recorder, RegisterClient, Value};

/// What one client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Gives everything else.
    pub seed: u64,
    /// Which client this is; its values are its own.
    pub client: u32,
    /// Operations, one after the other.
    pub ops: u32,
    /// Registers that it uses, `k0` and so on, all clients the same.
    pub keys: u32,
    /// After so many operations with an unknown outcome it stops: each makes the judgement harder.
    pub unknown_max: u32,
}

/// Values of one client begin with its number times this.
const VALUES: u32 = 100_000;

/// Does a workload, and records it. Every value is written once in a run, so that it tells where it is from.
pub async fn drive<C: RegisterClient>(client: &mut C, recorder: &Recorder, workload: Workload) {
    let Workload { seed, client: number, ops, keys, unknown_max } = workload;
    let mut rng = Rng::new(seed).child("registers");
    let mut rng = Rng::new(rng.next_u64() ^ u64::from(number));
    let mut seen = vec![Value::new(); keys as usize];
    let mut unknown = 0;
    for n in 0..ops {
        let register = rng.index(keys as usize);
        let key = format!("k{register}");
        let value = number * VALUES + n;
        let op = match rng.below(10) {
            0..=3 => Op::Read,
            4 => Op::Write(value),
            5 | 6 => Op::Cas { from: seen[register].clone(), to: value },
            _ => Op::Append(value),
        };
        let call = recorder.call(number, &key, op.clone());
        let outcome = client.apply(&key, op.clone()).await;
        if let Outcome::Ok(answer) = &outcome {
            seen[register] = match answer {
                Answer::Value(value) => value.clone(),
                Answer::Done | Answer::Swapped(true) => op.apply(&seen[register]).0,
                Answer::Swapped(false) => Value::new(),
            };
        }
        unknown += u32::from(outcome == Outcome::Unknown && op.changes());
        recorder.end(call, outcome);
        if unknown > unknown_max {
            return;
        }
    }
}
