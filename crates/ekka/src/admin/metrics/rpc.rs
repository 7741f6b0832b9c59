//! What is counted of calls.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Sheet;
use crate::rpc::{BUCKETS, MethodCounts};

type Counts = BTreeMap<(String, &'static str), MethodCounts>;

/// Requests by result, and how long they took.
pub(super) fn calls(sheet: &mut Sheet, counts: Counts) {
    let rows = counts.iter().flat_map(|((method, side), counts)| {
        counts.results.iter().map(move |(result, count)| {
            let labels =
                vec![("method", method.clone()), ("side", (*side).to_owned()), ("result", (*result).to_owned())];
            (labels, *count)
        })
    });
    sheet.counter("ekka_rpc_requests", "Calls by method, side and result", rows);
    sheet.registry.register_collector(Box::new(Times(counts)));
}

/// The histograms, which were counted already.
#[derive(Debug)]
struct Times(Counts);

impl Collector for Times {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let help = "Time of calls by method and side";
        let mut family = encoder.encode_descriptor("ekka_rpc_seconds", help, None, MetricType::Histogram)?;
        for ((method, side), counts) in &self.0 {
            let labels = [("method", method.as_str()), ("side", *side)];
            let bounds = BUCKETS.iter().copied().chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.buckets.iter().copied()).collect();
            let total = counts.buckets.iter().sum();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(counts.seconds, total, &buckets, None)?;
        }
        Ok(())
    }
}
