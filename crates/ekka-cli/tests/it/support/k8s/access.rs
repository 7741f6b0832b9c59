//! Who may do what: tokens of service accounts, and rules as a Role has them; those of `deploy/k8s` unless a test says
//! otherwise.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// A rule: verb, API group, resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rule(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// A rule as it is granted.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    verb: String,
    group: String,
    resource: String,
    /// Of these objects alone; empty: of all.
    names: Vec<String>,
    used: bool,
}

/// What the Role of `deploy/k8s/rbac.yaml` allows, as `kubectl` reads it.
fn of_the_role() -> Vec<Granted> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/k8s/rbac.yaml");
    let mut command = Command::new("kubectl");
    command.args(["annotate", "--local", "-o", "json", "read=yes", "-f", file]);
    let output = command.output().expect("`kubectl` is there: apt-get install kubernetes-client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let mut objects = objects.map(|object| object.expect("kubectl writes JSON"));
    let role = objects.find(|object| object["kind"] == "Role").expect("a Role");
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut granted = Vec::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let (group, resource, names) = (group.clone(), resource.clone(), texts(&rule["resourceNames"]));
                    granted.push(Granted { verb, group, resource, names, used: false });
                }
            }
        }
    }
    granted
}

/// Tokens and rules.
pub(crate) struct Access {
    /// Token to user. Empty: everybody is let in, as on the insecure port of old.
    pub(crate) tokens: BTreeMap<String, String>,
    pub(crate) rules: Vec<Granted>,
    /// Everything is allowed.
    pub(crate) all: bool,
    /// What was asked for in vain.
    pub(crate) denied: Vec<String>,
}

/// Why somebody is not let in.
pub(super) enum Denied {
    Unauthorized,
    Forbidden { user: String },
}

impl Access {
    /// The rights of the Role of `deploy/k8s` for one token.
    pub(crate) fn least(token: &str) -> Self {
        let user = "system:serviceaccount:default:ekka".to_owned();
        Self { tokens: [(token.to_owned(), user)].into(), rules: of_the_role(), all: false, denied: Vec::new() }
    }

    /// Takes rules away.
    pub(crate) fn deny(&mut self, rules: &[Rule]) {
        let met = |known: &Granted| rules.iter().any(|rule| known.is(rule.0, rule.1, rule.2));
        self.rules.retain(|known| !met(known));
    }

    /// Adds rules, each for all objects of its resource.
    pub(crate) fn allow(&mut self, rules: &[Rule]) {
        self.rules.extend(rules.iter().map(|Rule(verb, group, resource)| Granted {
            verb: (*verb).to_owned(),
            group: (*group).to_owned(),
            resource: (*resource).to_owned(),
            names: Vec::new(),
            used: false,
        }));
    }

    /// Rules that nobody made use of.
    pub(crate) fn unused(&self) -> Vec<String> {
        self.rules.iter().filter(|rule| !rule.used).map(|rule| format!("{} {}", rule.verb, rule.resource)).collect()
    }

    pub(super) fn user(&self, authorization: Option<&str>) -> Result<String, Denied> {
        if self.tokens.is_empty() {
            return Ok("system:unsecured".to_owned());
        }
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Denied::Unauthorized)?;
        self.tokens.get(token).cloned().ok_or(Denied::Unauthorized)
    }

    /// A rule with names allows no list: a list has no name.
    pub(super) fn check(
        &mut self,
        user: &str,
        (verb, group, resource): (&str, &str, &str),
        name: Option<&str>,
    ) -> Result<(), Denied> {
        let of = |rule: &Granted| rule.names.is_empty() || rule.names.iter().any(|known| Some(known.as_str()) == name);
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.is(verb, group, resource) && of(rule)) {
            rule.used = true;
            return Ok(());
        }
        if self.all {
            return Ok(());
        }
        self.denied.push(format!("{verb} {resource} {}", name.unwrap_or_default()));
        Err(Denied::Forbidden { user: user.to_owned() })
    }
}

impl Granted {
    fn is(&self, verb: &str, group: &str, resource: &str) -> bool {
        self.verb == verb && self.group == group && self.resource == resource
    }
}
