//! Who is trusted: cookies, cluster names, modes, the operator's certificates, and changes of them while links carry.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use crate::transport_common::pki::{Pki, uri};
use crate::transport_common::*;
use ekka::config::{ConfigBuilder, TlsMode};
use ekka::transport::{CookieSet, Credentials};
use ekka_core::control::{CloseCause, DialError};
use ekka_core::wire::{RefusalReason, VersionRange};
use rcgen::SanType;

async fn node(number: u32, credentials: Credentials) -> Node {
    Setup { credentials, ..setup(number) }.start().await
}

/// Dials in both directions; both are refused as `credentials`, in words, and counted by the accepting side.
async fn both_ways_refused(a: Credentials, b: Credentials) {
    let ours = a.describe();
    let (mut a, mut b) = (node(1, a).await, node(2, b).await);
    let DialError::Credentials(text) = a.dial_and_fail(&b.endpoint).await else { panic!("not for credentials") };
    let expected = format!(
        "{} refused our credentials: node.cookie, cluster.name or cluster.tls differ. Ours: {ours}. \
         Compare with \"ekka check\" there",
        b.endpoint
    );
    assert!(text.starts_with(&expected), "{text}\n{expected}");
    b.refused("credentials", 1).await;
    let error = b.dial_and_fail(&a.endpoint).await;
    assert!(matches!(error, DialError::Credentials(_)), "{error:?}");
    a.refused("credentials", 1).await;
    assert!(a.inputs.try_recv().is_err() && b.inputs.try_recv().is_err(), "control hears nothing of it");
}

#[tokio::test]
async fn another_cookie_is_refused() {
    both_ways_refused(cookie("one"), cookie("two")).await;
}

#[tokio::test]
async fn another_cluster_name_is_refused() {
    both_ways_refused(cookie("one"), credentials("one", "other", &TlsMode::Cookie)).await;
}

#[tokio::test]
async fn without_tls_another_cookie_or_cluster_name_is_refused() {
    let off = |cookies, name| credentials(cookies, name, &TlsMode::Off);
    both_ways_refused(off("one", "ekka"), off("two", "ekka")).await;
    both_ways_refused(off("one", "ekka"), off("one", "other")).await;
}

#[tokio::test]
async fn another_mode_is_refused() {
    both_ways_refused(cookie("one"), credentials("one", "ekka", &TlsMode::Off)).await;
}

#[tokio::test]
async fn a_client_learns_that_the_server_refused_its_certificate() {
    // The dialling side trusts what the other shows; only the accepting side refuses, after the dialler was done.
    for mode in [TlsMode::Cookie, TlsMode::Off] {
        let (a, b) = (credentials("new\nold", "ekka", &mode), credentials("old", "ekka", &mode));
        for _ in 0..20 {
            let (mut a, b) = (node(1, a.clone()).await, node(2, b.clone()).await);
            let error = a.dial_and_fail(&b.endpoint).await;
            assert!(matches!(error, DialError::Credentials(_)), "{error:?}");
            b.refused("credentials", 1).await;
        }
    }
}

#[tokio::test]
async fn what_the_hello_says_is_judged_and_refused_in_words() {
    let other = |f: fn(&mut Setup)| {
        let mut other = setup(2);
        f(&mut other);
        other
    };
    for (other, reason, words) in [
        (other(|s| s.versions = VersionRange { min: 7, max: 9 }), RefusalReason::Version, "7 to 9"),
        (other(|s| s.cluster_name = "staging".to_owned()), RefusalReason::Name, "\"staging\""),
        (other(|s| s.name = "ekka2@10.9.9.9".to_owned()), RefusalReason::Loopback, "ekka2@10.9.9.9"),
    ] {
        let (mut a, mut b) = (setup(1).start().await, other.start().await);
        for _ in 0..2 {
            let error = b.dial_and_fail(&a.endpoint).await;
            let DialError::Rejected(refusal) = error else { panic!("{error:?}") };
            assert_eq!(refusal.reason, reason);
            assert!(refusal.text.contains(words), "{}", refusal.text);
        }
        a.refused(reason.as_str(), 2).await;
        let error = a.dial_and_fail(&b.endpoint).await;
        assert!(matches!(error, DialError::Rejected(refusal) if refusal.reason == reason));
        assert!(a.inputs.try_recv().is_err() && b.inputs.try_recv().is_err());
    }
}

#[tokio::test]
async fn s2_13_a_cookie_is_rotated_without_losing_a_trusted_link() {
    for mode in [TlsMode::Cookie, TlsMode::Off] {
        let with = |cookies| credentials(cookies, "ekka", &mode);
        let (mut a, mut b) = (node(1, with("old")).await, node(2, with("old")).await);
        let (old_a, old_b) = link(&mut a, &mut b).await;
        let mut newest = None;
        for cookies in ["old\nnew", "new\nold", "new\nold\nthird"] {
            for step in [1, 2] {
                if step == 1 {
                    a.transport.set_credentials(with(cookies));
                } else {
                    b.transport.set_credentials(with(cookies));
                }
                let (at_a, at_b) = link(&mut a, &mut b).await;
                exchange((&mut a, at_a), (&mut b, at_b), b"new link").await;
                exchange((&mut a, old_a), (&mut b, old_b), b"old link").await;
                newest = Some((at_a, at_b));
            }
        }
        let (new_a, new_b) = newest.unwrap();
        a.transport.set_credentials(with("new"));
        // Of seven links four stand on the old cookie on at least one side: the first, and those of the first three steps.
        for _ in 0..4 {
            assert_eq!(a.closed().await, CloseCause::Credentials);
            b.closed().await;
        }
        b.transport.set_credentials(with("new"));
        assert_eq!((a.transport.stats().connections, b.transport.stats().connections), (3, 3));
        a.transport.send(new_a, b"still here".to_vec());
        assert_eq!(b.frame().await, b"still here");
        b.transport.send(new_b, b"so am I".to_vec());
        assert_eq!(a.frame().await, b"so am I");
    }
}

#[tokio::test]
async fn certificates_of_the_operator_carry_a_link() {
    let pki = Pki::new();
    let certified = pki.issue(uri("ekka://ekka2@127.0.0.1"), 4000);
    let (mut a, mut b) = (node(1, pki.trusted()).await, node(2, certified).await);
    let (at_a, at_b) = link(&mut a, &mut b).await;
    exchange((&mut a, at_a), (&mut b, at_b), b"certified").await;
}

#[tokio::test]
async fn expired_and_foreign_certificates_are_refused() {
    let pki = Pki::new();
    both_ways_refused(pki.trusted(), pki.issue(SanType::IpAddress([127, 0, 0, 1].into()), 2021)).await;
    both_ways_refused(pki.trusted(), Pki::new().trusted()).await;
    both_ways_refused(pki.trusted(), cookie(COOKIE)).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let pki = Pki::new();
    for san in [
        uri("ekka://ekka3@127.0.0.1"),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::DnsName("other.example".try_into().unwrap()),
    ] {
        let (mut a, mut b) = (node(1, pki.trusted()).await, node(2, pki.issue(san, 4000)).await);
        let error = b.dial_and_fail(&a.endpoint).await;
        let DialError::Rejected(refusal) = error else { panic!("{error:?}") };
        assert_eq!(refusal.reason, RefusalReason::Name);
        assert!(refusal.text.starts_with("ekka2@127.0.0.1 is not certified"), "{}", refusal.text);
        a.refused("name", 1).await;
        // Dialled, `b` lets `a` in; then it is `a` who refuses.
        a.transport.dial(b.endpoint.clone());
        let (at_b, _) = b.greeted().await;
        b.transport.verdict(at_b, Ok(b.own_hello()));
        let error = a.dial_failed().await;
        assert!(matches!(error, DialError::Rejected(refusal) if refusal.reason == RefusalReason::Name));
        assert!(matches!(b.closed().await, CloseCause::Refused(refusal) if refusal.reason == RefusalReason::Name));
    }
}

#[tokio::test]
async fn a_broken_file_is_named() {
    let pki = Pki::new();
    pki.trusted();
    let path = |name: &str| pki.path().join(name);
    fs::write(path("empty.pem"), "").unwrap();
    let mode = TlsMode::Files { certfile: path("empty.pem"), keyfile: path("node.key"), cacertfile: path("ca.pem") };
    let cookies = CookieSet::parse(COOKIE, "test").unwrap();
    let error = Credentials::derive(&mode, &cookies, "ekka", ekka::transport::Kdf::cheap()).unwrap_err().to_string();
    assert!(error.contains("empty.pem: not read as certificates in PEM: it holds none"), "{error}");
}

#[test]
fn s2_13_a_short_cookie_is_refused_outside_loopback_unless_it_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cookie");
    let read = |name: &str, weak: &str, text: &str| {
        fs::write(&path, text).unwrap();
        let builder = ConfigBuilder::new()
            .set("node.name", name)
            .set("node.cookie_file", path.to_str().unwrap())
            .set("node.cookie_weak", weak);
        CookieSet::of(&builder.build().unwrap().node).map(|cookies| cookies.len()).map_err(|error| error.to_string())
    };
    let long = "x".repeat(32);
    // All are trusted, so the shortest counts, not only the one that signs.
    for text in ["short", &format!("{long}\nshort")] {
        let error = read("ekka@10.0.0.1", "refuse", text).unwrap_err();
        assert!(error.contains("5 characters") && error.contains("at least 32"), "{error}");
        assert!(error.contains("node.cookie_weak = allow"), "{error}");
        assert!(read("ekka@10.0.0.1", "allow", text).is_ok());
        assert!(read("ekka@127.0.0.1", "refuse", text).is_ok());
    }
    assert_eq!(read("ekka@10.0.0.1", "refuse", &long), Ok(1));
}
