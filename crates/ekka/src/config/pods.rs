//! How pods are named: the rule of `cluster.k8s.address_type`. What discovery finds and what a node calls itself by
//! `auto` come from here, so that they cannot differ.

use std::net::IpAddr;

use ekka_core::id::{Host, NodeName};

use super::auto::in_pod;
use super::env::lookup;
use super::model::{K8s, K8sAddress};

impl K8s {
    /// The host of the pod's node name.
    ///
    /// # Errors
    /// What the address type needs is not there, or makes no host, in words.
    pub(crate) fn host(&self, ip: Option<IpAddr>, hostname: Option<&str>) -> Result<Host, String> {
        let (first, between) = match self.address_type {
            K8sAddress::Ip => return ip.map(Host::Ip).ok_or_else(|| "it has no IP address".to_owned()),
            K8sAddress::Dns => {
                let ip = ip.ok_or_else(|| "it has no IP address".to_owned())?;
                (ip.to_string().replace(['.', ':'], "-"), vec![self.namespace.as_str()])
            }
            K8sAddress::Hostname => {
                let hostname = hostname.filter(|text| !text.is_empty()).ok_or_else(|| {
                    "it has no hostname, which cluster.k8s.address_type = hostname needs: run the pods in a StatefulSet \
                     whose serviceName is the Service, or use ip"
                        .to_owned()
                })?;
                (hostname.to_owned(), vec![self.service_name.as_str(), self.namespace.as_str()])
            }
        };
        let labels = match &self.suffix {
            Some(suffix) => [vec![first.as_str()], between, vec![suffix.trim_start_matches('.')]].concat().join("."),
            None => first,
        };
        let name: Result<NodeName, _> = format!("x@{labels}").parse();
        match name {
            Ok(name) if name.explicit_port().is_none() => Ok(name.host().clone()),
            _ => Err(format!("{labels} is no name of a host")),
        }
    }
}

/// The host of this pod's own name where peers know it by another name than its address; `None` where they do not.
pub(super) fn own_host(k8s: &K8s, vars: &[(String, String)]) -> Option<Result<(Host, String), String>> {
    if !in_pod(vars) {
        return None;
    }
    match k8s.address_type {
        K8sAddress::Ip => None,
        K8sAddress::Dns => {
            let ip = lookup(vars, "POD_IP").and_then(|text| text.trim().parse().ok());
            let why = || {
                "cluster.k8s.address_type = dns needs this pod's address in the variable POD_IP (fieldRef status.podIP)"
                    .to_owned()
            };
            let host = ip.ok_or_else(why).and_then(|ip| k8s.host(Some(ip), None));
            Some(host.map(|host| (host, "POD_IP, as cluster.k8s.address_type = dns names pods".to_owned())))
        }
        K8sAddress::Hostname => {
            let host = k8s.host(None, pod_name(vars));
            Some(
                host.map(|host| (host, "the pod's name, as cluster.k8s.address_type = hostname names pods".to_owned())),
            )
        }
    }
}

/// The name of this pod: `POD_NAME` where somebody gave it (fieldRef metadata.name), else `HOSTNAME`, which is the same
/// unless the pod uses the network of its machine.
pub(crate) fn pod_name(vars: &[(String, String)]) -> Option<&str> {
    lookup(vars, "POD_NAME").or_else(|| lookup(vars, "HOSTNAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn k8s(address_type: K8sAddress, suffix: &str) -> K8s {
        K8s {
            apiservers: Vec::new(),
            service_name: "svc".into(),
            address_type,
            app_name: "ekka".into(),
            namespace: "ns".into(),
            suffix: Some(suffix.to_owned()).filter(|text| !text.is_empty()),
            token_file: None,
            cacertfile: None,
            insecure_token: false,
        }
    }

    #[test]
    fn ekka_spec_10_20_names_follow_the_originals_table() {
        let v4 = "10.1.2.3".parse().ok();
        let v6 = "fd00:10::a:3".parse().ok();
        for (kind, suffix, ip, hostname, expected) in [
            (K8sAddress::Ip, "", v4, None, "10.1.2.3"),
            (K8sAddress::Ip, "pod.local", v4, Some("h"), "10.1.2.3"),
            (K8sAddress::Ip, "", v6, None, "[fd00:10::a:3]"),
            (K8sAddress::Dns, "", v4, None, "10-1-2-3"),
            (K8sAddress::Dns, "pod.cluster.local", v4, Some("h"), "10-1-2-3.ns.pod.cluster.local"),
            (K8sAddress::Dns, ".pod.local", v4, None, "10-1-2-3.ns.pod.local"),
            (K8sAddress::Dns, "pod.cluster.local", v6, None, "fd00-10--a-3.ns.pod.cluster.local"),
            (K8sAddress::Hostname, "", v4, Some("ekka-0"), "ekka-0"),
            (K8sAddress::Hostname, "svc.cluster.local", v4, Some("ekka-0"), "ekka-0.svc.ns.svc.cluster.local"),
        ] {
            let host = k8s(kind, suffix).host(ip, hostname).expect(expected);
            assert_eq!(host.to_string(), expected);
        }
        assert!(k8s(K8sAddress::Hostname, "").host(v4, None).expect_err("none").contains("serviceName"));
        assert!(k8s(K8sAddress::Dns, "").host("::1".parse().ok(), None).expect_err("a dash first").contains("--1"));
    }
}
