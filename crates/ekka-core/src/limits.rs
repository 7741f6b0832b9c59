//! Every bound in one place, with the relations between them checked when this compiles.

use core::time::Duration;

/// Longest part of a node name before the `@`, in bytes.
pub const NAME_PART_LEN_MAX: usize = 64;
/// Longest host, in bytes (RFC 1035).
pub const HOST_LEN_MAX: usize = 253;
/// The port rule: digits that end a name count modulo this.
pub const PORT_OFFSET_MODULO: u16 = 60_000;
/// Default base port of the port rule.
pub const BASE_PORT: u16 = 4370;

/// Longest frame before a peer has been verified and has said Hello, in bytes.
pub const HELLO_FRAME_MAX: usize = 64 * 1024;
/// Longest frame of the control lane, in bytes.
pub const CONTROL_FRAME_MAX: usize = 1024 * 1024;
/// Longest frame of the bulk lane, in bytes: a value of 16 MiB with its key and head.
pub const BULK_FRAME_MAX: usize = 17 * 1024 * 1024;
/// Bytes that may wait for one peer on the control lane before the link counts as stuck.
pub const CONTROL_QUEUE_MAX: usize = 4 * 1024 * 1024;
/// Bytes that may wait for one peer on the bulk lane before senders wait.
pub const BULK_QUEUE_MAX: usize = 20 * 1024 * 1024;

/// Longest name of a method, in bytes.
pub const METHOD_NAME_MAX: usize = 128;
/// Longest request, answer or item, in bytes: as a value of a table.
pub const CALL_PAYLOAD_MAX: usize = 16 * 1024 * 1024;
/// Calls to one peer that may be under way before callers wait.
pub const CALLS_WINDOW: usize = 1024;
/// Bytes of requests to one peer that may be under way before callers wait.
pub const CALLS_WINDOW_BYTES: usize = 20 * 1024 * 1024;
/// Bytes that may wait to be written to one peer before it is told to come again; twice this much, and it counts as stuck.
pub const CALLS_QUEUE_MAX: usize = 40 * 1024 * 1024;
/// Streams to one peer that may be open.
pub const STREAMS_MAX: usize = 256;
/// Most items of a stream that may be on their way.
pub const STREAM_WINDOW_MAX: u32 = 65_536;
/// Time that a call has where nothing else is said.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Longest deadline of a call.
pub const CALL_DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Time from accept to a verified Hello; then the connection is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a dial, TCP connect and handshake together. Short, so that the next dial after a repair of the network
/// does not wait for the one before it.
pub const DIAL_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Half-open connections in all.
pub const HALF_OPEN_MAX: usize = 256;
/// Of these, kept for addresses of known members.
pub const HALF_OPEN_RESERVED: usize = 64;
/// Half-open connections of one source address (/64 for IPv6).
pub const HALF_OPEN_PER_SOURCE: usize = 8;
/// New connections a second of one source address.
pub const ACCEPT_RATE_PER_SOURCE: u32 = 20;
/// The same for loopback, where many nodes share an address.
pub const HALF_OPEN_LOOPBACK: usize = 64;
/// The same for loopback.
pub const ACCEPT_RATE_LOOPBACK: u32 = 200;
/// A refusal is logged once in this time for each address and reason.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Addresses and reasons that the refusal log remembers.
pub const REFUSAL_LOG_ENTRIES: usize = 1024;

/// Time for the verdict on a verified Hello; it may be held back while others are asked which start of its node runs.
pub const VERDICT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for what was queued to go out before a connection is closed.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which a closed connection still swallows input, so that its last words are not lost to a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// The operator's certificate files are looked at so often; a look reads three small files.
pub const CERTIFICATES_POLL: Duration = Duration::from_secs(10);
/// Dials under way at once.
pub const DIALS_MAX: usize = 1024;
/// Source addresses whose rate of new connections is remembered.
pub const SOURCES_MAX: usize = 8192;

/// Time between two heartbeats on a link.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);
/// Silence after which a link is down, redialled, and an indirect probe is asked for.
pub const LINK_SILENCE: Duration = Duration::from_millis(1_000);
/// Silence, to this node and to everyone that it can ask, after which a member is down.
pub const MEMBER_SILENCE: Duration = Duration::from_millis(2_400);
/// The promise: a silent member is seen as down within this time.
pub const DETECTION_TIME: Duration = Duration::from_secs(3);
/// Up to this many members everybody sends heartbeats to everybody.
pub const FULL_MESH_MAX: usize = 32;
/// Beyond it each sends to this many neighbours on the ring.
pub const RING_NEIGHBOURS: usize = 16;
/// How often a down member is contacted again.
pub const RECONTACT_INTERVAL: Duration = Duration::from_secs(1);
/// After this long the interval grows to [`RECONTACT_SLOW_INTERVAL`].
pub const RECONTACT_SLOW_AFTER: Duration = Duration::from_secs(600);
/// How often a member that has long been down is contacted again.
pub const RECONTACT_SLOW_INTERVAL: Duration = Duration::from_secs(5);
/// Members of one cluster, known ones and remembered ones.
pub const MEMBERS_MAX: usize = 4096;

/// How often an incarnation renews its lease.
pub const LEASE_INTERVAL: Duration = Duration::from_secs(1);
/// The smallest `cluster.gone_after`: five renewals may be lost before the holder is fenced.
pub const GONE_AFTER_MIN: Duration = Duration::from_secs(10);
/// Renewals of one holder that may wait for an answer. An answer to an older one would not tell when it was asked.
pub const LEASE_ASKS_MAX: usize = 64;
/// Time for a majority to confirm a term; then the renewals that waited for it get no answer.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// What a voter said about who is down counts for so long.
pub const DOWN_REPORT_KEPT: Duration = Duration::from_secs(3);

/// How often it is looked whom to clean.
pub const CLEAN_LOOK: Duration = Duration::from_secs(1);
/// How long after a refused removal the next one is tried.
pub const CLEAN_AGAIN: Duration = Duration::from_secs(10);
/// A process that was not called for so long stood still: in that time it saw nobody.
pub const PROCESS_STOPPED: Duration = Duration::from_secs(3);

/// How long the volatile group must be without a leader before its next generation is worked on; each further node
/// that may do so waits so much longer. Behind a cut nobody is to be asked to give the present one up: by then whoever is
/// cut off counts as silent. Where no majority of a generation can serve it any more nobody waits at all.
pub const UNLED_MAX: Duration = Duration::from_secs(4);
/// How often what was asked for towards a generation is asked for again.
pub const GENERATION_RETRY: Duration = Duration::from_secs(1);
/// How long a voter that sealed a generation lets the others go on without it.
pub const BARRED_MAX: Duration = Duration::from_secs(20);
/// Sets of voters that one generation may name while its voters change.
pub const VOTER_SETS_MAX: usize = 4;

/// Clocks further apart than this give a warning.
pub const CLOCK_WARN: Duration = Duration::from_millis(500);
/// A node whose clock is further than this from the median of its peers does not become `up`.
pub const CLOCK_REFUSE: Duration = Duration::from_secs(60);
/// How often peers compare clocks.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(10);
/// A wall clock that goes further than this away from the monotonic one between two looks has jumped. Less is what stamps
/// are ahead of the clock anyway.
pub const WALL_JUMP: Duration = Duration::from_secs(3);
/// So long a jump must stay where the peers' clocks agree with it: what they say comes with each heartbeat, and is of now
/// by then.
pub const WALL_JUMP_AGREED: Duration = Duration::from_secs(5);
/// So long where none does. A clock that was set wrong by hand or by a broken source is mostly set right within that.
pub const WALL_JUMP_STAYS: Duration = Duration::from_secs(30);

/// Candidates that one answer of a discovery may hold; more are cut off and said.
pub const CANDIDATES_MAX: usize = 1024;
/// A candidate that no answer names is forgotten after this. Answers may be short (5 of 15 records at a time, asked 24
/// times in this time: one in 17,000 is forgotten too early, until it is named again); and a stale record must not
/// count for ever among those of whom a majority is to vote.
pub const CANDIDATE_KEPT: Duration = Duration::from_secs(120);
/// Time for one strategy to answer.
pub const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often discovery runs until all are up.
pub const REDISCOVER_INTERVAL: Duration = Duration::from_secs(5);
/// How often it runs once all are up.
pub const REDISCOVER_SLOW_INTERVAL: Duration = Duration::from_secs(30);
/// News of a backend is looked at not more often than this.
pub const NEWS_INTERVAL: Duration = Duration::from_millis(200);
/// Settling time of the answering candidates for `static`.
pub const SETTLE_STATIC: Duration = Duration::from_secs(1);
/// Settling time for every other strategy.
pub const SETTLE_OTHER: Duration = Duration::from_secs(3);
/// Time for the views to settle where an operator asks for a heal and autoheal is off.
pub const HEAL_SETTLE: Duration = Duration::from_secs(3);
/// What a heal waits for an answer to is said again after this.
pub const HEAL_RETRY: Duration = Duration::from_secs(1);
/// A leader that waits for views to settle asks for them again after this.
pub const HEAL_LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Within the full mesh those who have not answered are asked again after this.
pub const HEAL_LOOK_RETRY: Duration = Duration::from_millis(250);
/// A node that was looked at tells what changes for this long.
pub const HEAL_LOOK_SHOWN: Duration = Duration::from_secs(5);
/// So many leaders are told what changes.
pub const HEAL_WATCHES_MAX: usize = 8;
/// So much longer than the settling time a leader waits for the view of a node that runs and does not answer.
pub const HEAL_LOOK_PATIENCE: Duration = Duration::from_secs(5);
/// After so long a heal that goes on does not keep others that part meanwhile from being planned for.
pub const HEAL_LEADING_PATIENCE: Duration = Duration::from_secs(10);
/// Changes of a node's view are told at most so often.
pub const HEAL_SIGHT_PAUSE: Duration = Duration::from_millis(100);
/// The same beyond the full mesh, where one repair changes it hundreds of times.
pub const HEAL_SIGHT_PAUSE_LARGE: Duration = Duration::from_secs(1);
/// A process that was declared down and runs again is told so after this once more, while that stands.
pub const HEAL_PARTED_RETRY: Duration = Duration::from_secs(8);
/// A node that came back within this time waits before it is prepared again.
pub const HEAL_DAMPING_WINDOW: Duration = Duration::from_secs(600);
/// At most so long.
pub const HEAL_DAMPING_MAX: Duration = Duration::from_secs(60);
/// Voters that one cluster has at most.
pub const VOTERS_MAX: usize = 7;

/// Removed members that the roster remembers, the latest ones: what any of them asks must then be newer than its removal.
pub const FORGOTTEN_MAX: usize = 1024;
/// Records of absorbed clusters that one cluster keeps; late comers follow them for ever, so no more are taken in.
pub const MERGED_MAX: usize = 256;
/// Clusters on one chain of such records.
pub const CHAIN_MAX: usize = 16;
/// Fencing tokens stay below this: every language reads such a number exactly.
pub const TOKEN_MAX: u64 = 1 << 53;
/// An authority for locks has its ceiling raised by so many tokens at a time.
pub const TOKEN_STEP: u64 = 1_000_000;
/// So far above the last known ceiling a recovered cluster begins, and at most twice as far. The lost majority may have
/// raised it after the survivor's log ends; and another survivor, cut from this one, may begin elsewhere in between, the
/// later generation higher. At 10,000 locks a second it covers fifty years, and 256 recoveries fit below [`TOKEN_MAX`].
pub const RECOVER_TOKENS: u64 = 1 << 44;
/// So many generations of the volatile group a recovered cluster leaves out, or a multiple that goes by its survivor: the
/// lost majority may have begun some, and so may another survivor.
pub const RECOVER_GENERATIONS: u64 = 1_000;
/// So far above the last known place a recovered cluster goes on: the lost majority may have committed further, and a
/// seat of theirs that comes back in gossip must lose.
pub const RECOVER_PLACES: u64 = 1 << 32;
/// Wishes of the durable group that one node has under way.
pub const WISHES_MAX: usize = 512;
/// Of these, ranges of tokens: room stays for members that come and go.
pub const TOKEN_TAKERS_MAX: usize = 384;

/// Longest name of a lock, in bytes.
pub const LOCK_NAME_MAX: usize = 255;
/// Locks that one request may want.
pub const LOCK_WANTS_MAX: usize = 64;
/// Sessions that are open at one authority.
pub const LOCK_SESSIONS_MAX: usize = 100_000;
/// Requests of one session that hold, wait, or have ended and may be repeated: a session has as many locks at most.
pub const LOCK_REQUESTS_MAX: usize = 1 << 20;
/// Sessions that one message renews.
pub const LOCK_RENEWALS_MAX: usize = 1_000;
/// Messages with renewals that one process has without an answer.
pub const LOCK_ASKS_MAX: usize = 128;
/// With so many tokens left another range is asked for.
pub const LOCK_TOKENS_LOW: u64 = TOKEN_STEP / 2;
/// Longest command of a consensus group, in bytes: it must fit into a frame with the heads of entry and message.
pub const GROUP_COMMAND_MAX: usize = 896 * 1024;
/// Commands gathered into one entry of a group's log.
pub const GROUP_ENTRY_COMMANDS_MAX: usize = 512;
/// Bytes of commands gathered into one entry; a longer command has an entry of its own.
pub const GROUP_ENTRY_BYTES_MAX: usize = 512 * 1024;
/// Bytes of entries in one message between replicas; a longer entry has a message of its own.
pub const GROUP_APPEND_BYTES_MAX: usize = 512 * 1024;
/// Commands, and readers, that wait in one replica before callers wait themselves.
pub const GROUP_WAITING_MAX: usize = 4096;
/// Bytes of the newest entries that a replica keeps in memory beside its log.
pub const GROUP_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Requests of other replicas that one replica works on at once; more are dropped, and sent again by their senders.
pub const GROUP_REQUESTS_MAX: usize = 256;
/// Bytes of one chunk of a group's snapshot on the bulk lane, and of one of its checkpoints on disc.
pub const GROUP_CHUNK_BYTES: usize = 256 * 1024;
/// Chunks of a snapshot that may be under way before the receiver has taken them.
pub const GROUP_CHUNKS_AHEAD: usize = 4;
/// Largest snapshot that is taken from another replica, in bytes.
pub const GROUP_SNAPSHOT_MAX: usize = 1024 * 1024 * 1024;
/// Entries after which a replica cuts its log by a snapshot.
pub const GROUP_LOG_ENTRIES: u64 = 20_000;
/// Entries that stay in the log before the snapshot, for replicas that are a little behind.
pub const GROUP_LOG_KEPT: u64 = 5_000;
/// Bytes of entries after which it is cut as well: behind a snapshot, of which followers that lag get the rest.
pub const GROUP_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of commands that wait for an entry, of all callers of a replica.
pub const GROUP_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// For so long word of a commit waits for entries to go with.
pub const GROUP_COMMIT_LINGER: Duration = Duration::from_millis(1);
/// For so long what a voter has said speaks for it where it is only to be told of a commit.
pub const GROUP_COMMIT_FRESH: Duration = Duration::from_millis(20);
/// Time between two signs of life of a leader. Much shorter ones lost leadership on loaded machines.
pub const GROUP_HEARTBEAT: Duration = Duration::from_millis(200);
/// Silence of the leader after which the first of the voters asks the others about it; each voter further down the
/// order waits [`GROUP_PATIENCE_STEP`] longer.
pub const GROUP_PATIENCE: Duration = Duration::from_millis(650);
/// A leader counts as heard for this long after its last sign of life: less than patience, so that a voter whose
/// patience has ended does not learn of a dead leader from one that heard the last sign a little later.
pub const GROUP_HEARD: Duration = Duration::from_millis(550);
/// See [`GROUP_PATIENCE`]; also the width of the jitter that is drawn anew each time.
pub const GROUP_PATIENCE_STEP: Duration = Duration::from_millis(80);
/// A leader that no majority has answered for this long says that it does not lead.
pub const GROUP_MAJORITY_SILENCE: Duration = Duration::from_millis(1_000);
/// After each sign of life of a leader a voter votes for nobody for this long (the engine's lease).
pub const GROUP_VOTE_LEASE: Duration = Duration::from_millis(260);
/// Time for the answers of one question to the other voters.
pub const GROUP_QUESTION_TIMEOUT: Duration = Duration::from_millis(300);
/// A voter that has promised its vote takes nothing for this long from a leader that lost its majority.
pub const GROUP_PROMISE: Duration = Duration::from_millis(800);
/// Without any leader for this long a voter campaigns although the answers speak against it, unless somebody hears a
/// leader. It is a net under the rules: the vote itself keeps the group safe.
pub const GROUP_WATCHDOG: Duration = Duration::from_secs(4);
/// Time in which a command or a reader must find a leader with a majority.
pub const GROUP_LEADER_WAIT: Duration = Duration::from_secs(3);
/// Time for the answer to a command that was handed in.
pub const GROUP_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Tables of one cluster.
pub const TABLES_MAX: usize = 4096;
/// Longest name of a table, in bytes.
pub const TABLE_NAME_MAX: usize = 128;
/// Longest key of a row, in bytes: a topic of MQTT has up to 65,535, and something in front of it.
pub const TABLE_KEY_MAX: usize = 65_600;
/// Longest value of a row, in bytes.
pub const TABLE_VALUE_MAX: usize = 16 * 1024 * 1024;
/// What stands beside key and value in a message of one row, at most, in bytes.
pub const TABLE_ROW_OVERHEAD: usize = 1024;
/// The highest number of an operation, sequence of an owner or revision that is believed: at a million a second nobody gets
/// there in two thousand years, and from there on numbers could be added to until they overflow.
pub const TABLE_NUMBER_MAX: u64 = 1 << 56;
/// Rows of one table that are believed.
pub const TABLE_ROWS_MAX: u64 = 1 << 40;
/// Origins that a table may have met: starts of nodes, ever.
pub const TABLE_ORIGINS_MAX: usize = 1 << 20;
/// Bytes of operations that the log of a table keeps for peers that are behind.
pub const TABLE_LOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Operations that it keeps.
pub const TABLE_LOG_OPS_MAX: usize = 262_144;
/// Bytes of the override journal in memory; what is more is set aside on disc.
pub const TABLE_JOURNAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Changes that a watcher may be behind before it gets a new snapshot.
pub const TABLE_CHANGES_MAX: usize = 16_384;
/// Bytes of the versions that these keep alive.
pub const TABLE_CHANGES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Operations that one look through the log passes over at most, so that the lock is not held for long.
pub const TABLE_LOG_STEP: usize = 8_192;
/// Bytes of one message of a full copy.
pub const TABLE_COPY_BYTES: usize = 256 * 1024;
/// Rows of a full copy that are merged at once: between two such steps writers have the lock.
pub const TABLE_MERGE_STEP: usize = 1_024;
/// How often each side of a connection for tables says that it lives.
pub const TABLE_LINK_BEAT: Duration = Duration::from_secs(1);
/// Silence after which a connection for tables is dropped and dialled anew.
pub const TABLE_LINK_SILENT: Duration = Duration::from_secs(5);
/// A stamp is given up to a bound on disc, which is raised to so much ahead of the wall clock. With clocks 50 s apart the
/// start that begins there can still write.
pub const STAMP_BOUND_STEP: Duration = Duration::from_secs(8);
/// A peer's clock that is further ahead is followed with it, up to so far ahead of the median of all.
pub const STAMP_BOUND_CLOCKS: Duration = Duration::from_secs(50);
/// And to so much ahead of a stamp that is ahead of the clock.
pub const STAMP_BOUND_LEAD: Duration = Duration::from_millis(400);
/// It is raised once one of so many parts of the step is used up: a disc may take as long as the others last.
pub const STAMP_BOUND_SHARES: u64 = 4;
/// How often nodes tell each other what they hold of a table, where that has changed.
pub const TABLE_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// So long an operation may take from its origin before it is asked for elsewhere.
pub const TABLE_PULL_PATIENCE: Duration = Duration::from_secs(1);
/// Time without progress after which what was asked of one node is asked of another.
pub const TABLE_PULL_TIMEOUT: Duration = Duration::from_secs(5);
/// What was refused for its stamp is asked for again after this; each time in vain after twice as long, up to the other.
pub const TABLE_REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
pub const TABLE_REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A clone is kept so long for a peer that has not asked for more of it: its connection may have ended.
pub const TABLE_COPY_KEPT: Duration = Duration::from_secs(60);
/// An expired row is kept so much longer, as a tombstone would be: clocks differ by this at most.
pub const TABLE_EXPIRED_KEPT: Duration = CLOCK_REFUSE;
/// Bytes of one transaction on quorum tables: keys and values of what it writes, and the keys of what it has read.
pub const TRANSACTION_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What each read, range and write of a transaction counts beside its keys and values, in bytes.
pub const TRANSACTION_ITEM_OVERHEAD: usize = 64;
/// Rows that the ranges of one transaction may hold: each replica walks over them when it is applied.
pub const TRANSACTION_RANGE_ROWS_MAX: u64 = 100_000;
/// Expired rows of quorum tables that one command takes out, and two more for each row that it writes. What a command does
/// goes by this and by the bounds of a transaction, so they are part of the form of commands: all versions have the same.
pub const QUORUM_EXPIRED_STEP: usize = 256;
/// Bytes after which a piece of a snapshot of quorum tables ends.
pub const QUORUM_PIECE_BYTES: usize = 1024 * 1024;

/// Events kept for `ekka events --last`.
pub const EVENTS_KEPT: usize = 1024;
/// Decision records kept in memory for `ekka why`.
pub const DECISIONS_KEPT: usize = 1024;
/// Evidence lines in one decision record.
pub const EVIDENCE_MAX: usize = 64;
/// Longest text that a peer may give as a reason, in bytes.
pub const REASON_LEN_MAX: usize = 1024;

const _: () = {
    assert!(HELLO_FRAME_MAX < CONTROL_FRAME_MAX && CONTROL_FRAME_MAX < BULK_FRAME_MAX);
    assert!(CONTROL_FRAME_MAX <= CONTROL_QUEUE_MAX && BULK_FRAME_MAX <= BULK_QUEUE_MAX);
    // A payload fits into a frame with its head, and one of the largest into the window.
    assert!(CALL_PAYLOAD_MAX + 64 * 1024 < BULK_FRAME_MAX && CALL_PAYLOAD_MAX < CALLS_WINDOW_BYTES);
    // A peer that reads nothing still gets the requests of a full window.
    assert!(CALLS_WINDOW_BYTES + BULK_FRAME_MAX < CALLS_QUEUE_MAX);
    assert!(HALF_OPEN_RESERVED < HALF_OPEN_MAX && HALF_OPEN_LOOPBACK < HALF_OPEN_MAX);
    assert!(HANDSHAKE_TIMEOUT.as_millis() < VERDICT_TIMEOUT.as_millis());
    // Both sides may ask around, one after the other.
    assert!(DETECTION_TIME.as_millis() < UNLED_MAX.as_millis());
    assert!(DETECTION_TIME.as_millis() * 2 < VERDICT_TIMEOUT.as_millis());
    // A link must miss three heartbeats before it is down, and a member must be asked about in the rest.
    assert!(HEARTBEAT_INTERVAL.as_millis() * 3 < LINK_SILENCE.as_millis());
    assert!(LINK_SILENCE.as_millis() < MEMBER_SILENCE.as_millis());
    assert!(MEMBER_SILENCE.as_millis() + HEARTBEAT_INTERVAL.as_millis() < DETECTION_TIME.as_millis());
    assert!(CLOCK_WARN.as_millis() < CLOCK_REFUSE.as_millis());
    assert!(
        WALL_JUMP.as_millis() < STAMP_BOUND_STEP.as_millis()
            && HEARTBEAT_INTERVAL.as_millis() * 4 < WALL_JUMP_AGREED.as_millis()
    );
    assert!(RING_NEIGHBOURS < FULL_MESH_MAX);
    assert!(FORGOTTEN_MAX <= MEMBERS_MAX && CHAIN_MAX <= MERGED_MAX);
    assert!(TOKEN_STEP < RECOVER_TOKENS && RECOVER_TOKENS < TOKEN_MAX);
    assert!(TOKEN_TAKERS_MAX < WISHES_MAX);
    assert!(GROUP_COMMAND_MAX + 64 * 1024 < CONTROL_FRAME_MAX);
    assert!(GROUP_ENTRY_BYTES_MAX <= GROUP_COMMAND_MAX && GROUP_APPEND_BYTES_MAX <= GROUP_COMMAND_MAX);
    assert!(GROUP_CHUNK_BYTES < BULK_FRAME_MAX);
    assert!(GROUP_LOG_KEPT < GROUP_LOG_ENTRIES);
    // A voter must miss three signs of life before it asks, and a promise must outlast the lease that it waits for.
    assert!(GROUP_HEARTBEAT.as_millis() * 3 < GROUP_PATIENCE.as_millis());
    assert!(GROUP_HEARTBEAT.as_millis() * 2 < GROUP_HEARD.as_millis());
    assert!(GROUP_HEARD.as_millis() < GROUP_PATIENCE.as_millis());
    assert!(GROUP_HEARTBEAT.as_millis() < GROUP_VOTE_LEASE.as_millis());
    assert!(GROUP_VOTE_LEASE.as_millis() + GROUP_QUESTION_TIMEOUT.as_millis() < GROUP_PROMISE.as_millis());
    assert!(GROUP_VOTE_LEASE.as_millis() < GROUP_PATIENCE.as_millis());
    assert!(GROUP_COMMIT_LINGER.as_millis() < GROUP_COMMIT_FRESH.as_millis());
    assert!(GROUP_COMMIT_FRESH.as_millis() * 4 < GROUP_HEARTBEAT.as_millis());
    assert!(GROUP_HEARTBEAT.as_millis() * 4 < GROUP_MAJORITY_SILENCE.as_millis());
    assert!(LEASE_INTERVAL.as_millis() * 6 <= GONE_AFTER_MIN.as_millis() * 2 / 3);
    assert!(TABLE_KEY_MAX + TABLE_VALUE_MAX + TABLE_ROW_OVERHEAD < BULK_FRAME_MAX);
    assert!(TABLE_KEY_MAX + TABLE_VALUE_MAX + TRANSACTION_ITEM_OVERHEAD < TRANSACTION_BYTES_MAX);
    assert!(TABLE_COPY_BYTES < CONTROL_FRAME_MAX && TABLE_LOG_STEP < TABLE_LOG_OPS_MAX);
    assert!(STAMP_BOUND_LEAD.as_millis() < STAMP_BOUND_STEP.as_millis());
    assert!(STAMP_BOUND_STEP.as_millis() + STAMP_BOUND_CLOCKS.as_millis() < CLOCK_REFUSE.as_millis());
    assert!(CONFIRM_TIMEOUT.as_millis() < GONE_AFTER_MIN.as_millis() / 3);
};
