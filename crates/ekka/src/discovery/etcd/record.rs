//! The id's key: which cluster the nodes of this name are, and who began it.

use ekka_core::autocluster::{Peer, Proposal};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName, StoreId};
use ekka_core::view::Role;
use serde::{Deserialize, Serialize};

use super::entry::{cut, endpoint};

/// The form that is written here, and the newest that is read.
const FORMAT: u32 = 1;
/// More founders than any cluster begins with.
const FOUNDERS_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    cluster_id: ClusterId,
    #[serde(default)]
    founders: Vec<Founder>,
}

#[derive(Serialize, Deserialize)]
struct Founder {
    node_id: NodeId,
    guid: Guid,
    name: NodeName,
    endpoint: String,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    software: String,
    #[serde(default)]
    store: StoreId,
}

/// What the key holds.
pub(super) fn encode(proposal: &Proposal) -> Vec<u8> {
    let founder = |peer: &Peer| Founder {
        node_id: peer.id.node_id,
        guid: peer.id.guid,
        name: peer.name.clone(),
        endpoint: peer.endpoint.to_string(),
        role: peer.role,
        software: peer.software.clone(),
        store: peer.store,
    };
    let founders = proposal.founders.iter().map(founder).collect();
    let record = Record { format: FORMAT, cluster_id: proposal.cluster_id, founders };
    serde_json::to_vec(&record).expect("texts and ids are JSON")
}

/// What a formed cluster writes where the key is gone: who began it has no meaning any more.
pub(super) fn of_formed(cluster_id: ClusterId) -> Proposal {
    Proposal { cluster_id, founders: Vec::new() }
}

/// Reads the key's value.
///
/// # Errors
/// It is none, in words that name the key.
pub(super) fn decode(key: &str, value: &[u8]) -> Result<Proposal, String> {
    read(value).map_err(|why| {
        format!(
            "etcd's key {key} holds no cluster id that this version reads ({}): found `{}`; if no node of this \
             cluster is formed, delete the key (etcdctl del {key}), else write another cluster.etcd.prefix",
            cut(why.as_bytes()),
            cut(value)
        )
    })
}

fn read(value: &[u8]) -> Result<Proposal, String> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if head.format > FORMAT {
        return Err(format!("format {} was written by a later version; this one reads up to {FORMAT}", head.format));
    }
    let record: Record = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if record.founders.len() > FOUNDERS_MAX {
        return Err(format!("{} founders, at most {FOUNDERS_MAX} are read", record.founders.len()));
    }
    let founders = record.founders.into_iter().map(peer).collect::<Result<_, _>>()?;
    Ok(Proposal { cluster_id: record.cluster_id, founders })
}

fn peer(founder: Founder) -> Result<Peer, String> {
    let endpoint = endpoint(&founder.endpoint).ok_or_else(|| {
        format!("the endpoint of {} is no host:port: `{}`", founder.name, cut(founder.endpoint.as_bytes()))
    })?;
    Ok(Peer {
        id: Incarnation { node_id: founder.node_id, guid: founder.guid },
        name: founder.name,
        endpoint,
        role: founder.role,
        software: founder.software,
        store: founder.store,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal() -> Proposal {
        let name: NodeName = "n1@[::1]".parse().expect("a name");
        let peer = Peer {
            id: Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(2) },
            endpoint: name.endpoint(4370).expect("a port"),
            name,
            role: Role::Witness,
            software: "0.1.0".to_owned(),
            store: StoreId::from_u128(3),
        };
        Proposal { cluster_id: ClusterId::from_u128(9), founders: vec![peer] }
    }

    #[test]
    fn a_proposal_comes_back_as_it_was_written() {
        for proposal in [proposal(), of_formed(ClusterId::from_u128(5))] {
            assert_eq!(decode("k", &encode(&proposal)), Ok(proposal));
        }
    }

    #[test]
    fn fields_of_a_later_version_do_no_harm_and_a_later_format_is_refused() {
        let id = ClusterId::from_u128(5);
        let more = format!(r#"{{"format":1,"cluster_id":"{id}","more":{{}}}}"#);
        assert_eq!(decode("k", more.as_bytes()), Ok(of_formed(id)));
        let later = decode("p/c/id", br#"{"format":2,"anything":1}"#).expect_err("a later format");
        assert!(later.contains("p/c/id") && later.contains("format 2") && later.contains("later version"), "{later}");
    }

    #[test]
    fn what_cannot_be_read_is_named_shown_and_answered_with_what_to_do() {
        for bad in ["", "hello", "{}", "[]", r#"{"format":1}"#, r#"{"format":1,"cluster_id":"x"}"#] {
            let error = decode("p/c/id", bad.as_bytes()).expect_err(bad);
            assert!(error.contains("key p/c/id") && error.contains("delete the key"), "{error}");
            assert!(error.contains(&format!("found `{bad}`")), "{error}");
        }
    }
}
