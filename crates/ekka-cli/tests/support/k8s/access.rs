//! Who may do what: tokens of service accounts, and rules as a Role has them.

use std::collections::BTreeMap;

/// A rule: verb, API group, resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rule(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// What the Role of `deploy/k8s` allows.
pub(crate) const LEAST: [Rule; 8] = [
    Rule("list", "discovery.k8s.io", "endpointslices"),
    Rule("watch", "discovery.k8s.io", "endpointslices"),
    Rule("get", "", "services"),
    Rule("get", "", "pods"),
    Rule("get", "apps", "statefulsets"),
    Rule("get", "apps", "replicasets"),
    Rule("get", "apps", "deployments"),
    Rule("get", "", "endpoints"),
];

/// Tokens and rules.
pub(crate) struct Access {
    /// Token to user. Empty: everybody is let in, as on the insecure port of old.
    pub(crate) tokens: BTreeMap<String, String>,
    pub(crate) rules: Vec<Rule>,
    /// Everything is allowed.
    pub(crate) all: bool,
}

/// Why somebody is not let in.
pub(super) enum Denied {
    Unauthorized,
    Forbidden { user: String },
}

impl Access {
    /// The least rights for one token.
    pub(crate) fn least(token: &str) -> Self {
        let user = "system:serviceaccount:default:ekka".to_owned();
        Self { tokens: [(token.to_owned(), user)].into(), rules: LEAST.to_vec(), all: false }
    }

    pub(super) fn user(&self, authorization: Option<&str>) -> Result<String, Denied> {
        if self.tokens.is_empty() {
            return Ok("system:unsecured".to_owned());
        }
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Denied::Unauthorized)?;
        self.tokens.get(token).cloned().ok_or(Denied::Unauthorized)
    }

    pub(super) fn check(&self, user: &str, verb: &str, group: &str, resource: &str) -> Result<(), Denied> {
        let met = |rule: &Rule| rule.0 == verb && rule.1 == group && rule.2 == resource;
        if self.all || self.rules.iter().any(met) {
            return Ok(());
        }
        Err(Denied::Forbidden { user: user.to_owned() })
    }
}
