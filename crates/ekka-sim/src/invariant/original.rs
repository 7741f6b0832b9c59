//! Section 4: a healthy node is never ended by others. Only a copied directory is, and one that was set back.

use ekka_core::control::StopReason;

/// An end that nobody asked for is allowed to copies and restored directories alone.
pub(super) fn check(may_end: bool, reason: &StopReason) -> Result<(), String> {
    match reason {
        // Section 9: who lives and was declared gone takes a new guid, and goes on.
        StopReason::Asked | StopReason::Over => Ok(()),
        StopReason::Refused(_) | StopReason::Restored(_) if may_end => Ok(()),
        StopReason::Refused(refusal) => Err(format!("a healthy node was ended: {}", refusal.text)),
        StopReason::Restored(text) => Err(format!("a directory that was never set back was called restored: {text}")),
    }
}
