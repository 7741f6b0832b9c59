//! `events`: the past, and what comes.

use serde_json::Value;

use crate::args::EventsArgs;
use crate::client::Client;
use crate::exit::Failure;
use crate::out::{self, Paint, paint};

/// How many of the past are shown where it is not said.
const LAST: usize = 20;

pub(super) async fn run(client: &Client, args: EventsArgs, json: bool) -> Result<(), Failure> {
    let last = args.last.unwrap_or(LAST);
    if args.no_follow {
        let text = client.get(&format!("/v1/events?last={last}&follow=false")).await?.success()?.text();
        if json {
            return out::print(&text);
        }
        return out::print(&text.lines().map(shown).collect::<String>());
    }
    let show = |data: &str| out::print_and_ask(&if json { format!("{data}\n") } else { shown(data) });
    let path = format!("/v1/events?last={last}");
    tokio::select! {
        ended = client.follow(&path, show) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// One event as a line for people.
fn shown(data: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(data) else { return format!("{data}\n") };
    let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("type") == "lagged" {
        let missed = event.get("missed").and_then(Value::as_u64).unwrap_or_default();
        return format!("{missed} events were missed here\n");
    }
    let severity = match field("severity") {
        "critical" => paint("CRIT", Paint::Bad),
        "warning" => paint("WARN", Paint::Warn),
        _ => "INFO".into(),
    };
    let id = if field("decision").is_empty() { field("id") } else { field("decision") };
    format!("{} {severity} {} {}  {}  id={id}\n", field("time"), field("node"), field("type"), field("text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_the_id_that_why_takes() {
        let line = shown(
            r#"{"time":"2026-11-23T02:13:07.120Z","id":"e-000007","node":"a@h","type":"member.down","severity":"info","text":"b@h is down","decision":"d-00001f"}"#,
        );
        assert_eq!(line, "2026-11-23T02:13:07.120Z INFO a@h member.down  b@h is down  id=d-00001f\n");
        assert_eq!(shown(r#"{"type":"lagged","missed":3}"#), "3 events were missed here\n");
    }
}
