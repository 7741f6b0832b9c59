//! `health`: exit 0 for yes, 1 for no, 5 where the wait ran out, 3 without an agent.

use std::time::{Duration, Instant};

use ekka::admin::dto::{LiveAnswer, ReadyAnswer, SafeAnswer};
use hyper::StatusCode;

use super::pass_on;
use crate::args::{HealthArgs, HealthOf, ReadyFor};
use crate::client::{Answer, Client};
use crate::exit::{Code, Failure};
use crate::out;

/// How often it is asked while waiting.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(client: &Client, args: HealthArgs, json: bool) -> Result<(), Failure> {
    let path = match (args.what, args.for_) {
        (HealthOf::Live, _) => "/v1/health/live",
        (HealthOf::Ready, None | Some(ReadyFor::Quorum)) => "/v1/health/ready?for=quorum",
        (HealthOf::Ready, Some(ReadyFor::Available)) => "/v1/health/ready?for=available",
        (HealthOf::SafeToStop, None) => "/v1/health/safe-to-stop",
        (HealthOf::SafeToStop, Some(ReadyFor::Quorum)) => "/v1/health/safe-to-stop?for=quorum",
        (HealthOf::SafeToStop, Some(ReadyFor::Available)) => "/v1/health/safe-to-stop?for=available",
    };
    let begun = Instant::now();
    loop {
        let asked = client.get(path).await;
        let left = args.wait.map(|wait| wait.saturating_sub(begun.elapsed()));
        let answer = match (asked, left) {
            // An agent that restarts is waited for.
            (Err(failure), Some(left)) if failure.code() == Code::NoAgent && !left.is_zero() => {
                tokio::time::sleep(PAUSE.min(left)).await;
                continue;
            }
            (asked, _) => asked?,
        };
        let yes = match answer.status {
            StatusCode::OK => true,
            StatusCode::SERVICE_UNAVAILABLE => false,
            _ => return answer.success().map(|_| ()),
        };
        match left {
            Some(left) if !yes && !left.is_zero() => tokio::time::sleep(PAUSE.min(left)).await,
            _ => {
                say(&answer, args.what, json)?;
                return match (yes, left) {
                    (true, _) => Ok(()),
                    (false, None) => Err(Failure::silent(Code::Failed)),
                    (false, Some(_)) => Err(Failure::silent(Code::TimedOut)),
                };
            }
        }
    }
}

fn say(answer: &Answer, what: HealthOf, json: bool) -> Result<(), Failure> {
    if json {
        return pass_on(&answer.text());
    }
    let (yes, word, reasons) = match what {
        HealthOf::Live => {
            let live: LiveAnswer = read(answer)?;
            (live.live, "live".to_owned(), vec![format!("the last step was {} ms ago", live.last_step_ms)])
        }
        HealthOf::Ready => {
            let ready: ReadyAnswer = read(answer)?;
            let reasons = ready.reasons.into_iter().map(|reason| reason.text).collect();
            (ready.ready, format!("ready for {} work", ready.for_), reasons)
        }
        HealthOf::SafeToStop => {
            let safe: SafeAnswer = read(answer)?;
            (safe.safe, "safe to stop".to_owned(), safe.reasons)
        }
    };
    if yes {
        return out::print(&format!("{word}\n"));
    }
    let reasons: String = reasons.iter().map(|reason| format!(": {reason}")).collect();
    out::print(&format!("not {word}{reasons}\n"))
}

/// An agent that is stopping answers with an error, which is a no as well.
fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    answer.read().or_else(|failure| answer.clone().success().and(Err(failure)))
}
