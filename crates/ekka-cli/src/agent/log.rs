//! The log on standard error: text for people, JSON for collectors, with the fields of OPERATIONS section 6.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::SystemTime;

use ekka::config::{Config, LogFormat};
use ekka::core::view::View;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::exit::Failure;

/// Who this process is, as far as it is known yet.
static IDENTITY: OnceLock<(String, String)> = OnceLock::new();

/// Begins to write.
pub(super) fn begin(config: &Config) -> Result<(), Failure> {
    let level = &config.log.level;
    // The library's own line for each event has no words and no id of an event: the agent writes a better one.
    // The consensus engine calls every peer that is away an error, five times a second; the node says what that means.
    let filter = EnvFilter::try_new(format!("openraft=off,fjall=warn,lsm_tree=warn,{level},ekka::event=off"))
        .map_err(|error| Failure::usage(format!("log.level = {level}: {error}")))?;
    let terminal = std::io::stderr().is_terminal();
    let json = match config.log.format {
        Some(format) => format == LogFormat::Json,
        None => !terminal,
    };
    let lines = Lines { json, node: config.node.name.to_string(), cluster: config.cluster.name.clone() };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(lines)
        .try_init()
        .map_err(|error| Failure::failed(format!("the log cannot be written: {error}")))
}

/// Adds who this start is to each JSON line.
pub(super) fn identify(view: &View) {
    let identity = (view.me.node_id.to_string(), view.me.guid.to_string());
    // A restart in process keeps the first; its own first line says the new one.
    let _ = IDENTITY.set(identity);
}

/// How lines look.
struct Lines {
    json: bool,
    node: String,
    cluster: String,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let level = event.metadata().level().as_str();
        if self.json {
            writeln!(writer, "{}", self.json(&time, level, event.metadata().target(), fields))
        } else {
            writeln!(writer, "{}", self.text(&time, level, &fields))
        }
    }
}

impl Lines {
    fn json(&self, time: &str, level: &str, target: &str, fields: Fields) -> Value {
        let mut line = Map::new();
        line.insert("ts".into(), time.into());
        line.insert("level".into(), level.to_lowercase().into());
        line.insert("target".into(), target.into());
        line.insert("msg".into(), fields.message.into());
        line.insert("node".into(), self.node.clone().into());
        line.insert("cluster".into(), self.cluster.clone().into());
        if let Some((node_id, guid)) = IDENTITY.get() {
            line.insert("node_id".into(), node_id.clone().into());
            line.insert("guid".into(), guid.clone().into());
        }
        for (name, value) in fields.others {
            line.insert(name.into(), value);
        }
        line.into()
    }

    fn text(&self, time: &str, level: &str, fields: &Fields) -> String {
        let mut line = format!("{time} {level} {}", self.node);
        if let Some((_, Value::String(event))) = fields.others.iter().find(|(name, _)| *name == "event") {
            line += &format!(" {event}");
        }
        line += &format!(" {}", one_line(&fields.message));
        for (name, value) in fields.others.iter().filter(|(name, _)| *name != "event") {
            match value {
                Value::String(text) if !text.is_empty() && !text.contains([' ', '\n', '"', '=']) => {
                    line += &format!(" {name}={text}");
                }
                value => line += &format!(" {name}={value}"),
            }
        }
        line
    }
}

/// Foreign words must not begin a line of their own.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace(|c: char| c.is_control(), "?")
}

/// The fields of one line.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), text.into()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.push((field.name(), value.into()));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        Lines { json: false, node: "a@h".into(), cluster: "ekka".into() }
    }

    fn fields() -> Fields {
        Fields {
            message: "b@h is down:\nsilent".into(),
            others: vec![
                ("event", "member.down".into()),
                ("peer", "b@h".into()),
                ("id", "d-00001f".into()),
                ("count", 3.into()),
            ],
        }
    }

    #[test]
    fn text_has_time_level_node_event_and_fields_in_one_line() {
        let line = lines().text("2026-11-23T02:13:07.120Z", "WARN", &fields());
        assert_eq!(
            line,
            "2026-11-23T02:13:07.120Z WARN a@h member.down b@h is down:\\nsilent peer=b@h id=d-00001f count=3"
        );
    }

    #[test]
    fn json_has_the_names_of_the_contract() {
        let line = lines().json("2026-11-23T02:13:07.120Z", "WARN", "ekka", fields());
        for name in ["ts", "level", "target", "msg", "node", "cluster", "event", "peer", "id", "count"] {
            assert!(line.get(name).is_some(), "{name} is not in {line}");
        }
        assert_eq!(line["level"], "warn");
    }
}
