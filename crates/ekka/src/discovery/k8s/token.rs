//! The token: read from its file for each request, since it is rotated, and sent only where it is safe.

use std::path::PathBuf;

use crate::env::Env;
use crate::http::Server;

/// Longest token that is taken from a file.
const LEN_MAX: u64 = 64 * 1024;

/// Where the token is, and where it may go.
pub(super) struct TokenSource {
    pub(super) file: Option<PathBuf>,
    /// It may go in the clear, beyond loopback too.
    pub(super) insecure: bool,
}

/// What a request says of who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    /// The value of `Authorization`.
    pub(super) value: Option<String>,
    /// What to say where a server does not accept it, or why there is none.
    pub(super) words: String,
}

impl Token {
    /// The token alone.
    pub(super) fn secret(&self) -> Option<String> {
        self.value.as_deref()?.strip_prefix("Bearer ").map(str::to_owned)
    }
}

impl TokenSource {
    /// What this server is sent now.
    pub(super) async fn token(&self, env: &Env, server: &Server) -> Token {
        let none = |words: String| Token { value: None, words };
        let Some(path) = self.file.clone() else {
            return none("no token was sent, since cluster.k8s.token_file is not set and none is mounted".to_owned());
        };
        let shown = path.display().to_string();
        if !server.is_tls() && !server.is_loopback() && !self.insecure {
            return none(format!(
                "the token of {shown} was not sent, since it would go in the clear: use https://, or \
                 cluster.k8s.insecure_token = on"
            ));
        }
        let read = env.blocking(move || {
            let long = std::fs::metadata(&path)?.len() > LEN_MAX;
            if long { Err(std::io::Error::other("it is too long for a token")) } else { std::fs::read_to_string(&path) }
        });
        match read.await.as_deref().map(str::trim) {
            Ok("") => none(format!("no token was sent, since {shown} is empty")),
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Token {
                value: Some(format!("Bearer {text}")),
                words: format!("the token of {shown} is refused; it may have run out, or be of another cluster"),
            },
            Ok(_) => none(format!("no token was sent, since {shown} holds more than one word")),
            Err(error) => none(format!("no token was sent, since {shown} cannot be read: {error}")),
        }
    }
}
