//! Commits of the groups: what `ekka bench commit` gives, and its part of the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Args, median, read};

/// The groups, in the order of the page.
const GROUPS: [&str; 2] = ["durable", "volatile"];

/// What was measured of one group, for a number of proposers; one value a run.
#[derive(Default)]
struct Row {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    fsyncs: Vec<f64>,
}

/// All of it, by group and number of proposers.
#[derive(Default)]
pub(super) struct Commits(BTreeMap<(usize, u64), Row>);

impl Commits {
    /// One run of each group.
    pub(super) fn run(&mut self, ekka: &str, args: &Args) -> Result<()> {
        let each = format!("{}ms", args.ms);
        for group in GROUPS {
            let mut bench = Command::new(ekka);
            bench.args(["bench", "commit", "--self-contained", "--json", "--group", group, "--for", &each]);
            read(&mut bench, |text| self.take(group, text))?;
        }
        Ok(())
    }

    /// Takes the rows of one run of one group.
    fn take(&mut self, group: &str, text: &str) -> Result<()> {
        let order = GROUPS.iter().position(|known| *known == group).context("no such group")?;
        let value: Value = serde_json::from_str(text)?;
        for row in value["rows"].as_array().context("no rows")? {
            let number = |field: &str| row[field].as_f64().with_context(|| format!("no {field}"));
            let proposers = row["proposers"].as_u64().context("no proposers")?;
            let kept = self.0.entry((order, proposers)).or_default();
            kept.rate.push(number("commits_per_s")?);
            kept.p50.push(number("p50_us")?);
            kept.p99.push(number("p99_us")?);
            kept.fsyncs.push(number("fsyncs_per_commit")?);
        }
        Ok(())
    }

    /// The part of the page.
    pub(super) fn section(&self) -> String {
        let mut text = "Three processes on loopback, proposals at the one that leads; each takes effect on a majority \
             before it counts. The durable\ngroup waits for the disc, the volatile one for memory only. Syncs are those of the leader.\n\n\
             | group | proposers | commits /s | p50 µs | p99 µs | syncs a commit |\n|---|---|---|---|---|---|\n"
            .to_owned();
        for ((group, proposers), row) in &self.0 {
            // Writing to memory cannot fail.
            let _ = writeln!(
                text,
                "| {} | {proposers} | {:.0} | {:.0} | {:.0} | {:.2} |",
                GROUPS[*group],
                median(&row.rate),
                median(&row.p50),
                median(&row.p99),
                median(&row.fsyncs)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_median_of_each_group_and_number_of_proposers() {
        let mut commits = Commits::default();
        for rate in [900, 300, 600] {
            let row = format!(
                r#"{{"rows": [{{"proposers": 16, "commits_per_s": {rate}.0, "p50_us": 9, "p99_us": 20, "fsyncs_per_commit": 0.5}}]}}"#
            );
            commits.take("volatile", &row).expect("rows");
            commits.take("durable", &row).expect("rows");
        }
        let section = commits.section();
        assert!(section.contains("| durable | 16 | 600 | 9 | 20 | 0.50 |\n| volatile | 16 | 600 "), "{section}");
        assert!(commits.take("durable", "{}").is_err() && commits.take("another", "{}").is_err());
    }
}
