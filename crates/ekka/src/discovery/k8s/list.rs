//! The list of addresses behind a Service: from its EndpointSlices, or from its Endpoints where those cannot be had.

use super::addresses::{AddressSet, of_endpoints, of_slice};
use super::api::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::objects::{EndpointSlice, Endpoints};

/// Which objects the addresses are from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Slices,
    Endpoints,
}

impl Source {
    /// The list of it.
    pub(super) fn ask(self, service: &str) -> Ask {
        match self {
            Self::Slices => Ask::slices(service),
            Self::Endpoints => Ask::endpoints_list(service),
        }
    }
}

/// What a list is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// One answer: the least rights will do.
    Once,
    /// The beginning of a watch.
    Watch,
}

/// A list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    pub(super) source: Source,
    pub(super) set: AddressSet,
    /// Where a watch goes on.
    pub(super) version: String,
    pub(super) notes: Vec<String>,
}

/// Asks for the addresses behind a Service.
pub(super) async fn list(api: &Api, service: &str, purpose: Purpose) -> Result<Listing, Failure> {
    let ask = Source::Slices.ask(service);
    let slices = api.list(&ask, |set: &mut AddressSet, slice: EndpointSlice| {
        let name = slice.metadata.name.clone();
        set.put(&name, of_slice(slice));
    });
    let refused = match slices.await {
        Ok((metadata, set)) => {
            return Ok(Listing { source: Source::Slices, set, version: metadata.resource_version, notes: Vec::new() });
        }
        Err(refused @ (Failure::Forbidden(_) | Failure::NotFound(_))) => refused,
        Err(failure) => return Err(failure),
    };
    let notes = vec![format!("Endpoints were read instead of EndpointSlices: {refused}")];
    match endpoints(api, service, purpose).await {
        Ok((version, set)) => Ok(Listing { source: Source::Endpoints, set, version, notes }),
        // Both are denied: slices are what should be allowed.
        Err(Failure::Forbidden(text)) => match refused {
            Failure::Forbidden(_) => Err(refused),
            _ => Err(Failure::Forbidden(text)),
        },
        Err(failure) => Err(failure),
    }
}

async fn endpoints(api: &Api, service: &str, purpose: Purpose) -> Result<(String, AddressSet), Failure> {
    let put = |set: &mut AddressSet, endpoints: Endpoints| {
        let name = endpoints.metadata.name.clone();
        set.put(&name, of_endpoints(endpoints));
    };
    match purpose {
        Purpose::Watch => {
            let (metadata, set) = api.list(&Source::Endpoints.ask(service), put).await?;
            Ok((metadata.resource_version, set))
        }
        Purpose::Once => {
            let endpoints: Endpoints = api.object(&Ask::object("", "endpoints", "Endpoints", service)).await?;
            let mut set = AddressSet::default();
            put(&mut set, endpoints);
            Ok((String::new(), set))
        }
    }
}
