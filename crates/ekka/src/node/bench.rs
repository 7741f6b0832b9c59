//! Measures commits of the cluster's groups: how many a second, how long each takes, how many syncs of the disc.

use std::ops::Range;
use std::time::Duration;

use ekka_core::control::CommandError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Node;

/// Before a proposer goes on whose last proposal came to nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Which group commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BenchGroup {
    /// The one whose log is on disc: each commit takes one fencing token.
    Durable,
    /// The one whose log is in memory: each commit counts one further.
    Volatile,
}

/// What is to be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitPlan {
    /// Of which group.
    pub group: BenchGroup,
    /// Proposals at once.
    pub proposers: usize,
    /// For how long.
    pub time: Duration,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct CommitFigures {
    /// Proposals that were acknowledged.
    pub commits: u64,
    /// Proposals of which nobody knows what became of them.
    pub unknown: u64,
    /// For how long.
    pub time: Duration,
    /// Half of the acknowledged ones took no longer.
    pub p50: Duration,
    /// Of a hundred one took longer.
    pub p99: Duration,
    /// Syncs of this node's store meanwhile.
    pub syncs: u64,
    /// The lowest and the highest number that was given out.
    pub span: Option<(u64, u64)>,
    /// Whether this node led the group at the end.
    pub leads: bool,
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
impl CommitFigures {
    /// Acknowledged proposals in a second.
    #[must_use]
    pub fn commits_per_s(&self) -> f64 {
        self.commits as f64 / self.time.as_secs_f64()
    }

    /// Syncs of this node's store for each commit; zero where there was none.
    #[must_use]
    pub fn syncs_per_commit(&self) -> f64 {
        self.syncs as f64 / self.commits.max(1) as f64
    }
}

/// One answer: when it was asked for, when it came, and the numbers that it gave.
struct Given {
    asked: Instant,
    answered: Instant,
    drawn: Drawn,
}

/// Numbers of one counter. That of another generation of the volatile group is another counter.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Drawn {
    generation: u64,
    numbers: Range<u64>,
}

/// What one proposer has.
#[derive(Default)]
struct Tally {
    given: Vec<Given>,
    unknown: u64,
}

impl Node {
    /// Has commands committed for a while, after a fifth of that time to warm up. Each is a fetch-and-add; the answers
    /// are checked: no number was given twice, and an answer that was there before another was asked for is lower.
    ///
    /// # Errors
    /// `Refused`: there is no such group here, or it takes no such command now. `Failed`: the answers contradict each
    /// other.
    pub async fn bench_commits(&self, plan: CommitPlan) -> Result<CommitFigures, CommandError> {
        if plan.group == BenchGroup::Volatile && self.volatile().is_none() {
            return Err(CommandError::Refused("this node serves no volatile group".into()));
        }
        self.commit_for(CommitPlan { time: plan.time / 5, ..plan }).await?;
        self.commit_for(plan).await
    }

    async fn commit_for(&self, plan: CommitPlan) -> Result<CommitFigures, CommandError> {
        let syncs = self.inner.shared.syncs();
        let begun = Instant::now();
        let mut proposers = JoinSet::new();
        for _ in 0..plan.proposers.max(1) {
            let node = self.clone();
            proposers.spawn(async move { node.propose_for(plan.group, begun, plan.time).await });
        }
        let mut all = Tally::default();
        while let Some(ended) = proposers.join_next().await {
            // A proposer neither panics nor is aborted.
            if let Ok(tally) = ended {
                let Tally { given, unknown } = tally?;
                all.given.extend(given);
                all.unknown += unknown;
            }
        }
        let time = begun.elapsed();
        let syncs = self.inner.shared.syncs() - syncs;
        consistent(&mut all.given).map_err(CommandError::Failed)?;
        Ok(CommitFigures { syncs, leads: self.leads(plan.group), ..figures(&all, time) })
    }

    async fn propose_for(&self, group: BenchGroup, begun: Instant, time: Duration) -> Result<Tally, CommandError> {
        let mut tally = Tally::default();
        while begun.elapsed() < time {
            let asked = Instant::now();
            match self.add_one(group).await {
                Ok(drawn) => tally.given.push(Given { asked, answered: Instant::now(), drawn }),
                Err(CommandError::Failed(_)) => {
                    tally.unknown += 1;
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }

    async fn add_one(&self, group: BenchGroup) -> Result<Drawn, CommandError> {
        match group {
            BenchGroup::Durable => self.take_tokens(1).await.map(|numbers| Drawn { generation: 0, numbers }),
            BenchGroup::Volatile => {
                let counted = self.count(1).await.map_err(|error| CommandError::Failed(error.to_string()))?;
                Ok(Drawn { generation: counted.generation, numbers: counted.numbers })
            }
        }
    }

    fn leads(&self, group: BenchGroup) -> bool {
        match group {
            BenchGroup::Durable => self.leads_durable_group(),
            BenchGroup::Volatile => self.volatile().is_some_and(|volatile| volatile.group().standing().borrow().leads),
        }
    }
}

/// Whether one counter can have given these answers; in words what contradicts it. They are sorted by their numbers.
fn consistent(given: &mut [Given]) -> Result<(), String> {
    given.sort_unstable_by_key(|one| (one.drawn.generation, one.drawn.numbers.start));
    for of_one in given.chunk_by(|one, other| one.drawn.generation == other.drawn.generation) {
        // The latest question among lower numbers: whoever has a higher one must not have had its answer before that.
        let mut latest_question: Option<Instant> = None;
        let mut end = 0;
        for Given { asked, answered, drawn } in of_one {
            let number = drawn.numbers.start;
            if number < end {
                return Err(format!("{number} was given twice"));
            }
            end = drawn.numbers.end;
            if latest_question.is_some_and(|asked| asked > *answered) {
                return Err(format!("a number below {number} was given to one who asked after {number} was answered"));
            }
            latest_question = latest_question.max(Some(*asked));
        }
    }
    Ok(())
}

/// Half of these times are no longer than the first, all but a hundredth no longer than the second; zero where there are
/// none. They are sorted by it.
pub(crate) fn percentiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let of = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    (of(50), of(99))
}

fn figures(all: &Tally, time: Duration) -> CommitFigures {
    let mut times: Vec<Duration> = all.given.iter().map(|one| one.answered - one.asked).collect();
    let (p50, p99) = percentiles(&mut times);
    let first = all.given.first().map(|one| one.drawn.numbers.start);
    let last = all.given.last().map(|one| one.drawn.numbers.end - 1);
    CommitFigures {
        commits: times.len() as u64,
        unknown: all.unknown,
        time,
        p50,
        p99,
        syncs: 0,
        span: first.zip(last),
        leads: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(numbers: Range<u64>, asked: u64, answered: u64) -> Given {
        let begun = Instant::now();
        let at = |s| begun + Duration::from_secs(1000 + s);
        Given { asked: at(asked), answered: at(answered), drawn: Drawn { generation: 1, numbers } }
    }

    #[test]
    fn answers_of_one_counter_are_taken_and_others_are_not() {
        assert_eq!(consistent(&mut [given(2..3, 5, 9), given(1..2, 0, 8), given(7..9, 10, 11)]), Ok(()));
        let twice = consistent(&mut [given(1..3, 0, 1), given(2..3, 5, 9)]);
        assert!(twice.is_err_and(|words| words.contains("twice")));
        let back = consistent(&mut [given(5..6, 0, 1), given(1..2, 20, 21)]);
        assert!(back.is_err_and(|words| words.contains("asked after")));
    }
}
