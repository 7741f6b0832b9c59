//! Entry points for fuzzing: any bytes of a server, no panic, bounded time and memory.

use ekka_core::id::NodeName;

use super::addresses::{AddressSet, of_endpoints, of_slice};
use super::event;
use super::failure::{Asked, judge};
use super::found::found;
use super::list::Source;
use super::objects::{EndpointSlice, Endpoints, List, Meta, Workload};
use super::speaker::Speaker;
use crate::config::{K8s, K8sAddress};

/// Reads the bytes as each object that is ever read, and makes candidates of what they hold.
pub fn fuzz_list(data: &[u8]) {
    let mut set = AddressSet::default();
    if let Ok(list) = serde_json::from_slice::<List<EndpointSlice>>(data) {
        list.items.into_iter().for_each(|slice| set.put(&slice.metadata.name.clone(), of_slice(slice)));
    }
    if let Ok(endpoints) = serde_json::from_slice::<Endpoints>(data) {
        set.put("endpoints", of_endpoints(endpoints));
    }
    candidates(&set);
    drop(serde_json::from_slice::<Meta>(data));
    drop(serde_json::from_slice::<Workload>(data));
    let server = Speaker::new("https://api".into(), None);
    let ask = super::ask::Ask::slices("ekka");
    let asked = Asked { server: &server, namespace: "default", ask: &ask, token: "a token" };
    let body = String::from_utf8_lossy(data);
    for code in [401, 403, 404, 410, 429, 500, 302] {
        let words = judge(asked, code, None, &body).to_string();
        assert!(words.len() < 4096 && !words.contains('\n'), "a line for the log: {words}");
    }
}

/// Reads the bytes as lines of a watch.
pub fn fuzz_watch(data: &[u8]) {
    let server = Speaker::new("https://api".into(), None);
    for source in [Source::Slices, Source::Endpoints] {
        let mut set = AddressSet::default();
        for line in data.split(|byte| *byte == b'\n') {
            match event::read(&server, source, line) {
                Ok(event::Change::Put { object, addresses, .. }) => set.put(&object, addresses),
                Ok(event::Change::Removed { object, .. }) => set.remove(&object),
                Ok(event::Change::Bookmark { .. } | event::Change::Unknown) | Err(_) => {}
            }
        }
        candidates(&set);
    }
}

fn candidates(set: &AddressSet) {
    for address_type in [K8sAddress::Ip, K8sAddress::Dns, K8sAddress::Hostname] {
        let options = K8s {
            apiservers: Vec::new(),
            service_name: "ekka".into(),
            address_type,
            app_name: "ekka".into(),
            namespace: "default".into(),
            suffix: Some("cluster.local".into()),
            token_file: None,
            cacertfile: None,
            insecure_token: false,
        };
        let me: NodeName = "ekka@10.0.0.1".parse().expect("a node name");
        let found = found(&options, &me, 4370, set);
        assert!(found.candidates.len() <= ekka_core::limits::CANDIDATES_MAX, "bounded");
        assert!(found.left_out.len() <= 64, "bounded");
    }
}
