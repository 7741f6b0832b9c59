//! Plans that are refused as the command itself would be, and what is heard of leases of another cluster.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::control_common::{at, cluster, core_member, setup};
use ekka_core::autocluster::{self, Merge};
use ekka_core::consensus::{Configuration, GroupEvent, LogPlace, VoterId};
use ekka_core::control::{
    Command, CommandError, ConnId, Control, GroupNews, Input, Message, Output, Reply, RequestId, Saved, StopReason,
};
use ekka_core::durable::{Command as Entry, Entry as Written, Founder, Why};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName, StoreId};
use ekka_core::lease;
use ekka_core::machine::Machine as _;
use ekka_core::membership::{Record as MemberRecord, Roster, Seat};
use ekka_core::time::Wall;
use ekka_core::view::{Role, Status};
use ekka_core::wire::{Hello, Lane, Purpose, VersionRange};

/// A cluster that was formed after that of this node.
fn younger() -> ClusterId {
    ClusterId::mint(Wall::from_millis(2), 5)
}

fn name(n: u128) -> NodeName {
    format!("ekka@10.0.0.{n}").parse().unwrap()
}

fn start(n: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(n), guid: Guid::from_u128(n * 100) }
}

fn member(n: u128) -> MemberRecord {
    core_member(name(n), start(n), 1, StoreId::from_u128(n))
}

struct Node {
    control: Control,
    out: Vec<Output>,
    ms: u64,
}

impl Node {
    /// Node 1 of a cluster of so many, of whom these vote.
    fn new(members: u128, voters: &[u128]) -> Self {
        let mut roster = Roster { cluster_id: Some(cluster()), ..Roster::default() };
        for n in 1..=members {
            let seat = Seat { number: u64::try_from(n).unwrap(), by: NodeId::from_u128(1), removed: None };
            roster.seats.insert(NodeId::from_u128(n), seat);
            roster.records.insert(NodeId::from_u128(n), member(n));
        }
        let mut saved = Saved { roster, ..Saved::default() };
        saved.formation.cluster_id = Some(cluster());
        let mut node =
            Self { control: Control::new(setup(name(1), start(1), 1, saved), at(0)), out: Vec::new(), ms: 0 };
        node.give(Input::Start);
        let voter = |n: &u128| VoterId { node_id: NodeId::from_u128(*n), start: *n };
        let (place, voters) = (LogPlace { term: 1, index: 1 }, vec![voters.iter().map(voter).collect()]);
        let configuration = Configuration { voters, learners: Vec::new(), at: place, committed: true };
        let founder = |n| Founder { id: start(n), name: name(n), role: Role::Core, store: n };
        let command = Entry::Found { cluster_id: cluster(), founders: (1..=members).map(founder).collect() };
        let command = Written { why: Why::new(NodeId::from_u128(1), 0, Vec::new()), command }.encode();
        let found = GroupEvent::Applied { at: LogPlace { term: 1, index: 2 }, command };
        for event in [GroupEvent::Reconfigured(configuration), found] {
            node.give(Input::Group { cluster_id: cluster(), news: GroupNews::Event { event, replay: true } });
        }
        node
    }

    fn give(&mut self, input: Input) {
        self.ms += 1;
        self.control.handle(input, at(self.ms), &mut self.out);
        self.control.check();
    }

    /// Node 2 is linked, and says where it stands.
    fn meets(&mut self, cluster_id: ClusterId) {
        let hello = Hello {
            versions: VersionRange::OURS,
            features: 0,
            software: "0.1.0".into(),
            purpose: Purpose::Peer(Lane::Control),
            name: name(2),
            node_id: NodeId::from_u128(2),
            guid: Guid::from_u128(200),
            previous_guid: None,
            start_counter: 1,
            cluster_name: "ekka".into(),
            cluster_id: Some(cluster_id),
            wall: Wall::from_millis(1_800_000_000_000),
            role: Role::Core,
            status: Status::Up,
            listen_port: 4370,
            holds: true,
            generation: 0,
        };
        self.give(Input::Hello { conn: ConnId(1), hello: Box::new(hello), addr: "x".into(), dialed: None });
        self.hears(&Message::Autocluster(autocluster::Message::State {
            cluster_id: Some(cluster_id),
            status: Status::Up,
            quorum: true,
            electorate: None,
            decider: None,
            merged: Vec::new(),
            idle: false,
            merge: Merge::Never,
            store: StoreId::from_u128(2),
            generation: 0,
            quorum_rows: false,
        }));
    }

    fn hears(&mut self, message: &Message) {
        self.give(Input::Frame { conn: ConnId(1), bytes: postcard::to_allocvec(message).unwrap() });
    }

    fn command(&mut self, command: Command) -> Result<Reply, CommandError> {
        self.out.clear();
        self.give(Input::Command { id: RequestId(1), command });
        let reply =
            |output: &Output| if let Output::Reply { result, .. } = output { Some(result.clone()) } else { None };
        self.out.iter().find_map(reply).expect("it is answered at once")
    }

    fn absorb(&mut self, plan: bool) -> Result<Reply, CommandError> {
        self.command(Command::Join { name: name(2), absorb: true, plan })
    }
}

/// The plan is refused in the words of the command.
fn refused_alike(node: &mut Node, part: &str) {
    let planned = node.absorb(true);
    let Ok(Reply::Plan { refused: Some(why), .. }) = planned else { panic!("{planned:?}") };
    assert!(why.contains(part), "{why}");
    let done = node.absorb(false);
    assert!(matches!(&done, Err(CommandError::Refused(said)) if *said == why), "{done:?}");
}

#[test]
fn absorb_is_planned_as_it_is_refused() {
    refused_alike(&mut Node::new(3, &[1, 2, 3]), "1 of 3 voters in reach");
    let mut older = Node::new(1, &[1]);
    older.meets(younger());
    refused_alike(&mut older, "only the younger goes into the older");
}

#[test]
fn a_node_without_a_vote_takes_none_with_it() {
    for (voters, words) in [([1, 2], "1 voters stay in reach, 2 are needed"), ([2, 3], "1 voters stay in reach, 2 are")]
    {
        let mut node = Node::new(3, &voters);
        node.meets(cluster());
        let planned = node.command(Command::Stop { by: "command".into(), plan: true });
        let Ok(Reply::Plan { plan, refused: None }) = planned else { panic!("{planned:?}") };
        assert!(plan.iter().any(|line| line.contains(words)), "{voters:?}: {plan:?}");
    }
}

/// A node that has left one cluster and is in another has the same guid in both.
#[test]
fn what_another_cluster_says_of_leases_is_nothing_to_this_one() {
    let mut node = Node::new(3, &[1, 2, 3]);
    node.meets(cluster());
    let over = |node: &Node| node.out.iter().any(|output| matches!(output, Output::Stop(StopReason::Over)));
    let message = lease::Message::Gone { id: start(1) };
    node.hears(&Message::Lease { cluster_id: younger(), generation: 0, message: message.clone() });
    assert!(!over(&node), "it is over there, perhaps");
    node.hears(&Message::Lease { cluster_id: cluster(), generation: 0, message });
    assert!(over(&node), "{:?}", node.out);
}
