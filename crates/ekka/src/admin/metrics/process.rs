//! The usual figures of a process, from `/proc`. Where that is not there, they are left out.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;

use super::{Sheet, number};

/// What the kernel counts start times in: `USER_HZ`, 100 a second on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn register(sheet: &mut Sheet) {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds of CPU time are far below 2^53")]
    let used = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(used);
    sheet.registry.register("process_cpu_seconds", "CPU time used", cpu);
    if let Some(bytes) = resident_bytes() {
        sheet.gauge("process_resident_memory_bytes", "Resident memory", [(vec![], number(bytes))]);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The directory that is being read is open too.
        let count = (open.count() as u64).saturating_sub(1);
        sheet.gauge("process_open_fds", "Open file descriptors", [(vec![], number(count))]);
    }
    if let Some(start) = start_seconds() {
        sheet.gauge("process_start_time_seconds", "Start of the process since the epoch", [(vec![], start)]);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn start_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold anything; the fields after it are numbered from 3.
    let fields = stat.rsplit_once(')')?.1;
    let ticks: f64 = fields.split_whitespace().nth(22 - 3)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / TICKS_PER_SECOND)
}
