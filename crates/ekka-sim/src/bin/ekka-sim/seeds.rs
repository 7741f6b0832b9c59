//! Many seeds on several threads, until their number, the time, or a failure ends it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ekka_sim::failure::Failure;
use ekka_sim::linear::LinearPlan;
use ekka_sim::{core_world, stack};

use crate::options::{Kind, Options};

/// Runs one seed; virtual milliseconds and the hash of its trace.
fn one(options: &Options, seed: u64) -> Result<(u64, u64), Failure> {
    let plan = match options.kind {
        Kind::Stack => {
            return stack::Plan::from_seed(seed).run().map(|report| (report.virtual_ms, report.trace_hash));
        }
        Kind::Growth => {
            return stack::Growth { seed }.run().map(|(report, ..)| (report.virtual_ms, report.trace_hash));
        }
        Kind::Tables | Kind::TablesPower => {
            let power = options.kind == Kind::TablesPower;
            let plan = if power { stack::TablesPlan::power_loss(seed) } else { stack::TablesPlan::from_seed(seed) };
            return plan.run().map(|(report, _)| (report.virtual_ms, report.trace_hash));
        }
        Kind::Linear => {
            return LinearPlan::from_seed(seed).run().map(|report| (report.virtual_ms, report.hash));
        }
        Kind::Quorum => {
            return LinearPlan::of_tables(seed).run().map(|report| (report.virtual_ms, report.hash));
        }
        Kind::Backend(source) => {
            let plan = core_world::BackendPlan::from_seed(source, seed);
            return plan.run().map(|report| (report.virtual_ms, report.trace_hash));
        }
        Kind::Swarm => core_world::Plan::swarm(seed, &options.awaited),
        Kind::Core | Kind::Formation1000 => core_world::Plan::from_seed(seed),
    };
    plan.run().map(|report| (report.virtual_ms, report.trace_hash))
}

/// The words of the command line that mean the same kind of run.
fn words(options: &Options) -> String {
    let kinds: Vec<String> = options.awaited.iter().map(|kind| format!("{kind:?}")).collect();
    let with = if kinds.is_empty() { String::new() } else { format!(" --with {}", kinds.join(",")) };
    format!("{}{with}", options.kind.name())
}

/// Runs what the options ask for and prints how much that was; whether nothing failed.
pub(crate) fn run(options: &Options) -> bool {
    if let Some(seed) = options.seed {
        return match one(options, seed) {
            Ok((virtual_ms, hash)) => {
                println!("seed {seed:#x}: ok, {virtual_ms} virtual ms, trace hash {hash:016x}");
                true
            }
            Err(failure) => {
                println!("{}", failure.tell(&words(options), seed));
                false
            }
        };
    }
    many(options)
}

fn many(options: &Options) -> bool {
    let default =
        if matches!(options.kind, Kind::Stack | Kind::Growth | Kind::Tables | Kind::TablesPower) { 20 } else { 200 };
    let count = options.seeds.unwrap_or(if options.limit.is_some() { u64::MAX } else { default });
    let end = options.from.saturating_add(count);
    let begin = Instant::now(); // Real time bounds the run, nothing inside it.
    let next = AtomicU64::new(options.from);
    let done = AtomicU64::new(0);
    let virtual_ms = AtomicU64::new(0);
    let ruined = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let failed: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) && options.limit.is_none_or(|limit| begin.elapsed() < limit) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            match one(options, seed) {
                Ok((ms, _)) => {
                    virtual_ms.fetch_add(ms, Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(failure) if options.keep_going => {
                    println!("FAILED {seed:#x}: {}", failure.what);
                    ruined.fetch_add(1, Ordering::Relaxed);
                }
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().expect("no thread panics with the lock held");
                    if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                        *failed = Some((seed, failure));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| (0..options.jobs).for_each(|_| drop(scope.spawn(work))));
    println!(
        "{} seeds of {} passed: {} virtual seconds in {:.1} s",
        done.into_inner(),
        options.kind.name(),
        virtual_ms.into_inner() / 1_000,
        begin.elapsed().as_secs_f64()
    );
    match failed.into_inner().expect("no thread panics with the lock held") {
        None => ruined.into_inner() == 0,
        Some((seed, failure)) => {
            println!("{}", failure.tell(&words(options), seed));
            false
        }
    }
}
