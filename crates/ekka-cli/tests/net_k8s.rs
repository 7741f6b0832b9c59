//! Pods that find each other through the API of Kubernetes: real processes on loopback, an API server of the tests.

mod support;

use std::time::Duration;

use support::k8s::Fleet;
use support::{Figures, rounds};

#[test]
fn three_pods_form_one_cluster_and_a_fourth_joins() {
    let mut figures = Figures::new("formation of three pods", Duration::from_secs(6));
    for _ in 0..rounds(3, 20) {
        let mut fleet = Fleet::stateful(3);
        let start = std::time::Instant::now();
        for ordinal in 0..3 {
            fleet.start_member(ordinal);
        }
        let (id, _) = fleet.whole(figures.limit());
        figures.add(start.elapsed());
        fleet.start_member(3);
        let (again, took) = fleet.whole(figures.limit());
        println!("a fourth pod joined after {took:.2?}");
        assert_eq!(again, id, "the same cluster");
    }
    figures.assert_median();
}
