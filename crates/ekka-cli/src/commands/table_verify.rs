//! `table verify`: whether the nodes have the same rows.

use ekka::admin::dto::{VerifiedPeer, VerifyAnswer};
use serde_json::json;

use super::pass_on;
use crate::client::Client;
use crate::exit::{Code, Failure};
use crate::out;

pub(super) async fn run(client: &Client, table: Option<String>, json: bool) -> Result<(), Failure> {
    let answer = client.post("/v1/verify", &json!({ "table": table })).await?.success()?;
    let verdicts: Vec<VerifyAnswer> = answer.read()?;
    if json {
        pass_on(&answer.text())?;
    } else if verdicts.is_empty() {
        out::print("there is no table yet: ekka table create NAME\n")?;
    } else {
        let rows = verdicts.iter().flat_map(lines);
        out::print(&out::table(&["TABLE", "KIND", "ROWS", "NODE", "STATE"], rows))?;
    }
    let fails = |peer: &VerifiedPeer| ["differs", "not_compared"].contains(&peer.state.as_str());
    if verdicts.iter().any(|verdict| verdict.peers.iter().any(fails)) {
        return Err(Failure::silent(Code::Failed));
    }
    Ok(())
}

fn lines(verdict: &VerifyAnswer) -> Vec<Vec<String>> {
    let row = |node: &str, state: String| {
        vec![verdict.table.clone(), verdict.kind.clone(), verdict.rows.to_string(), node.to_owned(), state]
    };
    if let Some(why) = &verdict.left_out {
        return vec![row("", format!("not compared: {why}"))];
    }
    verdict.peers.iter().map(|peer| row(&peer.node, state(peer))).collect()
}

fn state(peer: &VerifiedPeer) -> String {
    match peer.state.as_str() {
        "in_step" => "in step".into(),
        "behind" if peer.ahead == 0 => format!("behind by {} operations", peer.behind),
        "behind" => format!("behind by {} operations, ahead by {}", peer.behind, peer.ahead),
        "differs" => {
            let some: Vec<String> = peer.ranges.iter().take(8).map(ToString::to_string).collect();
            let more = if peer.ranges.len() > some.len() { ", …" } else { "" };
            format!("DIFFERS in {} of 256 ranges: {}{more}", peer.ranges.len(), some.join(", "))
        }
        _ => format!("not compared: {}", peer.why.as_deref().unwrap_or("it was not said why")),
    }
}
