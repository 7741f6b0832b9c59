//! `check`: what is in effect, where it came from, and what it means.

use ekka::config::{Loaded, TlsMode, explain};
use ekka::transport::{CookieSet, Kdf};
use serde_json::json;

use crate::args::ConfigArgs;
use crate::exit::Failure;
use crate::{out, settings};

pub(super) fn run(args: &ConfigArgs, json: bool) -> Result<(), Failure> {
    let loaded = settings::load(args)?;
    let print = fingerprint(&loaded)?;
    let lines = explain(&loaded.config, print.as_deref());
    if json {
        let values = loaded
            .values
            .iter()
            .map(|value| json!({"key": value.key, "value": value.value, "source": value.source.to_string()}));
        let notices =
            loaded.notices.iter().map(|notice| json!({"source": notice.place.to_string(), "text": notice.text}));
        let whole = json!({
            "ok": true,
            "node": loaded.config.node.name.to_string(),
            "cluster_name": loaded.config.cluster.name,
            "cookie_id": print,
            "values": values.collect::<Vec<_>>(),
            "notices": notices.collect::<Vec<_>>(),
            "summary": lines,
        });
        return out::print(&format!("{whole}\n"));
    }
    let rows =
        loaded.values.iter().map(|value| vec![value.key.to_owned(), value.value.clone(), value.source.to_string()]);
    let mut text = out::table(&["KEY", "VALUE", "FROM"], rows);
    text.push('\n');
    for notice in &loaded.notices {
        text += &format!("note: {}: {}\n", notice.place, notice.text);
    }
    for line in &lines {
        text += &format!("{line}\n");
    }
    out::print(&text)
}

/// The fingerprint of the cookie that signs. One that cannot be read is a mistake, as it is at the start.
fn fingerprint(loaded: &Loaded) -> Result<Option<String>, Failure> {
    if matches!(loaded.config.cluster.tls, TlsMode::Files { .. }) {
        return Ok(None);
    }
    let wrong = |error: &dyn std::fmt::Display| Failure::new(crate::Code::Usage, "configuration", error);
    let cookies = CookieSet::of(&loaded.config.node).map_err(|error| wrong(&error))?;
    let prints = cookies.fingerprints(Kdf::default()).map_err(|error| wrong(&error))?;
    Ok(prints.into_iter().next())
}
