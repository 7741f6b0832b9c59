//! A node whose tables have to be fetched is `syncing`: it takes part, and is not ready.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::control_common::{at, cluster, core_member, setup};
use ekka_core::consensus::{Configuration, GroupEvent, LogPlace, Standing, VoterId};
use ekka_core::control::{Command, Control, GroupNews, GroupRequest, Input, Loading, Output, Reply, RequestId, Saved};
use ekka_core::durable::{Ask, Command as Entry, Entry as Written, Founder, SchemaChange, Why};
use ekka_core::event::EventKind;
use ekka_core::id::{Guid, Incarnation, NodeId, StoreId};
use ekka_core::machine::Machine as _;
use ekka_core::membership::{Roster, Seat};
use ekka_core::schema::{Kind, Schema};
use ekka_core::view::{Role, Status, Sync, View};

/// The place of the entry that makes the table.
const MADE: u64 = 3;

/// The only node of its cluster: what its group asks for is answered at once.
struct Node {
    control: Control,
    ms: u64,
    /// The last entry of the log.
    last: u64,
}

impl Node {
    fn new(tables: &[(&str, Kind)], keeps: bool) -> Self {
        let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(100) };
        let name: ekka_core::id::NodeName = "ekka@10.0.0.1".parse().unwrap();
        let mut roster = Roster { cluster_id: Some(cluster()), ..Roster::default() };
        roster.seats.insert(me.node_id, Seat { number: 1, by: me.node_id, removed: None });
        roster.records.insert(me.node_id, core_member(name.clone(), me, 1, StoreId::from_u128(1)));
        let mut saved = Saved { roster, ..Saved::default() };
        saved.formation.cluster_id = Some(cluster());
        let mut node = Self { control: Control::new(setup(name.clone(), me, 1, saved), at(0)), ms: 0, last: 0 };
        node.give(Input::Start);
        if keeps {
            node.give(Input::Tables(Loading::default()));
        }
        let voter = VoterId { node_id: me.node_id, start: 1 };
        let place = |index| LogPlace { term: 1, index };
        let configuration =
            Configuration { voters: vec![[voter].into()], learners: Vec::new(), at: place(1), committed: true };
        node.event(GroupEvent::Reconfigured(configuration.clone()));
        let founder = Founder { id: me, name, role: Role::Core, store: 1 };
        let found = Entry::Found { cluster_id: cluster(), founders: vec![founder] };
        let schema = |(table, kind): &(&str, Kind)| SchemaChange::Create(Schema::new(*table, *kind)).encode();
        let made = tables.iter().map(|table| Entry::Schema(schema(table)));
        for (index, command) in (2..).zip(std::iter::once(found).chain(made)) {
            let command = Written { why: Why::new(me.node_id, 0, Vec::new()), command }.encode();
            node.event(GroupEvent::Applied { at: place(index), command });
        }
        node.last = 2 + tables.len() as u64;
        let last = place(node.last);
        let standing = Standing {
            me: voter,
            term: 1,
            leader: Some(voter),
            leads: true,
            last,
            applied: last,
            told: last,
            configuration,
            ..Standing::default()
        };
        node.news(GroupNews::Standing(Box::new(standing)));
        for _ in 0..400 {
            node.pass();
        }
        node
    }

    fn event(&mut self, event: GroupEvent) {
        self.news(GroupNews::Event { event, replay: true });
    }

    fn news(&mut self, news: GroupNews) {
        self.give(Input::Group { cluster_id: cluster(), news });
    }

    fn pass(&mut self) {
        self.ms += 10;
        let mut out = Vec::new();
        self.control.tick(at(self.ms), &mut out);
        self.answer(out);
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        self.ms += 1;
        let mut out = Vec::new();
        self.control.handle(input, at(self.ms), &mut out);
        self.control.check();
        self.answer(out.clone());
        out
    }

    fn answer(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Persist { token, .. } => drop(self.give(Input::Persisted { token })),
                Output::Group(GroupRequest::Confirm { round, .. }) => {
                    self.news(GroupNews::Confirmed { round, ok: true });
                }
                Output::Group(GroupRequest::Ask(Ask::Propose { command, .. })) => {
                    self.last += 1;
                    self.event(GroupEvent::Applied { at: LogPlace { term: 1, index: self.last }, command });
                }
                _ => {}
            }
        }
    }

    fn says(&mut self, tables: u64, of: u64, followed: u64) {
        let sync = Sync { tables, of, bytes: 5 };
        let waits = "users waits for ekka@10.0.0.2".into();
        self.give(Input::Tables(Loading { cluster: Some(cluster()), followed, sync, waits }));
    }

    fn view(&self) -> View {
        (*self.control.view()).clone()
    }

    fn status(&self) -> Status {
        self.view().status
    }

    fn safe_to_stop(&mut self) -> Vec<String> {
        let out = self.give(Input::Command { id: RequestId(1), command: Command::SafeToStop { groups: false } });
        let reply = |output| if let Output::Reply { result, .. } = output { Some(result) } else { None };
        match out.into_iter().find_map(reply).expect("it is answered at once") {
            Ok(Reply::Answer { reasons, .. }) => reasons,
            other => panic!("{other:?}"),
        }
    }
}

const USERS: (&str, Kind) = ("users", Kind::Available);

#[test]
fn a_node_is_syncing_until_each_of_its_tables_has_what_its_peers_held() {
    let mut node = Node::new(&[USERS, ("routes", Kind::Owned)], true);
    let view = node.view();
    assert_eq!(view.status, Status::Syncing, "{:?}", view.reasons);
    assert!(!view.ready_available && !view.ready_quorum);
    assert!(view.reasons.iter().any(|reason| reason.code == "syncing" && reason.text.contains("being opened")));
    node.says(1, 2, MADE + 1);
    let view = node.view();
    assert_eq!((view.status, view.sync), (Status::Syncing, Some(Sync { tables: 1, of: 2, bytes: 5 })));
    let said = &view.reasons[0].text;
    assert_eq!(said, "1 of 2 tables has not got all rows yet: users waits for ekka@10.0.0.2");
    assert_eq!(node.safe_to_stop(), ["ekka@10.0.0.1 is syncing"]);
    node.says(2, 2, MADE + 1);
    assert_eq!((node.status(), node.view().sync), (Status::Up, None));
    assert!(node.view().ready_available && node.safe_to_stop().is_empty());
    // A table that is made later is loaded while the node is up.
    node.says(2, 3, MADE + 2);
    assert_eq!(node.status(), Status::Up);
}

#[test]
fn what_is_said_of_a_state_before_the_table_was_made_or_of_another_cluster_does_not_count() {
    let mut node = Node::new(&[USERS], true);
    node.says(0, 0, MADE - 1);
    assert_eq!(node.status(), Status::Syncing);
    let sync = Sync { tables: 1, of: 1, bytes: 0 };
    node.give(Input::Tables(Loading { cluster: None, followed: MADE, sync, waits: String::new() }));
    assert_eq!(node.status(), Status::Syncing);
    node.says(1, 1, MADE);
    assert_eq!(node.status(), Status::Up);
}

#[test]
fn who_has_no_table_to_fetch_is_up_at_once() {
    assert_eq!(Node::new(&[], true).status(), Status::Up);
    assert_eq!(Node::new(&[("stock", Kind::Quorum)], true).status(), Status::Up);
    assert_eq!(Node::new(&[USERS], false).status(), Status::Up, "nobody keeps tables here");
}

#[test]
fn a_node_that_fetches_can_be_drained_and_goes_on_fetching() {
    let mut node = Node::new(&[USERS], true);
    node.give(Input::Command { id: RequestId(1), command: Command::Drain { plan: false } });
    assert_eq!(node.status(), Status::Draining);
    node.give(Input::Command { id: RequestId(2), command: Command::Undrain { plan: false } });
    assert_eq!(node.status(), Status::Syncing);
    node.says(1, 1, MADE);
    assert_eq!(node.status(), Status::Up);
}

#[test]
fn a_disc_that_fills_up_is_told_once_and_once_that_it_has_room() {
    let mut node = Node::new(&[], true);
    let mut told = |full: Option<&str>| {
        let out = node.give(Input::Disc(full.map(Into::into)));
        let events = out.into_iter().filter_map(|output| match output {
            Output::Event(event) => Some(event.kind),
            _ => None,
        });
        events.filter(|kind| kind.type_name().starts_with("disc.")).collect::<Vec<_>>()
    };
    assert_eq!(told(None), []);
    assert_eq!(told(Some("9 MiB left")), [EventKind::DiscFull { why: "9 MiB left".into() }]);
    assert_eq!(told(Some("8 MiB left")), []);
    assert_eq!(told(None), [EventKind::DiscOk {}]);
}
