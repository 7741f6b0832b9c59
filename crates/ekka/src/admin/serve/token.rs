//! The bearer token of the interface on TCP.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use ring::hmac;
use ring::rand::SystemRandom;

use super::ServeError;
use crate::admin::routes::ApiError;

/// Shorter ones can be guessed.
const TOKEN_LEN_MIN: usize = 16;

/// A token that can be compared in constant time, and not be printed.
#[derive(Clone)]
pub struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds fewer than 16 characters.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let bad = |why: String| ServeError::Token { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let line = text.lines().next().unwrap_or_default().trim();
        Self::new(line)
            .ok_or_else(|| bad(format!("a token takes at least {TOKEN_LEN_MIN} characters in the first line")))
    }

    /// Wraps a token; `None` where it is shorter than 16 characters or the system gives no randomness.
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        if token.len() < TOKEN_LEN_MIN {
            return None;
        }
        // Tags under a key that nobody knows are compared, so the time taken tells nothing of the token.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let tag = hmac::sign(&key, token.as_bytes());
        Some(Self { key, tag })
    }

    /// Whether this is the token.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        hmac::verify(&self.key, given.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(token)")
    }
}

/// Lets only requests with the token through.
pub(super) fn guard(routes: Router, token: Token) -> Router {
    routes.layer(from_fn(move |request: Request, next: Next| {
        let token = token.clone();
        async move {
            let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            let given = given.and_then(|value| value.split_once(' '));
            match given {
                Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") && token.is(given.trim()) => {
                    next.run(request).await
                }
                _ => refusal(),
            }
        }
    }))
}

fn refusal() -> Response {
    let text = "this address takes a token: send `Authorization: Bearer …`, or give --token-file";
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", text).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
