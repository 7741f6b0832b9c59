//! A cluster goes on without its majority: the survivor over a crash at each write, and a node that was left behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use crate::control_common::{at, cluster, core_member, setup};
use ekka_core::autocluster::{self, Merge};
use ekka_core::consensus::{Configuration, GroupEvent, LogPlace, Standing, StateMachine, VoterId};
use ekka_core::control::{
    Command, CommandError, ConnId, Control, GroupNews, GroupRequest, Input, Message, Output, Reply, RequestId, Saved,
    Setup, VolatileRequest,
};
use ekka_core::durable::{Ask, Command as Entry, Entry as Written, Founder, MergeRecord, Record, Removal, Why};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName, StoreId};
use ekka_core::lease::{Cause, GoneEntry};
use ekka_core::limits::RECOVER_TOKENS;
use ekka_core::machine::Machine as _;
use ekka_core::membership::{self, Record as MemberRecord, RemovalCause, Roster, Seat};
use ekka_core::time::Wall;
use ekka_core::view::{Role, Status};
use ekka_core::volatile::{Generation, Order, Proposal, Version};
use ekka_core::wire::{Hello, Lane, Purpose, VersionRange};

fn name(n: u128) -> NodeName {
    format!("ekka@10.0.0.{n}").parse().unwrap()
}

fn start(n: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(n), guid: Guid::from_u128(n * 100) }
}

fn voter(n: u128) -> VoterId {
    VoterId { node_id: NodeId::from_u128(n), start: n }
}

fn member(n: u128) -> MemberRecord {
    core_member(name(n), start(n), 1, StoreId::from_u128(n))
}

/// Three members; node 1 is looked at.
fn saved() -> Saved {
    let mut roster = Roster { cluster_id: Some(cluster()), ..Roster::default() };
    for n in 1..=3 {
        let seat = Seat { number: u64::try_from(n).unwrap(), by: NodeId::from_u128(1), removed: None };
        roster.seats.insert(NodeId::from_u128(n), seat);
        roster.records.insert(NodeId::from_u128(n), member(n));
    }
    let mut saved = Saved { roster, ..Saved::default() };
    saved.formation.cluster_id = Some(cluster());
    saved
}

struct Node {
    control: Control,
    out: Vec<Output>,
    ms: u64,
}

impl Node {
    fn start(saved: Saved, starts: u128) -> Self {
        Self::start_as(1, saved, starts)
    }

    fn start_as(n: u128, saved: Saved, starts: u128) -> Self {
        let me = Incarnation { node_id: NodeId::from_u128(n), guid: Guid::from_u128(n * 100 + starts) };
        let setup = Setup { store: StoreId::from_u128(n), ..setup(name(n), me, 1, saved) };
        let mut node = Self { control: Control::new(setup, at(0)), out: Vec::new(), ms: 0 };
        node.give(Input::Start);
        node
    }

    fn give(&mut self, input: Input) {
        self.ms += 1;
        self.control.handle(input, at(self.ms), &mut self.out);
        self.control.check();
    }

    fn news(&mut self, news: GroupNews) {
        self.give(Input::Group { cluster_id: cluster(), news });
    }

    fn tick(&mut self, ms: u64) {
        self.ms += ms;
        self.control.tick(at(self.ms), &mut self.out);
    }

    /// Runs a log of this node as the shell does, from the beginning.
    fn replay(&mut self, log: &[GroupEvent]) {
        for event in log {
            self.news(GroupNews::Event { event: event.clone(), replay: true });
        }
    }

    fn requests(&self) -> Vec<&GroupRequest> {
        self.out
            .iter()
            .filter_map(|output| if let Output::Group(request) = output { Some(request) } else { None })
            .collect()
    }

    fn opened(&self) -> Option<VoterId> {
        let opened =
            |request: &&GroupRequest| if let GroupRequest::Open { me, .. } = request { Some(*me) } else { None };
        self.requests().iter().rev().find_map(opened)
    }

    fn last_write(&self) -> Option<(u64, Saved)> {
        let write = |output: &Output| match output {
            Output::Persist { token, saved } => Some((*token, (**saved).clone())),
            _ => None,
        };
        self.out.iter().rev().find_map(write)
    }

    fn reply(&self) -> Option<&Result<Reply, CommandError>> {
        self.out
            .iter()
            .rev()
            .find_map(|output| if let Output::Reply { result, .. } = output { Some(result) } else { None })
    }

    /// The founding entry that it proposes in the new log.
    fn proposed(&self) -> Option<Vec<u8>> {
        let proposed = |request: &&GroupRequest| match request {
            GroupRequest::Ask(Ask::Propose { command, .. }) => Some(command.clone()),
            _ => None,
        };
        self.requests().iter().rev().find_map(proposed)
    }
}

fn configured(voters: Vec<VoterId>, index: u64) -> GroupEvent {
    let at = LogPlace { term: 1, index };
    GroupEvent::Reconfigured(Configuration { voters: vec![voters], learners: Vec::new(), at, committed: true })
}

/// The log of the cluster before its majority was lost, and what it adds up to.
fn before() -> (Vec<GroupEvent>, Record) {
    let founder = |n| Founder { id: start(n), name: name(n), role: Role::Core, store: n };
    let command = Entry::Found { cluster_id: cluster(), founders: (1..=3).map(founder).collect() };
    let command = Written { why: Why::new(NodeId::from_u128(1), 0, Vec::new()), command }.encode();
    let log = vec![
        configured((1..=3).map(voter).collect(), 1),
        GroupEvent::Applied { at: LogPlace { term: 1, index: 2 }, command },
    ];
    (log.clone(), record(&log))
}

fn record(log: &[GroupEvent]) -> Record {
    let mut record = Record::default();
    for event in log {
        match event {
            GroupEvent::Applied { at, command } => {
                record.apply(*at, command);
            }
            GroupEvent::Reconfigured(configuration) => record.reconfigured(configuration),
            GroupEvent::Restored { .. } => {}
        }
    }
    record
}

fn recover(accept_loss: bool) -> Input {
    Input::Command { id: RequestId(1), command: Command::Recover { accept_loss, plan: !accept_loss } }
}

/// Any of the refusals, of a plan.
fn refused(node: &Node) -> String {
    match node.reply() {
        Some(Ok(Reply::Plan { refused, .. })) => refused.clone().unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

/// A survivor whose two peers are gone.
fn survivor() -> Node {
    survivor_as(1)
}

fn survivor_as(n: u128) -> Node {
    let mut node = young(n);
    for _ in 0..12 {
        node.tick(500);
    }
    node.out.clear();
    node
}

/// The same right after its start.
fn young(n: u128) -> Node {
    let mut node = Node::start_as(n, saved(), 1);
    node.replay(&before().0);
    let last = LogPlace { term: 1, index: 2 };
    let standing = Standing { me: voter(n), term: 1, last, applied: last, ..Standing::default() };
    node.news(GroupNews::Standing(Box::new(standing)));
    node.out.clear();
    node
}

/// The second node is linked, and heard.
fn meets(node: &mut Node) {
    node.give(hello(0));
    node.give(frame(membership::Message::HeartbeatAck { number: 0, wall: Wall::from_millis(1) }));
}

/// It is heard for as long as it may take to say where its log ends, and does not say that.
fn answers_for_two_seconds(node: &mut Node) {
    for _ in 0..4 {
        node.tick(500);
        node.give(frame(membership::Message::HeartbeatAck { number: 0, wall: Wall::from_millis(1) }));
    }
}

#[test]
fn the_plan_changes_nothing_and_says_who_is_given_up() {
    let mut node = survivor();
    node.give(recover(false));
    let Some(Ok(Reply::Plan { plan, refused: None })) = node.reply() else { panic!("{:?}", node.reply()) };
    let text = plan.join("\n");
    for part in ["1 of 3 voters in reach", "ekka@10.0.0.2, ekka@10.0.0.3", "not heard since this node started"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(node.requests().is_empty() && node.control.saved().recovery.is_none());
}

#[test]
fn a_node_that_has_just_started_says_when_to_try_again() {
    let mut node = young(1);
    node.give(recover(false));
    assert!(refused(&node).contains("started 0 s ago") && refused(&node).contains("try again in 6 s"));
    node.give(recover(true));
    let Some(Err(CommandError::Refused(why))) = node.reply() else { panic!("{:?}", node.reply()) };
    assert!(why.contains("try again in 6 s") && node.requests().is_empty(), "{why}");
}

/// Whoever is heard is there, whether it answers in time or not.
#[test]
fn a_majority_that_is_heard_is_in_reach_although_it_does_not_say_where_its_log_ends() {
    let mut node = survivor();
    meets(&mut node);
    node.give(recover(false));
    assert!(node.reply().is_none(), "it asks the one that it is linked with");
    answers_for_two_seconds(&mut node);
    assert!(refused(&node).contains("a majority of the voters is in reach"), "{}", refused(&node));
}

/// While voters change, the old and the new ones each need their own majority.
#[test]
fn a_majority_of_all_that_vote_is_none_where_one_half_of_a_joint_configuration_lacks_its_own() {
    let mut node = survivor();
    meets(&mut node);
    let quorum = node.control.view().quorum;
    assert!((quorum.voters, quorum.in_reach, quorum.needed) == (3, 2, 2) && quorum.holds(), "{quorum:?}");
    let sets = vec![vec![voter(1)], vec![voter(2), voter(3)]];
    let at = LogPlace { term: 1, index: 3 };
    let joint = Configuration { voters: sets, learners: Vec::new(), at, committed: true };
    node.news(GroupNews::Event { event: GroupEvent::Reconfigured(joint), replay: false });
    let quorum = node.control.view().quorum;
    assert!((quorum.voters, quorum.in_reach, quorum.needed) == (3, 2, 3) && !quorum.holds(), "{quorum:?}");
}

/// From the word of the operator to the write that decides.
fn written() -> (Node, u64, Saved) {
    written_by(1)
}

fn written_by(n: u128) -> (Node, u64, Saved) {
    let mut node = survivor_as(n);
    node.give(recover(true));
    assert!(matches!(node.requests()[..], [GroupRequest::Whole { .. }]), "nothing but reading before it is on disc");
    node.news(GroupNews::Whole(Ok(before().1.to_snapshot())));
    assert!(node.opened().is_none(), "the new log begins once the recovery is on disc");
    let (token, saved) = node.last_write().expect("a write");
    assert_eq!((saved.store_resets, saved.formation.generation >> 32), (1, 1));
    (node, token, saved)
}

/// The new log as its only voter founds it, applied.
fn founds(node: &mut Node) -> Record {
    let me = node.opened().expect("a replica");
    assert_ne!(me.start, voter(me.node_id.as_u128()).start, "a voter of the new group is none of the old one");
    let found = GroupRequest::Ask(Ask::Found { voters: BTreeSet::from([me]) });
    assert!(node.requests().contains(&&found), "{:?}", node.requests());
    let first = configured(vec![me], 1);
    node.news(GroupNews::Event { event: first.clone(), replay: false });
    let GroupEvent::Reconfigured(configuration) = first.clone() else { unreachable!("made above") };
    let standing = Standing { me, term: 1, leads: true, configuration, leader: Some(me), ..Standing::default() };
    node.news(GroupNews::Standing(Box::new(standing)));
    let command = node.proposed().expect("the first entry");
    let entry = GroupEvent::Applied { at: LogPlace { term: 1, index: 2 }, command };
    node.news(GroupNews::Event { event: entry.clone(), replay: false });
    record(&[first, entry])
}

#[test]
fn the_survivor_goes_on_alone_one_generation_later() {
    let (mut node, token, _) = written();
    node.give(Input::Persisted { token });
    let record = founds(&mut node);
    assert_eq!((record.cluster(), record.generation() >> 32), (Some(cluster()), 1));
    assert_eq!(record.members().keys().copied().collect::<Vec<_>>(), [NodeId::from_u128(1)]);
    assert!(record.token_floor() >= RECOVER_TOKENS);
    assert!(matches!(node.reply(), Some(Ok(Reply::Done { .. }))), "{:?}", node.reply());
    assert!(node.control.saved().recovery.is_none(), "done, and not begun again at the next start");
    assert_eq!(node.control.view().generation, record.generation());
    let roster = node.control.saved().roster;
    assert!([2, 3].iter().all(|n| !roster.is_member(NodeId::from_u128(*n))), "gossip has it too");
}

/// Whoever hears of a later generation is out at once: it must not be one that a crash takes back.
#[test]
fn nobody_hears_of_the_new_generation_before_it_is_on_disc() {
    let (mut node, token, _) = written();
    node.tick(10);
    let told = |node: &Node| node.control.hello(Purpose::Peer(Lane::Control), Wall::from_millis(1)).generation;
    assert_eq!((told(&node), node.control.view().generation), (0, 0));
    node.give(Input::Persisted { token });
    assert_eq!((told(&node) >> 32, node.control.view().generation >> 32), (1, 1));
}

#[test]
fn a_crash_before_the_write_changes_nothing_and_one_after_it_goes_on() {
    let (mut node, _, after) = written();
    node.tick(10);
    let mut as_before = Node::start(saved(), 2);
    assert_eq!(as_before.opened(), Some(voter(1)));
    as_before.replay(&before().0);
    assert_eq!(as_before.control.view().generation, 0);
    let mut again = Node::start(after, 2);
    let record = founds(&mut again);
    assert_eq!(record.generation() >> 32, 1);
    assert!(again.control.saved().recovery.is_none());
}

#[test]
fn a_log_that_cannot_be_read_is_opened_again_and_nothing_was_changed() {
    let mut node = survivor();
    node.give(recover(true));
    node.news(GroupNews::Whole(Err("the disc is gone".into())));
    let Some(Err(CommandError::Failed(why))) = node.reply() else { panic!("{:?}", node.reply()) };
    assert!(why.contains("nothing was changed") && why.contains("the disc is gone"), "{why}");
    assert_eq!(node.opened(), Some(voter(1)));
    assert_eq!(node.control.saved().store_resets, 0);
}

/// What a peer says of clusters that have gone into others.
fn says_merged(merged: Vec<MergeRecord>) -> Input {
    let state = autocluster::Message::State {
        cluster_id: Some(cluster()),
        status: Status::Up,
        quorum: true,
        electorate: None,
        decider: None,
        merged,
        idle: false,
        merge: Merge::Empty,
        store: StoreId::from_u128(2),
        generation: 0,
        quorum_rows: false,
    };
    let bytes = postcard::to_allocvec(&Message::Autocluster(state)).unwrap();
    Input::Frame { conn: ConnId(1), bytes }
}

/// M10: the cluster has committed that it goes into another one, and that is lost for good. With a majority of its voters
/// up it serves nobody; `recover` takes the way back, and nobody's memory of the old record leads there again.
#[test]
fn m10_out_of_a_merge_into_a_lost_cluster_with_a_majority_in_reach() {
    let mut node = survivor();
    let into = ClusterId::from_u128(1);
    let command =
        Written { why: Why::new(NodeId::from_u128(1), 0, Vec::new()), command: Entry::Merging { into, by_word: true } };
    let mut log = before().0;
    log.push(GroupEvent::Applied { at: LogPlace { term: 1, index: 3 }, command: command.encode() });
    let merging = record(&log);
    let gone_into = merging.merging().expect("it was committed");
    node.news(GroupNews::Event { event: log[2].clone(), replay: false });
    meets(&mut node);
    assert!(node.control.view().quorum.holds());
    let known = |node: &Node| node.control.saved().formation.merged.get(cluster()).copied();
    assert_eq!(known(&node), Some(gone_into));
    node.give(recover(true));
    answers_for_two_seconds(&mut node);
    assert!(node.requests().iter().any(|request| matches!(request, GroupRequest::Whole { .. })), "{:?}", node.reply());
    node.news(GroupNews::Whole(Ok(merging.to_snapshot())));
    let (token, _) = node.last_write().expect("a write");
    node.give(Input::Persisted { token });
    let after = founds(&mut node);
    assert_eq!((after.merging(), after.generation() >> 32), (None, 1));
    assert_eq!(known(&node), None, "it goes nowhere any more");
    node.give(says_merged(vec![gone_into]));
    assert_eq!(known(&node), None, "what others remember is of the past");
}

fn hello(generation: u64) -> Input {
    hello_of(2, 0, generation)
}

/// Node `n` says Hello, after so many restarts.
fn hello_of(n: u128, starts: u128, generation: u64) -> Input {
    let hello = Hello {
        versions: VersionRange::OURS,
        features: 0,
        software: "0.1.0".into(),
        purpose: Purpose::Peer(Lane::Control),
        name: name(n),
        node_id: NodeId::from_u128(n),
        guid: Guid::from_u128(n * 100 + starts),
        previous_guid: None,
        start_counter: 1,
        cluster_name: "ekka".into(),
        cluster_id: Some(cluster()),
        wall: Wall::from_millis(1_800_000_000_000),
        role: Role::Core,
        status: Status::Up,
        listen_port: 4370,
        holds: true,
        generation,
    };
    Input::Hello { conn: ConnId(1), hello: Box::new(hello), addr: "x".into(), dialed: None }
}

#[test]
fn a_node_that_hears_of_a_later_generation_stops_in_that_very_step_and_stays_out() {
    let mut node = survivor();
    node.give(hello(0));
    assert!(node.requests().is_empty(), "its own generation is nothing new");
    node.give(hello(1));
    assert_eq!(node.requests(), [&GroupRequest::Close { delete: false }], "it ends, and keeps its log");
    let kept = node.control.saved();
    assert_eq!((kept.formation.cluster_id, kept.store_resets), (None, 1));
    let view = node.control.view();
    assert!(!view.ready_quorum && view.cluster_id.is_none());
    assert!(view.reasons.iter().any(|reason| reason.code == "outranked"), "{:?}", view.reasons);
    let again = Node::start(kept, 2);
    assert_eq!(again.opened(), None, "after a restart it is still no voter of anything");
    assert!(again.control.saved().formation.outranked.is_some());
}

fn frame(message: membership::Message) -> Input {
    Input::Frame { conn: ConnId(1), bytes: postcard::to_allocvec(&Message::Membership(message)).unwrap() }
}

/// Two survivors that were cut from each other have both gone on, each without the other.
#[test]
fn of_two_survivors_that_meet_one_goes_on_and_the_other_keeps_its_log() {
    let go_on = |n: u128| {
        let (mut node, token, _) = written_by(n);
        node.give(Input::Persisted { token });
        let generation = founds(&mut node).generation();
        node.out.clear();
        (generation, n, node)
    };
    let (one, other) = (go_on(1), go_on(2));
    let ((low, loser, mut lost), (high, winner, mut won)) = if one.0 < other.0 { (one, other) } else { (other, one) };
    assert_ne!(low, high, "neither would give way");
    let roster = lost.control.saved().roster;
    assert!(!roster.is_member(NodeId::from_u128(winner)), "it has given up the other");
    won.give(hello_of(loser, 1, low));
    won.give(frame(membership::Message::Roster { roster, reply: true }));
    assert!(won.requests().is_empty(), "{:?}", won.requests());
    let kept = won.control.saved();
    assert_eq!(kept.formation.cluster_id, Some(cluster()));
    assert!(kept.roster.is_member(NodeId::from_u128(winner)), "a word of an earlier generation takes nobody out");
    lost.give(hello_of(winner, 1, high));
    assert_eq!(lost.requests(), [&GroupRequest::Close { delete: false }]);
    let view = lost.control.view();
    assert!(view.cluster_id.is_none() && view.reasons.iter().any(|reason| reason.code == "outranked"));
}

/// A seat in gossip says that this node was taken out.
fn taken_out() -> Roster {
    let mut roster = saved().roster;
    let seat = Seat { number: 100, by: NodeId::from_u128(2), removed: Some(RemovalCause::Force) };
    roster.seats.insert(NodeId::from_u128(1), seat);
    roster
}

#[test]
fn a_log_is_deleted_only_where_it_says_itself_that_its_node_is_out() {
    let mut node = survivor();
    node.give(hello(0));
    node.give(frame(membership::Message::Roster { roster: taken_out(), reply: false }));
    assert_eq!(node.requests(), [&GroupRequest::Close { delete: false }], "hearsay");
    assert!(node.control.saved().formation.left && node.control.view().cluster_id.is_none());

    let mut node = survivor();
    let others = vec![voter(2), voter(3)];
    node.news(GroupNews::Event { event: configured(others, 3), replay: false });
    let out = Removal { node_id: NodeId::from_u128(1), seniority: 2, cause: RemovalCause::Force, by: start(2).node_id };
    let command = Written { why: Why::new(out.by, 0, Vec::new()), command: Entry::Remove(out) }.encode();
    let at = LogPlace { term: 1, index: 4 };
    node.news(GroupNews::Event { event: GroupEvent::Applied { at, command }, replay: false });
    assert_eq!(node.requests(), [&GroupRequest::Close { delete: true }], "its own record");
}

/// A replica that began again under the same guid would have forgotten its vote (found by the simulation of whole nodes,
/// seed 1: the leader saw a follower's log go back).
#[test]
fn the_volatile_replica_goes_on_while_that_of_the_durable_group_is_opened_anew() {
    let (mut log, _) = before();
    let founders: BTreeSet<Incarnation> = (1..=3).map(start).collect();
    let version = Version { number: 1, revision: 0 };
    let next = Generation { version, founders: founders.clone(), sets: vec![founders], from: None, lost: false };
    let command = Entry::Generation(Proposal { expected: Version::default(), next });
    let command = Written { why: Why::new(NodeId::from_u128(1), 0, Vec::new()), command }.encode();
    log.push(GroupEvent::Applied { at: LogPlace { term: 1, index: 3 }, command });
    let mut node = Node::start(saved(), 0);
    node.replay(&log);
    let asked = |node: &Node| -> Vec<VolatileRequest> {
        let of = |output: &Output| if let Output::Volatile(request) = output { Some(request.clone()) } else { None };
        node.out.iter().filter_map(of).collect()
    };
    assert!(
        matches!(asked(&node)[..], [VolatileRequest::Order { order: Order::Start { generation: 1, .. }, .. }]),
        "{:?}",
        asked(&node)
    );
    let failed = Standing { failed: Some("the disc is full".into()), ..Standing::default() };
    node.news(GroupNews::Standing(Box::new(failed)));
    node.tick(3_000);
    let opened = node.requests().iter().filter(|request| matches!(request, GroupRequest::Open { .. })).count();
    assert_eq!(opened, 2);
    node.replay(&log);
    assert_eq!(asked(&node).len(), 1, "{:?}", asked(&node));
}

/// A majority of the volatile group is gone, and could go on behind a cut: nobody begins the next one beside them. With a
/// majority of the durable group up an operator's word is one more entry, and nothing else is given up.
#[test]
fn a_volatile_group_that_is_lost_begins_again_by_word() {
    let mut node = survivor();
    meets(&mut node);
    let mut index = 2;
    let mut commit = |node: &mut Node, command: Entry| {
        index += 1;
        let command = Written { why: Why::new(NodeId::from_u128(1), 0, Vec::new()), command }.encode();
        let event = GroupEvent::Applied { at: LogPlace { term: 1, index }, command };
        node.news(GroupNews::Event { event, replay: false });
    };
    let founders = BTreeSet::from([start(3)]);
    let version = Version { number: 1, revision: 0 };
    let next = Generation { version, founders: founders.clone(), sets: vec![founders], from: None, lost: false };
    commit(&mut node, Entry::Generation(Proposal { expected: Version::default(), next }));
    node.give(recover(false));
    answers_for_two_seconds(&mut node);
    assert!(refused(&node).contains("a majority of the voters is in reach"), "nobody is gone yet");
    commit(&mut node, Entry::Gone(GoneEntry { id: start(3), term: 1, cause: Cause::Goodbye }));
    node.out.clear();
    node.give(recover(false));
    let Some(Ok(Reply::Plan { plan, refused: None })) = node.reply() else { panic!("{:?}", node.reply()) };
    assert!(plan.join("\n").contains("the volatile group is lost with ekka@10.0.0.3"), "{plan:?}");
    assert!(node.proposed().is_none(), "a plan changes nothing");
    node.give(recover(true));
    let proposed = Written::decode(&node.proposed().expect("an entry")).unwrap();
    let Entry::Generation(proposal) = proposed.command.clone() else { panic!("{proposed:?}") };
    assert!(proposal.next.number() == 2 && proposal.next.lost && proposal.next.from.is_none(), "{proposal:?}");
    assert!(!proposal.next.founders.contains(&start(3)) && !proposal.next.founders.is_empty());
    assert!(
        !node.requests().iter().any(|request| matches!(request, GroupRequest::Whole { .. })),
        "no log is left behind"
    );
}
