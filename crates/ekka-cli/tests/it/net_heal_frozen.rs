//! A process that stood still and was woken: it finds out, comes back, and all that it and the others acknowledged is there
//! (DESIGN 2, last row; SCHEDULES S2-1, S2-4; USERS 2).

use std::time::{Duration, Instant};

use crate::support::parted::{DETECTION, HEALING, Parted};
use crate::support::{Figures, rounds};

const VICTIM: usize = 2;

/// Freezes a node for that long, wakes it, and looks at what it was told and what is there.
fn wakes(name: &str, frozen: Duration, gone: bool) {
    let mut seen = Figures::new(format!("{name}: SIGSTOP until the others see it"), DETECTION);
    let mut back = Figures::new(format!("{name}: SIGCONT until one cluster"), HEALING);
    for _ in 0..rounds(1, 10) {
        let parted = Parted::on_loopback(3, "ram", &[("cluster.gone_after", "10s")]);
        let (scribes, before) = (parted.write(), parted.finished());
        parted.cluster.throughout("a while of writes", Duration::from_millis(500), |_| Ok(()));
        let start = Instant::now();
        parted.cluster.agents[VICTIM].freeze();
        parted.cluster.wait("the others see it", seen.limit(), |_| {
            (0..VICTIM).try_for_each(|index| parted.sees(index, VICTIM, &["down"]))
        });
        seen.add(start.elapsed());
        let rest = frozen.saturating_sub(start.elapsed());
        parted.cluster.throughout("the majority works on", rest, |_| {
            let ready = |index| parted.status(index).map(|status| status["ready"] == true);
            if ready(0)? && ready(1)? { Ok(()) } else { Err("not ready".into()) }
        });
        if gone {
            parted.cluster.wait("the others say gone", DETECTION * 10, |_| {
                (0..VICTIM).try_for_each(|index| parted.sees(index, VICTIM, &["gone"]))
            });
        }
        parted.cluster.agents[VICTIM].thaw();
        back.add(parted.healed(&before, 1, back.limit()));
        let account = parted.judge(&scribes.end());
        let ((pid, guid), now) = (parted.starts[VICTIM].clone(), parted.start_of(VICTIM));
        assert_eq!(now.0, pid, "the same process");
        assert_eq!(now.1 != guid, gone, "a new guid where, and only where, it was gone: {now:?}");
        told(&parted, gone);
        println!("SHAPE {name}: {} writes acknowledged, 0 lost", account.acked);
    }
    seen.assert_median();
    back.assert_median();
}

/// It says that it stood still, and, where its lease ran out meanwhile, that it was fenced and is over.
fn told(parted: &Parted<()>, gone: bool) {
    let kinds: &[&str] = if gone { &["node.paused", "node.fenced", "node.over"] } else { &["node.paused"] };
    for kind in kinds {
        let said = parted.said(VICTIM, kind).expect("events");
        assert!(!said.is_empty(), "it never said {kind}\n{}", parted.cluster.report());
    }
}

/// SCHEDULES S2-1: it had declared nobody down, and is healed all the same.
#[test]
fn a_node_frozen_for_longer_than_detection_heals_back_in() {
    wakes("frozen for 5 s", Duration::from_secs(5), false);
}

/// SCHEDULES S2-4: it comes back under a new guid in the same process, with what it had acknowledged.
#[test]
fn a_node_frozen_until_it_was_gone_heals_back_in_under_a_new_guid() {
    wakes("frozen for 14 s", Duration::from_secs(14), true);
}
