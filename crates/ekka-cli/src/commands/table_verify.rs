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
    judge(&verdicts)
}

/// Whether all that can be compared was, and is equal.
fn judge(verdicts: &[VerifyAnswer]) -> Result<(), Failure> {
    let any = |verdict: &VerifyAnswer, state: &str| verdict.peers.iter().any(|peer| peer.state == state);
    if verdicts.iter().any(|verdict| any(verdict, "differs")) {
        return Err(Failure::silent(Code::Failed));
    }
    // Rows of an owned table have one owner each: there is nothing to compare.
    let mut comparable = verdicts.iter().filter(|verdict| verdict.kind != "owned").peekable();
    if comparable.peek().is_some() && comparable.clone().all(|verdict| verdict.differs.is_none()) {
        return Err(Failure::new(Code::NotFound, "not_compared", "nothing was compared"));
    }
    if comparable.any(|verdict| verdict.differs.is_none() || any(verdict, "not_compared")) {
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
    if verdict.peers.is_empty() {
        return vec![row("", "not compared: no other node that is up holds it".into())];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: &str, states: &[&str]) -> VerifyAnswer {
        let peer = |(number, state): (usize, &&str)| {
            json!({"node": format!("n{number}"), "node_id": "1", "state": state, "behind": 0, "ahead": 0, "ranges": [],
                "why": null})
        };
        let compared = states.iter().any(|state| *state != "not_compared");
        let answer = json!({
            "table": "t", "kind": kind, "rows": 0, "digest": "0", "differs": compared.then(|| states.contains(&"differs")),
            "left_out": null, "peers": states.iter().enumerate().map(peer).collect::<Vec<_>>(),
        });
        serde_json::from_value(answer).unwrap()
    }

    fn code(verdicts: &[VerifyAnswer]) -> Option<Code> {
        judge(verdicts).err().map(|failure| failure.code())
    }

    #[test]
    fn nothing_that_was_compared_is_neither_equal_nor_different() {
        let equal = verdict("available", &["in_step", "behind"]);
        let (alone, silent) = (verdict("available", &[]), verdict("quorum", &["not_compared", "not_compared"]));
        assert_eq!(code(&[alone.clone(), silent.clone()]), Some(Code::NotFound));
        assert_eq!(code(&[alone.clone(), equal.clone()]), Some(Code::Failed), "one of them was not");
        assert_eq!(code(&[silent, equal.clone()]), Some(Code::Failed));
        assert_eq!(code(&[verdict("quorum", &["not_compared", "in_step"])]), Some(Code::Failed));
        assert_eq!(code(&[verdict("quorum", &["not_compared", "differs"]), alone.clone()]), Some(Code::Failed));
        assert_eq!(code(&[equal, verdict("owned", &[])]), None);
        assert_eq!((code(&[verdict("owned", &[])]), code(&[])), (None, None), "there is nothing to compare");
        assert_eq!(lines(&alone)[0][4], "not compared: no other node that is up holds it");
    }
}
