//! `links`

use ekka_core::view::View;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::name_of;
use crate::admin::rfc3339;

/// One direction of a link: `from` hears `to`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkAnswer {
    /// The node whose observation this is.
    pub from: String,
    /// The node that it observes.
    pub to: String,
    /// `up`, `down`, `one-way` or `relayed`.
    pub state: String,
    /// The node that carries for both, where the link is relayed.
    pub via: Option<String>,
    /// Smoothed round-trip time.
    pub rtt_us: Option<u64>,
    /// Share of probes lost in the last minute; null while it is not measured.
    pub loss_1m: Option<f64>,
    /// When `from` last heard `to`.
    pub last_ok: Option<String>,
}

impl LinkAnswer {
    /// All links of a view.
    #[must_use]
    pub fn all(view: &View) -> Vec<Self> {
        let of = |link: &ekka_core::view::Link| Self {
            from: name_of(view, link.from),
            to: name_of(view, link.to),
            state: link.state.as_str().into(),
            via: link.via.map(|id| name_of(view, id)),
            rtt_us: link.rtt_us,
            loss_1m: None,
            last_ok: link.last_ok.map(rfc3339),
        };
        view.links.iter().map(of).collect()
    }
}
