//! A real DNS server (dnsmasq) as a child process, with a zone `test` that changes while it runs, and agents that ask it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Agent, Cluster, Netns, poll};

/// Where `ip netns exec` looks for files of a namespace, to be seen there in `/etc`.
const NETNS: &str = "/etc/netns";
const LIMIT: Duration = Duration::from_secs(10);

/// A server that knows the zone `test` and refuses everything else. Killed when dropped.
pub(crate) struct Dns {
    folder: TempDir,
    address: SocketAddr,
    namespace: Option<String>,
    lines: Vec<String>,
    child: Option<Child>,
}

impl Dns {
    /// On an address of this machine.
    pub(crate) fn start(address: SocketAddr) -> Self {
        Self::start_in(None, address)
    }

    /// In a namespace.
    pub(crate) fn start_in(namespace: Option<String>, address: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("ekka-dns-").tempdir().expect("a temporary folder");
        fs::write(folder.path().join("hosts"), "").expect("a file in it");
        let mut dns = Self { folder, address, namespace, lines: Vec::new(), child: None };
        dns.begin();
        dns
    }

    /// As `cluster.dns.server` has it.
    pub(crate) fn server(&self) -> String {
        self.address.to_string()
    }

    /// The records A and AAAA, in place of all earlier ones: a name and its addresses. The server reads them anew.
    pub(crate) fn hosts(&self, records: &[(&str, &[String])]) {
        let mut text = String::new();
        for (name, addresses) in records {
            for address in *addresses {
                writeln!(text, "{address} {name}").expect("text can be written to text");
            }
        }
        fs::write(self.path("hosts"), text).expect("the records can be written");
        if let Some(child) = &self.child {
            let before = self.reads();
            let pid = i32::try_from(child.id()).expect("process ids are positive");
            kill(Pid::from_raw(pid), Signal::SIGHUP).expect("an own child can be told");
            self.wait("the records are read", || self.reads() > before);
        }
    }

    /// Further lines of its configuration (`srv-host=…`, `neg-ttl=…`), in place of the earlier ones; it starts again.
    pub(crate) fn configure(&mut self, lines: &[String]) {
        self.lines = lines.to_vec();
        self.end();
        self.begin();
    }

    /// Kills it.
    pub(crate) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("an own child can be killed");
            child.wait().expect("an own child can be waited for");
        }
    }

    /// Starts it (again).
    pub(crate) fn begin(&mut self) {
        let mut text = format!(
            "port={}\nlisten-address={}\nbind-interfaces\nno-resolv\nno-poll\nno-hosts\nuser=root\nlocal=/test/\n\
             addn-hosts={}\npid-file={}\n",
            self.address.port(),
            self.address.ip(),
            self.path("hosts").display(),
            self.path("pid").display()
        );
        for line in &self.lines {
            writeln!(text, "{line}").expect("text can be written to text");
        }
        fs::write(self.path("conf"), text).expect("its configuration can be written");
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, "dnsmasq"]);
                command
            }
            None => Command::new("dnsmasq"),
        };
        command.arg("--no-daemon").arg("-C").arg(self.path("conf")).stdin(Stdio::null()).stdout(Stdio::null());
        let log = File::create(self.path("log")).expect("its log can be made");
        self.child = Some(command.stderr(log).spawn().expect("dnsmasq is there: apt-get install dnsmasq-base"));
        self.wait("dnsmasq has started", || self.reads() > 0);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// How often it has read the records.
    fn reads(&self) -> usize {
        self.log().lines().filter(|line| line.contains("read ") && line.contains("/hosts")).count()
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let looked = poll::until(LIMIT, || if condition() { Ok(()) } else { Err(self.log()) });
        looked.unwrap_or_else(|seen| panic!("waited for: {what}\n{seen}"));
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.end();
    }
}

/// Has the nodes of a cluster ask a name instead of a list, all with the name part `ekka`, as the strategy needs it.
pub(crate) fn ask(cluster: &mut Cluster, name: &str, server: Option<&str>) {
    for index in 0..cluster.agents.len() {
        let host = cluster.host(index).to_owned();
        asks(&mut cluster.agents[index], &host, name, server);
    }
}

/// The same for one node.
pub(crate) fn asks(agent: &mut Agent, host: &str, name: &str, server: Option<&str>) {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    agent.rename(&format!("ekka@{bracketed}"));
    agent.unset("cluster.static.seeds");
    agent.set("cluster.discovery", "dns").set("cluster.dns.name", name);
    if let Some(server) = server {
        agent.set("cluster.dns.server", server);
    }
}

/// Files that processes of a namespace see as `/etc/resolv.conf` and `/etc/hosts`; removed when dropped.
pub(crate) struct Etc {
    folder: PathBuf,
}

impl Etc {
    /// For the processes of a host of the network that start from now on.
    pub(crate) fn of(network: &Netns, host: usize, resolv_conf: &str) -> Self {
        remove_leftovers();
        let folder = PathBuf::from(NETNS).join(network.namespace(host));
        fs::create_dir_all(&folder).expect("root may make the folder that `ip netns exec` looks for");
        let etc = Self { folder };
        fs::write(etc.folder.join("hosts"), "127.0.0.1 localhost\n").expect("a file in it");
        etc.resolv_conf(resolv_conf);
        etc
    }

    /// Changes the file under the processes.
    pub(crate) fn resolv_conf(&self, text: &str) {
        fs::write(self.folder.join("resolv.conf"), text).expect("a file in it");
    }

    /// The same with the hosts file.
    pub(crate) fn hosts(&self, text: &str) {
        fs::write(self.folder.join("hosts"), text).expect("a file in it");
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        // What cannot be removed here stays in an otherwise unused folder.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_dir(NETNS);
    }
}

/// Removes what test processes that are dead left behind.
fn remove_leftovers() {
    for entry in fs::read_dir(NETNS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("ekka-").and_then(|rest| rest.split('-').next()) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path()); // another test may have done it
        }
    }
}

/// A free UDP and TCP port of an address.
pub(crate) fn free(host: &str) -> SocketAddr {
    for _ in 0..100 {
        let tcp = std::net::TcpListener::bind((host, 0)).expect("an address of this machine");
        let address = tcp.local_addr().expect("a bound socket has an address");
        if std::net::UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("{host}: no port is free for both UDP and TCP");
}
