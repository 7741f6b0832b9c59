//! The strategies without a backend: `manual` and `static`.

use ekka_core::autocluster::Candidate;
use ekka_core::id::NodeName;

use super::{Discovery, Found};
use crate::env::BoxFuture;

/// An operator types `join`; nobody is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manual;

impl Discovery for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async { Ok(Found::default()) })
    }
}

/// A fixed list of names.
#[derive(Clone, Debug)]
pub struct Static {
    candidates: Vec<Candidate>,
}

impl Static {
    /// The list; names whose port would be above 65535 are left out (the configuration refuses them before).
    #[must_use]
    pub fn new(seeds: &[NodeName], base_port: u16) -> Self {
        let candidates = seeds
            .iter()
            .filter_map(|name| Some(Candidate { name: name.clone(), endpoint: name.endpoint(base_port)? }))
            .collect();
        Self { candidates }
    }
}

impl Discovery for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async { Ok(self.candidates.clone().into()) })
    }
}
