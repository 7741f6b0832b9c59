//! `k8s`: the pods behind a Service, as the API server lists them.
//!
//! Pure parts: `objects` (what is read of them), `addresses`, `found` (who is a candidate), `event` (a line of a watch),
//! `ask` (requests), `failure` (what an answer means, in words), `speaker` (whose words they are). Parts that ask:
//! `api`, `list`, `replicas`, `follow`.
//! Nothing is written to the API server: it lists pods by itself, and how many replicas there are to be decides how many
//! must vote. (Documented API of Kubernetes: EndpointSlices `discovery.k8s.io/v1`, API concepts "Efficient detection of
//! changes".)

mod addresses;
mod api;
mod ask;
mod event;
mod failure;
mod follow;
mod found;
mod fuzz;
mod list;
mod objects;
mod replicas;
mod speaker;
mod surge;
mod token;
mod trouble;

pub use fuzz::{fuzz_list, fuzz_watch};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

use super::{Attachment, Context, Discovery, Found};
use crate::config::{K8s as Options, in_pod, pod_name};
use crate::env::BoxFuture;
use crate::http::Server;
use api::Api;
use ask::Ask;
use failure::Failure;
use follow::{Follower, Mirror};
use list::{Listing, Purpose, Source, list};
use replicas::{Reading, Replicas};

/// The default of `cluster.k8s.apiserver`.
const BY_NAME: &str = "https://kubernetes.default.svc";
/// What a list may take.
const LIST_LIMIT: Duration = Duration::from_millis(5500);
/// What may be added to learn why a list is empty.
const WHY_LIMIT: Duration = Duration::from_secs(1);
// All that is waited for in turn, and a second to spare of what discovery is given.
const _: () = {
    let all = LIST_LIMIT.as_millis() + WHY_LIMIT.as_millis() + replicas::LIMIT.as_millis();
    assert!(all + 1000 < ekka_core::limits::DISCOVERY_TIMEOUT.as_millis(), "discovery would be cut off");
};

/// The strategy.
struct K8s {
    options: Options,
    context: Context,
    api: Api,
    replicas: Replicas,
    mirror: Mirror,
    /// The node runs with it, so that what a person must do is logged.
    running: AtomicBool,
    warned: AtomicBool,
    /// What each answer is to say.
    note: Option<String>,
}

pub(super) fn strategy(options: &Options, context: &Context) -> Result<Arc<dyn Discovery>, String> {
    let names = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "POD_NAME", "HOSTNAME"];
    let vars: Vec<(String, String)> =
        names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    let api = Api::new(context.env.clone(), options, by_address(options, &vars))?;
    let pod = pod_name(&vars).filter(|_| in_pod(&vars)).map(str::to_owned);
    Ok(Arc::new(K8s {
        replicas: Replicas::new(options, pod),
        note: api.clear_note(),
        api,
        options: options.clone(),
        context: context.clone(),
        mirror: Mirror::default(),
        running: AtomicBool::new(false),
        warned: AtomicBool::new(false),
    }))
}

/// In a pod the API server is known by address too, which works where the cluster's DNS does not yet.
fn by_address(options: &Options, vars: &[(String, String)]) -> Option<Server> {
    let var = |name: &str| vars.iter().find(|(known, text)| known == name && !text.is_empty()).map(|(_, text)| text);
    if options.apiservers != [BY_NAME] {
        return None;
    }
    let (host, port) = (var("KUBERNETES_SERVICE_HOST")?, var("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Server::parse(&format!("https://{host}:{port}"), None).ok()
}

impl Discovery for K8s {
    fn name(&self) -> &'static str {
        "k8s"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async { self.answer().await.map_err(|failure| failure.to_string()) })
    }

    fn run(&self, node: Attachment) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.running.store(true, Ordering::Relaxed);
            let follower = Follower {
                api: &self.api,
                env: &self.context.env,
                service: &self.options.service_name,
                mirror: &self.mirror,
                news: &node.news,
            };
            follower.follow().await;
        })
    }
}

impl K8s {
    async fn answer(&self) -> Result<Found, Failure> {
        let listing = match self.mirror.fresh() {
            Some(listing) => listing,
            None => self.list().await?,
        };
        let mut found = found::found(&self.options, &self.context.me.name, self.context.base_port, &listing.set);
        let empty = listing.set.iter().next().is_none();
        found.notes.splice(0..0, self.note.iter().cloned().chain(listing.notes));
        if empty {
            found.notes.push(self.why_empty(listing.source).await?);
        }
        // Whom it lists may be in a cluster already, which a newcomer joins without the number.
        let reading = self.replicas.read(&self.api).await.unwrap_or_else(|failure| Reading::not_heard(&failure));
        found.expect = reading.expect;
        found.notes.extend(reading.notes);
        if let Some(err) = reading.deadlock
            && self.running.load(Ordering::Relaxed)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            warn!(strategy = "k8s", err, "the pods cannot all start");
        }
        Ok(found)
    }

    async fn list(&self) -> Result<Listing, Failure> {
        let late = |_| Failure::Unreachable(format!("no API server answered within {:.1} s", LIST_LIMIT.as_secs_f64()));
        let list = list(&self.api, &self.options.service_name, Purpose::Once);
        tokio::time::timeout(LIST_LIMIT, list).await.map_err(late)?
    }

    /// An empty list says nothing of the Service; it is asked for where that is allowed.
    ///
    /// # Errors
    /// There is no such Service.
    async fn why_empty(&self, source: Source) -> Result<String, Failure> {
        let (service, namespace) = (&self.options.service_name, &self.options.namespace);
        let none = match source {
            Source::Slices => format!("no EndpointSlice of Service {service} in namespace {namespace}"),
            Source::Endpoints => format!("no address in the Endpoints of Service {service} in namespace {namespace}"),
        };
        let ask = Ask::object("", "services", "Service", service);
        let Ok(answer) = tokio::time::timeout(WHY_LIMIT, self.api.object::<objects::Meta>(&ask)).await else {
            return Ok(none);
        };
        match answer {
            Ok(_) => Ok(format!("{none}: the Service is there, and no pod that its selector means has an address yet")),
            Err(missing @ Failure::NotFound(_)) => Err(missing),
            Err(other) => Ok(format!("{none}; whether there is such a Service is not known: {other}")),
        }
    }
}
