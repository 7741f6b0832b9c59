//! Three members as processes of their own, which end, and whose files go, with this value.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::Client;

pub(crate) const MEMBERS: usize = 3;

const START_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Syncs of all members so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Syncs {
    /// Of the logs.
    pub(crate) log: u64,
    /// Of the stores behind them, each of which is a sync too.
    pub(crate) store: u64,
}

/// A running etcd of three members.
pub(crate) struct Members {
    folder: PathBuf,
    children: Vec<Child>,
    ports: Vec<u16>,
}

impl Members {
    /// Starts the members with fresh folders below `base`, and waits until all of them follow one leader.
    pub(crate) async fn start(base: &Path) -> Result<Self> {
        let name = format!("ekka-bench-etcd-{}", std::process::id());
        let folder = base.join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut members = Self { folder, children: Vec::new(), ports: Vec::new() };
        members.spawn()?;
        members.wait().await?;
        Ok(members)
    }

    fn spawn(&mut self) -> Result<()> {
        let ports = free_ports(2 * MEMBERS)?;
        let (clients, peers) = ports.split_at(MEMBERS);
        self.ports = clients.to_vec();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = peers.iter().enumerate().map(|(at, port)| format!("m{at}={}", url(*port))).collect();
        for at in 0..MEMBERS {
            let log = File::create(self.log(at))?;
            // The kernel ends a member whose benchmark is gone, however that came.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "etcd", "--name", &format!("m{at}")]);
            command.arg("--data-dir").arg(self.folder.join(format!("m{at}")));
            command.args(["--listen-client-urls", &url(clients[at]), "--advertise-client-urls", &url(clients[at])]);
            command.args(["--listen-peer-urls", &url(peers[at]), "--initial-advertise-peer-urls", &url(peers[at])]);
            command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
            command.args(["--initial-cluster-token", &self.folder.to_string_lossy()]);
            command.args(["--logger", "zap", "--log-level", "warn"]);
            // A signal from the terminal is for this process, which then ends the members.
            command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            self.children.push(command.spawn().context("cannot start setpriv (Debian: apt-get install util-linux)")?);
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.leader().await.is_err() {
            for at in 0..MEMBERS {
                if let Some(status) = self.children[at].try_wait()? {
                    bail!(
                        "member {at} ended: {status} (Debian: apt-get install etcd-server); its log ends with\n{}",
                        self.log_tail(at)
                    );
                }
            }
            if begun.elapsed() > START_MAX {
                bail!("no leader after {START_MAX:?}; the log of member 0 ends with\n{}", self.log_tail(0));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The place of the leader, when all members agree on it.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let mut ids = Vec::new();
        let mut leaders = Vec::new();
        for client in &mut self.clients().await? {
            let status = client.status().await?;
            ids.push(status.member);
            leaders.push(status.leader);
        }
        let agreed = leaders.iter().all(|leader| *leader == leaders[0]);
        let place = ids.iter().position(|id| *id == leaders[0]);
        place.filter(|_| agreed).context("the members do not agree on a leader")
    }

    /// A connection to each member.
    pub(crate) async fn clients(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for port in &self.ports {
            clients.push(Client::connect(*port).await?);
        }
        Ok(clients)
    }

    /// Where the clients of a member connect.
    pub(crate) fn port(&self, at: usize) -> u16 {
        self.ports[at]
    }

    /// What the members say of their syncs.
    pub(crate) async fn syncs(&self) -> Result<Syncs> {
        let mut sum = Syncs::default();
        for port in &self.ports {
            let text = metrics(*port).await?;
            sum.log += counter(&text, "etcd_disk_wal_fsync_duration_seconds_count")?;
            sum.store += counter(&text, "etcd_disk_backend_commit_duration_seconds_count")?;
        }
        Ok(sum)
    }

    fn log(&self, at: usize) -> PathBuf {
        self.folder.join(format!("m{at}.log"))
    }

    fn log_tail(&self, at: usize) -> String {
        let text = fs::read_to_string(self.log(at)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is none to end.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("etcd-bench: cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Ports that were free at the same time.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()?)
}

/// In HTTP 1.0 an answer is in one piece.
async fn metrics(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn counter(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.with_context(|| format!("/metrics of etcd has no {name}"))?;
    value.trim().parse().with_context(|| format!("{name} of etcd is `{value}`, no whole number"))
}
