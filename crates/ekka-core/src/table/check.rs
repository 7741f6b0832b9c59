//! What must hold of a table at all times.

use super::available::Table;
use super::index::Index;
use super::version::Version;

impl Table {
    /// Asserts what must hold at all times.
    pub fn check(&self) {
        for (origin, number) in self.stored.iter() {
            assert!(number <= self.held.get(origin), "more is stored than is held");
        }
        for version in &self.rows {
            assert!(self.is_accounted(version.carrier()), "a row is not counted: {version:?}");
            assert!(self.is_buried_rightly(version), "graves and rows differ: {version:?}");
        }
        for version in self.graves.values() {
            assert_eq!(self.rows.get(version.key()), Some(version), "a grave is no row");
        }
        for index in &self.indexes {
            let rows = self.rows.iter().filter(|version| self.is_shown(version));
            assert!(Index::of(index.extract(), rows).is_as(index), "an index and the rows differ");
        }
        assert!(self.synced <= self.log.end());
        assert_eq!(self.bytes, self.rows.iter().map(Version::size).sum::<usize>(), "bytes of rows");
    }

    /// Whether a version is among those that count as no row where it is none, and only there.
    pub(super) fn is_buried_rightly(&self, version: &Version) -> bool {
        self.is_shown(version) != self.graves.contains_key(&version.carrier())
    }
}
