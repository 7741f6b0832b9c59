//! `agent`: one node in the foreground, with its admin interface.
//!
//! The node runs on its own thread; this runtime carries the interface, the log of events, and signals.

mod events;
mod gate;
mod interface;
mod log;
mod signals;
mod systemd;

use ekka::config::{Config, Loaded, OnSigterm, TlsMode};
use ekka::core::control::{Command, CommandError, StopReason};
use ekka::env::Env;
use ekka::node::{Node, StartError, StartOptions};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use self::interface::Interface;
use self::signals::{Signal, Signals};
use crate::args::{AgentArgs, ConfigArgs};
use crate::commands::block_on;
use crate::exit::{Code, Failure};
use crate::settings;

/// How one life of the node ended.
enum End {
    Asked,
    /// The directory was restored from an old copy: the text says how that was seen.
    Restored(String),
}

/// Runs a node until it is told to stop.
pub(crate) fn run(args: AgentArgs) -> Result<(), Failure> {
    let loaded = settings::load(&args.config)?;
    log::begin(&loaded.config)?;
    let ended = block_on(lives(args, loaded));
    if let Err(failure) = &ended {
        error!(err = failure.message(), "the agent ends");
    }
    ended
}

async fn lives(args: AgentArgs, loaded: Loaded) -> Result<(), Failure> {
    let mut signals = Signals::listen(args.with_parent)?;
    let mut restored = args.restored;
    let mut notices = loaded.notices.iter().map(|notice| format!("{}: {}", notice.place, notice.text)).collect();
    loop {
        match life(&args, &loaded.config, restored, std::mem::take(&mut notices), &mut signals).await? {
            End::Asked => return Ok(()),
            End::Restored(text) => {
                warn!(reason = text, "this data directory was restored from an old copy: starting again as a new node");
                restored = true;
            }
        }
    }
}

/// One start of the node, to its end.
async fn life(
    args: &AgentArgs,
    config: &Config,
    restored: bool,
    notices: Vec<String>,
    signals: &mut Signals,
) -> Result<End, Failure> {
    let mut env = Env::real(&config.node.data_dir)
        .map_err(|error| Failure::failed(format!("node.data_dir = {}: {error}", config.node.data_dir.display())))?;
    let _gate = match &args.gate {
        Some(file) => Some(gate::put(&mut env, file, config)?),
        None => None,
    };
    let options = StartOptions { restored, ..StartOptions::default() };
    let node = ekka::node::start(config.clone(), env, options).await.map_err(|error| not_started(&error))?;
    log::identify(&node.view());
    introduce(&node, config, &notices);
    let interface = match Interface::serve(&node, config, &args.config).await {
        Ok(interface) => interface,
        Err(failure) => {
            // The node has its port and its directory: it goes with a goodbye like any other.
            say_goodbye(&node, "agent").await;
            return Err(failure);
        }
    };
    info!(socket = %config.api.socket.display(), "ready: the admin socket serves; joining goes on");
    // From the first event on, and after the two lines that scripts look for.
    let writer = events::write(node.clone());
    systemd::ready(&node.view());
    let reason = attend(&node, config, &args.config, signals).await;
    systemd::stopping();
    interface.end().await;
    last_events(writer, node).await;
    match reason? {
        StopReason::Asked => Ok(End::Asked),
        StopReason::Restored(text) => Ok(End::Restored(text)),
        StopReason::Over => {
            let text = "this start was declared gone, and the node could not take a new guid: start it again";
            Err(Failure::new(Code::Failed, "over", text))
        }
        StopReason::Refused(refusal) => Err(Failure::new(Code::Failed, refusal.reason.as_str(), refusal.text)),
    }
}

fn not_started(error: &StartError) -> Failure {
    let code = match error {
        StartError::Unsupported(_) | StartError::Cookie(_) | StartError::Credentials(_) => Code::Usage,
        _ => Code::Failed,
    };
    Failure::new(code, "not_started", error)
}

/// The first line of the log, and what the operator is to know.
fn introduce(node: &Node, config: &Config, notices: &[String]) {
    let listen: Vec<String> = config.node.listen.iter().map(ToString::to_string).collect();
    let strategies: Vec<&str> = config.cluster.discovery.iter().map(ekka::config::Strategy::name).collect();
    let tls = match config.cluster.tls {
        TlsMode::Cookie => "cookie",
        TlsMode::Files { .. } => "files",
        TlsMode::Off => "off",
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        name = %config.node.name,
        node_id = %node.view().me.node_id,
        data_dir = %config.node.data_dir.display(),
        listen = listen.join(","),
        cookie = node.cookie_ids().first().map_or("none", String::as_str),
        tls,
        strategy = strategies.join(","),
        "ekka agent"
    );
    if tls == "off" {
        warn!("cluster.tls = off: what nodes say to each other is not encrypted");
    }
    for notice in notices {
        warn!(reason = notice, "configuration");
    }
}

/// Waits for the end, and does what signals say.
async fn attend(node: &Node, config: &Config, args: &ConfigArgs, signals: &mut Signals) -> Result<StopReason, Failure> {
    let mut views = node.view_changes();
    let mut stopping: Option<JoinHandle<()>> = None;
    let too_long = tokio::time::sleep(std::time::Duration::MAX);
    tokio::pin!(too_long);
    loop {
        tokio::select! {
            reason = node.ended() => return Ok(reason),
            changed = views.changed() => match changed {
                Ok(()) => systemd::progress(&views.borrow_and_update().clone()),
                Err(_) => return Ok(node.ended().await),
            },
            () = &mut too_long, if stopping.is_some() => {
                let text = format!("the node did not stop within node.stop_timeout = {:?}", config.node.stop_timeout);
                return Err(Failure::failed(text));
            }
            signal = signals.next() => match signal {
                Signal::Reload => reload(node, args).await,
                Signal::Stop(by) if stopping.is_none() => {
                    systemd::stopping();
                    too_long.as_mut().reset(tokio::time::Instant::now() + config.node.stop_timeout);
                    let (node, leave) = (node.clone(), config.node.on_sigterm == OnSigterm::LeaveAndForget);
                    stopping = Some(tokio::spawn(async move {
                        if leave && by != "parent" {
                            leave_for_good(&node).await;
                        }
                        say_goodbye(&node, by).await;
                    }));
                }
                Signal::Stop(by) => {
                    return Err(Failure::failed(format!("{by} for the second time: ended without goodbye")));
                }
            },
        }
    }
}

async fn leave_for_good(node: &Node) {
    match node.command(Command::Leave { plan: false }).await {
        Ok(_) => info!("left the cluster for good, as node.on_sigterm says"),
        Err(error) => warn!(err = %error, "could not leave the cluster: stopping, and staying a member"),
    }
}

async fn say_goodbye(node: &Node, by: &str) {
    match node.command(Command::Stop { by: by.into(), plan: false }).await {
        Ok(_) | Err(CommandError::Stopping) => {}
        Err(error) => error!(err = %error, "the node does not stop"),
    }
}

async fn reload(node: &Node, args: &ConfigArgs) {
    systemd::reloading();
    match interface::reload(node.clone(), args.clone()).await {
        // What changed is said by the event.
        Ok(reloaded) => reloaded.warnings.iter().for_each(|warning| warn!(reason = warning, "reload")),
        Err(text) => error!(err = text, "the configuration was not taken: what was in effect stays"),
    }
    systemd::ready(&node.view());
}

/// Lets the events of the end reach the log before the process goes.
async fn last_events(writer: JoinHandle<()>, node: Node) {
    drop(node);
    // The writer ends with the stream; a handle elsewhere keeps that open, which must hold up nobody.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(100), writer).await;
}
