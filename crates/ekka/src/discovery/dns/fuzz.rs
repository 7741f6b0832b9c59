//! What a DNS server or a file of the system can feed to this strategy, as functions of bytes: none may panic.

use ekka_core::id::{Endpoint, NodeId, NodeName};
use ekka_core::limits::{BASE_PORT, CANDIDATES_MAX};
use hickory_resolver::proto::op::Message;

use super::answer::{self, Naming};
use super::lookup::Answer;
use super::{ask, names, system};
use crate::config::DnsRecord;
use crate::discovery::Me;

const RECORDS: [DnsRecord; 3] = [DnsRecord::A, DnsRecord::Aaaa, DnsRecord::Srv];

/// Reads the bytes as a DNS message and makes of its answers what the strategy would.
pub fn fuzz_dns_message(data: &[u8]) {
    let Ok(message) = Message::from_vec(data) else { return };
    let name: NodeName = "ekka@10.0.0.1".parse().expect("a node name");
    let endpoint = Endpoint { host: name.host().clone(), port: BASE_PORT };
    let me = Me { name, endpoint, node_id: NodeId::from_random(1) };
    for record in RECORDS {
        let reply = ask::reply(&message.answers, record);
        let answer = Answer { names: vec!["ekka.test.".to_owned()], outcome: reply.outcome, ttl: reply.ttl };
        let naming = Naming { app: "ekka".to_owned(), me: me.clone(), base_port: BASE_PORT };
        let found = answer::found(&answer, &naming, "ekka.test", record);
        assert!(found.candidates.len() <= CANDIDATES_MAX, "candidates are bounded");
        assert!(found.left_out.len() + found.notes.len() < 100, "so is what is said of the rest");
        for candidate in &found.candidates {
            assert_eq!(candidate.name.to_string().parse(), Ok(candidate.name.clone()), "names print as they parse");
        }
    }
}

/// Reads the bytes as the resolver's files.
pub fn fuzz_dns_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let sources = system::resolv_conf(&text);
    assert!((1..=3).contains(&sources.servers.len()), "somebody is asked, and not too many");
    for record in RECORDS {
        drop(system::hosts(&text, "ekka", record));
    }
    assert!(names::names("ekka.test", &sources.search, sources.ndots).len() <= 7, "names asked are bounded");
}
