//! What the service manager is told. Without one, nothing happens.

use ekka::core::view::View;
use sd_notify::NotifyState;

/// The socket serves: that is what `Type=notify` waits for, not joining, which may need other machines.
pub(super) fn ready(view: &View) {
    notify(&[NotifyState::Ready, NotifyState::Status(&words(view))]);
}

/// How joining goes.
pub(super) fn progress(view: &View) {
    notify(&[NotifyState::Status(&words(view))]);
}

pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn words(view: &View) -> String {
    let up = view.members.iter().filter(|member| member.status.is_running()).count();
    let mut text = format!("{}, {up} of {} members up", view.status.as_str(), view.members.len());
    if let Some(reason) = view.reasons.first() {
        text += &format!(": {}", reason.text);
    }
    // One line of a datagram.
    text.replace(['\n', '\r'], " ")
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(err = %error, "the service manager cannot be told");
    }
}
