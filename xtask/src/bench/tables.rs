//! Tables, beside Mnesia and etcd: what each side gives, and its part of the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Args, median, read};
use crate::command::{self, cargo};

/// The peer of the tables on disc, where it is built.
const ETCD: &str = "target/bench-etcd/release/etcd-bench";

/// A measurement of ours: the kind and storage of the table, the operation and how it is acknowledged.
type Ours = (&'static str, &'static str, &'static str, Option<&'static str>);

/// A measurement of ours beside one of a peer.
struct Pair {
    what: &'static str,
    ours: Ours,
    peer: &'static str,
    /// The mode of the peer's script or program.
    mode: &'static str,
    at_once: u64,
    /// The ratio that is asked for, and the one that is hoped for.
    ratio: Option<(f64, f64)>,
}

const fn pair(
    (what, ours): (&'static str, Ours),
    (peer, mode): (&'static str, &'static str),
    at_once: u64,
    ratio: Option<(f64, f64)>,
) -> Pair {
    Pair { what, ours, peer, mode, at_once, ratio }
}

const LOCAL: (&str, Ours) = ("available, `local`", ("available", "ram", "put", Some("local")));
const ALL: (&str, Ours) = ("available, `all`", ("available", "ram", "put", Some("all")));
const GET: (&str, Ours) = ("available, read", ("available", "ram", "get", None));
const QUORUM_PUT: (&str, Ours) = ("quorum in ram, write", ("quorum", "ram", "put", None));
const QUORUM_GET: (&str, Ours) = ("quorum in ram, linearizable read", ("quorum", "ram", "get", None));
const DISC_PUT: (&str, Ours) = ("quorum on disc, write", ("quorum", "disc", "put", None));
const DISC_GET: (&str, Ours) = ("quorum on disc, linearizable read", ("quorum", "disc", "get", None));

const PAIRS: [Pair; 14] = [
    pair(LOCAL, ("mnesia", "dirty_write"), 1, Some((1.5, 3.0))),
    pair(LOCAL, ("mnesia", "dirty_write"), 16, Some((2.0, 4.0))),
    pair(ALL, ("mnesia", "sync_dirty"), 1, Some((1.5, 2.0))),
    pair(ALL, ("mnesia", "sync_dirty"), 16, Some((3.0, 5.0))),
    pair(GET, ("mnesia", "dirty_read"), 1, Some((1.0, 1.5))),
    pair(GET, ("mnesia", "dirty_read"), 16, Some((1.0, 1.5))),
    pair(QUORUM_PUT, ("mnesia", "transaction"), 1, Some((1.5, 2.5))),
    pair(QUORUM_PUT, ("mnesia", "transaction"), 16, Some((4.0, 8.0))),
    pair(QUORUM_GET, ("mnesia", "transaction_read"), 1, Some((0.15, 0.3))),
    pair(QUORUM_GET, ("mnesia", "transaction_read"), 16, Some((0.8, 2.0))),
    pair(DISC_PUT, ("etcd", "put"), 1, Some((1.0, 1.5))),
    pair(DISC_PUT, ("etcd", "put"), 64, Some((3.0, 8.0))),
    pair(DISC_GET, ("etcd", "linearizable_get"), 1, None),
    pair(DISC_GET, ("etcd", "linearizable_get"), 64, None),
];

/// Tables of which each run measures all cases in one go.
const TABLES: [(&str, &str); 3] = [("available", "ram"), ("quorum", "ram"), ("quorum", "disc")];

/// What was measured of one side of a pair; one value a run.
#[derive(Default)]
struct Side {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Syncs of all three nodes for each operation.
    syncs: Vec<f64>,
}

/// All of it, by the words that tell one measurement from another.
#[derive(Default)]
pub(super) struct Tables(BTreeMap<String, Side>);

impl Tables {
    /// What has to be there before.
    pub(super) fn prepare() -> Result<()> {
        for (program, package) in [("escript", "erlang-base erlang-mnesia"), ("etcd", "etcd-server")] {
            if !command::exists(program) {
                anyhow::bail!(
                    "{program} is not installed: it is a peer of the tables (Debian: apt-get install {package})"
                );
            }
        }
        command::run(cargo(["build", "--release", "--locked"]).current_dir("bench/etcd"))
    }

    /// One run of each side, in turn.
    pub(super) fn run(&mut self, ekka: &str, args: &Args) -> Result<()> {
        let each = format!("{}ms", args.ms);
        for (kind, storage) in TABLES {
            let mut ours = Command::new(ekka);
            ours.args(["bench", "table", "--self-contained", "--json", "--kind", kind, "--storage", storage]);
            read(ours.args(["--for", &each]), |text| self.take_ours((kind, storage), text))?;
            for pair in PAIRS.iter().filter(|pair| pair.ours.0 == kind && pair.ours.1 == storage) {
                read(&mut theirs(pair, args), |text| self.take_theirs(pair, text))?;
            }
        }
        Ok(())
    }

    fn take_ours(&mut self, (kind, storage): (&str, &str), text: &str) -> Result<()> {
        let value: Value = serde_json::from_str(text)?;
        for row in value["rows"].as_array().context("no rows")? {
            let at_once = row["writers"].as_u64().context("no writers")?;
            let name = ours(kind, storage, row["op"].as_str().context("no op")?, row["ack"].as_str(), at_once);
            self.take(name, row, row["syncs"].as_f64())?;
        }
        Ok(())
    }

    fn take_theirs(&mut self, pair: &Pair, text: &str) -> Result<()> {
        let row: Value = serde_json::from_str(text)?;
        self.take(peers(pair), &row, row["fsyncs"].as_f64())
    }

    fn take(&mut self, name: String, row: &Value, syncs: Option<f64>) -> Result<()> {
        let number = |field: &str| row[field].as_f64().with_context(|| format!("no {field}"));
        let side = self.0.entry(name).or_default();
        side.rate.push(number("ops_per_s")?);
        side.p50.push(number("p50_us")?);
        side.p99.push(number("p99_us")?);
        if let Some(syncs) = syncs {
            side.syncs.push(syncs / number("ops")?.max(1.0));
        }
        Ok(())
    }

    /// The part of the page.
    pub(super) fn section(&self) -> String {
        let mut text = "Three processes a side on loopback, all writers at one of them (of a quorum table and of etcd: the one that leads); \
             ours with\nTLS 1.3, theirs in the clear. 10,000 rows of 100 bytes. A run of writes ends only when all three replicas hold \
             every write.\nSyncs are those of all three nodes for each write; ours count those of the warming up too.\n\n\
             | what | at once | ekka /s | p50 µs | p99 µs | peer | peer /s | p50 µs | p99 µs | ratio | asked | hoped for | syncs, ours | theirs |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for pair in &PAIRS {
            let (kind, storage, op, ack) = pair.ours;
            let none = Side::default();
            let ours = self.0.get(&ours(kind, storage, op, ack, pair.at_once)).unwrap_or(&none);
            let theirs = self.0.get(&peers(pair)).unwrap_or(&none);
            let (low, high) = pair.ratio.map_or(("–".into(), "–".into()), |(a, b)| (a.to_string(), b.to_string()));
            let syncs = |side: &Side| match (storage, op) {
                ("disc", "put") if !side.syncs.is_empty() => format!("{:.2}", median(&side.syncs)),
                _ => "–".to_owned(),
            };
            // Writing to memory cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} | {:.1} | {:.1} | {} `{}` | {:.0} | {:.1} | {:.1} | {:.2} | {low} | {high} | {} | {} |",
                pair.what,
                pair.at_once,
                median(&ours.rate),
                median(&ours.p50),
                median(&ours.p99),
                pair.peer,
                pair.mode,
                median(&theirs.rate),
                median(&theirs.p50),
                median(&theirs.p99),
                median(&ours.rate) / median(&theirs.rate),
                syncs(ours),
                syncs(theirs),
            );
        }
        text
    }
}

fn ours(kind: &str, storage: &str, op: &str, ack: Option<&str>, at_once: u64) -> String {
    format!("ekka {kind} {storage} {op} {} {at_once}", ack.unwrap_or("-"))
}

fn peers(pair: &Pair) -> String {
    format!("{} {} {}", pair.peer, pair.mode, pair.at_once)
}

/// The command that measures the peer of a pair.
fn theirs(pair: &Pair, args: &Args) -> Command {
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that long")]
    let seconds = (args.ms as f64 / 1e3).to_string();
    let at_once = pair.at_once.to_string();
    let mut command = if pair.peer == "mnesia" {
        let mut command = Command::new("escript");
        command.args(["bench/mnesia.escript", "--writers", &at_once]);
        command
    } else {
        let mut command = Command::new(ETCD);
        command.args(["--clients", &at_once, "--dir", "target"]);
        command
    };
    command.args(["--mode", pair.mode, "--seconds", &seconds, "--json"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_the_medians_of_both_sides() {
        let mut tables = Tables::default();
        for rate in [100.0, 300.0, 200.0] {
            let row = format!(
                r#"{{"rows": [{{"op": "put", "ack": null, "writers": 64, "ops": 10, "ops_per_s": {rate}, "p50_us": 1.0, "p99_us": 2.0, "syncs": 30}}]}}"#
            );
            tables.take_ours(("quorum", "disc"), &row).expect("rows");
            let row =
                format!(r#"{{"ops": 10, "ops_per_s": {}, "p50_us": 3.0, "p99_us": 4.0, "fsyncs": 60}}"#, rate / 4.0);
            tables.take_theirs(&PAIRS[11], &row).expect("a row");
        }
        let line = "| quorum on disc, write | 64 | 200 | 1.0 | 2.0 | etcd `put` | 50 | 3.0 | 4.0 | 4.00 | 3 | 8 | 3.00 | 6.00 |";
        assert!(tables.section().contains(line), "{}", tables.section());
        assert!(tables.take_ours(("quorum", "disc"), "{}").is_err());
    }
}
