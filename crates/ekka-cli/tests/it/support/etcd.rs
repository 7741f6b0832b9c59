//! A real etcd of one or three members: started, asked with `etcdctl`, killed, emptied, started again.
//!
//! Its members are children of the test and end with it. They listen on an address of loopback that belongs to this
//! test process, or on the address of a network namespace.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::poll;

/// Starting it on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// An etcd.
pub(crate) struct Etcd {
    members: Vec<Member>,
    namespace: Option<String>,
    scheme: &'static str,
    words: Vec<String>,
    directory: TempDir,
}

struct Member {
    name: String,
    host: String,
    port: u16,
    child: Option<Child>,
}

impl Etcd {
    /// One member on loopback that runs and answers.
    pub(crate) fn start() -> Self {
        Self::start_with("http", &[])
    }

    /// The same with further words on its command line.
    pub(crate) fn start_with(scheme: &'static str, words: &[&str]) -> Self {
        let mut etcd = Self::on_loopback(1, scheme, words);
        etcd.run_all();
        etcd
    }

    /// One member on loopback that speaks TLS; `client` are the authority, the certificate and the key that its own
    /// tools show.
    pub(crate) fn start_tls(words: &[&str], client: [&str; 3]) -> Self {
        let mut etcd = Self::on_loopback(1, "https", words);
        for (name, file) in ["cacert", "cert", "key"].iter().zip(client) {
            std::fs::copy(file, etcd.folder().join(format!("ctl-{name}.pem"))).expect("a file can be copied");
        }
        etcd.run_all();
        etcd
    }

    /// Three members on loopback that run and answer.
    pub(crate) fn three() -> Self {
        let mut etcd = Self::on_loopback(3, "http", &[]);
        etcd.run_all();
        etcd
    }

    /// One member on loopback that does not run yet.
    pub(crate) fn not_started() -> Self {
        Self::on_loopback(1, "http", &[])
    }

    /// One member in a network namespace, on that address and etcd's own port, that runs and answers.
    pub(crate) fn in_namespace(namespace: &str, host: &str) -> Self {
        let mut etcd = Self::new(vec![(host.to_owned(), 2379)], "http", &[]);
        etcd.namespace = Some(namespace.to_owned());
        etcd.run_all();
        etcd
    }

    fn on_loopback(count: u16, scheme: &'static str, words: &[&str]) -> Self {
        static PORTS: AtomicU16 = AtomicU16::new(21_000);
        let process = std::process::id();
        let host = format!("127.{}.{}.250", process / 254 % 254 + 1, process % 254 + 1);
        let at = |_| (host.clone(), PORTS.fetch_add(2, Ordering::Relaxed));
        Self::new((0..count).map(at).collect(), scheme, words)
    }

    fn new(places: Vec<(String, u16)>, scheme: &'static str, words: &[&str]) -> Self {
        let member = |(number, (host, port))| Member { name: format!("m{number}"), host, port, child: None };
        Self {
            members: places.into_iter().enumerate().map(member).collect(),
            namespace: None,
            scheme,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            directory: tempfile::Builder::new().prefix("ekka-etcd-").tempdir().expect("a temporary folder"),
        }
    }

    /// A folder of this etcd, for certificates and the like.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Where a member serves.
    pub(crate) fn url(&self, member: usize) -> String {
        format!("{}://{}:{}", self.scheme, self.members[member].host, self.members[member].port)
    }

    /// Where all serve, as the configuration has it.
    pub(crate) fn urls(&self) -> String {
        (0..self.members.len()).map(|member| self.url(member)).collect::<Vec<_>>().join(", ")
    }

    /// Starts all members and waits until etcd answers.
    pub(crate) fn run_all(&mut self) {
        for member in 0..self.members.len() {
            self.run(member);
        }
        self.wait();
    }

    /// Starts a member, with the data that it has.
    pub(crate) fn run(&mut self, member: usize) {
        let peers: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}=http://{}:{}", member.name, member.host, member.port + 1))
            .collect();
        let url = self.url(member);
        let log = File::options().create(true).append(true).open(self.directory.path().join(format!("m{member}.log")));
        let log = log.expect("the log can be opened");
        let mut command = self.command("etcd");
        let it = &mut self.members[member];
        assert!(it.child.is_none(), "{} runs already", it.name);
        let peer = format!("http://{}:{}", it.host, it.port + 1);
        command.args(["--name", &it.name, "--data-dir"]).arg(self.directory.path().join(&it.name));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &peers.join(","), "--unsafe-no-fsync"]).args(&self.words);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        it.child = Some(command.spawn().expect("etcd is there: apt-get install etcd-server etcd-client"));
    }

    fn command(&self, program: &str) -> Command {
        match &self.namespace {
            // `ip netns exec` replaces itself by the program, so that the process id is that one's.
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
            None => Command::new(program),
        }
    }

    /// Waits until it has a leader and answers over API v3's socket.
    pub(crate) fn wait(&self) {
        let health = || {
            let output = self.try_ctl(&["endpoint", "health", "--cluster=false"]);
            let said =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if output.status.success() { Ok(()) } else { Err(said) }
        };
        let ((), took) = poll::until(START_LIMIT, health).unwrap_or_else(|seen| panic!("etcd: {seen}\n{}", self.log()));
        println!("etcd answers: {took:.2?}");
    }

    /// SIGKILL of a member, and its end.
    pub(crate) fn kill(&mut self, member: usize) {
        let it = &mut self.members[member];
        let mut child = it.child.take().unwrap_or_else(|| panic!("{} does not run", it.name));
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
    }

    /// SIGSTOP of a member: it keeps its sockets and says nothing more.
    pub(crate) fn freeze(&self, member: usize) {
        let it = &self.members[member];
        let pid = it.child.as_ref().unwrap_or_else(|| panic!("{} does not run", it.name)).id().to_string();
        let status = Command::new("kill").args(["-STOP", &pid]).status().expect("kill is there");
        assert!(status.success(), "an own child can be stopped");
    }

    /// Ends the one member, throws its data away, and starts it again with nothing.
    pub(crate) fn restart_empty(&mut self) {
        self.kill(0);
        std::fs::remove_dir_all(self.directory.path().join(&self.members[0].name)).expect("its folder goes");
        self.run_all();
    }

    /// `etcdctl` with these words; whatever comes of it.
    pub(crate) fn try_ctl(&self, words: &[&str]) -> Output {
        let running = (0..self.members.len()).filter(|member| self.members[*member].child.is_some());
        let endpoints = running.map(|member| self.url(member)).collect::<Vec<_>>().join(",");
        let mut command = self.command("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoints]);
        let files = ["cacert", "cert", "key"].map(|file| (file, self.directory.path().join(format!("ctl-{file}.pem"))));
        for (file, path) in files.iter().filter(|(_, path)| path.exists()) {
            command.arg(format!("--{file}")).arg(path);
        }
        command.args(words).stdin(Stdio::null()).output().expect("etcdctl is there: apt-get install etcd-client")
    }

    /// `etcdctl` with these words, and what it says.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let output = self.try_ctl(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {}: {said}\n{}", words.join(" "), self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes many keys, all of them empty.
    pub(crate) fn put_many(&self, keys: impl IntoIterator<Item = String>) {
        let puts: Vec<String> = keys.into_iter().map(|key| format!("put {key} \"\"\n")).collect();
        let file = self.folder().join("puts");
        // So many fit into one transaction.
        for some in puts.chunks(100) {
            std::fs::write(&file, format!("\n{}\n\n", some.concat())).expect("a file");
            let mut command = self.command("etcdctl");
            command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url(0), "txn"]);
            command.stdin(File::open(&file).expect("the file"));
            let output = command.output().expect("etcdctl is there: apt-get install etcd-client");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// All keys that begin with that, sorted.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let text = self.ctl(&["get", "--prefix", "--keys-only", prefix]);
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The value of a key, `None` where there is none.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let text = self.ctl(&["get", "--print-value-only", key]);
        Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
    }

    fn log(&self) -> String {
        let one = |member: usize| {
            let text = std::fs::read(self.directory.path().join(format!("m{member}.log"))).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- etcd m{member}:\n{}\n", lines[lines.len().saturating_sub(10)..].join("\n"))
        };
        (0..self.members.len()).map(one).collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            if self.members[member].child.is_some() {
                self.kill(member);
            }
        }
    }
}
