//! Certificate files of the operator change under a running node.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use crate::transport_common::pki::{Pki, loopback};
use crate::transport_common::*;
use ekka::transport::{CertificateNotice, Credentials, Limits};
use ekka_core::control::{CloseCause, DialError};
use tokio::sync::broadcast;
use tokio::time::timeout;

async fn watchful(number: u32, credentials: Credentials) -> Node {
    let limits = Limits { certificates_poll: Duration::from_millis(1), ..Limits::default() };
    Setup { credentials, limits, ..setup(number) }.start().await
}

async fn next(notices: &mut broadcast::Receiver<CertificateNotice>) -> CertificateNotice {
    timeout(PATIENCE, notices.recv()).await.expect("a notice comes in time").unwrap()
}

/// Of the first certificates to end, in years.
fn years(node: &Node, which: &str) -> f64 {
    node.transport.certificate_expiry()[which] / (365.25 * 86_400.0)
}

#[tokio::test]
async fn changed_files_are_taken_by_themselves_and_broken_ones_are_said_once() {
    let pki = Pki::new();
    let mut b = Setup { credentials: pki.trusted(), ..setup(2) }.start().await;
    let mut a = watchful(1, pki.trusted()).await;
    let mut notices = a.transport.certificate_notices();
    let (first_a, first_b) = link(&mut a, &mut b).await;

    pki.replace("node.pem", "-----BEGIN CERTIFICATE-----\nnot one\n");
    let CertificateNotice::Refused(text) = next(&mut notices).await else { panic!("it cannot be taken") };
    assert!(text.contains("node.pem: not read as certificates in PEM"), "{text}");
    // What was there before goes on serving, for far longer than one look.
    for _ in 0..5 {
        let (at_a, at_b) = link(&mut a, &mut b).await;
        exchange((&mut a, at_a), (&mut b, at_b), b"as before").await;
    }
    pki.renew(loopback(), 3000);
    assert_eq!(next(&mut notices).await, CertificateNotice::Taken, "the same mistake is not said again");
    assert!((years(&a, "own") - years(&a, "ca")).abs() > 500.0, "the new certificate is in use");
    let (at_a, at_b) = link(&mut a, &mut b).await;
    exchange((&mut a, at_a), (&mut b, at_b), b"renewed").await;
    exchange((&mut a, first_a), (&mut b, first_b), b"links are kept").await;
}

#[tokio::test]
async fn links_to_an_authority_that_is_taken_out_are_closed() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut b = Setup { credentials: pki.trusted(), ..setup(2) }.start().await;
    let mut a = watchful(1, pki.trusted()).await;
    link(&mut a, &mut b).await;
    pki.replace("ca.pem", &fs::read_to_string(other.path().join("ca.pem")).unwrap());
    assert_eq!(a.closed().await, CloseCause::Credentials);
    b.closed().await;
    assert!(matches!(b.dial_and_fail(&a.endpoint).await, DialError::Credentials(_)));
}

#[tokio::test]
async fn certificates_count_down_to_their_end() {
    let pki = Pki::new();
    let node = Setup { credentials: pki.issue(loopback(), 3000), ..setup(1) }.start().await;
    let own = node.transport.certificate_expiry()["own"];
    assert!((900.0..1000.0).contains(&years(&node, "own")));
    assert!(years(&node, "ca") > years(&node, "own"));
    while node.transport.certificate_expiry()["own"] >= own {
        tokio::task::yield_now().await;
    }
    let ended = Setup { credentials: pki.issue(loopback(), 2021), ..setup(1) }.start().await;
    assert!(ended.transport.certificate_expiry()["own"] < 0.0);
    assert!(setup(1).start().await.transport.certificate_expiry().is_empty(), "a cookie has no end");
}
