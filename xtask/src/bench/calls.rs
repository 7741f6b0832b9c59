//! Calls, beside Erlang's `erpc`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Args, median, read};
use crate::command;

/// Bytes and callers.
type Case = (u64, u64);
/// Calls a second of each run, by case.
type Rates = BTreeMap<Case, Vec<f64>>;

/// Ratios that are asked for and hoped for, by case.
const FLOORS: [(Case, f64, f64); 3] = [((16, 1), 1.5, 2.5), ((16, 64), 4.0, 8.0), ((1024, 64), 3.0, 6.0)];

/// What both sides gave.
#[derive(Default)]
pub(super) struct Calls {
    ours: Rates,
    theirs: Rates,
}

impl Calls {
    /// What has to be there before.
    pub(super) fn prepare() -> Result<()> {
        if !command::exists("escript") {
            bail!("escript is not installed: the peer is Erlang's erpc (Debian: apt-get install erlang-base)");
        }
        Ok(())
    }

    /// One run of each side.
    pub(super) fn run(&mut self, ekka: &str, args: &Args) -> Result<()> {
        let each = format!("{}ms", args.ms);
        let mut ours = Command::new(ekka);
        ours.args(["bench", "rpc", "--self-contained", "--json", "--for", &each]);
        read(&mut ours, |text| take(text, &mut self.ours))?;
        let mut theirs = Command::new("escript");
        read(theirs.args(["bench/erpc.escript", &args.ms.to_string()]), |text| take(text, &mut self.theirs))
    }

    /// The part of the page.
    pub(super) fn section(&self) -> String {
        let mut text = "Three processes a side on loopback, one calls another; ours with TLS 1.3, theirs in the clear. Each call carries\n\
             the bytes there and back.\n\n\
             | bytes | callers | ekka /s | erpc /s | ratio | asked | hoped for |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
        for (case, rates) in &self.ours {
            let (mine, peer) = (median(rates), self.theirs.get(case).map_or(f64::NAN, |rates| median(rates)));
            let floor = FLOORS.iter().find(|(of, ..)| of == case);
            let floor =
                floor.map_or(("–".into(), "–".into()), |(_, low, high)| (low.to_string(), high.to_string()));
            // Writing to memory cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {mine:.0} | {peer:.0} | {:.2} | {} | {} |",
                case.0,
                case.1,
                mine / peer,
                floor.0,
                floor.1
            );
        }
        text
    }
}

/// Takes the rows of one run.
fn take(text: &str, rates: &mut Rates) -> Result<()> {
    let value: Value = serde_json::from_str(text)?;
    for row in value["rows"].as_array().context("no rows")? {
        let number = |field: &str| row[field].as_u64().with_context(|| format!("no {field}"));
        let rate = row["calls_per_s"].as_f64().context("no calls_per_s")?;
        rates.entry((number("bytes")?, number("callers")?)).or_default().push(rate);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_the_median_of_each_side_and_their_ratio() {
        let mut calls = Calls::default();
        for rate in [9.0, 30.0, 20.0] {
            let row = |rate: f64| format!(r#"{{"rows": [{{"bytes": 16, "callers": 1, "calls_per_s": {rate}}}]}}"#);
            take(&row(rate), &mut calls.ours).expect("rows");
            take(&row(rate / 2.0), &mut calls.theirs).expect("rows");
        }
        let section = calls.section();
        assert!(section.contains("| 16 | 1 | 20 | 10 | 2.00 | 1.5 | 2.5 |"), "{section}");
        assert!(take("{}", &mut calls.ours).is_err());
    }
}
