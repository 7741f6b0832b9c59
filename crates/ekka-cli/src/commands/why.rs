//! `why`: one decision with its evidence, or the list of the latest.

use ekka::admin::dto::DecisionAnswer;

use super::pass_on;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

pub(super) async fn run(client: &Client, id: Option<String>, json: bool) -> Result<(), Failure> {
    let path = match &id {
        Some(id) if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            return Err(Failure::usage(format!("`{id}` is no id: it looks like d-00001f, or e-00001f for an event")));
        }
        Some(id) => format!("/v1/why/{id}"),
        None => "/v1/decisions?last=20".to_owned(),
    };
    let answer = client.get(&path).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    if id.is_none() {
        let rows = answer.read::<Vec<DecisionAnswer>>()?.into_iter();
        let rows = rows.map(|record| vec![record.id, out::clock(&record.time), record.kind, record.what]);
        return out::print(&out::table(&["ID", "TIME", "KIND", "WHAT"], rows));
    }
    let record: DecisionAnswer = answer.read()?;
    let mut text =
        format!("{}  {}  {}\n{}\nrule      {}\n", record.id, record.time, record.kind, record.what, record.rule);
    for (n, line) in record.evidence.iter().enumerate() {
        text += &format!("{}{line}\n", if n == 0 { "evidence  " } else { "          " });
    }
    out::print(&text)
}
