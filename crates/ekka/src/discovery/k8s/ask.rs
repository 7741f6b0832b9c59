//! What is asked of the API server: the path of each request, and the permission that it needs, in words.

use std::fmt;

use crate::http::percent_encoded;

/// One request: what is done with which resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    /// The verb of RBAC: get, list or watch.
    pub(super) verb: &'static str,
    /// The API group; empty for the core.
    pub(super) group: &'static str,
    /// The resource in the plural, as RBAC has it.
    pub(super) resource: &'static str,
    /// The kind, for words.
    pub(super) kind: &'static str,
    /// The object; empty for a list.
    pub(super) name: String,
    /// The query, encoded.
    pub(super) query: String,
}

/// The group of EndpointSlices.
pub(super) const DISCOVERY: &str = "discovery.k8s.io";

impl Ask {
    /// One object by its name.
    pub(super) fn object(group: &'static str, resource: &'static str, kind: &'static str, name: &str) -> Self {
        Self { verb: "get", group, resource, kind, name: name.to_owned(), query: String::new() }
    }

    /// The slices of a Service.
    pub(super) fn slices(service: &str) -> Self {
        let query = format!("labelSelector=kubernetes.io%2Fservice-name%3D{}", encoded(service));
        let (group, resource, kind) = (DISCOVERY, "endpointslices", "EndpointSlice");
        Self { verb: "list", group, resource, kind, name: String::new(), query }
    }

    /// The Endpoints of a Service as a list of one, which can be watched.
    pub(super) fn endpoints_list(service: &str) -> Self {
        let query = format!("fieldSelector=metadata.name%3D{}", encoded(service));
        Self { verb: "list", group: "", resource: "endpoints", kind: "Endpoints", name: String::new(), query }
    }

    /// A page of this list.
    pub(super) fn page(&self, limit: usize, from: &str) -> Self {
        let mut query = format!("{}&limit={limit}", self.query);
        if !from.is_empty() {
            query += &format!("&continue={}", encoded(from));
        }
        Self { query, ..self.clone() }
    }

    /// What comes after this list, as it comes.
    pub(super) fn watch(&self, resource_version: &str, seconds: u64) -> Self {
        let query = format!(
            "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            self.query,
            encoded(resource_version)
        );
        Self { verb: "watch", query, ..self.clone() }
    }

    /// Path and query.
    pub(super) fn target(&self, namespace: &str) -> String {
        let base = match self.group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let mut target = format!("{base}/namespaces/{}/{}", encoded(namespace), self.resource);
        if !self.name.is_empty() {
            target += &format!("/{}", encoded(&self.name));
        }
        if !self.query.is_empty() {
            target += &format!("?{}", self.query);
        }
        target
    }

    /// The rule of a Role that allows it.
    pub(super) fn rule(&self) -> String {
        let verbs = match self.verb {
            "list" | "watch" => r#"["list", "watch"]"#,
            _ => r#"["get"]"#,
        };
        format!(r#"{{apiGroups: ["{}"], resources: ["{}"], verbs: {verbs}}}"#, self.group, self.resource)
    }
}

/// `list endpointslices in API group "discovery.k8s.io"`
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.name.is_empty() {
            write!(f, " \"{}\"", self.name)?;
        }
        write!(f, " in API group \"{}\"", self.group)
    }
}

fn encoded(text: &str) -> String {
    percent_encoded(text.as_bytes(), b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_documented_api() {
        let slices = Ask::slices("ekka");
        let path = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices";
        let selector = "labelSelector=kubernetes.io%2Fservice-name%3Dekka";
        assert_eq!(slices.target("ns"), format!("{path}?{selector}"));
        assert_eq!(slices.page(5, "a/b+").target("ns"), format!("{path}?{selector}&limit=5&continue=a%2Fb%2B"));
        let watch = slices.watch("12", 9).target("ns");
        let rest = "watch=true&allowWatchBookmarks=true&timeoutSeconds=9&resourceVersion=12";
        assert_eq!(watch, format!("{path}?{selector}&{rest}"));
        let pod = Ask::object("", "pods", "Pod", "../../secrets");
        assert_eq!(pod.target("ns"), "/api/v1/namespaces/ns/pods/..%2F..%2Fsecrets");
    }

    #[test]
    fn a_permission_is_said_as_the_rule_that_gives_it() {
        let rule = r#"{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}"#;
        assert_eq!(Ask::slices("x").rule(), rule);
        let get = Ask::object("apps", "statefulsets", "StatefulSet", "ekka");
        assert_eq!(get.rule(), r#"{apiGroups: ["apps"], resources: ["statefulsets"], verbs: ["get"]}"#);
        assert_eq!(get.to_string(), r#"get statefulsets "ekka" in API group "apps""#);
    }
}
