//! Section 4: a node whose clock is off by more than a minute does not become `up`, and moves nobody else.

use ekka_core::id::Incarnation;
use ekka_core::limits::CLOCK_REFUSE;
use ekka_core::view::{Status, View};

/// What is true of the clock of a machine's present process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Truth {
    /// Right, since it started.
    #[default]
    Right,
    /// Further off than is allowed, since it started.
    Wrong,
    /// It jumped; peers compare only now and then.
    Jumped,
}

impl Truth {
    /// At the start of a process.
    pub(super) fn at_start(offset_ms: i64) -> Self {
        if u128::from(offset_ms.unsigned_abs()) > CLOCK_REFUSE.as_millis() { Self::Wrong } else { Self::Right }
    }
}

/// Not up for the first time with a clock that is refused or wrong; and a right one that was up is never refused.
pub(super) fn check(truth: Truth, was_up: &mut Option<Incarnation>, view: &View) -> Result<(), String> {
    let refused = view.reasons.iter().find(|reason| reason.code == "clock");
    let first = *was_up != Some(view.me);
    if view.status == Status::Up {
        *was_up = Some(view.me);
        if first && let Some(reason) = refused {
            return Err(format!("up for the first time although {}", reason.text));
        }
        // Whoever is alone has nobody to compare with.
        if first && truth == Truth::Wrong && view.quorum.voters > 1 {
            return Err("up for the first time with a clock that is far off".into());
        }
    }
    match refused {
        Some(reason) if truth == Truth::Right && view.status == Status::Up => {
            Err(format!("not ready with a right clock: {}", reason.text))
        }
        _ => Ok(()),
    }
}
