//! `mcast`

use std::sync::Arc;

use super::{Context, Discovery};
use crate::config::Mcast;

pub(super) fn strategy(options: &Mcast, context: &Context) -> Result<Arc<dyn Discovery>, String> {
    let _ = (options, context);
    Err("cluster.discovery = mcast is not there yet in this version: use static or manual".to_owned())
}
