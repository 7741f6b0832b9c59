//! A node whose view is given: three members, one of them silent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ekka::admin::NodeApi;
use ekka::admin::dto::HoldRequest;
use ekka::consensus::GroupError;
use ekka::core::control::{Command, CommandError, Reply};
use ekka::core::decision::{Decision, DecisionId};
use ekka::core::event::{Event, EventKind};
use ekka::core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use ekka::core::time::{Instant, Now, Wall};
use ekka::core::view::{
    Link, LinkState, Member, Quorum, Reason, Role, Split, SplitState, Status, Unreachable, View, Volatile,
};
use ekka::env::BoxFuture;
use ekka::histogram::Times;
use ekka::lock::LockError;
use ekka::node::{BenchGroup, CommitFigures, CommitPlan, Counted, Counters, Signer, StampedEvent};
use ekka::rpc::{BenchFigures, BenchPlan, CallError, MethodCounts};
use ekka::storage::DiscFigures;
use ekka::table::{
    Backup, BackupError, PeerVerdict, PutError, RestoreError, RestoreMode, Restored, Step, TableRestored, TableVerdict,
};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

/// 2026-11-23T02:13:07.120Z
pub(crate) const THEN: Wall = Wall::from_millis(1_795_399_987_120);

/// The name of the n-th node.
pub(crate) fn name(n: u128) -> NodeName {
    format!("ekka@10.0.0.{n}").parse().expect("a name")
}

/// The n-th node.
pub(crate) fn who(n: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(0xa000 + n), guid: Guid::from_u128(0xb000 + n) }
}

/// A member as seen by the first.
pub(crate) fn member(n: u128, status: Status) -> Member {
    Member {
        name: name(n),
        id: who(n),
        status,
        role: Role::Core,
        voter: true,
        endpoint: name(n).endpoint(4370).expect("a port"),
        version: "0.1.0".into(),
        since: THEN,
        last_heard: Some(Instant::from_nanos(1)),
        last_heard_wall: (n != 1).then_some(THEN),
        tags: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        seniority: u64::try_from(n).expect("small"),
    }
}

/// The first of three nodes sees the third silent.
pub(crate) fn view() -> View {
    let link = |from: u128, to: u128, state| Link {
        from: who(from).node_id,
        to: who(to).node_id,
        state,
        rtt_us: (state == LinkState::Up).then_some(420),
        last_ok: Some(THEN),
        via: None,
    };
    View {
        number: 7,
        me: who(1),
        name: name(1),
        status: Status::Up,
        cluster_name: "ekka".into(),
        cluster_id: Some(ClusterId::from_u128(0xc1)),
        generation: 0,
        cluster_version: "0.1.0".into(),
        ready_quorum: true,
        ready_available: true,
        reasons: Vec::new(),
        leader: Some(who(1).node_id),
        coordinator: Some(who(1).node_id),
        sync: None,
        quorum: Quorum::new(3, 2),
        volatile: Volatile {
            generation: 2,
            voters: vec![who(1).node_id, who(2).node_id],
            leader: Some(who(2).node_id),
            votes: true,
            lost: true,
        },
        split: Split {
            state: SplitState::Suspected,
            since: Some(THEN),
            majority: true,
            unreachable: vec![Unreachable {
                node_id: who(3).node_id,
                since: THEN,
                evidence: "silent".into(),
                seen_by: vec![],
            }],
        },
        conflicts: Vec::new(),
        alarms: vec![Reason { code: "clock".into(), text: "your clock is ahead".into(), since: THEN }],
        advice: vec!["check the machine of 10.0.0.3".into()],
        members: vec![member(1, Status::Up), member(2, Status::Up), member(3, Status::Down)],
        links: vec![link(1, 2, LinkState::Up), link(2, 1, LinkState::Up), link(1, 3, LinkState::Down)],
        clock_offset_ms: Some(-3),
        clock_peers: 1,
        peer_clock_offset_ms: BTreeMap::from([(who(2).node_id, 4)]),
        started: THEN,
    }
}

/// The same node cut off from both others.
pub(crate) fn minority() -> View {
    let reason = Reason { code: "minority".into(), text: "1 of 3 voters in reach".into(), since: THEN };
    let mut view = view();
    view.ready_quorum = false;
    view.reasons = vec![reason];
    view.quorum = Quorum::new(3, 1);
    view.split.state = SplitState::Minority;
    view.split.majority = false;
    view
}

/// A node that is given all its answers.
#[derive(Clone)]
pub(crate) struct GivenNode {
    view: Arc<Mutex<View>>,
    events: broadcast::Sender<Arc<StampedEvent>>,
    past: Arc<Mutex<Vec<Arc<StampedEvent>>>>,
    /// Commands that were given to it.
    pub commands: Arc<Mutex<Vec<Command>>>,
    last_step: Duration,
}

impl GivenNode {
    pub(crate) fn new(view: View) -> Self {
        let past = vec![
            stamped(1, EventKind::MemberUp { name: name(3), node_id: who(3).node_id }, None),
            stamped(
                2,
                EventKind::MemberDown { name: name(3), node_id: who(3).node_id, evidence: "silent".into() },
                Some(DecisionId(0x1f)),
            ),
        ];
        Self {
            view: Arc::new(Mutex::new(view)),
            events: broadcast::Sender::new(16),
            past: Arc::new(Mutex::new(past)),
            commands: Arc::default(),
            last_step: Duration::from_millis(5),
        }
    }

    /// A node whose thread made its last step so long ago.
    pub(crate) fn stuck_for(mut self, last_step: Duration) -> Self {
        self.last_step = last_step;
        self
    }

    /// Lets something happen.
    pub(crate) fn happen(&self, id: u64, kind: EventKind) {
        let event = stamped(id, kind, None);
        self.past.lock().expect("no panic elsewhere").push(event.clone());
        let _ = self.events.send(event); // nobody may be reading
    }

    fn answer(command: &Command) -> Result<Reply, CommandError> {
        let decision = |id| Decision {
            id,
            time: THEN,
            kind: "down".into(),
            what: "ekka@10.0.0.3 is down".into(),
            rule: "silence (section 9)".into(),
            evidence: vec!["nothing heard for 2.4 s".into()],
            inputs: None,
        };
        match command {
            Command::Why { id: DecisionId(0x1f) } => Ok(Reply::Decision(decision(DecisionId(0x1f)))),
            Command::Why { id } => Err(CommandError::NotFound(format!("no record {id}"))),
            Command::Decisions { .. } => Ok(Reply::Decisions(vec![decision(DecisionId(0x1f))])),
            Command::SafeToStop { .. } => {
                Ok(Reply::Answer { yes: false, reasons: vec!["the rest would have no majority".into()] })
            }
            Command::Leave { plan: true } => Ok(Reply::Plan { plan: vec!["leave cluster ekka".into()], refused: None }),
            Command::ForceLeave { node, .. } if node == "abcdef" => Err(CommandError::Ambiguous {
                text: node.clone(),
                candidates: vec![name(2).to_string(), name(3).to_string()],
            }),
            Command::Form { .. } => Err(CommandError::Refused("this node is in a cluster".into())),
            _ => Ok(Reply::Done { text: "done".into(), decision: DecisionId(0x20), cluster_id: None }),
        }
    }
}

/// One that takes what begins with `good` for a backup of one table.
async fn restored(
    mut file: File,
    (mode, plan): (RestoreMode, bool),
    progress: mpsc::Sender<TableRestored>,
) -> Result<Restored, RestoreError> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("it can be read");
    if !text.starts_with("good") {
        return Err(ekka::backup::check(text.as_bytes()).expect_err("it is none").into());
    }
    let added = text.len() as u64;
    let table = TableRestored { table: "users".into(), added, made: plan, ..TableRestored::default() };
    if !plan {
        progress.send(table.clone()).await.expect("somebody reads");
    }
    if mode == RestoreMode::Replace {
        let why = PutError::NotLoaded;
        return Err(RestoreError::Row { table: "users".into(), rows: 3, why });
    }
    Ok(Restored { tables: vec![table], token_ceiling: Some(9), notes: Vec::new() })
}

fn verdict() -> TableVerdict {
    let peer = |n, step| PeerVerdict { name: name(n).to_string(), node: who(n).node_id, step };
    let peers = vec![
        peer(2, Step::Differs { ranges: vec![3, 200] }),
        peer(3, Step::Behind { peer: 4, here: 1 }),
        peer(4, Step::NotCompared("it is down".into())),
    ];
    let kind = ekka::table::Kind::Available;
    TableVerdict { table: "users".into(), kind, rows: 5, digest: 0xabc, peers, left_out: None }
}

fn stamped(id: u64, kind: EventKind, decision: Option<DecisionId>) -> Arc<StampedEvent> {
    Arc::new(StampedEvent { time: THEN, id, node: name(1), event: Event { decision, kind } })
}

impl NodeApi for GivenNode {
    fn view(&self) -> Arc<View> {
        Arc::new(self.view.lock().expect("no panic elsewhere").clone())
    }

    fn events(&self) -> broadcast::Receiver<Arc<StampedEvent>> {
        self.events.subscribe()
    }

    fn recent_events(&self, last: usize) -> Vec<Arc<StampedEvent>> {
        let past = self.past.lock().expect("no panic elsewhere");
        past[past.len().saturating_sub(last)..].to_vec()
    }

    fn now(&self) -> Now {
        Now { mono: Instant::from_nanos(1), wall: Wall::from_millis(THEN.as_millis() + 2_500) }
    }

    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, CommandError>> {
        let answer = Self::answer(&command);
        self.commands.lock().expect("no panic elsewhere").push(command.clone());
        Box::pin(async move {
            // Going into a cluster takes its time.
            if matches!(command, Command::Join { plan: false, .. }) {
                std::future::pending::<()>().await;
            }
            answer
        })
    }

    fn last_step(&self) -> Duration {
        self.last_step
    }

    fn counters(&self) -> Counters {
        let certificate_expiry_s = BTreeMap::from([("own", 86_400.0), ("ca", -1.0)]);
        let results = ekka::rpc::RESULTS.iter().map(|result| (*result, u64::from(*result == "ok") * 3)).collect();
        let mut times = Times { seconds: 0.002, ..Times::default() };
        (times.buckets[0], times.buckets[4]) = (1, 2);
        let counts = MethodCounts { results, times };
        let rpc = BTreeMap::from([(("ekka.ping".to_owned(), "server"), counts)]);
        let disc = DiscFigures { free: Some(1 << 30), syncs: times };
        Counters { leader_changes: 2, certificate_expiry_s, disc, rpc, ..Counters::default() }
    }

    fn cookie_ids(&self) -> Vec<String> {
        vec!["3f9a-02c1-77de".into(), "0000-0000-0000".into()]
    }

    fn signers(&self) -> BoxFuture<'_, Vec<Signer>> {
        let signer = |n, cookie: Option<&str>| Signer {
            name: name(n),
            node_id: who(n).node_id,
            cookie_id: cookie.map(str::to_owned),
        };
        Box::pin(async move { vec![signer(2, Some("0000-0000-0000")), signer(3, None)] })
    }

    fn ping(&self, node: NodeId, _deadline: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        let text = format!("{} is down: nobody hears it", name(3));
        let down = CallError::Unreachable { node, text, sent: false };
        Box::pin(async move { if node == who(3).node_id { Err(down) } else { Ok(()) } })
    }

    fn bench(&self, plan: BenchPlan) -> BoxFuture<'_, Result<BenchFigures, CallError>> {
        let (p50, p99) = (Duration::from_micros(50), Duration::from_micros(90));
        Box::pin(async move { Ok(BenchFigures { calls: 100, time: plan.time, p50, p99 }) })
    }

    fn bench_commits(&self, plan: CommitPlan) -> BoxFuture<'_, Result<CommitFigures, CommandError>> {
        Box::pin(async move {
            if plan.group == BenchGroup::Volatile {
                return Err(CommandError::Refused("no volatile group runs on this node".into()));
            }
            let (p50, p99) = (Duration::from_micros(900), Duration::from_micros(2_500));
            let span = Some((7, 206));
            let time = plan.time;
            Ok(CommitFigures { commits: 200, unknown: 1, time, p50, p99, syncs: 50, span, leads: true })
        })
    }

    fn take_tokens(&self, count: u64) -> BoxFuture<'_, Result<Range<u64>, CommandError>> {
        Box::pin(async move { Ok(207..207 + count) })
    }

    fn token_ceiling(&self) -> BoxFuture<'_, Result<u64, CommandError>> {
        Box::pin(async move { Ok(207) })
    }

    fn applied_token_ceiling(&self) -> Result<u64, CommandError> {
        Ok(200)
    }

    fn tables(&self) -> Option<ekka::table::TableDoor> {
        None
    }

    fn back_up(&self) -> BoxFuture<'_, Result<Backup, BackupError>> {
        Box::pin(async { Err(BackupError::NotLoaded("users".into())) })
    }

    fn restore(
        &self,
        file: File,
        (mode, plan): (RestoreMode, bool),
        progress: mpsc::Sender<TableRestored>,
    ) -> BoxFuture<'_, Result<Restored, RestoreError>> {
        Box::pin(async move { restored(file, (mode, plan), progress).await })
    }

    fn scratch(&self) -> std::io::Result<File> {
        tempfile::tempfile()
    }

    fn has_room(&self) -> bool {
        true
    }

    fn verify_tables(&self, table: Option<String>) -> BoxFuture<'_, Option<Vec<TableVerdict>>> {
        Box::pin(async move { table.is_none_or(|table| table == "users").then(|| vec![verdict()]) })
    }

    fn ensure_table(
        &self,
        schema: ekka::table::Schema,
    ) -> BoxFuture<'_, Result<(u64, Option<DecisionId>), ekka::table::OpenError>> {
        let why = CommandError::Refused("no tables".into());
        Box::pin(async { Err(ekka::table::OpenError::NotMade { table: schema.name, why }) })
    }

    fn drop_table(&self, _name: String) -> BoxFuture<'_, Result<Option<DecisionId>, CommandError>> {
        Box::pin(async { Ok(None) })
    }

    fn count(&self, n: u64) -> BoxFuture<'_, Result<Counted, GroupError>> {
        let refused = || Err(GroupError::NoQuorum("no leader is known".into()));
        Box::pin(async move { if n > 100 { refused() } else { Ok(Counted { generation: 2, numbers: 5..5 + n }) } })
    }

    fn lock_list(&self) -> BoxFuture<'_, Result<Vec<ekka::lock::LockRow>, LockError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn lock_hold(&self, _: HoldRequest) -> BoxFuture<'_, Result<ekka::lock::Guard, LockError>> {
        Box::pin(async { Err(LockError::NoQuorum("no leader is known".into())) })
    }

    fn lock_force_release(&self, name: String, _: String) -> BoxFuture<'_, Result<u64, LockError>> {
        let none = format!("nobody holds lock {name}");
        Box::pin(async move { if name == "held" { Ok(1) } else { Err(LockError::Refused(none)) } })
    }

    fn call_json(
        &self,
        node: NodeId,
        method: String,
        request: Value,
        after: Duration,
    ) -> BoxFuture<'_, Result<Value, CallError>> {
        Box::pin(async move {
            match method.as_str() {
                "shop.price" => Ok(json!({"asked": request, "price": 7})),
                "shop.hang" => Err(CallError::TimedOut { node, after, sent: true }),
                _ => Err(CallError::NoSuchMethod { node, text: format!("it has no method `{method}`") }),
            }
        })
    }
}
