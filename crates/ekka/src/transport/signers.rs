//! By whose authority peers were verified: which cookie each of them signs with.
//!
//! A link stands on the cookie of the day on which it was made, and a rotation keeps it. So while more than one cookie
//! is trusted, peers are looked at once more: a new handshake shows what they sign with now.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::id::{Endpoint, NodeId};
use ekka_core::wire::Purpose;
use tokio::time::{Instant, timeout_at};

use super::Transport;
use super::credentials::AuthorityId;
use super::dial::Dialer;

/// Time for all looks; of those that are not seen in it the link tells.
const LOOKS: Duration = Duration::from_secs(2);
/// Looks under way at one time.
const LOOKS_AT_ONCE: usize = 16;

impl Transport {
    /// The fingerprint of the cookie that each linked peer signs with; none where the operator's certificates do.
    /// `endpoints` says where to look again.
    pub async fn signers(&self, endpoints: &BTreeMap<NodeId, Endpoint>) -> BTreeMap<NodeId, Option<String>> {
        let credentials = self.shared.credentials();
        let mut signers: BTreeMap<NodeId, AuthorityId> = {
            let registry = self.shared.registry();
            registry.links().map(|link| (link.incarnation.node_id, link.trust.theirs)).collect()
        };
        let print = |theirs: &AuthorityId| credentials.fingerprint_of(theirs).map(str::to_owned);
        let in_rotation = credentials.fingerprints().len() > 1;
        let at = |node: &NodeId| endpoints.get(node).filter(|_| in_rotation).map(|at| (*node, at.clone()));
        let looked_at: Vec<_> = signers.keys().filter_map(at).collect();
        let deadline = Instant::now() + LOOKS;
        for some in looked_at.chunks(LOOKS_AT_ONCE) {
            let looks: Vec<_> = some.iter().map(|(node, at)| (*node, self.look(*node, at.clone(), deadline))).collect();
            for (node, look) in looks {
                if let Ok(Some(theirs)) = look.await {
                    signers.insert(node, theirs);
                }
            }
        }
        signers.into_iter().map(|(node, theirs)| (node, print(&theirs))).collect()
    }

    /// Begins a look at a node, for the authority that signs for it now.
    fn look(
        &self,
        node: NodeId,
        endpoint: Endpoint,
        deadline: Instant,
    ) -> tokio::task::JoinHandle<Option<AuthorityId>> {
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            let credentials = shared.credentials();
            let ours = (shared.hello)(Purpose::Observer);
            let dialer = Dialer { env: &shared.env, credentials: &credentials, limits: &shared.limits };
            let dialed = timeout_at(deadline, dialer.dial(&endpoint, &ours)).await.ok()?.ok();
            dialed.filter(|(_, hello, _)| hello.node_id == node).map(|(greeting, ..)| greeting.trust().theirs)
        })
    }
}
