//! The sockets of one life of the node.

use std::sync::Arc;

use ekka::admin::{
    AdminState, RuntimeLink, ServeError, Served, ServerTls, Summary, Token, link_socket, runtime_dirs, serve_health,
    serve_tcp, serve_unix,
};
use ekka::config::Config;
use ekka::node::{Node, Reloaded};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::ConfigArgs;
use crate::exit::{Code, Failure};
use crate::settings;

/// All sockets that serve one node; they end together.
pub(super) struct Interface {
    shutdown: CancellationToken,
    served: Vec<Served>,
    _link: Option<RuntimeLink>,
}

impl Interface {
    /// Serves what the configuration asks for.
    pub(super) async fn serve(node: &Node, config: &Config, args: &ConfigArgs) -> Result<Self, Failure> {
        let shutdown = CancellationToken::new();
        let (for_reload, args) = (node.clone(), args.clone());
        let state = AdminState::new(node.clone(), Summary::from(config), shutdown.clone())
            .on_reload(Arc::new(move || Box::pin(reload(for_reload.clone(), args.clone()))));
        let served = serve_all(state, config, &shutdown).await.map_err(|error| {
            shutdown.cancel();
            refused(&error)
        })?;
        let link = link_socket(&runtime_dirs(), &config.node.name, &config.api.socket);
        if let Err(error) = &link {
            warn!(err = %error, "the command line finds this agent only with --data-dir or --url");
        }
        Ok(Self { shutdown, served, _link: link.ok() })
    }

    /// Answers what is under way, and closes.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        for served in self.served {
            served.ended().await;
        }
    }
}

async fn serve_all(
    state: AdminState,
    config: &Config,
    shutdown: &CancellationToken,
) -> Result<Vec<Served>, ServeError> {
    let api = &config.api;
    let mut served = vec![serve_unix(state.clone(), &api.socket, api.socket_group.as_deref(), shutdown.clone()).await?];
    if let Some(tcp) = &api.tcp {
        let token = Token::read(&tcp.token_file)?;
        let tls = tcp.tls.as_ref().map(|(cert, key)| ServerTls::read(cert, key)).transpose()?;
        if tls.is_none() && !tcp.listen.ip().is_loopback() {
            warn!(listen = %tcp.listen, "the API is served without TLS: its token crosses the network in the clear");
        }
        served.push(serve_tcp(state.clone(), tcp.listen, token, tls, shutdown.clone()).await?);
        info!(listen = %tcp.listen, "the API serves on TCP");
    }
    if let Some(listen) = config.health_listen {
        served.push(serve_health(state, listen, shutdown.clone()).await?);
        info!(listen = %listen, "health and metrics serve");
    }
    Ok(served)
}

fn refused(error: &ServeError) -> Failure {
    let code = match error {
        ServeError::InUse(_) | ServeError::Io { .. } => Code::Failed,
        _ => Code::Usage,
    };
    Failure::new(code, "not_served", error)
}

/// Reads the configuration again and gives it to the node.
pub(super) async fn reload(node: Node, args: ConfigArgs) -> Result<Reloaded, String> {
    let loaded = tokio::task::spawn_blocking(move || settings::load(&args)).await.map_err(|error| error.to_string())?;
    let loaded = loaded.map_err(|failure| failure.message().to_owned())?;
    node.reload(loaded.config).await
}
