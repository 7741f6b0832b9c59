//! Clients of the real group, the engine's adapter over a simulated network and discs that lose what was not synced,
//! while replicas are killed, lose power, are cut off and stand still: one run by a seed.

use std::sync::Arc;
use std::time::Duration;

use ekka::testing::PlantedFault;
use ekka_core::rng::Rng;
use tokio::time::{Instant, sleep, timeout};

use super::replicas::{ReplicaClient, Replicas};
use super::{Limits, Recorder, Verdict, Workload, check, drive};
use crate::failure::{Failure, words_of};

/// Clients of a run.
const CLIENTS: u32 = 6;
/// Operations of each.
const OPS: u32 = 40;
/// Registers.
const KEYS: u32 = 3;
/// After so many changes whose outcome is unknown a client stops: each makes the judgement harder.
const UNKNOWN_MAX: u32 = 5;
/// With everything repaired there is a leader again within this time.
const LEADER_WITHIN: Duration = Duration::from_secs(20);
/// Clients are done within this time.
const DONE_WITHIN: Duration = Duration::from_secs(300);

/// What the group of a run keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// Registers.
    Registers,
    /// Quorum tables, with a register in each two rows.
    Tables,
}

/// What a seed means.
#[derive(Clone, Copy, Debug)]
pub struct LinearPlan {
    /// The seed.
    pub seed: u64,
    /// What the group keeps.
    pub kept: Kept,
    /// A fault put in on purpose.
    pub planted: Option<PlantedFault>,
}

/// Figures of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinearReport {
    /// Operations that were answered.
    pub answered: usize,
    /// All that were asked.
    pub asked: usize,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// A hash over the history.
    pub hash: u64,
}

impl LinearPlan {
    /// The plan of a seed, without a planted fault.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { seed, kept: Kept::Registers, planted: None }
    }

    /// The same over quorum tables.
    #[must_use]
    pub fn of_tables(seed: u64) -> Self {
        Self { kept: Kept::Tables, ..Self::from_seed(seed) }
    }

    /// Runs it and judges the history.
    ///
    /// # Errors
    /// The history is not linearizable, that was not decided, or the group did not come back.
    pub fn run(&self) -> Result<LinearReport, Failure> {
        let run = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            // The engine lets chance decide what of several that is ready comes first. Only so is that chance the seed's.
            #[cfg(tokio_unstable)]
            runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&self.seed.to_be_bytes()));
            let runtime = runtime.enable_time().start_paused(true).build();
            runtime.expect("a runtime without sockets needs nothing").block_on(self.go())
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let ended = ended.unwrap_or_else(|panic| Err(words_of(panic.as_ref())));
        ended.map_err(|what| Failure { what, trace: Vec::new() })
    }

    async fn go(&self) -> Result<LinearReport, String> {
        let begin = Instant::now();
        let mut rng = Rng::new(self.seed).child("linear");
        // Seeds of registers that found something stay what they are.
        let mut pauses = Rng::new(self.seed).child("pauses");
        let count = [3, 3, 5, 2][rng.index(4)];
        let replicas = Arc::new(Replicas::new(self.seed, count, (self.kept, self.planted)));
        replicas.found().await?;
        let recorder = Recorder::default();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let (replicas, recorder) = (replicas.clone(), recorder.clone());
            let workload = Workload { seed: self.seed, client, ops: OPS, keys: KEYS, unknown_max: UNKNOWN_MAX };
            clients.spawn(async move {
                // A third of them read through the log, the others behind a barrier, each on a replica of its own.
                let mut client = ReplicaClient::new(replicas, client as usize % count, client % 3 == 0);
                drive(&mut client, &recorder, workload).await;
            });
        }
        let faults = async {
            for _ in 0..4 + rng.below(12) {
                sleep(rng.up_to(Duration::from_millis(1_500))).await;
                match (self.kept, pauses.below(4)) {
                    (Kept::Registers, _) | (_, 0) => {}
                    (Kept::Tables, 1) => replicas.pause(&mut pauses),
                    (Kept::Tables, _) => replicas.wake(),
                }
                replicas.fault(&mut rng).await?;
            }
            replicas.repair().await?;
            replicas.leader(LEADER_WITHIN).await
        };
        faults.await?;
        let all = async {
            while clients.join_next().await.transpose().map_err(|error| error.to_string())?.is_some() {}
            Ok(())
        };
        timeout(DONE_WITHIN, all)
            .await
            .map_err(|_| "clients are not done".to_owned())
            .and_then(|done: Result<(), String>| done)?;
        replicas.verdict()?;
        let history = recorder.history();
        match check(&history, Limits::default()) {
            Verdict::Linearizable => {}
            Verdict::Violated { key, report } => return Err(format!("{key} is not linearizable:\n{report}")),
            Verdict::Undecided { key, why } => {
                return Err(format!("whether {key} is linearizable was not decided: {why}"));
            }
        }
        let mut trace = crate::trace::Trace::new();
        trace.note(begin.elapsed(), &format!("{history:?}"));
        let virtual_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(LinearReport {
            answered: history.answered(),
            asked: history.entries().len(),
            virtual_ms,
            hash: trace.hash(),
        })
    }
}
