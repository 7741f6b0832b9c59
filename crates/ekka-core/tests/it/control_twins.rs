//! Starts of one node that say Hello to one `Control`, in orders that a world rarely brings about.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::control_common::{at, cluster, core_member, setup};
use ekka_core::control::{ConnId, Control, Input, Message, Output, Saved};
use ekka_core::id::{Guid, Incarnation, NodeId, NodeName, StoreId};
use ekka_core::machine::Machine as _;
use ekka_core::membership::{self, Record, Roster, Seat};
use ekka_core::time::Wall;
use ekka_core::view::{Role, Status};
use ekka_core::wire::{Hello, Lane, Purpose, VersionRange};

/// The node whose starts these are.
const P: u128 = 7;

fn name(i: usize) -> NodeName {
    format!("ekka@10.0.0.{}", i + 1).parse().unwrap()
}

fn record(node: u128, guid: u128, counter: u64, i: usize) -> Record {
    let id = Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) };
    core_member(name(i), id, counter, StoreId::MIN)
}

/// A node that knows start 1 (guid 100) of P from its disc.
fn node() -> Control {
    let me = name(0);
    let cluster = cluster();
    let mut roster = Roster { cluster_id: Some(cluster), ..Roster::default() };
    for (n, r) in [(1, record(50, 10, 1, 0)), (2, record(P, 100, 1, 1))] {
        roster.seats.insert(r.id.node_id, Seat { number: n, by: NodeId::from_u128(50), removed: None });
        roster.records.insert(r.id.node_id, r);
    }
    let mut saved = Saved { roster, ..Saved::default() };
    saved.formation.cluster_id = Some(cluster);
    let start = Incarnation { node_id: NodeId::from_u128(50), guid: Guid::from_u128(11) };
    let setup = setup(me, start, 2, saved);
    let mut control = Control::new(setup, at(0));
    let mut out = Vec::new();
    control.handle(Input::Start, at(0), &mut out);
    control
}

fn hello(guid: u128, counter: u64) -> Box<Hello> {
    Box::new(Hello {
        versions: VersionRange::OURS,
        features: 0,
        software: "0.1.0".into(),
        purpose: Purpose::Peer(Lane::Control),
        name: name(1),
        node_id: NodeId::from_u128(P),
        guid: Guid::from_u128(guid),
        previous_guid: None,
        start_counter: counter,
        cluster_name: "ekka".into(),
        cluster_id: None,
        wall: Wall::from_millis(1_800_000_000_000),
        role: Role::Core,
        status: Status::Joining,
        listen_port: 4370,
        holds: false,
        generation: 0,
    })
}

fn frame() -> Vec<u8> {
    postcard::to_allocvec(&Message::Membership(membership::Message::HeartbeatAck {
        number: 0,
        wall: Wall::from_millis(1),
    }))
    .unwrap()
}

fn accepted(c: &mut Control, conn: u64, guid: u128, counter: u64, ms: u64) -> Vec<Output> {
    let mut out = Vec::new();
    c.handle(
        Input::Hello { conn: ConnId(conn), hello: hello(guid, counter), addr: "x".into(), dialed: None },
        at(ms),
        &mut out,
    );
    c.check();
    out
}

fn speaks(c: &mut Control, conn: u64, ms: u64) -> Vec<Output> {
    let mut out = Vec::new();
    c.handle(Input::Frame { conn: ConnId(conn), bytes: frame() }, at(ms), &mut out);
    c.check();
    out
}

/// A copy said Hello before the original; then the original is linked and heard; then the copy speaks.
#[test]
fn s1_2_answers_from_before_the_original_was_linked_do_not_displace_it() {
    let mut c = node();
    accepted(&mut c, 1, 200, 2, 1); // the copy: nobody is linked, so nobody is asked
    accepted(&mut c, 2, 100, 1, 2); // the original
    speaks(&mut c, 2, 3);
    let out = speaks(&mut c, 1, 4);
    let thrown = out.iter().any(|o| matches!(o, Output::Close { conn: ConnId(2), .. }));
    assert!(!thrown, "the original was heard just now, and nobody asked it");
}

/// The same with a third start that is held meanwhile on a connection that this node dialled.
#[test]
fn s1_2_three_starts_at_once_leave_one_in_the_table() {
    let mut c = node();
    accepted(&mut c, 1, 200, 2, 1);
    accepted(&mut c, 2, 100, 1, 2);
    speaks(&mut c, 2, 3);
    let mut out = Vec::new();
    let dialed = Some(name(9).endpoint(4370).unwrap());
    c.handle(Input::Hello { conn: ConnId(3), hello: hello(300, 3), addr: "y".into(), dialed }, at(4), &mut out);
    c.check();
    speaks(&mut c, 1, 5);
}

/// Accepted, and the dialling host loses power before its first frame.
#[test]
fn an_accepted_connection_on_which_nothing_comes_is_closed() {
    let mut c = node();
    let mut closed = 0;
    for i in 0..100 {
        accepted(&mut c, 10 + i, 100, 1, 1 + i);
    }
    let mut out = Vec::new();
    for s in 0..36_000 {
        c.tick(at(1000 + s * 100), &mut out);
        closed += out.drain(..).filter(|o| matches!(o, Output::Close { .. })).count();
    }
    assert_eq!(closed, 100, "connections closed within an hour");
}
