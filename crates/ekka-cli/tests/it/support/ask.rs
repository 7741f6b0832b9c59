//! A node asked over its socket, without a process for each question: where a test asks all the time, the processors are
//! the nodes'.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Agent, Cluster};

/// A node answers a proposal within ten seconds, whatever became of it.
const ANSWER: Duration = Duration::from_secs(15);

/// Method, path, body.
pub(crate) type Request<'a> = (&'a str, &'a str, &'a str);

pub(crate) type Stream = BufReader<UnixStream>;

/// What a node answers to a question.
///
/// # Errors
/// It does not answer, or with an error: what it said.
pub(crate) fn get(data: &Path, path: &str) -> Result<Value, String> {
    let asked = connect(&data.join("ekka.sock")).and_then(|mut stream| exchange(&mut stream, ("GET", path, "")));
    match asked {
        Ok((200, body)) => Ok(body),
        Ok((status, body)) => Err(format!("{path}: {status}: {body}")),
        Err(error) => Err(format!("{}: {path}: {error}", data.display())),
    }
}

/// Events that a node keeps, oldest first.
///
/// # Errors
/// As for [`get`].
pub(crate) fn events(data: &Path) -> Result<Vec<Value>, String> {
    let asked = connect(&data.join("ekka.sock"))
        .and_then(|mut stream| exchange_text(&mut stream, "/v1/events?last=1000&follow=false"));
    let (_, lines) = asked.map_err(|error| format!("{}: events: {error}", data.display()))?;
    lines.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("event `{line}`: {error}"))).collect()
}

/// The ceiling of the tokens that a node reads behind a barrier.
///
/// # Errors
/// As for [`get`].
pub(crate) fn ceiling(data: &Path) -> Result<u64, String> {
    let body = get(data, "/v1/bench/ceiling")?;
    body["ceiling"].as_u64().ok_or_else(|| body.to_string())
}

/// The id of the one cluster, where all nodes are members, nobody else is, all are up, and so many of them vote, as each of
/// them sees it.
///
/// # Errors
/// What differs.
pub(crate) fn settled(cluster: &Cluster, voters: usize) -> Result<String, String> {
    settled_with(cluster, voters, &[])
}

/// Whether an agent has these members, all of them up, and nobody else.
pub(crate) fn sees_up(agent: &Agent, names: &BTreeSet<&str>) -> Result<(), String> {
    let members = get(&agent.data(), "/v1/members")?;
    let rows = members.as_array().ok_or("members are no array")?;
    let up: BTreeSet<&str> =
        rows.iter().filter(|row| row["status"] == "up").filter_map(|row| row["name"].as_str()).collect();
    if up != *names || rows.len() != names.len() {
        return Err(format!("{} sees as up {up:?} of {names:?}, {} members", agent.name, rows.len()));
    }
    Ok(())
}

/// The same with members beside the nodes of the cluster.
///
/// # Errors
/// What differs.
pub(crate) fn settled_with(cluster: &Cluster, voters: usize, others: &[&str]) -> Result<String, String> {
    let names: BTreeSet<&str> =
        cluster.agents.iter().map(|agent| agent.name.as_str()).chain(others.iter().copied()).collect();
    let mut ids = BTreeSet::new();
    for agent in &cluster.agents {
        let status = get(&agent.data(), "/v1/status")?;
        ids.insert(status["cluster_id"].as_str().ok_or_else(|| status["reason"].to_string())?.to_owned());
        sees_up(agent, &names)?;
        if status["quorum"]["voters"].as_u64() != Some(voters as u64) {
            return Err(format!("{}: {voters} should vote: {}", agent.name, status["quorum"]));
        }
    }
    if ids.len() == 1 { Ok(ids.pop_first().unwrap_or_default()) } else { Err(format!("not one cluster id: {ids:?}")) }
}

/// Whether all other nodes give that status to a member.
///
/// # Errors
/// Who gives another.
pub(crate) fn others_see(cluster: &Cluster, index: usize, status: &str) -> Result<(), String> {
    let name = &cluster.agents[index].name;
    for (_, agent) in cluster.agents.iter().enumerate().filter(|(other, _)| *other != index) {
        let members = get(&agent.data(), "/v1/members")?;
        let row = members.as_array().into_iter().flatten().find(|row| row["name"] == **name);
        if row.is_none_or(|row| row["status"] != status) {
            return Err(format!("{} does not see {name} as {status}: {members}", agent.name));
        }
    }
    Ok(())
}

/// A new connection.
///
/// # Errors
/// Nobody listens there.
pub(crate) fn connect(socket: &Path) -> std::io::Result<Stream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(BufReader::new(stream))
}

/// One request and its answer, by HTTP/1.1 with a length.
///
/// # Errors
/// The connection ends, or what comes is no such answer.
pub(crate) fn exchange(stream: &mut Stream, request: Request<'_>) -> std::io::Result<(u16, Value)> {
    let (status, bytes) = exchange_bytes(stream, request)?;
    Ok((status, serde_json::from_slice(&bytes).map_err(|error| broken(&error.to_string()))?))
}

/// The same, where the answer may be something else than JSON.
///
/// # Errors
/// As for [`exchange`].
pub(crate) fn exchange_text(stream: &mut Stream, path: &str) -> std::io::Result<(u16, String)> {
    let (status, bytes) = exchange_bytes(stream, ("GET", path, ""))?;
    Ok((status, String::from_utf8(bytes).map_err(|error| broken(&error.to_string()))?))
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

fn exchange_bytes(stream: &mut Stream, (method, path, body): Request<'_>) -> std::io::Result<(u16, Vec<u8>)> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: ekka\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| broken(&line))?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut bytes = vec![0; length.ok_or_else(|| broken("an answer without a length"))?];
    stream.read_exact(&mut bytes)?;
    Ok((status, bytes))
}
