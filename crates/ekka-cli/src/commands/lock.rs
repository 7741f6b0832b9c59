//! `lock`: hold one while a command runs, look at them, take one away.

use std::env::current_exe;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::Duration;

use ekka::admin::dto::{ForceReleaseAnswer, HoldLine, LockAnswer};
use ekka::env::boot_ms;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::pass_on;
use crate::args::{LockCommand, RunArgs};
use crate::client::{Client, Lines};
use crate::exit::{Code, Failure};
use crate::out;

/// What a command that was not found, or may not be run, ends with in a shell.
const NOT_RUN: u8 = 127;

pub(super) async fn run(client: &Client, command: LockCommand, as_json: bool) -> Result<(), Failure> {
    match command {
        LockCommand::Run(args) => hold(client, args).await,
        LockCommand::List => list(client, as_json).await,
        LockCommand::ForceRelease { name } => {
            let by = std::process::id();
            let body = json!({"name": name, "by": format!("ekka lock force-release, process {by}")});
            let answer = client.post("/v1/locks/force-release", &body).await?.success()?;
            if as_json {
                return pass_on(&answer.text());
            }
            let ForceReleaseAnswer { name, holders } = answer.read()?;
            out::print(&format!("{name} was taken from {holders} who held it; whoever is next has a higher token\n"))
        }
        LockCommand::Exec { .. } => Err(Failure::usage("`lock exec` asks no agent")),
    }
}

/// Becomes the command, and dies with the process that started this one.
pub(super) fn exec(parent: i32, command: &[OsString]) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::failed(format!("the system does not end this with its parent: {error}")))?;
    // It may have ended before.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return Err(Failure::failed("whoever holds the lock has ended"));
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("no command is given"));
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(Failure::failed(format!("{}: {error}", program.display())).with_exit(NOT_RUN))
}

async fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/locks").await?.success()?;
    if as_json {
        return pass_on(&answer.text());
    }
    let locks: Vec<LockAnswer> = answer.read()?;
    let rows = locks.into_iter().flat_map(|lock| {
        let (name, kind, waiters) = (lock.name, lock.kind, lock.waiters);
        lock.holders.into_iter().map(move |holder| {
            let mode = serde_json::to_value(holder.mode).unwrap_or_default();
            let mode = mode.as_str().unwrap_or_default().to_owned();
            vec![name.clone(), kind.clone(), mode, holder.owner, holder.token.to_string(), waiters.to_string()]
        })
    });
    out::print(&out::table(&["LOCK", "TYPE", "MODE", "HELD BY", "TOKEN", "WAITING"], rows))
}

async fn hold(client: &Client, args: RunArgs) -> Result<(), Failure> {
    let RunArgs { names, wait, ttl, shared, permits, conflict_exit_code, command } = args;
    let mode = match (shared, permits) {
        (true, _) => "shared",
        (false, Some(_)) => "permit",
        (false, None) => "exclusive",
    };
    let mut body = json!({"names": names, "ttl_ms": out::millis(ttl), "mode": mode, "permits": permits});
    if let Some(wait) = wait {
        body["wait_ms"] = out::millis(wait).into();
    }
    let not_had = |failure: Failure| match conflict_exit_code {
        Some(code) if matches!(failure.code(), Code::NotFound | Code::TimedOut) => failure.with_exit(code),
        _ => failure,
    };
    let same_host = client.is_on_this_host();
    let mut lines = client.lines("/v1/locks/hold", &body).await.map_err(not_had)?;
    let first = next(&mut lines).await?.filter(|line| line.state == "held");
    let first = first.ok_or_else(|| Failure::failed("the agent ended before it said that the lock is held"))?;
    let mut child = begin(&command, first.token.unwrap_or(0))?;
    let name = names.join(", ");
    let (status, lost) = Watch { lines, ttl, left: Left::of(&first, same_host), same_host }.over(&mut child).await?;
    if lost {
        eprint(&format!("ekka: lock {name} was lost; the command was ended\n"));
    }
    ended(status)
}

/// What the command ended with is what this one ends with.
fn ended(status: ExitStatus) -> Result<(), Failure> {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::silent(Code::Failed).with_exit(code)),
        Err(_) => Err(Failure::silent(Code::Failed)),
    }
}

fn begin(command: &[OsString], token: u64) -> Result<Child, Failure> {
    let me = current_exe().map_err(|error| Failure::failed(format!("this program is not found: {error}")))?;
    let child = Command::new(me)
        .args(["lock", "exec", "--parent", &std::process::id().to_string(), "--"])
        .args(command)
        .env("EKKA_FENCING_TOKEN", token.to_string())
        .kill_on_drop(true)
        .spawn();
    child.map_err(|error| Failure::failed(format!("the command cannot be started: {error}")))
}

async fn next(lines: &mut Lines) -> Result<Option<HoldLine>, Failure> {
    let Some(line) = lines.next().await? else { return Ok(None) };
    let read = serde_json::from_str(&line);
    read.map(Some).map_err(|error| Failure::failed(format!("the agent says `{line}`: {error}")))
}

/// Until when the lock is valid, should nothing more come.
struct Left {
    until: Instant,
}

impl Left {
    /// By the clock since the host booted, where the agent is on this one: the line may have been under way for long while
    /// this process was stopped. Of an agent elsewhere it is counted from now.
    fn of(line: &HoldLine, same_host: bool) -> Self {
        let left = line.left_ms.unwrap_or(0);
        let by_boot = line.until_boot_ms.filter(|_| same_host).map(|until| until.saturating_sub(boot_ms()));
        Self { until: Instant::now() + Duration::from_millis(by_boot.map_or(left, |boot| boot.min(left))) }
    }
}

/// Watches over a command whose lock is held elsewhere.
struct Watch {
    lines: Lines,
    ttl: Duration,
    left: Left,
    same_host: bool,
}

impl Watch {
    /// Until the command has ended. It is told when a third of the time is left, and killed before all of it is over. Whether
    /// the lock was lost.
    async fn over(mut self, child: &mut Child) -> Result<(ExitStatus, bool), Failure> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (mut told, mut said) = (false, true);
        loop {
            let tell_at = self.left.until - self.ttl / 3;
            let kill_at = self.left.until - self.ttl / 20;
            tokio::select! {
                biased;
                status = child.wait() => return Ok((status?, told)),
                () = sleep_until(kill_at) => {
                    give(child, Signal::KILL);
                    return Ok((child.wait().await?, true));
                }
                () = sleep_until(tell_at), if !told => {
                    told = true;
                    give(child, Signal::TERM);
                }
                // A shell gives the second one to the command itself as well; twice does no harm.
                _ = term.recv() => give(child, Signal::TERM),
                _ = int.recv() => give(child, Signal::INT),
                line = next(&mut self.lines), if said => match line {
                    Ok(Some(line)) if line.state != "lost" => self.left = Left::of(&line, self.same_host),
                    Ok(Some(_)) => {
                        give(child, Signal::KILL);
                        return Ok((child.wait().await?, true));
                    }
                    // The agent has ended: what it has confirmed is valid still, and nothing more comes.
                    Ok(None) | Err(_) => {
                        (said, told) = (false, true);
                        give(child, Signal::TERM);
                    }
                },
            }
        }
    }
}

fn give(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // One that has ended needs none.
    let _ = pid.map(|pid| kill_process(pid, signal));
}

fn eprint(text: &str) {
    use std::io::Write;
    // Nothing is left to be done where standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
