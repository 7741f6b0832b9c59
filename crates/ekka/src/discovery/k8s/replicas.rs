//! How many pods there are to be: from the StatefulSet in this pod's name, else from this pod to its owner, else from a
//! StatefulSet of the Service's name.

use std::time::Duration;

use ekka_core::autocluster::Expect;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::api::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::objects::{Meta, Metadata, NAME_MAX, Workload};
use super::surge::surge;
use crate::config::K8s;

/// How long what was read holds.
const HOLDS: Duration = Duration::from_secs(30);
/// What the reading may add to an answer of discovery.
pub(super) const LIMIT: Duration = Duration::from_millis(2000);

/// The number of replicas, as it was last read.
pub(super) struct Replicas {
    /// The name of this pod, where this process runs in one.
    pod: Option<String>,
    /// The StatefulSet that the pod's name means.
    of_pod: Option<String>,
    /// Names under which a StatefulSet is looked for where the pod does not lead to one.
    names: Vec<String>,
    known: Mutex<Option<(Instant, Reading)>>,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Reading {
    /// How many distinct nodes must vote.
    pub(super) expect: Expect,
    /// What a person should know of it.
    pub(super) notes: Vec<String>,
    /// Why pod 0 would wait for ever, where it would.
    pub(super) deadlock: Option<String>,
}

impl Reading {
    /// Nothing was read yet: nobody is to form by a guess, which could be too few.
    pub(super) fn not_heard(failure: &Failure) -> Self {
        Self { expect: Expect::NotHeard(failure.to_string()), ..Self::default() }
    }
}

impl Replicas {
    pub(super) fn new(options: &K8s, pod: Option<String>) -> Self {
        let of_pod = pod.as_deref().and_then(stateful_set_of).map(str::to_owned);
        let mut names: Vec<String> = Vec::new();
        for name in [&options.app_name, &options.service_name] {
            if of_pod.as_ref() != Some(name) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        Self { pod, of_pod, names, known: Mutex::new(None) }
    }

    /// What is known, read again where that is old. What was read once holds while the API server fails.
    ///
    /// # Errors
    /// Nothing was read yet and the API server fails.
    pub(super) async fn read(&self, api: &Api) -> Result<Reading, Failure> {
        let until = Instant::now() + LIMIT;
        let late = || Failure::Unreachable(format!("the number of replicas was not read within {} s", LIMIT.as_secs()));
        let mut known = tokio::time::timeout_at(until, self.known.lock()).await.map_err(|_| late())?;
        if let Some((at, reading)) = known.as_ref()
            && at.elapsed() < HOLDS
        {
            return Ok(reading.clone());
        }
        let read = tokio::time::timeout_at(until, self.ask(api)).await;
        match (read.unwrap_or_else(|_| Err(late())), known.as_ref()) {
            (Ok(reading), _) => {
                *known = Some((Instant::now(), reading.clone()));
                Ok(reading)
            }
            (Err(_), Some((_, reading))) => Ok(reading.clone()),
            (Err(failure), None) => Err(failure),
        }
    }

    async fn ask(&self, api: &Api) -> Result<Reading, Failure> {
        let mut refused = Vec::new();
        // Where this leads anywhere, nothing more is asked: the Role need not allow to read pods.
        if let Some(name) = &self.of_pod
            && let Some(reading) = stateful_set(api, name, &mut refused).await?
        {
            return Ok(reading);
        }
        if let Some(pod) = &self.pod {
            match or_none(owner_of(api, pod).await, &mut refused)? {
                Some(Some(reading)) => return Ok(reading),
                Some(None) => refused.push(format!("pod {pod} belongs to no StatefulSet and no Deployment")),
                None => {}
            }
        }
        for name in &self.names {
            if let Some(reading) = stateful_set(api, name, &mut refused).await? {
                return Ok(reading);
            }
        }
        // Most of these are the same denial for each name that was tried.
        refused.dedup_by_key(|text| text.split(" \"").next().unwrap_or_default().to_owned());
        let why = refused.join("; ");
        let note = format!("the number of replicas is not known, so cluster.expect has its default: {why}");
        Ok(Reading { notes: vec![note], ..Reading::default() })
    }
}

async fn stateful_set(api: &Api, name: &str, refused: &mut Vec<String>) -> Result<Option<Reading>, Failure> {
    let ask = Ask::object("apps", "statefulsets", "StatefulSet", name);
    let set = or_none(api.object::<Workload>(&ask).await, refused)?;
    set.map(|set| reading("StatefulSet", &set)).transpose()
}

/// A denial or an absence is told, and is no failure.
fn or_none<T>(answer: Result<T, Failure>, refused: &mut Vec<String>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Forbidden(text) | Failure::NotFound(text)) => {
            refused.push(text);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// From a pod to what made it; `None` where that is nothing with replicas.
async fn owner_of(api: &Api, pod: &str) -> Result<Option<Reading>, Failure> {
    let pod: Meta = api.object(&Ask::object("", "pods", "Pod", pod)).await?;
    if let Some(name) = owner(&pod.metadata, "StatefulSet")? {
        let set: Workload = api.object(&Ask::object("apps", "statefulsets", "StatefulSet", name)).await?;
        return reading("StatefulSet", &set).map(Some);
    }
    let Some(name) = owner(&pod.metadata, "ReplicaSet")? else { return Ok(None) };
    let set: Workload = api.object(&Ask::object("apps", "replicasets", "ReplicaSet", name)).await?;
    let Some(name) = owner(&set.metadata, "Deployment")? else { return reading("ReplicaSet", &set).map(Some) };
    let deployment: Workload = api.object(&Ask::object("apps", "deployments", "Deployment", name)).await?;
    reading("Deployment", &deployment).map(Some)
}

/// # Errors
/// It is called as nothing in Kubernetes can be.
fn owner<'a>(of: &'a Metadata, kind: &str) -> Result<Option<&'a str>, Failure> {
    match of.owner_references.iter().find(|owner| owner.kind == kind && owner.controller) {
        Some(owner) if owner.name.len() > NAME_MAX => Err(Failure::Odd(format!(
            "the name of a {kind} came with more than {NAME_MAX} bytes: is this the API server?"
        ))),
        owner => Ok(owner.map(|owner| owner.name.as_str())),
    }
}

/// The StatefulSet whose pod has that name: `ekka-0` is of `ekka`.
fn stateful_set_of(pod: &str) -> Option<&str> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    (!set.is_empty() && !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit())).then_some(set)
}

/// # Errors
/// It does not say how many: that is no object of an API server, and a guess could be too few.
fn reading(kind: &str, workload: &Workload) -> Result<Reading, Failure> {
    // It is the name that was asked for, so it is short.
    let name = &workload.metadata.name;
    let replicas = workload.spec.replicas.ok_or_else(|| {
        Failure::Odd(format!(
            "{kind} {name} came without spec.replicas, which an API server always writes: is this one?"
        ))
    })?;
    if replicas == 0 {
        let note = format!("{kind} {name} has 0 replicas: cluster.expect has its default");
        return Ok(Reading { notes: vec![note], ..Reading::default() });
    }
    let more = if kind == "Deployment" { surge(replicas, &workload.spec) } else { Ok(0) };
    let more = more.map_err(|text| {
        let text: String = text.chars().take(40).collect();
        Failure::Odd(format!("Deployment {name} came with maxSurge `{text}`, which is no number and no percentage"))
    })?;
    // Never more than there are to be in the end, or they would wait for ever.
    let expect = (replicas.saturating_add(more) / 2).saturating_add(1).min(replicas);
    let mut notes = vec![match more {
        0 => format!("{kind} {name} has {replicas} replicas; a majority of them is {expect}"),
        more if more < replicas => format!(
            "{kind} {name} has {replicas} replicas, and {more} more while it is updated; a majority of all is {expect}"
        ),
        more => format!(
            "{kind} {name} has {replicas} replicas, and {more} more while it is updated: {expect} of them are no majority of \
             all, so two clusters can form in an update; a lower maxSurge or strategy.type: Recreate prevents that"
        ),
    }];
    let ordered = kind == "StatefulSet" && workload.spec.pod_management_policy.as_deref() != Some("Parallel");
    let deadlock = (ordered && expect > 1).then(|| {
        format!(
            "pod 0 will wait for ever: set podManagementPolicy: Parallel (StatefulSet {name} makes pod 1 only once pod 0 is \
             ready, and pod 0 is ready only once {expect} nodes have met; the field can be set only when the StatefulSet \
             is made anew)"
        )
    });
    notes.extend(deadlock.clone());
    Ok(Reading { expect: Expect::Nodes(expect), notes, deadlock })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(json: &str) -> Workload {
        serde_json::from_str(json).expect(json)
    }

    fn deadlock(kind: &str, json: &str) -> Option<String> {
        reading(kind, &workload(json)).expect("replicas").deadlock
    }

    #[test]
    fn users_26_the_majority_of_the_replicas_must_vote() {
        for (replicas, expect) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (u32::MAX, u32::MAX / 2 + 1)] {
            let set =
                workload(&format!(r#"{{"spec": {{"replicas": {replicas}, "podManagementPolicy": "Parallel"}}}}"#));
            let reading = reading("StatefulSet", &set).expect("replicas");
            assert_eq!((reading.expect, reading.deadlock), (Expect::Nodes(expect), None));
        }
        let none = reading("StatefulSet", &workload(r#"{"spec": {"replicas": 0}}"#)).expect("replicas");
        assert_eq!(none.expect, Expect::Unknown, "is being taken down");
    }

    #[test]
    fn of_a_deployment_the_majority_counts_those_that_an_update_makes_too() {
        // In an update of three replicas four pods can live: two of them are no majority.
        for (replicas, max_surge, expect) in [
            (3, r#""25%""#, 3),
            (3, "0", 2),
            (4, r#""25%""#, 3),
            (5, r#""25%""#, 4),
            (5, "4", 5),
            (3, r#""100%""#, 3),
            (2, "1", 2),
            (1, r#""25%""#, 1),
            (u32::MAX, r#""100%""#, u32::MAX / 2 + 1),
        ] {
            let json = format!(
                r#"{{"spec": {{"replicas": {replicas}, "strategy": {{"rollingUpdate": {{"maxSurge": {max_surge}}}}}}}}}"#
            );
            let told = reading("Deployment", &workload(&json)).expect("replicas");
            assert_eq!(told.expect, Expect::Nodes(expect), "{json}");
            let other = reading("ReplicaSet", &workload(&json)).expect("replicas");
            assert_eq!(other.expect, Expect::Nodes(replicas / 2 + 1), "only a Deployment is updated so");
        }
        let odd = workload(r#"{"spec": {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": "few"}}}}"#);
        assert!(matches!(reading("Deployment", &odd), Err(Failure::Odd(text)) if text.contains("maxSurge `few`")));
    }

    #[test]
    fn an_owner_whose_name_is_no_name_is_not_asked_for() {
        let long = "x".repeat(NAME_MAX + 1);
        for (name, good) in [("ekka", true), (long.as_str(), false)] {
            let json =
                format!(r#"{{"ownerReferences": [{{"kind": "ReplicaSet", "name": "{name}", "controller": true}}]}}"#);
            let metadata: Metadata = serde_json::from_str(&json).expect("metadata");
            assert_eq!(owner(&metadata, "ReplicaSet").is_ok_and(|owner| owner == Some("ekka")), good);
            assert_eq!(owner(&metadata, "Deployment"), Ok(None));
        }
    }

    #[test]
    fn an_object_without_replicas_is_none_of_an_api_server() {
        for json in ["{}", r#"{"spec": null}"#, r#"{"spec": {"replicas": null}}"#] {
            assert!(matches!(reading("StatefulSet", &workload(json)), Err(Failure::Odd(_))), "{json}");
        }
    }

    #[test]
    fn pods_made_in_order_wait_for_ever_and_it_is_said() {
        for spec in [r#""podManagementPolicy": "OrderedReady", "#, ""] {
            let json = format!(r#"{{"metadata": {{"name": "ekka"}}, "spec": {{{spec}"replicas": 3}}}}"#);
            let told = deadlock("StatefulSet", &json).expect("it is seen");
            assert!(told.starts_with("pod 0 will wait for ever: set podManagementPolicy: Parallel"), "{told}");
        }
        assert_eq!(deadlock("StatefulSet", r#"{"spec": {"replicas": 1}}"#), None, "one waits for none");
        assert_eq!(deadlock("Deployment", r#"{"spec": {"replicas": 3}}"#), None);
    }

    #[test]
    fn the_stateful_set_is_in_the_name_of_its_pods() {
        assert_eq!(stateful_set_of("my-ekka-12"), Some("my-ekka"));
        for other in ["ekka", "ekka-7d9f", "-1", "ekka-"] {
            assert_eq!(stateful_set_of(other), None, "{other}");
        }
    }
}
