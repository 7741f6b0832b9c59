//! `cargo xtask bench`: alternating runs beside peers, medians, and the page that shows them.

mod commits;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::commits::{Commits, GROUPS};
use crate::command::{self, cargo};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs of each side, one after the other.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Milliseconds of each measurement.
    #[arg(long, default_value_t = 2000)]
    ms: u64,
    /// The program to measure, where it is built already.
    #[arg(long)]
    ekka: Option<String>,
    /// Only show the figures, and leave `docs/benchmarks.md` as it is.
    #[arg(long)]
    dry: bool,
}

/// Bytes and callers.
type Case = (u64, u64);
/// Calls a second of each run, by case.
type Rates = BTreeMap<Case, Vec<f64>>;

/// Ratios that are asked for and hoped for, by case.
const FLOORS: [(Case, f64, f64); 3] = [((16, 1), 1.5, 2.5), ((16, 64), 4.0, 8.0), ((1024, 64), 3.0, 6.0)];
const PAGE: &str = "docs/benchmarks.md";

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !command::exists("escript") {
        bail!("escript is not installed: the peer is Erlang's erpc (Debian: apt-get install erlang-base)");
    }
    if args.ekka.is_none() {
        command::run(&mut cargo(["build", "--release", "--locked", "-p", "ekka-cli", "--bin", "ekka"]))?;
    }
    let ekka = args.ekka.clone().unwrap_or_else(|| "target/release/ekka".to_owned());
    let (mut ours, mut theirs) = (Rates::new(), Rates::new());
    let mut commits = Commits::default();
    let begun = load();
    for run in 1..=args.runs {
        println!("run {run} of {}", args.runs);
        let each = format!("{}ms", args.ms);
        measure(Command::new(&ekka).args(["bench", "rpc", "--self-contained", "--json", "--for", &each]), &mut ours)?;
        measure(Command::new("escript").args(["bench/erpc.escript", &args.ms.to_string()]), &mut theirs)?;
        for group in GROUPS {
            let mut bench = Command::new(&ekka);
            bench.args(["bench", "commit", "--self-contained", "--json", "--group", group, "--for", &each]);
            read(&mut bench, |text| commits.take(group, text))?;
        }
    }
    let page = page(&ours, &theirs, args, &[begun, load()]) + &commits.section();
    println!("{page}");
    if !args.dry {
        std::fs::write(PAGE, page).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(())
}

fn measure(command: &mut Command, rates: &mut Rates) -> Result<()> {
    read(command, |text| take(text, rates))
}

/// Runs a benchmark and takes the figures, which are its last line.
fn read(command: &mut Command, take: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let line = command::shown(command);
    println!("$ {line}");
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    take(last).with_context(|| format!("`{line}` printed no figures: {last}"))
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

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The load of the machine over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

fn page(ours: &Rates, theirs: &Rates, args: &Args, loads: &[String]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench`. Ratios matter, not the absolute values: both sides run in turn on\n\
         one machine. {} runs of {} ms for each figure, medians; {cores} cores, load {} before and {} after.\n\n\
         ## Calls, beside Erlang's `erpc`\n\n\
         Three processes a side on loopback, one calls another; ours with TLS 1.3, theirs in the clear. Each call carries\n\
         the bytes there and back.\n\n\
         | bytes | callers | ekka /s | erpc /s | ratio | asked | hoped for |\n|---|---|---|---|---|---|---|\n",
        args.runs, args.ms, loads[0], loads[1]
    );
    for (case, rates) in ours {
        let (mine, peer) = (median(rates), theirs.get(case).map_or(f64::NAN, |rates| median(rates)));
        let floor = FLOORS.iter().find(|(of, ..)| of == case);
        let floor = floor.map_or(("–".into(), "–".into()), |(_, low, high)| (low.to_string(), high.to_string()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_median_of_each_side_and_their_ratio() {
        let (mut ours, mut theirs) = (Rates::new(), Rates::new());
        for rate in [9.0, 30.0, 20.0] {
            let row = |rate: f64| format!(r#"{{"rows": [{{"bytes": 16, "callers": 1, "calls_per_s": {rate}}}]}}"#);
            take(&row(rate), &mut ours).expect("rows");
            take(&row(rate / 2.0), &mut theirs).expect("rows");
        }
        let args = Args { runs: 3, ms: 1, ekka: None, dry: true };
        let page = page(&ours, &theirs, &args, &["0.1".into(), "0.2".into()]);
        assert!(page.contains("| 16 | 1 | 20 | 10 | 2.00 | 1.5 | 2.5 |"), "{page}");
        assert!(take("{}", &mut ours).is_err());
    }
}
