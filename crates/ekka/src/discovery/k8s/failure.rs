//! Why a request gave nothing, each kind with its own words and its own way on.

use std::fmt;
use std::time::Duration;

use super::ask::Ask;
use super::objects::Status;
use super::speaker::Speaker;

/// What came of a request that gave nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// No API server answered, or none could (5xx): asked again later.
    Unreachable(String),
    /// 401: the token is read again at once; then later.
    Unauthorized(String),
    /// 403: until somebody changes the Role.
    Forbidden(String),
    /// 404: there is no such object, or no such API.
    NotFound(String),
    /// 410: what was asked for is too old; the list begins anew.
    Gone(String),
    /// 429: not before that time is over.
    Busy(String, Duration),
    /// Anything else.
    Odd(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text)
            | Self::Unauthorized(text)
            | Self::Forbidden(text)
            | Self::NotFound(text)
            | Self::Gone(text)
            | Self::Busy(text, _)
            | Self::Odd(text) => f.write_str(text),
        }
    }
}

/// What the words of a failure need to know beside the answer.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) server: &'a Speaker,
    pub(super) namespace: &'a str,
    pub(super) ask: &'a Ask,
    /// Where the token came from, or why none was sent.
    pub(super) token: &'a str,
}

/// What an answer that is no success means.
pub(super) fn judge(asked: Asked<'_>, code: u16, retry_after: Option<Duration>, body: &str) -> Failure {
    let Asked { server, namespace, ask, token } = asked;
    let said = message(server, body);
    match code {
        401 => Failure::Unauthorized(format!("{server} does not accept who asks (401 Unauthorized: {said}): {token}")),
        403 => Failure::Forbidden(forbidden(asked, &said)),
        404 => Failure::NotFound(not_found(asked, &said)),
        410 => {
            Failure::Gone(format!("{server}: what was asked for is too old (410 Gone: {said}): the list begins anew"))
        }
        429 => {
            let wait = retry_after.unwrap_or(Duration::from_secs(1)).min(RETRY_AFTER_MAX);
            let seconds = wait.as_secs().max(1);
            Failure::Busy(
                format!(
                    "{server} has too much to do (429 Too Many Requests: {said}): it is asked again in {seconds} s"
                ),
                wait,
            )
        }
        500..=599 => Failure::Unreachable(format!("{server} failed ({code}: {said}) when asked to {ask}")),
        _ => Failure::Odd(format!("{server} answered {code} ({said}) when asked to {ask} in namespace {namespace}")),
    }
}

/// The longest that a server can put this node off.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

fn forbidden(asked: Asked<'_>, said: &str) -> String {
    let Asked { server, namespace, ask, .. } = asked;
    let who = match user(said) {
        None => "this node's user".to_owned(),
        Some(user) => service_account(user).map_or_else(
            || format!("user \"{user}\""),
            |(of, name)| format!("ServiceAccount {name} of namespace {of}"),
        ),
    };
    format!(
        "{server}: {who} may not {ask} in namespace {namespace} (403 Forbidden): add {} to its Role in namespace {namespace}",
        ask.rule()
    )
}

fn not_found(asked: Asked<'_>, said: &str) -> String {
    let Asked { server, namespace, ask, .. } = asked;
    match (ask.resource, ask.name.as_str()) {
        (resource, "") => format!("{server} has no API for {resource} (404 Not Found: {said})"),
        ("endpoints" | "services", name) => format!(
            "{server} has no Service {name} in namespace {namespace} (404 Not Found): make the headless Service of the \
             pods, or set cluster.k8s.service_name and cluster.k8s.namespace"
        ),
        (_, name) => format!("{server} has no {} {name} in namespace {namespace} (404 Not Found)", ask.kind),
    }
}

/// The message of a Status object, or the body itself.
fn message(server: &Speaker, body: &str) -> String {
    let status: Status = serde_json::from_str(body).unwrap_or_default();
    let said = server.words(if status.message.is_empty() { body } else { &status.message });
    if said.is_empty() { "without a word".to_owned() } else { said }
}

/// The user that RBAC names: `… is forbidden: User "system:serviceaccount:ns:name" cannot …`.
fn user(said: &str) -> Option<&str> {
    let rest = said.split_once("User \"")?.1;
    rest.split_once('"').map(|(user, _)| user)
}

/// Namespace and name of a service account.
fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORBIDDEN: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":
        "endpointslices.discovery.k8s.io is forbidden: User \"system:serviceaccount:shop:ekka\" cannot list resource \"endpointslices\" in API group \"discovery.k8s.io\" in the namespace \"shop\"",
        "reason":"Forbidden","details":{"group":"discovery.k8s.io","kind":"endpointslices"},"code":403}"#;

    fn judged(ask: &Ask, code: u16, body: &str) -> Failure {
        let server = &Speaker::new("https://api:443".into(), Some("jwt.jwt".into()));
        judge(Asked { server, namespace: "shop", ask, token: "the token of /t" }, code, None, body)
    }

    #[test]
    fn ekka_spec_10_19_a_denial_names_the_permission_and_the_rule() {
        let text = judged(&Ask::slices("ekka"), 403, FORBIDDEN).to_string();
        for part in [
            "ServiceAccount ekka of namespace shop may not list endpointslices in API group \"discovery.k8s.io\"",
            "in namespace shop (403 Forbidden)",
            r#"add {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]} to its Role in namespace shop"#,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let plain = judged(&Ask::slices("ekka"), 403, "nope").to_string();
        assert!(plain.contains("this node's user may not list endpointslices"), "{plain}");
        let user =
            judged(&Ask::slices("ekka"), 403, r#"{"message": "x: User \"system:anonymous\" cannot"}"#).to_string();
        assert!(user.contains("user \"system:anonymous\" may not"), "{user}");
    }

    #[test]
    fn ekka_spec_10_19_a_missing_service_is_named() {
        let text = judged(&Ask::object("", "endpoints", "Endpoints", "ekka"), 404, "{}").to_string();
        assert!(text.contains("no Service ekka in namespace shop"), "{text}");
        let text = judged(&Ask::slices("ekka"), 404, "404 page not found").to_string();
        assert!(text.contains("no API for endpointslices (404 Not Found: 404 page not found)"), "{text}");
    }

    #[test]
    fn no_failure_shows_the_token() {
        for code in [302, 401, 403, 404, 410, 429, 500] {
            for body in ["Bearer jwt.jwt", r#"{"message": "x: User \"jwt.jwt\" cannot"}"#] {
                let text = judged(&Ask::slices("ekka"), code, body).to_string();
                assert!(!text.contains("jwt"), "{text}");
            }
        }
    }

    #[test]
    fn each_status_has_its_own_way_on() {
        let slices = Ask::slices("ekka");
        assert!(matches!(judged(&slices, 401, ""), Failure::Unauthorized(text) if text.contains("the token of /t")));
        assert!(matches!(judged(&slices, 410, ""), Failure::Gone(_)));
        assert!(matches!(judged(&slices, 503, "\u{7}x"), Failure::Unreachable(text) if text.contains("(503: x)")));
        assert!(matches!(judged(&slices, 302, ""), Failure::Odd(_)));
        let server = Speaker::new("s".into(), None);
        let asked = Asked { server: &server, namespace: "n", ask: &slices, token: "" };
        let busy = judge(asked, 429, Some(Duration::from_secs(7)), "");
        assert!(matches!(&busy, Failure::Busy(text, wait) if wait.as_secs() == 7 && text.contains("in 7 s")), "{busy}");
        let busy = judge(asked, 429, Some(Duration::from_secs(99_999)), "");
        assert!(matches!(busy, Failure::Busy(_, wait) if wait == RETRY_AFTER_MAX), "a server cannot silence a node");
    }
}
