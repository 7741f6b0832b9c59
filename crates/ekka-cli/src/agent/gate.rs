//! `--gate FILE`: the network of this node with a gate in it, for demos and tests on loopback.
//!
//! Each line of the file is the address of a peer and what is dead towards it: `127.0.0.1:4372 both`, `to` or `from`.
//! Dead behaves like a pulled cable. The file is looked at ten times a second; none at all means that all is open.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ekka::config::Config;
use ekka::env::{Dead, Env, Gate, GatedNet};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::exit::Failure;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A gate that follows its file as long as this is kept.
pub(super) struct FollowsFile(JoinHandle<()>);

impl Drop for FollowsFile {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Puts the gate into the network of a node, whose name must be on loopback.
pub(super) fn put(env: &mut Env, file: &Path, config: &Config) -> Result<FollowsFile, Failure> {
    if !config.node.name.host().is_loopback() {
        return Err(Failure::usage(format!(
            "--gate cuts a node off on purpose: it is refused for {}, whose name is not on loopback",
            config.node.name
        )));
    }
    let gate = Gate::new();
    env.net = Arc::new(GatedNet::new(env.net.clone(), gate.clone()));
    Ok(FollowsFile(tokio::spawn(follow(gate, file.to_owned()))))
}

async fn follow(gate: Gate, file: PathBuf) {
    let mut last = String::new();
    loop {
        let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
        if text != last {
            match text.lines().map(rule).collect::<Result<Vec<_>, _>>() {
                Ok(rules) => {
                    gate.open_all();
                    rules.into_iter().flatten().for_each(|(peer, dead)| gate.set(peer, dead));
                    info!(count = text.lines().count(), "the gate was set");
                }
                Err(line) => warn!(reason = line, "a line of the gate is not ADDRESS both|to|from"),
            }
            last = text;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One line: `None` where it is empty.
fn rule(line: &str) -> Result<Option<(SocketAddr, Dead)>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (peer, word) = match words.as_slice() {
        [] => return Ok(None),
        [peer, word] => (peer, *word),
        _ => return Err(line.to_owned()),
    };
    let dead = match word {
        "both" => Dead::BOTH,
        "to" => Dead { to_peer: true, from_peer: false },
        "from" => Dead { to_peer: false, from_peer: true },
        _ => return Err(line.to_owned()),
    };
    peer.parse().map(|peer| Some((peer, dead))).map_err(|_| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_peer_and_a_direction() {
        let peer = "127.0.0.1:4372".parse().expect("an address");
        assert_eq!(rule("127.0.0.1:4372 both"), Ok(Some((peer, Dead::BOTH))));
        assert_eq!(rule(" 127.0.0.1:4372  to "), Ok(Some((peer, Dead { to_peer: true, from_peer: false }))));
        assert_eq!(rule(""), Ok(None));
        for bad in ["127.0.0.1:4372", "ekka2 both", "127.0.0.1:4372 up", "127.0.0.1:4372 both now"] {
            assert_eq!(rule(bad), Err(bad.to_owned()));
        }
    }
}
