//! `members`, `links`, `cookie`, `version`

use ekka::admin::dto::{CookieAnswer, LinkAnswer, MemberAnswer, VersionAnswer};
use serde_json::Value;

use super::pass_on;
use crate::client::Client;
use crate::exit::Failure;
use crate::out::{self, paint, paint_of_status};

pub(super) async fn members(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/members").await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let rows = answer.read::<Vec<MemberAnswer>>()?.into_iter().map(|member| {
        let status = paint(&member.status, paint_of_status(&member.status));
        let tags: Vec<String> = member.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            member.name,
            status,
            out::ago(&member.since),
            if member.voter { format!("{}, votes", member.role) } else { member.role },
            member.address,
            member.version,
            member.last_heard.map_or_else(|| "-".into(), |time| out::clock(&time)),
            out::short(&member.node_id),
            tags.join(" "),
        ]
    });
    let header = ["NAME", "STATUS", "FOR", "ROLE", "ADDRESS", "VERSION", "LAST HEARD", "NODE ID", "TAGS"];
    out::print(&out::table(&header, rows))
}

pub(super) async fn links(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/links").await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let rows = answer.read::<Vec<LinkAnswer>>()?.into_iter().map(|link| {
        let state = paint(&link.state, paint_of_status(if link.state == "relayed" { "syncing" } else { &link.state }));
        vec![
            link.from,
            link.to,
            state,
            link.via.unwrap_or_else(|| "-".into()),
            link.rtt_us.map_or_else(|| "-".into(), out::in_millis),
            link.last_ok.map_or_else(|| "-".into(), |time| out::clock(&time)),
        ]
    });
    out::print(&out::table(&["FROM", "HEARS", "STATE", "VIA", "RTT", "LAST OK"], rows))
}

pub(super) async fn cookie(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/cookie").await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let cookie: CookieAnswer = answer.read()?;
    let mut text = match &cookie.cookie_id {
        Some(id) => format!("signs with  {id}\n"),
        None => "no cookie: the operator's certificates are used\n".to_owned(),
    };
    for id in cookie.trusted.iter().filter(|id| Some(*id) != cookie.cookie_id.as_ref()) {
        text += &format!("trusts      {id}\n");
    }
    if !cookie.members.is_empty() {
        let print = |id: Option<String>| id.unwrap_or_else(|| "certificate".to_owned());
        let rows = cookie.members.into_iter().map(|member| vec![member.name, print(member.cookie_id)]);
        text += &format!("\n{}", out::table(&["MEMBER", "SIGNS WITH"], rows));
    }
    out::print(&text)
}

pub(super) async fn version(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/version").await?.success()?;
    let program = env!("CARGO_PKG_VERSION");
    if json {
        let mut value: Value = answer.read()?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("program".into(), program.into());
        }
        return pass_on(&value.to_string());
    }
    let version: VersionAnswer = answer.read()?;
    out::print(&format!(
        "program  {program}\nagent    {}\ncluster  {}\nprotocol {} to {}\n",
        version.version, version.cluster_version, version.protocol_min, version.protocol_max
    ))
}
