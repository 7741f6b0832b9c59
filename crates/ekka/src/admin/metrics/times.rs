//! Histograms that were counted elsewhere.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Labels, Sheet};
use crate::histogram::{BUCKETS, LONG_BUCKETS, Times};

impl Sheet {
    /// Adds a histogram with its rows.
    pub(super) fn times(&mut self, name: &'static str, help: &'static str, rows: Vec<(Labels, Times)>) {
        self.registry.register_collector(Box::new(Counted { name, help, bounds: &BUCKETS, rows }));
    }

    /// The same of what takes long.
    pub(super) fn long_times(&mut self, name: &'static str, help: &'static str, rows: Vec<(Labels, Times)>) {
        self.registry.register_collector(Box::new(Counted { name, help, bounds: &LONG_BUCKETS, rows }));
    }
}

#[derive(Debug)]
struct Counted {
    name: &'static str,
    help: &'static str,
    bounds: &'static [f64],
    rows: Vec<(Labels, Times)>,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
        for (labels, times) in &self.rows {
            let bounds = self.bounds.iter().copied().chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(times.buckets).collect();
            family.encode_family(labels)?.encode_histogram::<NoLabelSet>(
                times.seconds,
                times.total(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}
