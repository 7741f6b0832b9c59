//! `status`: what the person on call reads first.

use ekka::admin::dto::{DecisionAnswer, SplitAnswer, StatusAnswer, VolatileAnswer};

use super::pass_on;
use crate::client::Client;
use crate::exit::Failure;
use crate::out::{self, Paint, ago, clock, paint, paint_of_status};

pub(super) async fn run(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/status").await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let status: StatusAnswer = answer.read()?;
    // The latest decision is the door to all others; without it the rest is no less true.
    let latest = match client.get("/v1/decisions?last=1").await {
        Ok(answer) => answer.read::<Vec<DecisionAnswer>>().unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    out::print(&shown(&status, latest.first()))
}

fn shown(status: &StatusAnswer, latest: Option<&DecisionAnswer>) -> String {
    let mut text = head(status);
    line(&mut text, "quorum", &quorum(status));
    line(&mut text, "volatile", &volatile(&status.volatile));
    line(&mut text, "split", &split(&status.split));
    for lost in &status.split.unreachable {
        let seen = if lost.seen_by.is_empty() {
            String::new()
        } else {
            format!("; still heard by {}", lost.seen_by.join(", "))
        };
        more(&mut text, &format!("{}: {} since {}{seen}", lost.name, lost.evidence, clock(&lost.since)));
    }
    for (from, to) in &status.split.links {
        more(&mut text, &format!("{from} hears no {to}"));
    }
    lines(&mut text, "waits", status.reasons.iter().map(|r| format!("{} (for {})", r.text, ago(&r.since))));
    let conflicts = status.conflicts.iter();
    lines(
        &mut text,
        "conflict",
        conflicts.map(|c| format!("{} met {} of cluster {}", c.why, c.met, c.other_cluster_id)),
    );
    let alarms =
        status.alarms.iter().map(|a| format!("{}: {} (for {})", paint(&a.code, Paint::Bad), a.text, ago(&a.since)));
    lines(&mut text, "alarm", alarms);
    lines(&mut text, "what to do", status.advice.iter().cloned());
    if let Some(latest) = latest {
        line(&mut text, "why", &format!("ekka why {}  ({})", latest.id, latest.what));
    }
    text
}

fn head(status: &StatusAnswer) -> String {
    let ready = match (status.ready_for.quorum, status.ready_for.available) {
        (true, _) => paint("ready", Paint::Good),
        (false, true) => paint("ready for available work only", Paint::Warn),
        (false, false) => paint("not ready", Paint::Bad),
    };
    let id = status.cluster_id.as_deref().map_or_else(|| "not formed".into(), out::short);
    format!(
        "{}   {}, {ready}   cluster {} ({id})   version {}\n",
        paint(&status.node, Paint::Strong),
        paint(&status.status, paint_of_status(&status.status)),
        status.cluster_name,
        status.version,
    )
}

/// The group of locks and of quorum tables in memory.
fn volatile(group: &VolatileAnswer) -> String {
    if group.generation == 0 {
        return "has not begun".into();
    }
    let leader = group.leader.as_deref().unwrap_or("not known here");
    let lost = if group.lost { "; writes acknowledged before it may be missing" } else { "" };
    format!("generation {}, {} voters, leader {leader}{lost}", group.generation, group.voters.len())
}

fn quorum(status: &StatusAnswer) -> String {
    let quorum = &status.quorum;
    if quorum.voters == 0 {
        return "no voters yet".into();
    }
    let leader = status.leader.as_deref().unwrap_or("none");
    let hold = if quorum.in_reach >= quorum.needed {
        format!("can lose {} more", quorum.can_lose)
    } else {
        format!("{} needed", quorum.needed)
    };
    format!("{} of {} voters in reach, leader {leader}; {hold}", quorum.in_reach, quorum.voters)
}

fn split(split: &SplitAnswer) -> String {
    let state = match split.state.as_str() {
        "none" => return "none".into(),
        "minority" => paint("MINORITY", Paint::Bad),
        other => paint(&other.to_uppercase(), Paint::Warn),
    };
    let since =
        split.since.as_ref().map(|since| format!(" since {} ({})", clock(since), ago(since))).unwrap_or_default();
    let means = match split.state.as_str() {
        "minority" => "; quorum tables and locks refuse, available tables go on",
        "suspected" => "; crash or cut, that cannot be told from here",
        "partial" => "; all run, but links are broken",
        _ => "",
    };
    format!("{state}{since}{means}")
}

fn line(text: &mut String, name: &str, value: &str) {
    *text += &format!("{name:<12}{value}\n");
}

fn more(text: &mut String, value: &str) {
    line(text, "", value);
}

fn lines(text: &mut String, name: &str, values: impl Iterator<Item = String>) {
    for (n, value) in values.enumerate() {
        line(text, if n == 0 { name } else { "" }, &value);
    }
}
