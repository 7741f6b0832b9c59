//! Commands that change something: `form`, `join`, `leave`, `stop`, `drain`, `undrain`, `heal`, `force-leave`,
//! `recover`, `reload`.

use std::time::Duration;

use ekka::admin::dto::{CommandAnswer, ReloadAnswer, StatusAnswer};
use serde_json::{Value, json};

use super::{body, pass_on};
use crate::args::{Command, PlanArgs, WaitArgs};
use crate::client::{Answer, Client};
use crate::exit::{Code, Failure};
use crate::out;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(client: &Client, command: Command, json: bool) -> Result<(), Failure> {
    let (word, fields, wait) = match command {
        Command::Form(plan) => ("form", asked(plan), WaitArgs::default()),
        Command::Undrain(plan) => ("undrain", asked(plan), WaitArgs::default()),
        Command::Leave { plan, wait } => ("leave", asked(plan), wait),
        Command::Heal { plan, wait } => ("heal", asked(plan), wait),
        Command::Drain { plan, wait } => ("drain", asked(plan), wait),
        Command::Stop(plan) => {
            let mut fields = asked(plan);
            fields.push(("by", json!("command")));
            ("stop", fields, WaitArgs::default())
        }
        Command::Join { node, absorb, plan, wait } => {
            let mut fields = asked(plan);
            fields.extend([("node", json!(node)), ("absorb", json!(absorb))]);
            ("join", fields, wait)
        }
        Command::ForceLeave { node, replace_with, alive, plan, wait } => {
            let mut fields = asked(plan);
            fields.extend([("node", json!(node)), ("alive", json!(alive))]);
            fields.extend(replace_with.map(|new| ("replace_with", json!(new))));
            ("force-leave", fields, wait)
        }
        Command::Recover { accept_loss, plan, wait } => {
            let mut fields = asked(plan);
            fields.push(("accept_loss", json!(accept_loss)));
            ("recover", fields, wait)
        }
        _ => return Err(Failure::usage("this is no command for an agent")),
    };
    let mut fields = fields;
    fields.push(("wait", json!(!wait.no_wait)));
    let answer = watched(client, word, &body(&fields), wait, json).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    say(&answer.read()?)
}

fn asked(plan: PlanArgs) -> Vec<(&'static str, Value)> {
    vec![("plan", json!(plan.plan))]
}

pub(super) async fn reload(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.post("/v1/reload", &json!({})).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let reloaded: ReloadAnswer = answer.read()?;
    let mut text = match reloaded.changed.as_slice() {
        [] => "nothing that can change without a restart has changed\n".to_owned(),
        keys => format!("in effect now: {}\n", keys.join(", ")),
    };
    if !reloaded.needs_restart.is_empty() {
        text += &format!("takes effect at the next start: {}\n", reloaded.needs_restart.join(", "));
    }
    for warning in &reloaded.warnings {
        text += &format!("warning: {warning}\n");
    }
    out::print(&text)
}

/// Gives the command, and says how it goes while it lasts. What ends the waiting does not end the work.
async fn watched(client: &Client, word: &str, body: &Value, wait: WaitArgs, json: bool) -> Result<Answer, Failure> {
    let path = format!("/v1/{word}");
    let work = client.post(&path, body);
    let goes_on = |code, word: &str, why: &str| {
        Err(Failure::new(code, word, format!("{why}; the node goes on with it: see `ekka status`")))
    };
    let limit = async {
        match wait.timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => done,
        () = progress(client, json || wait.no_wait) => unreachable!("progress is shown for ever"),
        () = limit => goes_on(Code::TimedOut, "timed_out", &format!("`{word}` is not done yet")),
        _ = tokio::signal::ctrl_c() => goes_on(Code::Failed, "interrupted", "stopped waiting"),
    }
}

/// Says each new reason for waiting, on standard error.
async fn progress(client: &Client, quiet: bool) {
    let mut last = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        if quiet {
            continue;
        }
        let Ok(answer) = client.get("/v1/status").await else { continue };
        let Ok(status) = answer.read::<StatusAnswer>() else { continue };
        let now = format!("{}{}", status.status, status.reason.map(|reason| format!(": {reason}")).unwrap_or_default());
        if now != last {
            out::note(&now);
            last = now;
        }
    }
}

fn say(answer: &CommandAnswer) -> Result<(), Failure> {
    match answer {
        CommandAnswer::Done { text, decision, .. } => out::print(&format!("{text}\nwhy: ekka why {decision}\n")),
        CommandAnswer::Accepted { text, .. } => out::print(&format!("{text}\n")),
        CommandAnswer::Plan { plan, refused } => {
            let mut text: String = plan.iter().map(|line| format!("{line}\n")).collect();
            match refused {
                Some(why) => text += &format!("it would be refused: {why}\n"),
                None => text += "nothing was changed: leave out --plan to do it\n",
            }
            out::print(&text)
        }
    }
}
