//! The alert expressions of the contract (OPERATIONS 8) that a split, a heal or a clock can make true, over the metrics
//! pages of one node or of several.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::ask::{connect, exchange_text};

/// One sample of a page: labels and value.
type Row = (BTreeMap<String, String>, f64);

/// What nodes export, by metric.
#[derive(Default, Debug)]
pub(crate) struct Pages {
    rows: BTreeMap<String, Vec<Row>>,
}

impl Pages {
    /// The pages of these nodes, as a scraper that reaches all of them has them.
    ///
    /// # Errors
    /// A node does not answer.
    pub(crate) fn of<'a>(nodes: impl IntoIterator<Item = &'a Path>) -> Result<Self, String> {
        let mut pages = Self::default();
        for data in nodes {
            let asked = connect(&data.join("ekka.sock")).and_then(|mut stream| exchange_text(&mut stream, "/metrics"));
            let (_, text) = asked.map_err(|error| format!("{}: {error}", data.display()))?;
            text.lines().for_each(|line| pages.take(line));
        }
        Ok(pages)
    }

    fn take(&mut self, line: &str) {
        let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { return };
        let Ok(value) = value.parse() else { return };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        // No label of these metrics holds a comma.
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(key, text)| (key.to_owned(), text.trim_matches('"').to_owned())).collect();
        self.rows.entry(name.to_owned()).or_default().push((labels, value));
    }

    fn get(&self, name: &str) -> &[Row] {
        self.rows.get(name).unwrap_or_else(|| panic!("{name} is exported from the first scrape on")).as_slice()
    }

    /// Whether there is such a value among the samples with this label.
    fn any(&self, name: &str, (label, texts): (&str, &[&str]), holds: impl Fn(f64) -> bool) -> bool {
        let with = |(labels, _): &&Row| labels.get(label).is_some_and(|text| texts.contains(&text.as_str()));
        self.get(name).iter().filter(with).any(|(_, value)| holds(*value))
    }

    /// How many different texts a label has.
    fn distinct(&self, name: &str, label: &str) -> usize {
        self.get(name).iter().filter_map(|(labels, _)| labels.get(label)).collect::<BTreeSet<_>>().len()
    }

    /// The most, or least, of each group.
    fn by_group(&self, name: &str, of: fn(f64, f64) -> f64) -> BTreeMap<&str, f64> {
        let mut groups = BTreeMap::new();
        for (labels, value) in self.get(name) {
            let group = labels.get("group").map(String::as_str).unwrap_or_default();
            groups.entry(group).and_modify(|known| *known = of(*known, *value)).or_insert(*value);
        }
        groups
    }

    /// Whether one of them leads this group.
    pub(crate) fn leads(&self, group: &str) -> bool {
        self.any("ekka_raft_leads", ("group", &[group]), |value| value > 0.0)
    }

    /// The alerts whose expression is true now; how long it has to be is the alert's `for`.
    pub(crate) fn alerts(&self) -> BTreeSet<&'static str> {
        let one = |value: f64| value > 0.0;
        let some = |name: &str, holds: fn(f64) -> bool| self.get(name).iter().any(|(_, value)| holds(*value));
        let hurts = self.by_group("ekka_quorum_can_lose", f64::min).values().any(|least| *least == 0.0)
            && some("ekka_quorum_voters", |voters| voters >= 3.0);
        let found = [
            ("EkkaNoQuorum", self.by_group("ekka_raft_has_leader", f64::max).values().any(|most| *most == 0.0)),
            ("EkkaSplit", self.any("ekka_split", ("state", &["minority", "partial", "suspected"]), one)),
            ("EkkaTwoClusters", some("ekka_cluster_conflict", one) || self.distinct("ekka_info", "cluster_id") > 1),
            ("EkkaTwoLeaders", self.distinct("ekka_leader_info", "leader") > 1),
            ("EkkaNextFailureHurts", hurts),
            ("EkkaNotReady", self.any("ekka_ready", ("for", &["available"]), |value| value == 0.0)),
            ("EkkaHealStuck", self.any("ekka_split", ("state", &["healing"]), one)),
            ("EkkaDiskLow", some("ekka_disk_alarm", one)),
            ("EkkaReplicaLag", self.rows.get("ekka_table_lag_seconds").is_some_and(|rows| late(rows))),
            ("EkkaClock", self.rows.get("ekka_clock_offset_seconds").is_some_and(|rows| far(rows))),
        ];
        found.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
    }
}

fn late(rows: &[Row]) -> bool {
    rows.iter().any(|(_, seconds)| *seconds > 30.0)
}

fn far(rows: &[Row]) -> bool {
    rows.iter().any(|(_, seconds)| seconds.abs() > 0.5)
}
