//! How a node starts: directory, credentials, socket, then the loop on its own thread.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ekka_core::autocluster;
use ekka_core::control::{self, Control, Setup};
use ekka_core::durable::SchemaChange;
use ekka_core::id::{Endpoint, StoreId};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::driver::Request;
use super::group::{self, GroupTap};
use super::heal::HealCallbacks;
use super::lives::{self, Lasting, Life};
use super::room::is_full;
use super::shared::Shared;
use super::store::{self, StoreError};
use super::{Inner, Node, Present};
use crate::config::{Config, formation_settings};
use crate::discovery::{self, Context, Discovery, Me, SharedCredentials};
use crate::env::{BoxFuture, DiskGuard, Env};
use crate::home::Home;
use crate::lock::{self, Desk, Locks, Take};
use crate::rpc::{self, Handlers, Hub};
use crate::storage::{Found, Storage, StorageOptions};
use crate::table::{self, Answering, BeginRows, MakeTable, Tables};
use crate::transport::{self, BindError, CookieError, CookieSet, Credentials, CredentialsError, Hosts, Kdf};

/// Inputs that may wait for the loop before the connections' readers wait.
pub(super) const INPUTS_MAX: usize = 1024;
/// Frames of the bulk lane that may wait before its connections wait; each may be as long as a frame can be.
const BULK_FRAMES_MAX: usize = 4;
/// Frames of groups that may wait; more are dropped, and sent again.
const GROUP_FRAMES_MAX: usize = 1024;
/// Commands that may wait for the loop.
const REQUESTS_MAX: usize = 256;

/// How a node is started, beside its configuration.
#[derive(Default)]
pub struct StartOptions {
    /// The data directory is a restored or copied one: become a new node.
    pub restored: bool,
    /// Run as tasks of the present runtime rather than on an own thread (simulation).
    pub inline: bool,
    /// Credentials that were derived before (simulation; several nodes of one process).
    pub credentials: Option<Credentials>,
    /// How expensive guessing a cookie is made. Part of the protocol: all nodes of a cluster use the same.
    pub kdf: Kdf,
    /// Limits of the transport.
    pub limits: transport::Limits,
    /// The methods that this node serves, beside those that every node does.
    pub handlers: Handlers,
    /// What is called when this node comes back after a partition; more can be added while it runs.
    pub callbacks: HealCallbacks,
    /// Strategies of the embedding program, in place of those of the configuration.
    pub discovery: Option<Vec<Arc<dyn Discovery>>>,
    /// Planted faults, for proving the harness. All off in production.
    pub faults: control::Faults,
    /// Planted faults of the room autocluster. All off in production.
    pub formation_faults: autocluster::Faults,
    /// Planted faults of `available` tables. All off in production.
    pub table_faults: ekka_core::table::Faults,
    /// Sees what the replica of the cluster's group says.
    pub group_tap: Option<GroupTap>,
}

/// Why a node did not start. Nothing is left behind but the data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A strategy of the configuration cannot be had.
    #[error("{0}")]
    Unsupported(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cookie cannot be read.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// The credentials cannot be made.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A handler cannot be served.
    #[error("{0}")]
    Handlers(String),
    /// What tables left on disc cannot be read.
    #[error("the tables of the data directory: {0}")]
    Tables(String),
    /// The thread of the node cannot be made.
    #[error("the node's thread cannot be started: {0}")]
    Thread(io::Error),
    /// The node ended while it started.
    #[error("the node ended while it started")]
    Ended,
}

/// The calls of the node. Dropping this ends their thread.
pub(super) struct Calls {
    pub(super) hub: Arc<Hub>,
    home: Handle,
    /// Who answers what is asked of locks, once there is somebody.
    desk: Arc<OnceLock<Weak<Locks>>>,
    _stop: DropGuard,
}

impl Calls {
    fn new(handlers: Handlers, shared: &Shared, answering: &Answering, inline: bool) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let home =
            if inline { Home::here() } else { Home::thread("ekka-calls", stop.clone()).map_err(StartError::Thread)? };
        let guard = stop.clone().drop_guard();
        let here = shared.quorum().clone();
        let desk = Arc::<OnceLock<Weak<Locks>>>::default();
        let asked = desk.clone();
        let own = |handlers| lock::serve(table::lend(table::serve_digests(handlers, answering), here), asked);
        let hub = rpc::prepare((handlers, own), shared.view_changes(), &home, stop).map_err(StartError::Handlers)?;
        Ok(Self { hub, home: home.handle, desk, _stop: guard })
    }
}

/// The tables of the node. Dropping this ends their thread.
pub(super) struct Kept {
    pub(super) tables: Arc<Tables>,
    _stop: DropGuard,
}

impl Kept {
    fn new(
        (env, storage): (&Env, &Arc<dyn Storage>),
        (shared, requests, calls): (&Arc<Shared>, &mpsc::Sender<Request>, &Calls),
        (inline, faults): (bool, ekka_core::table::Faults),
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let home = if inline {
            Home::here()
        } else {
            Home::thread("ekka-tables", stop.clone()).map_err(StartError::Thread)?
        };
        let guard = stop.clone().drop_guard();
        let setup = table::Setup {
            env: env.clone(),
            storage: storage.clone(),
            is_full: is_full(shared),
            committed: shared.committed().subscribe(),
            views: shared.view_changes(),
            tell: shared.teller(),
            quorum: (shared.quorum().clone(), begin_rows(requests)),
            calls: calls.hub.clone(),
            faults,
            make_table: make_table(requests),
        };
        let tables = table::prepare(setup, &home, stop).map_err(StartError::Tables)?;
        Ok(Self { tables, _stop: guard })
    }
}

/// Begins to keep the locks of this node's process.
fn keep_locks(
    env: &Env,
    (shared, requests, calls): (&Arc<Shared>, &mpsc::Sender<Request>, &Calls),
    max_ttl: Duration,
) -> Arc<Locks> {
    let setup = lock::Setup {
        clock: env.clock.clone(),
        views: shared.view_changes(),
        here: shared.quorum().clone(),
        hub: calls.hub.clone(),
        take: take_tokens(requests),
        max_ttl,
    };
    let (locks, desk) = Desk::new(setup);
    // Nobody has set it before.
    let _ = calls.desk.set(Arc::downgrade(&locks));
    calls.home.spawn(desk.run());
    locks
}

/// Asks the loop for fencing tokens.
fn take_tokens(requests: &mpsc::Sender<Request>) -> Take {
    let requests = requests.downgrade();
    Arc::new(move |count| {
        let taken = asked(&requests, control::Command::TakeTokens { count });
        Box::pin(async move {
            match taken.await? {
                control::Reply::Tokens { from, to } => Ok(from..to),
                other => Err(format!("an answer without tokens: {other:?}")),
            }
        })
    })
}

/// Asks the loop to have it committed that quorum tables hold rows.
fn begin_rows(requests: &mpsc::Sender<Request>) -> BeginRows {
    let requests = requests.downgrade();
    Arc::new(move || done(asked(&requests, control::Command::QuorumRows)))
}

/// Asks the loop to have a table made where there is none of this name.
fn make_table(requests: &mpsc::Sender<Request>) -> MakeTable {
    let requests = requests.downgrade();
    Arc::new(move |schema| done(asked(&requests, control::Command::Schema(SchemaChange::Create(schema)))))
}

/// The tables end after the loop, which ends once nobody can ask it any more.
fn asked(
    requests: &mpsc::WeakSender<Request>,
    command: control::Command,
) -> BoxFuture<'static, Result<control::Reply, String>> {
    let requests = requests.upgrade();
    Box::pin(async move {
        let stopping = || "the node is stopping".to_owned();
        let (answer, result) = oneshot::channel();
        let request = Request { command, answer };
        requests.ok_or_else(stopping)?.send(request).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?.map_err(|error| error.to_string())
    })
}

fn done<T: 'static>(asked: BoxFuture<'static, Result<T, String>>) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(async move { asked.await.map(|_| ()) })
}

/// Starts a node.
///
/// # Errors
/// See [`StartError`]; it can be tried again.
pub async fn start(config: Config, env: Env, options: StartOptions) -> Result<Node, StartError> {
    let own_strategies = options.discovery.is_some();
    let Directory { identity, saved, guard, storage } = open_directory(&config, &env, options.restored).await?;
    let credentials = match options.credentials {
        Some(credentials) => credentials,
        None => derive(&config, &env, options.kdf).await?,
    };
    let in_use = SharedCredentials::new(credentials.clone());
    let context = context(&config, &env, &identity, in_use.clone());
    let strategies = match options.discovery {
        Some(strategies) => strategies,
        None => discovery::strategies(&config, &context).map_err(StartError::Unsupported)?,
    };
    let faults = (options.faults, options.formation_faults);
    let setup = setup(&config, &env, (identity.clone(), storage.found(), saved), faults);
    let control = Control::new(setup, env.clock.now());
    let (name, reserve) = (config.node.name.clone(), config.storage.reserve);
    let shared = Arc::new(Shared::new(name, env.clock.clone(), control.view(), reserve));
    let (request_sender, requests) = mpsc::channel(REQUESTS_MAX);
    let answering = Answering::default();
    let calls = Calls::new(options.handlers, &shared, &answering, options.inline)?;
    let locks = keep_locks(&env, (&shared, &request_sender, &calls), config.lock_max_ttl);
    let table_terms = (options.inline, options.table_faults);
    let tables = Kept::new((&env, &storage), (&shared, &request_sender, &calls), table_terms)?;
    answering.by(&tables.tables, &calls.hub);
    tables.tables.warns_above(config.storage.keep);
    tables.tables.compare_now_and_then(&calls.hub, identity.node_id);
    let own = mpsc::channel(INPUTS_MAX);
    let (ended_sender, ended) = watch::channel(None);
    let (ready_sender, ready) = oneshot::channel();
    let listen = config.node.listen.clone();
    let inner = Arc::new(Inner {
        shared: shared.clone(),
        requests: request_sender,
        present: std::sync::Mutex::new(Present { identity, own: own.0.clone(), transport: None }),
        ended,
        kdf: options.kdf,
        config: std::sync::Mutex::new(config),
        reloading: tokio::sync::Mutex::default(),
        own_strategies,
        context,
        calls: calls.hub.clone(),
        tables: tables.tables.clone(),
        locks: locks.clone(),
        callbacks: options.callbacks.clone(),
        env: env.clone(),
    });
    let node = Arc::downgrade(&inner);
    let lasting = Lasting {
        env,
        shared,
        ended: ended_sender,
        guard,
        storage,
        calls,
        tables,
        locks,
        listen,
        limits: options.limits,
        callbacks: (options.callbacks, Handle::current()),
        faults,
        group_tap: options.group_tap,
        node,
    };
    let life = Life { control, credentials, strategies, requests, own };
    begin(lasting, life, options.inline, ready_sender).map_err(StartError::Thread)?;
    ready.await.map_err(|_| StartError::Ended)??;
    Ok(Node { inner })
}

/// Lets it run: as a task of this runtime, or on a thread of its own.
fn begin(lasting: Lasting, life: Life, inline: bool, ready: oneshot::Sender<Result<(), StartError>>) -> io::Result<()> {
    if inline {
        tokio::spawn(lives::main(lasting, life, ready));
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("ekka-node".into());
        thread.spawn(move || runtime.block_on(lives::main(lasting, life, ready)))?;
    }
    Ok(())
}

/// How the transport is set up, and where its frames come out that are not for `Control`.
pub(super) fn lanes(
    listen: Vec<SocketAddr>,
    limits: transport::Limits,
    (calls, tables): (Arc<Hub>, Arc<Tables>),
) -> (transport::Options, group::Frames) {
    let (bulk, groups) = (mpsc::channel(BULK_FRAMES_MAX), mpsc::channel(GROUP_FRAMES_MAX));
    let hosts = Hosts { calls: Some(calls), tables: Some(tables) };
    let options = transport::Options { listen, limits, bulk: Some(bulk.0), groups: Some(groups.0), hosts };
    (options, group::Frames { groups: groups.1, bulk: bulk.1 })
}

/// What strategies are made with.
fn context(config: &Config, env: &Env, identity: &control::Identity, credentials: SharedCredentials) -> Context {
    let endpoint = Endpoint { host: config.node.name.host().clone(), port: config.node.port };
    Context {
        env: env.clone(),
        me: Me { name: config.node.name.clone(), endpoint, node_id: identity.node_id },
        base_port: config.node.base_port,
        cluster_name: config.cluster.name.clone(),
        credentials,
    }
}

/// What `Control` starts with.
pub(super) fn setup(
    config: &Config,
    env: &Env,
    (identity, storage, saved): (control::Identity, Found, control::Saved),
    (faults, formation_faults): (control::Faults, autocluster::Faults),
) -> Setup {
    let store = StoreId::from_u128(storage.store_id);
    let mut formation = formation_settings(config);
    formation.faults = formation_faults;
    Setup {
        identity,
        name: config.node.name.clone(),
        endpoint: Endpoint { host: config.node.name.host().clone(), port: config.node.port },
        role: config.node.role,
        tags: config.node.tags.clone(),
        cluster_name: config.cluster.name.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        formation,
        store,
        damage: storage.damage,
        saved,
        seed: env.entropy.seed(),
        faults,
        session_max: config.lock_max_ttl,
        gone_after: config.cluster.gone_after,
        autoheal: config.cluster.autoheal,
        carried: None,
        autoclean: config.cluster.autoclean,
    }
}

async fn open_directory(config: &Config, env: &Env, fresh: bool) -> Result<Directory, StoreError> {
    let (disk, clock, entropy) = (env.disk.clone(), env.clock.clone(), env.entropy.clone());
    let name = config.node.name.clone();
    let defaults = StorageOptions::default();
    let storage = StorageOptions { cache: config.storage.cache.unwrap_or(defaults.cache), ..defaults };
    env.blocking(move || {
        let guard = disk.lock().map_err(StoreError::InUse)?;
        let (identity, saved) = store::begin(disk.as_ref(), clock.as_ref(), entropy.as_ref(), &name, fresh)?;
        let storage = disk.open_storage(storage, entropy.as_ref()).map_err(StoreError::Storage)?;
        Ok(Directory { identity, saved, guard, storage })
    })
    .await
}

/// What was found in the data directory, under its lock.
struct Directory {
    identity: control::Identity,
    saved: control::Saved,
    guard: Box<dyn DiskGuard>,
    storage: Arc<dyn Storage>,
}

/// Reads the cookie and derives the credentials, off the runtime: it is slow on purpose.
pub(super) async fn derive(config: &Config, env: &Env, kdf: Kdf) -> Result<Credentials, StartError> {
    let node = config.node.clone();
    let mode = config.cluster.tls.clone();
    let name = config.cluster.name.clone();
    env.blocking(move || {
        let cookies = CookieSet::of(&node)?;
        Ok(Credentials::derive(&mode, &cookies, &name, kdf)?)
    })
    .await
}
