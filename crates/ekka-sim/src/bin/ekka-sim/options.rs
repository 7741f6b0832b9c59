//! The words of the command line.

use std::time::Duration;

use ekka_sim::core_world::{Kind as Fault, Source};

pub(crate) const HELP: &str = "\
Deterministic simulation by seed.

  --kind core|swarm|stack|formation1000   the cores alone (default), the same with some of all kinds of faults,
                                    whole nodes, or the report on many nodes
  --kind growth                     whole nodes: one, three, five, three, one, each voter killed in turn under load
  --kind tables|tables-power        whole nodes whose tables of all kinds are written to; the same, and the power of all goes
  --kind linear                     histories of clients of the real group, judged for linearizability
  --kind quorum                     the same of quorum tables, with transactions over several rows
  --kind dns|mcast|etcd|k8s         the cores with a faulty backend of that strategy
  --seed N                          one seed, decimal or 0x…
  --seeds N                         so many seeds (default: 200; 20 of stack, growth and tables)
  --from N                          the first of them (default 0)
  --minutes M                       as many seeds as fit into M minutes
  --jobs N                          so many threads (default: as many as there are cores)
  --nodes N                         nodes of formation1000 (default 1000)
  --with KIND[,KIND…] | --with all   kinds of faults of the swarm that wait for the core to keep their promises
  --keep-going                      name every seed that fails, in one line each
  --log FILTER                      writes what the nodes log to stderr; FILTER as in `ekka agent --log-level`, e.g. debug
  --mutants                         plants each fault until it is caught; --seeds N bounds the hunt; with --kind tables
                                    those of tables only
";

/// Which world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Core,
    Swarm,
    Stack,
    Growth,
    Tables,
    TablesPower,
    Linear,
    Quorum,
    Formation1000,
    Backend(Source),
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Swarm => "swarm",
            Self::Stack => "stack",
            Self::Growth => "growth",
            Self::Tables => "tables",
            Self::TablesPower => "tables-power",
            Self::Linear => "linear",
            Self::Quorum => "quorum",
            Self::Formation1000 => "formation1000",
            Self::Backend(source) => source.name(),
        }
    }
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    pub(crate) seed: Option<u64>,
    pub(crate) seeds: Option<u64>,
    pub(crate) from: u64,
    pub(crate) limit: Option<Duration>,
    pub(crate) jobs: usize,
    pub(crate) nodes: usize,
    pub(crate) mutants: bool,
    pub(crate) keep_going: bool,
    pub(crate) awaited: Vec<Fault>,
    pub(crate) log: Option<String>,
}

impl Options {
    /// Reads the arguments; `None` where help is wanted.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            kind: Kind::Core,
            seed: None,
            seeds: None,
            from: 0,
            limit: None,
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            nodes: 1000,
            mutants: false,
            keep_going: false,
            awaited: Vec::new(),
            log: None,
        };
        let mut args = args;
        while let Some(word) = args.next() {
            let (word, given) = match word.split_once('=') {
                Some((word, value)) => (word.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || given.clone().or_else(|| args.next()).ok_or_else(|| format!("{word} takes a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--mutants" => options.mutants = true,
                "--kind" => options.kind = kind(&value()?)?,
                "--seed" => options.seed = Some(number(&value()?)?),
                "--seeds" => options.seeds = Some(number(&value()?)?),
                "--from" => options.from = number(&value()?)?,
                "--minutes" => options.limit = Some(Duration::from_secs(60 * number(&value()?)?)),
                "--jobs" => options.jobs = usize::try_from(number(&value()?)?.max(1)).unwrap_or(1),
                "--keep-going" => options.keep_going = true,
                "--with" => options.awaited = awaited(&value()?)?,
                "--log" => options.log = Some(value()?),
                "--nodes" => options.nodes = usize::try_from(number(&value()?)?).unwrap_or(1000),
                _ => return Err(format!("{word} is no option")),
            }
        }
        Ok(Some(options))
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let alone = [Kind::Core, Kind::Swarm, Kind::Linear, Kind::Quorum, Kind::Formation1000];
    let whole = [Kind::Stack, Kind::Growth, Kind::Tables, Kind::TablesPower];
    let worlds = alone.into_iter().chain(whole);
    let mut kinds = worlds.chain(Source::ALL.map(Kind::Backend));
    kinds.find(|kind| kind.name() == text).ok_or_else(|| {
        format!(
            "--kind {text}: core, swarm, stack, growth, tables, tables-power, linear, quorum, formation1000, dns, mcast, etcd \
             and k8s are there"
        )
    })
}

fn awaited(text: &str) -> Result<Vec<Fault>, String> {
    if text == "all" { Ok(Fault::AWAITED.to_vec()) } else { text.split(',').map(str::parse).collect() }
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("`{text}` is no number: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>, String> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn seeds_are_read_in_both_notations_and_both_forms() {
        let options = parse("--kind=stack --seed 0x1f --minutes 2").unwrap().unwrap();
        assert_eq!((options.kind, options.seed), (Kind::Stack, Some(31)));
        assert_eq!(options.limit, Some(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_no_option_is_refused_in_words() {
        for (text, word) in [("--sed 1", "--sed"), ("--seed", "takes a value"), ("--kind x", "core"), ("--seed z", "z")]
        {
            assert!(parse(text).unwrap_err().contains(word), "{text}");
        }
    }
}
