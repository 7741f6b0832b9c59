//! What the server answers: pure, from a request and the world.

use serde_json::{Value, json};

use super::access::Denied;
use super::world::World;

/// A request.
pub(super) struct Asked<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a [(String, String)],
    pub(super) authorization: Option<&'a str>,
}

/// An answer.
pub(super) enum Answer {
    Whole {
        status: u16,
        body: String,
        retry_after: Option<u32>,
    },
    /// Events of a resource after that version, for so long.
    Watch {
        resource: &'static str,
        selected: Selected,
        bookmarks: bool,
        after: u64,
        seconds: u64,
        first: Vec<String>,
    },
}

/// Label and field selectors, of the one form that each is used in.
pub(super) struct Selected {
    service: Option<String>,
    name: Option<String>,
}

impl Selected {
    fn of(asked: &Asked<'_>) -> Self {
        let value =
            |key: &str, field: &str| asked.get(key).and_then(|text| text.strip_prefix(field)).map(str::to_owned);
        Self {
            service: value("labelSelector", "kubernetes.io/service-name="),
            name: value("fieldSelector", "metadata.name="),
        }
    }

    pub(super) fn has(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.service.as_ref().is_none_or(|service| metadata["labels"]["kubernetes.io/service-name"] == **service)
            && self.name.as_ref().is_none_or(|name| metadata["name"] == **name)
    }
}

/// Where a request leads.
struct Target<'a> {
    group: &'a str,
    resource: &'a str,
    name: Option<&'a str>,
    namespace: &'a str,
}

impl Asked<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// The server's answer.
pub(super) fn answer(world: &mut World, asked: &Asked<'_>) -> Answer {
    if let Some(code) = world.faults.status {
        return status(code, "InternalError", "the server is out of order", &json!({}));
    }
    if let Some((_, body)) = world.faults.body.filter(|(part, _)| asked.path.contains(part)) {
        return Answer::Whole { status: 200, body: body.to_owned(), retry_after: None };
    }
    if world.faults.busy.0 > 0 {
        world.faults.busy.0 -= 1;
        let Answer::Whole { status, body, .. } = status(429, "TooManyRequests", "too many requests", &json!({})) else {
            unreachable!("a Status is whole")
        };
        return Answer::Whole { status, body, retry_after: Some(world.faults.busy.1) };
    }
    let Ok(user) = world.access.user(asked.authorization) else {
        return status(401, "Unauthorized", "Unauthorized", &json!({}));
    };
    if let Some(document) = document(world, asked.path) {
        return Answer::Whole { status: 200, body: document.to_string(), retry_after: None };
    }
    match target(world, asked.path) {
        Some(target) => of_resource(world, asked, &user, &target),
        None => Answer::Whole { status: 404, body: "404 page not found\n".to_owned(), retry_after: None },
    }
}

/// The documents by which clients find their way.
fn document(world: &World, path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str, verbs: &[&str]| json!({"name": name, "singularName": kind.to_lowercase(), "namespaced": true, "kind": kind, "verbs": verbs});
    let all = ["get", "list", "watch"];
    let group = |name: &str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    let list = |version: &str, resources: &[Value]| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources});
    let groups = ["discovery.k8s.io", "apps"].into_iter().filter(|name| world.faults.no_group != Some(name));
    Some(match path {
        "/version" => json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.map(group).collect::<Vec<_>>()}),
        "/api/v1" => {
            let of = [("endpoints", "Endpoints"), ("pods", "Pod"), ("services", "Service")];
            list("v1", &of.map(|(name, kind)| resource(name, kind, &all)))
        }
        "/apis/discovery.k8s.io/v1" if world.faults.no_group != Some("discovery.k8s.io") => {
            list("discovery.k8s.io/v1", &[resource("endpointslices", "EndpointSlice", &all)])
        }
        "/apis/apps/v1" => {
            let of = [("statefulsets", "StatefulSet"), ("replicasets", "ReplicaSet"), ("deployments", "Deployment")];
            list("apps/v1", &of.map(|(name, kind)| resource(name, kind, &all)))
        }
        _ => return None,
    })
}

fn target<'a>(world: &World, path: &'a str) -> Option<Target<'a>> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, resource, name) = match rest {
        ["namespaces", namespace, resource] => (*namespace, *resource, None),
        ["namespaces", namespace, resource, name] => (*namespace, *resource, Some(*name)),
        _ => return None,
    };
    let known = match group {
        "" => &["endpoints", "pods", "services"][..],
        "discovery.k8s.io" => &["endpointslices"][..],
        "apps" => &["statefulsets", "replicasets", "deployments"][..],
        _ => return None,
    };
    let there = known.contains(&resource) && world.faults.no_group != Some(group);
    there.then_some(Target { group, resource, name, namespace })
}

fn of_resource(world: &mut World, asked: &Asked<'_>, user: &str, target: &Target<'_>) -> Answer {
    let watch = asked.get("watch").is_some_and(|value| value == "true" || value == "1");
    let verb = match (target.name, watch) {
        (Some(_), _) => "get",
        (None, true) => "watch",
        (None, false) => "list",
    };
    if let Err(Denied::Forbidden { user }) =
        world.access.check(user, (verb, target.group, target.resource), target.name)
    {
        return forbidden(&user, verb, target);
    }
    let here = target.namespace == world.namespace;
    let objects = world.objects(target.resource).unwrap_or_default();
    let selected = Selected::of(asked);
    let objects: Vec<Value> = objects.into_iter().filter(|object| here && selected.has(object)).collect();
    if watch && world.faults.cut_watches {
        return Answer::Whole { status: 200, body: String::new(), retry_after: None };
    }
    match (target.name, watch) {
        (Some(name), _) => match objects.iter().find(|object| object["metadata"]["name"] == name) {
            Some(object) => Answer::Whole { status: 200, body: object.to_string(), retry_after: None },
            None => not_found(target, name),
        },
        (None, true) => begin_watch(world, asked, target, &objects),
        (None, false) => page(world, asked, target, &objects),
    }
}

fn page(world: &mut World, asked: &Asked<'_>, target: &Target<'_>, objects: &[Value]) -> Answer {
    let limit = asked.get("limit").and_then(|text| text.parse().ok()).filter(|n| *n > 0).unwrap_or(usize::MAX);
    let mut metadata = json!({"resourceVersion": world.version.to_string()});
    let mut from = 0;
    if let Some(token) = asked.get("continue").filter(|text| !text.is_empty()) {
        if world.faults.stale_pages > 0 {
            world.faults.stale_pages -= 1;
            let text = "The provided continue parameter is too old to display a consistent list result. You can start a \
                        new list without the continue parameter.";
            return status(410, "Expired", text, &json!({}));
        }
        from = token.strip_prefix("from/").and_then(|text| text.parse().ok()).expect("a token of this server");
    }
    let rest = &objects[from.min(objects.len())..];
    let items = &rest[..limit.min(rest.len())];
    if rest.len() > items.len() {
        metadata["continue"] = json!(format!("from/{}", from + items.len()));
        metadata["remainingItemCount"] = json!(rest.len() - items.len());
    }
    let (kind, version) = match target.resource {
        "endpointslices" => ("EndpointSliceList", "discovery.k8s.io/v1"),
        "endpoints" => ("EndpointsList", "v1"),
        "pods" => ("PodList", "v1"),
        "services" => ("ServiceList", "v1"),
        "statefulsets" => ("StatefulSetList", "apps/v1"),
        "replicasets" => ("ReplicaSetList", "apps/v1"),
        _ => ("DeploymentList", "apps/v1"),
    };
    // Go writes an empty list as null.
    let items = if items.is_empty() { Value::Null } else { json!(items) };
    let body = json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items});
    Answer::Whole { status: 200, body: body.to_string(), retry_after: None }
}

fn begin_watch(world: &World, asked: &Asked<'_>, target: &Target<'_>, objects: &[Value]) -> Answer {
    let resource = match target.resource {
        "endpointslices" => "endpointslices",
        "endpoints" => "endpoints",
        // Nothing else changes here.
        _ => "",
    };
    let (selected, bookmarks) = (Selected::of(asked), asked.get("allowWatchBookmarks") == Some("true"));
    let seconds = asked.get("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(1800);
    let after = asked.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    if after == 0 {
        let first = objects.iter().map(|object| json!({"type": "ADDED", "object": object}).to_string()).collect();
        return Answer::Watch { resource, selected, bookmarks, after: world.version, seconds, first };
    }
    if after < world.oldest {
        let text = format!("too old resource version: {after} ({})", world.oldest);
        let gone = status(410, "Expired", &text, &json!({}));
        let Answer::Whole { body, .. } = &gone else { unreachable!("a Status is whole") };
        if world.faults.gone_by_status {
            return gone;
        }
        let object: Value = serde_json::from_str(body).expect("just written");
        let first = vec![json!({"type": "ERROR", "object": object}).to_string()];
        return Answer::Watch { resource, selected, bookmarks: false, after: world.version, seconds: 0, first };
    }
    Answer::Watch { resource, selected, bookmarks, after, seconds, first: Vec::new() }
}

fn forbidden(user: &str, verb: &str, target: &Target<'_>) -> Answer {
    let Target { group, resource, name, namespace } = target;
    let what = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
    let named = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let text = format!(
        "{what}{named} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" in the \
         namespace \"{namespace}\""
    );
    status(403, "Forbidden", &text, &json!({"name": name, "group": group, "kind": resource}))
}

fn not_found(target: &Target<'_>, name: &str) -> Answer {
    let Target { group, resource, .. } = target;
    let what = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
    let details = json!({"name": name, "group": group, "kind": resource});
    status(404, "NotFound", &format!("{what} \"{name}\" not found"), &details)
}

fn status(code: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                      "reason": reason, "details": details, "code": code});
    Answer::Whole { status: code, body: body.to_string(), retry_after: None }
}
