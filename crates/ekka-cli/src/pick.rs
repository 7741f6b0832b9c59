//! Which agent is meant: by name, by data directory, by address, or the only one on this host.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ekka::admin::runtime_dirs;

use crate::args::Pick;
use crate::client::{Client, Target};
use crate::exit::{Code, Failure};

/// The file name of the socket in a data directory.
const SOCKET: &str = "ekka.sock";

/// An agent that left a link.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    name: String,
    socket: PathBuf,
}

/// The agent that is meant.
pub(crate) fn pick(pick: &Pick) -> Result<Client, Failure> {
    let target = match pick {
        Pick { url: Some(_), agent: Some(_), .. } | Pick { url: Some(_), data_dir: Some(_), .. } => {
            return Err(Failure::usage("--url says it all: leave out -n and --data-dir"));
        }
        Pick { url: Some(url), token_file, ca_file, .. } => {
            Target::parse(url, token_file.as_deref(), ca_file.as_deref())?
        }
        Pick { token_file: Some(_), .. } => return Err(Failure::usage("--token-file goes with --url")),
        Pick { data_dir: Some(dir), agent: None, .. } => Target::Unix(dir.join(SOCKET)),
        Pick { data_dir: Some(_), agent: Some(_), .. } => {
            return Err(Failure::usage("-n and --data-dir both pick an agent: give one of them"));
        }
        Pick { agent, .. } => Target::Unix(choose(alive(&runtime_dirs()), agent.as_deref())?),
    };
    Ok(Client::new(target))
}

/// The agents of this host that answer. Links whose agent is gone are passed over.
fn alive(dirs: &[PathBuf]) -> Vec<Found> {
    let mut dirs = dirs.to_vec();
    dirs.push(format!("/run/user/{}/ekka", rustix::process::getuid().as_raw()).into());
    let mut found: Vec<Found> = Vec::new();
    for dir in dirs {
        for agent in links(&dir) {
            if !found.iter().any(|other| other.socket == agent.socket) && answers(&agent.socket) {
                found.push(agent);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn links(dir: &Path) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let found = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_str()?.strip_suffix(".sock")?.to_owned();
        let socket = std::fs::canonicalize(entry.path()).ok()?;
        (!name.starts_with('.')).then_some(Found { name, socket })
    });
    found.collect()
}

/// Whether somebody listens. One that may not be used by this user is there too.
fn answers(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

fn choose(found: Vec<Found>, wanted: Option<&str>) -> Result<PathBuf, Failure> {
    let none = |text: String| Failure::new(Code::NoAgent, "no_agent", text);
    if found.is_empty() {
        return Err(none(
            "no agent runs on this host, as far as this user sees: start one with `ekka agent`, or give --data-dir or --url"
                .into(),
        ));
    }
    let names: Vec<String> = found.iter().map(|agent| agent.name.clone()).collect();
    let is_meant = |agent: &Found| match wanted {
        Some(wanted) => {
            let wanted = wanted.to_lowercase();
            agent.name == wanted || agent.name.split('@').next() == Some(wanted.as_str())
        }
        None => true,
    };
    let mut meant: Vec<Found> = found.into_iter().filter(is_meant).collect();
    match (meant.len(), wanted) {
        (1, _) => Ok(meant.remove(0).socket),
        (0, Some(wanted)) => Err(none(format!("no agent of `{wanted}` runs here; there are: {}", names.join(", ")))),
        _ => {
            let names: Vec<String> = meant.into_iter().map(|agent| agent.name).collect();
            Err(Failure::new(
                Code::Usage,
                "ambiguous",
                format!("{} agents run here; pick one with -n NAME: {}", names.len(), names.join(", ")),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<Found> {
        names.iter().map(|name| Found { name: (*name).into(), socket: format!("/{name}").into() }).collect()
    }

    #[test]
    fn the_only_agent_needs_no_name() {
        assert_eq!(choose(found(&["a@127.0.0.1"]), None), Ok("/a@127.0.0.1".into()));
    }

    #[test]
    fn several_agents_are_listed_with_exit_2() {
        let failure = choose(found(&["a@127.0.0.1", "b@127.0.0.1"]), None).expect_err("ambiguous");
        assert_eq!(failure.code(), Code::Usage);
        assert!(failure.message().contains("a@127.0.0.1, b@127.0.0.1"), "{failure:?}");
    }

    #[test]
    fn an_agent_is_picked_by_its_whole_name_or_the_first_part() {
        let agents = || found(&["a@127.0.0.1", "b@127.0.0.1", "b@127.0.0.1:99"]);
        assert_eq!(choose(agents(), Some("A")), Ok("/a@127.0.0.1".into()));
        assert_eq!(choose(agents(), Some("b@127.0.0.1:99")), Ok("/b@127.0.0.1:99".into()));
        assert_eq!(choose(agents(), Some("b")).map_err(|failure| failure.code()), Err(Code::Usage));
    }

    #[test]
    fn no_agent_is_exit_3() {
        assert_eq!(choose(Vec::new(), None).map_err(|failure| failure.code()), Err(Code::NoAgent));
        let failure = choose(found(&["a@h"]), Some("c")).expect_err("there is no c");
        assert_eq!((failure.code(), failure.message().contains("a@h")), (Code::NoAgent, true));
    }
}
