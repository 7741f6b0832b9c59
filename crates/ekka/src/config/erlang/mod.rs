//! The `.config` style: Erlang terms in the shapes of the original.
//!
//! A file is a `sys.config`, a bare list of options, or a fragment cut out of either. Sections of other applications
//! are skipped, each with a notice.

mod convert;
mod lex;
mod term;

use std::path::Path;

use super::error::{ConfigError, Notice, Place};
use super::keys::{self, Meaning};
use super::raw::Entry;
use super::value::{Value, clip};
use convert::{Unit, value};
use term::{Node, Term};

/// Options that tell etcd's section from that of DNS.
const ETCD_ONLY: [&str; 2] = ["prefix", "node_ttl"];

/// Reads a file. A text that is not made of terms gives one error; otherwise reading goes on after each.
pub(crate) fn parse(path: &Path, text: &str, errors: &mut Vec<ConfigError>, notices: &mut Vec<Notice>) -> Vec<Entry> {
    let mut reader = Reader { path, entries: Vec::new(), errors, notices };
    match term::terms(text) {
        Ok(nodes) => reader.top(&nodes),
        Err(fault) => reader.error(fault.line, None, fault.text),
    }
    reader.entries
}

struct Reader<'a> {
    path: &'a Path,
    entries: Vec<Entry>,
    errors: &'a mut Vec<ConfigError>,
    notices: &'a mut Vec<Notice>,
}

impl Reader<'_> {
    fn place(&self, line: u32) -> Place {
        Place::File { path: self.path.to_owned(), line: Some(line) }
    }

    fn error(&mut self, line: u32, key: Option<&str>, text: impl Into<String>) {
        let place = self.place(line);
        self.errors.push(ConfigError { place, key: key.map(str::to_owned), text: text.into() });
    }

    fn notice(&mut self, line: u32, text: String) {
        let place = self.place(line);
        self.notices.push(Notice { place, text });
    }

    /// The file as a whole: a list is opened, everything else is an option or a section.
    fn top(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.term {
                Term::List(items) => items.iter().for_each(|item| self.section_or_option(item)),
                _ => self.section_or_option(node),
            }
        }
    }

    fn section_or_option(&mut self, node: &Node) {
        let Some((name, value)) = pair(node) else {
            let text = "a tuple {key, value} is expected, as in {cluster_name, ekka}";
            return self.error(node.line, None, text);
        };
        match (name, &value.term) {
            ("ekka", Term::List(items)) => items.iter().for_each(|item| self.option(item)),
            ("ekka", _) => self.error(node.line, None, "{ekka, …} holds a list, as in {ekka, [{cluster_name, ekka}]}"),
            ("kernel", Term::List(items)) => self.kernel(node.line, items),
            ("mria", Term::List(items)) => self.mria(node.line, items),
            (name, Term::List(_)) if is_foreign(name) => {
                self.notice(node.line, format!("section {{{name}, …}} belongs to another application and is skipped"));
            }
            _ => self.option(node),
        }
    }

    /// An option of ekka.
    fn option(&mut self, node: &Node) {
        match pair(node) {
            Some(("cluster_discovery" | "cluster_discovery_strategy", value)) => self.discovery(node.line, value),
            Some((name, value)) => {
                let key = if name.contains('.') { name.to_owned() } else { keys::dotted(name) };
                self.push(node.line, key, value, Unit::Milliseconds);
            }
            None => self.error(node.line, None, "a tuple {key, value} is expected, as in {cluster_name, ekka}"),
        }
    }

    /// Takes a value under a dotted key, in the text of the `.conf` style.
    fn push(&mut self, line: u32, key: String, node: &Node, unit: Unit) {
        let kind = match keys::meaning(&key) {
            Meaning::Own(known) | Meaning::Alias(known) => Some(known.kind),
            Meaning::NoEffect(_) | Meaning::Unknown => None,
        };
        let converted = match kind {
            // The original drops what is undefined.
            Some(_) if node.term == Term::Atom("undefined".to_owned()) => return,
            Some(kind) => value(kind, node, unit),
            None => Ok(Value::Text(String::new())),
        };
        match converted {
            Ok(value) => self.entries.push(Entry { key, value, place: self.place(line) }),
            Err(text) => self.error(line, Some(&key), format!("{key}: {text}")),
        }
    }

    /// `{static, [...]}`, `manual`, or a list of these.
    fn discovery(&mut self, line: u32, value: &Node) {
        let strategies = match &value.term {
            Term::List(items) => items.as_slice(),
            Term::Atom(word) if word == "undefined" => return,
            _ => std::slice::from_ref(value),
        };
        let mut words = Vec::new();
        for node in strategies {
            match (&node.term, pair(node)) {
                (Term::Atom(word), _) => words.push(word.clone()),
                (_, Some((word, Node { term: Term::List(options), .. }))) => {
                    words.push(word.to_owned());
                    if keys::by_name("cluster.discovery").is_some_and(|key| key.kind.takes(word)) {
                        self.options(word, options);
                    }
                }
                _ => {
                    let text =
                        "cluster.discovery: write {strategy, [options]}, as in {static, [{seeds, ['ekka@10.0.0.1']}]}";
                    self.error(node.line, Some("cluster.discovery"), text);
                    return;
                }
            }
        }
        let place = self.place(line);
        self.entries.push(Entry { key: "cluster.discovery".to_owned(), value: Value::List(words), place });
    }

    fn options(&mut self, strategy: &str, options: &[Node]) {
        if strategy == "dns" && self.etcd_under_dns(options) {
            return;
        }
        for node in options {
            match (&node.term, pair(node)) {
                (_, Some(("ssl_options" | "ssl", value))) if strategy == "etcd" => self.etcd_ssl(node.line, value),
                (_, Some((name, value))) => {
                    self.push(node.line, format!("cluster.{strategy}.{name}"), value, Unit::Milliseconds);
                }
                // In a property list an atom alone is true.
                (Term::Atom(name), None) => {
                    let yes = Node { line: node.line, term: Term::Atom("true".to_owned()) };
                    self.push(node.line, format!("cluster.{strategy}.{name}"), &yes, Unit::Milliseconds);
                }
                _ => {
                    let key = format!("cluster.{strategy}");
                    self.error(node.line, Some(&key), format!("{key}: a tuple {{option, value}} is expected"));
                }
            }
        }
    }

    /// The mistake of the original's README: etcd's options under dns. Said before any value is looked at.
    fn etcd_under_dns(&mut self, options: &[Node]) -> bool {
        let named = |node: &Node| pair(node).map(|(name, _)| (name.to_owned(), node.line));
        let names: Vec<(String, u32)> = options.iter().filter_map(named).collect();
        if !names.iter().any(|(name, _)| ETCD_ONLY.contains(&name.as_str())) {
            return false;
        }
        let of_etcd = |name: &str| !matches!(name, "name" | "app" | "type" | "record_type");
        let found: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).filter(|name| of_etcd(name)).collect();
        let line = names.iter().find(|(name, _)| of_etcd(name)).map_or(1, |(_, line)| *line);
        let text = format!(
            "{{dns, …}} has options of etcd ({}): the original README's DNS example is wrong. For DNS write {{dns, \
             [{{name, \"localhost\"}}, {{app, \"ekka\"}}]}}; for etcd change dns to etcd",
            clip(&found.join(", "))
        );
        // Without a key: the checks that follow would only tell of what these options left out.
        self.error(line, None, text);
        true
    }

    fn etcd_ssl(&mut self, line: u32, value: &Node) {
        let Term::List(items) = &value.term else {
            let text = "cluster.etcd.ssl: write a list, as in [{keyfile, \"k.pem\"}, {certfile, \"c.pem\"}]";
            return self.error(line, Some("cluster.etcd.ssl"), text);
        };
        let off = |node: &Node| matches!(pair(node), Some(("enable", v)) if v.term == Term::Atom("false".to_owned()));
        if items.iter().any(off) {
            return self.notice(line, "ssl_options has {enable, false}: its files are not used".to_owned());
        }
        for node in items {
            match pair(node) {
                Some(("enable", _)) => {}
                Some((name, value)) => {
                    self.push(node.line, format!("cluster.etcd.ssl.{name}"), value, Unit::Milliseconds);
                }
                None => self.error(node.line, Some("cluster.etcd.ssl"), "a tuple {option, value} is expected"),
            }
        }
    }

    fn kernel(&mut self, line: u32, items: &[Node]) {
        let mut skipped = Vec::new();
        for node in items {
            match pair(node) {
                Some(("inet_dist_base_port", value)) => {
                    self.push(node.line, "node.base_port".to_owned(), value, Unit::Milliseconds);
                    self.notice(node.line, "`inet_dist_base_port` is read as node.base_port".to_owned());
                }
                Some((name, _)) => skipped.push(name),
                None => skipped.push("…"),
            }
        }
        self.skipped(line, "kernel", &skipped);
    }

    /// The successor of the original's tables: its cleaning time is in seconds.
    fn mria(&mut self, line: u32, items: &[Node]) {
        let mut skipped = Vec::new();
        for node in items {
            match pair(node) {
                Some(("cluster_autoclean", value)) => {
                    self.push(node.line, "cluster.autoclean".to_owned(), value, Unit::Seconds);
                }
                Some(("node_role" | "core_nodes" | "cluster_autoheal", _)) => self.option(node),
                Some((name, _)) => skipped.push(name),
                None => skipped.push("…"),
            }
        }
        self.skipped(line, "mria", &skipped);
    }

    fn skipped(&mut self, line: u32, section: &str, names: &[&str]) {
        if !names.is_empty() {
            let text = format!(
                "section {{{section}, …}}: {} belongs to another application and is skipped",
                clip(&names.join(", "))
            );
            self.notice(line, text);
        }
    }
}

/// Key and value of a tuple of two.
fn pair(node: &Node) -> Option<(&str, &Node)> {
    match &node.term {
        Term::Tuple(items) => match items.as_slice() {
            [Node { term: Term::Atom(name), .. }, value] => Some((name, value)),
            _ => None,
        },
        Term::Atom(_) | Term::Str(_) | Term::Int(_) | Term::Float(_) | Term::List(_) | Term::Map => None,
    }
}

/// Whether a key with a list for its value is the section of another application, not an option of ours, misspelt or not.
fn is_foreign(name: &str) -> bool {
    const OURS: [&str; 8] = ["cluster", "node", "api", "health", "lock", "storage", "log", "rlog"];
    let first = name.split(['_', '.']).next().unwrap_or_default();
    let known = !matches!(keys::meaning(&keys::dotted(name)), Meaning::Unknown);
    let like_ours = OURS.contains(&first) && name.contains(['_', '.']);
    !known && !like_ours
}
