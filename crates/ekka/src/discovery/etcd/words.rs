//! Why etcd did not do what was asked, in words that say what to do.

use super::entry::cut;

/// A failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    text: String,
}

/// What a failure means to the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing but that it failed.
    Other,
    /// Nobody answered, or not in the way of this API: it may be another one the next time.
    Unanswered,
    /// The lease ran out, or etcd never heard of it.
    LeaseGone,
    /// The answer is longer than what is taken.
    TooLarge,
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::new(Kind::Other, text)
    }

    /// None of the servers answered, each with its reason.
    pub(super) fn unanswered(reasons: &[String]) -> Self {
        let text =
            format!("no etcd server answers ({}): start etcd, or correct cluster.etcd.server", reasons.join("; "));
        Self::new(Kind::Unanswered, text)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.text
    }
}

/// Who asks for what, for words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Who {
    pub(super) user: Option<String>,
    /// What all keys begin with.
    pub(super) base: String,
}

impl Who {
    pub(super) fn denied(&self, server: &str, said: &str) -> Failure {
        let base = &self.base;
        let Some(user) = &self.user else { return self.no_user(server, said) };
        Failure::other(format!(
            "{server}: user `{user}` may not read and write keys that begin with {base} ({}): grant it a role with \
             `etcdctl role grant-permission ROLE readwrite --prefix=true {base}`",
            cut(said.as_bytes())
        ))
    }

    pub(super) fn denied_v2(&self, server: &str, said: &str) -> Failure {
        let (base, said) = (&self.base, cut(said.as_bytes()));
        Failure::other(match &self.user {
            Some(user) => format!(
                "{server}: etcd does not let user `{user}` read and write /{base}* in API v2 ({said}): correct \
                 cluster.etcd.password_file, or grant its role `etcdctl role grant ROLE --path '/{base}*' --readwrite`"
            ),
            None => format!(
                "{server}: API v2 asks for a user ({said}): set cluster.etcd.username and cluster.etcd.password_file"
            ),
        })
    }

    pub(super) fn no_user(&self, server: &str, said: &str) -> Failure {
        Failure::other(format!(
            "{server}: etcd asks for a user ({}): set cluster.etcd.username and cluster.etcd.password_file (its JSON \
             gateway takes no user from a client certificate)",
            cut(said.as_bytes())
        ))
    }

    pub(super) fn bad_password(&self, server: &str, said: &str) -> Failure {
        let user = self.user.as_deref().unwrap_or_default();
        Failure::other(format!(
            "{server}: etcd does not accept user `{user}` with the password in cluster.etcd.password_file ({})",
            cut(said.as_bytes())
        ))
    }
}

/// What the texts of the TLS library and of HTTP mean here; empty where they speak for themselves.
pub(super) fn hint(text: &str) -> &'static str {
    if text.starts_with("http://") && text.contains("closed before message completed") {
        return ": where etcd speaks TLS, write https:// in cluster.etcd.server";
    }
    const HINTS: [(&str, &str); 8] = [
        ("UnknownIssuer", ": cluster.etcd.ssl.cacertfile does not hold the authority that signed etcd's certificate"),
        ("CertificateRequired", ": etcd asks for a client certificate: set cluster.etcd.ssl.certfile and keyfile"),
        ("UnknownCA", ": etcd does not trust the certificate in cluster.etcd.ssl.certfile (its --trusted-ca-file)"),
        ("DecryptError", ": etcd does not trust the certificate in cluster.etcd.ssl.certfile (its --trusted-ca-file)"),
        ("BadCertificate", ": etcd refuses the certificate in cluster.etcd.ssl.certfile, or asks for one"),
        ("NotValidForName", ": etcd's certificate is for other names; write one of those in cluster.etcd.server"),
        ("ProtocolVersion", ": etcd does not speak TLS 1.3"),
        ("InvalidContentType", ": no TLS comes back: write http:// in cluster.etcd.server, or give etcd certificates"),
    ];
    HINTS.iter().find(|(part, _)| text.contains(part)).map_or("", |(_, hint)| hint)
}
